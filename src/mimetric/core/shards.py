"""Ranks among references that lie in several processes, with the very counts of one process.

Every process has a part of the references and a part of the queries.  A block of one process's queries is sent to
all; each finds the positives among its own references; the similarities of all positives are collected, and each
process counts the references of its own in front of them.  These counts add up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .checks import check_choice, check_finite, check_references, check_rows, check_shared_labels
from .ranks import (
    Ranks,
    check_keys,
    check_options,
    lists_of,
    negatives_in_front,
    ranks_of,
    rows_at_a_time,
    similarities_of_positives,
)
from .relevance import Relevance, Relevant
from .search import Search, Ties, blocks_of
from .similarity import Similarity


def sharded_rank_blocks(
    embeddings: Any,
    labels: Any,
    references: Any,
    reference_labels: Any,
    *,
    ids: Any = None,
    reference_ids: Any = None,
    groups: Any = None,
    reference_groups: Any = None,
    similarity: Similarity = "cosine",
    ties: Ties = "mean",
    depth: int | None = None,
    block: int | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[Ranks]:
    """The ranks of this process's queries among the references of all processes.

    All processes of the default group call it together, with the same options, and run it to its end; each may have
    any number of queries and references, none as well.  What :func:`mimetric.core.ranks.rank_blocks` gives for all
    queries and references in one process, this gives in parts, to the last count.  For a set searched in itself give
    every row an id, its place in the whole set, as both ``ids`` and ``reference_ids``.

    Args:
        embeddings, labels: (q, d), (q,) or (q, L): the queries of this process.
        references, reference_labels: (m, d), (m,) or (m, L): the references of this process.
        similarity: cosine or dot.  Distances are measured from the mean of all references, which no process has;
            of rows scaled to length 1 they have the order of the cosine.
        ids, reference_ids, groups, reference_groups, ties, depth, block, dtype: as
            :func:`mimetric.core.ranks.rank_blocks` has them.

    Returns:
        An iterator over :class:`~mimetric.core.ranks.Ranks` of this process's queries; memory is O(block * m).
    Raises:
        InputError: as :func:`mimetric.core.ranks.rank_blocks`, or another similarity.
    """
    where = "sharded_rank_blocks"
    embeddings = check_rows(where, "embeddings", embeddings)
    labels = check_shared_labels(where, "labels", labels, embeddings)
    references, others = check_references(where, embeddings, labels, references, reference_labels)
    check_options(where, similarity, ties, depth, block)
    check_choice(where, "similarity", similarity, ("cosine", "dot"))
    check_finite(where, "embeddings", embeddings)
    check_finite(where, "references", references)
    search = Search(similarity, embeddings, references, dtype)
    keys = [
        check_keys(where, name, mine, theirs, labels, others, own=False)
        for name, mine, theirs in (("ids", ids, reference_ids), ("groups", groups, reference_groups))
    ]
    return _blocks(search, embeddings.detach(), labels, others, keys, ties, depth, block)


def _blocks(
    search: Search,
    queries: Tensor,
    labels: Tensor,
    reference_labels: Tensor,
    keys: list[tuple[Tensor, Tensor] | None],
    ties: Ties,
    depth: int | None,
    block: int | None,
) -> Iterator[Ranks]:
    known = _of_all(labels)  # of the queries of every process, few numbers each; rows are sent block by block
    all_keys = [None if pair is None else (torch.cat(_of_all(pair[0])), pair[1]) for pair in keys]
    relevance = Relevance(lists_of(torch.cat(known), reference_labels), *all_keys)
    lists, start = relevance.lists, 0
    rows = _least(block or min(lists.rows, rows_at_a_time(lists.longest, search.width)), queries)
    for owner, theirs in enumerate(known):
        every = torch.arange(len(theirs), device=theirs.device)
        order = theirs.argsort(stable=True) if theirs.ndim == 1 else every
        for query in blocks_of(order, rows):
            mine = owner == dist.get_rank()
            sent = queries[query] if mine else queries.new_empty(len(query), queries.shape[1])
            dist.broadcast(sent, src=owner)
            ranks = _ranks(search.of(sent), relevance.of(start + query), query, ties, depth)
            if mine:
                yield ranks
        start += len(theirs)


def _ranks(search: Search, found: Relevant, query: Tensor, ties: Ties, depth: int | None) -> Ranks:
    """Of one block, the same in every process."""
    rows = search.rows(torch.arange(len(query), device=query.device))
    near, relevant = similarities_of_positives(search, rows, found)
    dist.all_reduce(relevant)
    nearest = torch.cat(_of_all(near.T)).sort(dim=0, descending=True).values.T
    best = nearest[:, : max(1, int(relevant.max()))][:, :depth].contiguous()
    front = negatives_in_front(search, rows, best, found.hidden, ties)
    dist.all_reduce(front)
    return Ranks(ranks_of(best, relevant, front), relevant, query)


def _of_all(rows: Tensor) -> list[Tensor]:
    """The rows (k, ...) of each process; k may differ."""
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.empty_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    sizes = [int(each) for each in counts]
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return [part[:size] for part, size in zip(parts, sizes)]


def _least(number: int, like: Tensor) -> int:
    """The least of all processes' numbers."""
    least = torch.tensor([number], device=like.device)
    dist.all_reduce(least, op=dist.ReduceOp.MIN)
    return int(least)
