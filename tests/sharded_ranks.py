"""What test_shards.py runs in several processes; these import this file by name, as they could no test."""

from __future__ import annotations

import torch

from mimetric.core.shards import sharded_rank_blocks

WORLD = 2


def data():
    """400 references of which many are copies, 90 queries among them; classes, tags, items, cameras."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(150, 9, generator=generator)[torch.randint(150, (400,), generator=generator)]
    y = torch.randint(-1, 40, (400,), generator=generator)
    tags = torch.rand(400, 5, generator=generator) < 0.1
    camera = torch.randint(3, (400,), generator=generator)
    return x, y, tags, camera


# name -> labels, options, which queries and which references lie in the first process.
CASES = {
    "classes": ("y", {}, 30, 250),
    "everything in one process": ("y", {"ties": "pessimistic", "depth": 1, "block": 7}, 90, 0),
    "shared labels": ("tags", {"ties": "optimistic", "similarity": "dot"}, 45, 7),
    "left out": ("y", {"ids": True, "groups": True}, 30, 250),
    "a tile and a row": ("y", {"ids": True, "dtype": torch.float64}, 1, 97),
}


def search(case, queries, references):
    """Arguments for a part of the queries and of the references."""
    x, y, tags, camera = data()
    kind, given, *_ = CASES[case]
    labels, options = (tags if kind == "tags" else y), dict(given)
    for name, keys in (("ids", torch.arange(400)), ("groups", camera)):
        if options.pop(name, False):
            options |= {name: keys[queries], f"reference_{name}": keys[references]}
    return (x[queries], labels[queries], x[references], labels[references]), options


def found(blocks, first=0):
    rows = {}
    for ranks in blocks:
        for query, row, relevant in zip(ranks.query.tolist(), ranks.rank.tolist(), ranks.relevant.tolist()):
            rows[first + query] = row[:relevant]
    return rows


def work(rank, file, results):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{file}", rank=rank, world_size=WORLD)
    mine = {}
    for case, (_, _, queries, references) in CASES.items():
        parts = [slice(0, queries), slice(0, references)]
        if rank == 1:
            parts = [slice(queries, 90), slice(references, 400)]
        args, options = search(case, *parts)
        mine[case] = found(sharded_rank_blocks(*args, **options), parts[0].start)
    results[rank] = mine
    torch.distributed.destroy_process_group()
