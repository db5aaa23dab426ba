"""The rank of every positive of every query, exact, by counting, in blocks of queries and panels of references.

A rank needs no sorted row: it is one more than the number of references in front.  The similarities of a block
of queries with their own classes come first; then a panel of similarities after the other is made, what lies in
front of each positive is counted while the panel is near the cores, and the next one takes its place.

A positive's rank is its place among the query's positives plus the number of negatives in front of it.
Negatives of exactly its similarity are tied with it; the rule says how many of them come first: none
(``optimistic``), all (``pessimistic``) or half (``mean``).  Positives of equal similarity take one place
after the other in any order: a query with copies of itself in its own class has them at ranks 1, 2, 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from math import isqrt
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import check_batch, check_choice, check_finite, check_positive, check_references
from .classes import UNLABELLED
from .similarity import SIMILARITIES, Lifted, Similarity, lift

Ties = Literal["mean", "optimistic", "pessimistic"]
Drop = Literal["self", "first"]

# A panel of similarities, 4 MiB in float32: made, counted and overwritten while it is near the cores.
_PANEL_ELEMENTS = 1 << 20
# Queries in a block: more gain nothing.  Fewer where many positives would take more than this many numbers.
_ROWS = 512
_POSITIVE_ELEMENTS = 1 << 21
# Rows and columns of a product come in whole tiles (see _Search): 96 is a multiple of the widths that kernels
# work in, 8 to 48.
_TILE_ROWS = 32
_TILE = 96
# From this many positives a query, sorting a panel once is cheaper than counting once for each.
_SORT_FROM = 40
# A panel's sorting is shared by its columns, but each positive is looked up in every panel.
_COLUMNS_PER_POSITIVE = 16


@dataclass(frozen=True)
class Ranks:
    """The positives of k queries, nearest first.

    Every metric of retrieval is a few lines over these: a rank past the last positive is infinite, so it
    is within no cut-off and its reciprocal is 0.
    """

    rank: Tensor  # (k, p) float64 from 1, ascending; inf past a query's last positive; p >= 1
    relevant: Tensor  # (k,) int64 how many positives each query has
    query: Tensor  # (k,) int64 which row of the embeddings each query is


def rank_blocks(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    similarity: Similarity = "cosine",
    ties: Ties = "mean",
    drop: Drop = "self",
    depth: int | None = None,
    block: int | None = None,
) -> Iterator[Ranks]:
    """The ranks of the positives of all queries, a block of queries at a time, in an order of its own.

    The references of a query are ranked from the most similar on.  Its positives are those of its label.
    Label -1 means unlabelled: such a query has no positive and such a reference is a negative of all.
    Half-precision input is searched in float32; float64 stays.  On a CPU the same rows give the same
    similarity wherever they stand, so duplicates tie and the numbers do not depend on the block.

    Args:
        embeddings: (q, d) floating point, finite.  A list or an array will do.
        labels: (q,) integer class ids.
        references: (m, d) what to search; None is the embeddings themselves, each query left out of its
            own references.
        reference_labels: (m,) their class ids.
        similarity: by which references are nearer.
        ties: how many negatives of exactly a positive's similarity come before it: half of them, none, all.
        drop: which row is left out where there are no references: the query itself, by its index, or as
            many published evaluations do ``first``, the most similar row, whichever it is (of several the
            lowest index).  Then a copy of the query may be left out in its place, and the query counts
            as its own positive.
        depth: only the ranks of this many nearest positives; 1 is all that Recall@K needs.
        block: queries at a time; None chooses by memory.  It changes no number.

    Returns:
        An iterator over :class:`Ranks`; memory is O(block * m).
    Raises:
        InputError: shapes disagree, labels are not integers, a value is not finite, depth or block is
            below 1, or an unknown word.

    >>> x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    >>> (ranks,) = rank_blocks(x, [0, 1, 0, 1])
    >>> ranks.rank.tolist()
    [[2.0], [3.0], [3.0], [2.0]]
    """
    where = "rank_blocks"
    embeddings, labels = check_batch(where, embeddings, labels)
    references, reference_labels = check_references(where, embeddings, labels, references, reference_labels)
    check_choice(where, "similarity", similarity, SIMILARITIES)
    check_choice(where, "ties", ties, ("mean", "optimistic", "pessimistic"))
    check_choice(where, "drop", drop, ("self", "first"))
    check_positive(where, depth=1 if depth is None else depth, block=1 if block is None else block)
    check_finite(where, "embeddings", embeddings)
    if references is not None:
        check_finite(where, "references", references)
    dtype = _wide(embeddings, embeddings if references is None else references)
    search = _Search(
        lift(
            similarity,
            embeddings.detach().to(dtype),
            None if references is None else references.detach().to(dtype),
        )
    )
    classes = _Classes(labels, reference_labels)
    return _blocks(search, classes, ties, None if references is not None else drop, depth, block)


def _wide(*tensors: Tensor) -> torch.dtype:
    """The type that holds them all, float32 at least."""
    return reduce(torch.promote_types, (x.dtype for x in tensors), torch.float32)


def _blocks(
    search: _Search, classes: _Classes, ties: Ties, drop: Drop | None, depth: int | None, block: int | None
) -> Iterator[Ranks]:
    rows = block or classes.rows_at_a_time(search.width)
    for start in range(0, len(classes.order), rows):
        query = classes.order[start : start + rows]
        yield _ranks(search, classes.among(query), query, ties, drop, depth)


def _ranks(
    search: _Search, own: _OwnClass, query: Tensor, ties: Ties, drop: Drop | None, depth: int | None
) -> Ranks:
    """Place among the positives plus negatives in front."""
    rows = search.rows(query)
    near = search.similarities(rows, own.columns)[: len(query)].gather(1, own.slot)
    column, positive = own.columns[own.slot], own.member
    no_negatives = column.masked_fill(~own.member, -1)
    if drop is not None:
        left_out = query[:, None] if drop == "self" else search.nearest(rows)[: len(query)]
        positive = positive & (column != left_out)
        no_negatives = torch.cat((no_negatives, left_out), dim=1)
    relevant = positive.sum(1)
    best = near.masked_fill_(~positive, -torch.inf).sort(dim=1, descending=True).values
    best = best[:, : max(1, int(relevant.max()))][:, :depth].contiguous()
    place = torch.arange(1, best.shape[1] + 1, device=best.device)
    rank = place.expand_as(best).double()
    for start, panel in search.panels(rows, at_least=_COLUMNS_PER_POSITIVE * best.shape[1]):
        negatives = panel[: len(query)]
        _leave_out_(negatives, no_negatives - start)
        rank += _in_front(negatives, best, ties)
    return Ranks(rank.masked_fill_(place > relevant[:, None], torch.inf), relevant, query)


def _leave_out_(panel: Tensor, columns: Tensor) -> None:
    """Put those of the columns (k, p) that lie in the panel (k, c) behind everything."""
    row, at = ((columns >= 0) & (columns < panel.shape[1])).nonzero(as_tuple=True)
    panel[row, columns[row, at]] = -torch.inf


def _in_front(values: Tensor, thresholds: Tensor, ties: Ties) -> Tensor:
    """How many values (k, m) of its row each threshold (k, p) has in front, as float64."""
    if thresholds.shape[1] >= _SORT_FROM:
        return _in_front_by_sorting(values, thresholds, ties)
    total = torch.empty(thresholds.shape, dtype=torch.float64, device=values.device)
    marks = torch.empty_like(values)
    for k in range(thresholds.shape[1]):
        threshold = thresholds[:, k, None]
        if ties == "mean":  # 1 in front, 0 tied, -1 behind
            torch.sub(values, threshold, out=marks).sign_()
        else:
            (torch.gt if ties == "optimistic" else torch.ge)(values, threshold, out=marks)
        total[:, k] = marks.sum(1)
    return total.add_(values.shape[1]).div_(2) if ties == "mean" else total


def _in_front_by_sorting(values: Tensor, thresholds: Tensor, ties: Ties) -> Tensor:
    if values.device.type == "cpu":  # numpy sorts floats several times faster than torch
        ordered = torch.from_numpy(np.sort(values.numpy(), axis=1))
    else:
        ordered = values.sort(dim=1).values
    behind = torch.searchsorted(ordered, thresholds)
    up_to_tied = torch.searchsorted(ordered, thresholds, right=True)
    share = {"optimistic": 0.0, "mean": 0.5, "pessimistic": 1.0}[ties]
    return values.shape[1] - up_to_tied + share * (up_to_tied - behind).double()


class _Search:
    """Similarities of queries with some or all references; on a CPU equal rows get equal numbers wherever they
    stand, so copies tie.

    A kernel rounds rows and columns that are left over from its tiles in another way: every product here is of
    whole tiles.
    """

    def __init__(self, lifted: Lifted) -> None:
        self._queries, self._references = lifted.anchors, lifted.references
        self.width = len(self._references)
        if self.width < _TILE:
            self._references = F.pad(self._references, (0, 0, 0, _TILE - self.width))

    def rows(self, query: Tensor) -> Tensor:
        """The queries (k, d), and more rows to fill the last tile."""
        return self._queries[F.pad(query, (0, -len(query) % _TILE_ROWS))]

    def similarities(self, rows: Tensor, columns: Tensor) -> Tensor:
        """With the references of these columns, a multiple of the tile."""
        return _product(rows, self._references[columns])

    def panels(self, rows: Tensor, at_least: int = 1) -> Iterator[tuple[int, Tensor]]:
        """With all references, a panel of columns at a time in one buffer: (first column, similarities)."""
        m = len(self._references)
        whole = m // _TILE * _TILE
        columns = max(1, max(at_least, _PANEL_ELEMENTS // len(rows)) // _TILE) * _TILE
        buffer = rows.new_empty(len(rows), min(columns, whole))
        for start in range(0, whole, columns):
            panel = _product(rows, self._references[start : min(start + columns, whole)], buffer)
            yield start, panel[:, : self.width - start]
        if whole < m:  # the last columns once more make a tile with those before them
            yield whole, _product(rows, self._references[-_TILE:])[:, whole - m :]

    def nearest(self, rows: Tensor) -> Tensor:
        """The lowest column (k, 1) of the largest similarity."""
        best = rows.new_full((len(rows), 1), -torch.inf)
        where = torch.zeros_like(best, dtype=torch.int64)
        for start, panel in self.panels(rows):
            value, column = panel.max(dim=1, keepdim=True)
            where = torch.where(value > best, column + start, where)
            best = torch.maximum(best, value)
        return where


def _product(rows: Tensor, references: Tensor, buffer: Tensor | None = None) -> Tensor:
    if buffer is None:
        buffer = rows.new_empty(len(rows), len(references))
    return torch.mm(rows, references.T, out=buffer[:, : len(references)])  # autocast leaves `out=` alone


class _OwnClass(NamedTuple):
    """The references of k queries' classes."""

    columns: Tensor  # (u,) of all their classes together, filled up to whole tiles
    slot: Tensor  # (k, p) where in `columns` those of a query's class are; p >= 1
    member: Tensor  # (k, p) bool: they are, not padding


class _Classes:
    """In order of label the references of a class are one run: a first place and a size."""

    def __init__(self, labels: Tensor, reference_labels: Tensor) -> None:
        in_order, self._column = reference_labels.sort(stable=True)
        self._first = torch.searchsorted(in_order, labels)
        self._size = torch.searchsorted(in_order, labels, right=True) - self._first
        self._size[labels == UNLABELLED] = 0
        # Queries of a class together, and of classes of about one size: little padding.
        by_class = self._first.argsort(stable=True)
        self.order = by_class[self._size[by_class].argsort(stable=True)]

    def rows_at_a_time(self, num_references: int) -> int:
        longest = max(1, int(self._size.max())) if len(self._size) else 1
        rows = max(_POSITIVE_ELEMENTS // max(1, num_references), isqrt(_POSITIVE_ELEMENTS // longest))
        rows = min(rows, _POSITIVE_ELEMENTS // (12 * longest), _ROWS)
        return max(1, rows // _TILE_ROWS) * _TILE_ROWS

    def among(self, query: Tensor) -> _OwnClass:
        size = self._size[query, None]
        first, run = torch.unique(self._first[query], return_inverse=True)
        length = torch.zeros_like(first).scatter_reduce_(0, run, size[:, 0], "amax")
        start = length.cumsum(0) - length
        place = torch.arange(int(length.sum()), device=query.device)
        columns = self._column[place + (first - start).repeat_interleave(length)]
        columns = F.pad(columns, (0, _TILE - len(columns) % _TILE))
        place = torch.arange(max(1, int(size.max())), device=query.device)
        slot = (start[run, None] + place).clamp_(max=len(columns) - 1)
        return _OwnClass(columns, slot, place < size)
