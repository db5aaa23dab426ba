"""Streams of every kind, and what a process does with them: a spawned process imports this file, not a test."""

from __future__ import annotations

from typing import NamedTuple

import torch

from mimetric.metrics import (
    StreamingAlignment,
    StreamingCalibration,
    StreamingClassification,
    StreamingClasswiseCalibration,
    StreamingCollapse,
    StreamingRetrieval,
    StreamingRoc,
    StreamingScatter,
    StreamingSpectrum,
    recall_at_k,
    reciprocal_rank,
)


class Data(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor
    logits: torch.Tensor

    def part(self, rows):
        return Data(*(each[rows] for each in self))


def data():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(40) % 4
    x = torch.eye(6)[y] + torch.randn(40, 6, generator=generator)
    logits = torch.eye(4)[y] + torch.randn(40, 4, generator=generator)
    return Data(x, y, logits)


def retrieval():
    x, y, _ = data()
    return StreamingRetrieval(
        {"recall_at_1": lambda ranks: recall_at_k(ranks, 1), "mrr": reciprocal_rank}, x.flip(0), y.flip(0)
    )


# name -> (a new stream, what it sees of the rows in a slice)
STREAMS = {
    "alignment": (lambda: StreamingAlignment(4, 6), lambda d: (d.x, d.y)),
    "scatter": (lambda: StreamingScatter(4, 6), lambda d: (d.x, d.y)),
    "spectrum": (lambda: StreamingSpectrum(6), lambda d: (d.x,)),
    "collapse": (lambda: StreamingCollapse(4, 6), lambda d: (d.x, d.y)),
    "classification": (lambda: StreamingClassification(4, k=(2,)), lambda d: (d.logits, d.y)),
    "calibration": (StreamingCalibration, lambda d: (d.logits.softmax(1), d.y)),
    "classwise": (lambda: StreamingClasswiseCalibration(4), lambda d: (d.logits.softmax(1), d.y)),
    "roc": (StreamingRoc, lambda d: (d.logits[:, 0].tanh(), d.y > 1)),
    "retrieval": (retrieval, lambda d: (d.x, d.y)),
}


def filled(name, *parts):
    new, view = STREAMS[name]
    stream = new()
    for part in parts:
        stream.update(*view(data().part(part)))
    return stream


def numbers(stream):
    found = stream.compute()
    values = found.values() if isinstance(found, dict) else found if isinstance(found, tuple) else [found]
    return [torch.as_tensor(value).double() for value in values]


def work(rank, file, results):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{file}", rank=rank, world_size=2)
    found = {}
    for name in STREAMS:
        stream = filled(name, slice(0, 13) if rank == 0 else slice(13, 40))
        stream.synchronize()
        found[name] = numbers(stream)
    torch.save(found, f"{results}{rank}")
    torch.distributed.destroy_process_group()
