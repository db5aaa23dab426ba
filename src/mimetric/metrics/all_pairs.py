"""The similarities of all pairs of rows, exact, a panel at a time in O(n) memory beside the rows themselves.

Rows stand in order of class, so the pairs of one class are a short run of columns in each row, and nearly every
panel is made of pairs of two classes alone.  A row with label -1 is of no class: its pairs are all different.
A pair within one set counts once, and no row is paired with itself; copies are told apart by place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.checks import check_batch, check_choice, check_finite, check_references
from ..core.classes import UNLABELLED
from ..core.errors import InputError
from ..core.similarity import SIMILARITIES, Similarity, lift

# Kernels round what is left over from their tiles in another way: with products of whole tiles, copies of a row
# have equal similarities wherever they stand (on a CPU), so that they tie.
_TILE = 96
_ROWS = 3 * _TILE
_COLUMNS = 38 * _TILE  # a panel of 4 MiB in float32
_LAST = torch.iinfo(torch.int64).max
_DIGIT_BITS = 16
_DIGITS = 1 << _DIGIT_BITS


class Panel(NamedTuple):
    """Similarities of some rows with some columns, both numbered in order of class."""

    rows: slice
    columns: slice
    sim: Tensor  # (k, c)


class AllPairs:
    """All pairs of embeddings (n, d), or all of embeddings with references (m, d).

    Attributes:
        itself: whether the pairs are within one set.
        order: (n,) which row of the embeddings stands at each place.
        classes: (c,) the labels of the embeddings, ascending, without -1.
        row_class: (n,) which of them each place has; c where unlabelled.
        num_same, num_different: (c,) pairs that involve each class.
        total_same, total_different: pairs in all.
        dtype: of the similarities.
    """

    def __init__(
        self,
        where: str,
        embeddings: Any,
        labels: Any,
        references: Any = None,
        reference_labels: Any = None,
        similarity: Similarity = "cosine",
    ) -> None:
        embeddings, labels = check_batch(where, embeddings, labels)
        references, others = check_references(where, embeddings, labels, references, reference_labels)
        check_choice(where, "similarity", similarity, SIMILARITIES)
        check_finite(where, "embeddings", embeddings)
        if references is not None:
            check_finite(where, "references", references)
        elif similarity == "negative_snr":
            raise InputError(
                f"{where}: similarity negative_snr is not symmetric, a pair has two: give references"
            )
        self.itself = references is None
        key, self.order = _by_class(labels)
        other_key, columns = _by_class(others)
        self._find_classes(key, other_key)
        if references is not None:
            references = references.detach()[columns]
        self._lift(similarity, embeddings.detach()[self.order], references)

    def _find_classes(self, key: Tensor, other_key: Tensor) -> None:
        """Where each row's class stands among the columns, and how many pairs there are."""
        self.classes, self.row_class, rows = torch.unique(key, return_inverse=True, return_counts=True)
        no_class = key == _LAST
        if no_class.any():
            self.classes, rows = self.classes[:-1], rows[:-1]
        first, last = torch.searchsorted(other_key, key), torch.searchsorted(other_key, key, right=True)
        after = torch.arange(1, len(key) + 1, device=key.device)
        if self.itself:  # a pair counts in the row that comes first
            self._first, self._last = after, last.where(~no_class, after)
            self._left_out = torch.zeros_like(after)
        else:
            self._first, self._last = first, last.where(~no_class, first)
            self._left_out = first  # from here to the last of the class stand no negatives
        columns = torch.searchsorted(other_key, self.classes, right=True)
        columns -= torch.searchsorted(other_key, self.classes)
        self.num_same = rows * (rows - 1) // 2 if self.itself else rows * columns
        n, m = len(key), len(other_key)
        self.num_different = rows * (m - columns)
        self.total_same = int((self._last - self._first).sum())
        self.total_different = (n * (n - 1) // 2 if self.itself else n * m) - self.total_same

    def _lift(self, similarity: Similarity, rows: Tensor, references: Tensor | None) -> None:
        given = [x for x in (rows, references) if x is not None]
        self.dtype = reduce(torch.promote_types, (x.dtype for x in given), torch.float32)
        lifted = lift(
            similarity, rows.to(self.dtype), None if references is None else references.to(self.dtype)
        )
        self._map, self._width = lifted.map, len(lifted.references)
        self._anchors = _whole_tiles(lifted.anchors)
        shared = lifted.references is lifted.anchors
        self._references = self._anchors if shared else _whole_tiles(lifted.references)

    def panels(self) -> Iterator[Panel]:
        """All pairs; within one set, from the tile of the diagonal on, so some pairs twice and rows with themselves."""
        for rows in _slices(0, len(self.order), _ROWS):
            for columns in _slices(rows.start if self.itself else 0, self._width, _COLUMNS):
                yield Panel(rows, columns, self._similarities(rows, columns))

    def different(self) -> Iterator[Panel]:
        """Each pair of two classes once; what is no such pair is -inf."""
        for panel in self.panels():
            first, last = self._left_out[panel.rows, None], self._last[panel.rows, None]
            start = max(panel.columns.start, int(first.min()))
            stop = min(panel.columns.stop, int(last.max()))
            if start < stop:
                column = torch.arange(start, stop, device=first.device)
                part = panel.sim[:, start - panel.columns.start : stop - panel.columns.start]
                part.masked_fill_((column >= first) & (column < last), -torch.inf)
            yield panel

    def same(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Each pair of one class once: which of the classes (p,), similarity (p,)."""
        for rows in _slices(0, len(self.order), _ROWS):
            first, last = self._first[rows, None], self._last[rows, None]
            runs = first < last
            if not runs.any():
                continue
            start = int(first[runs].min()) // _TILE * _TILE
            for columns in _slices(start, int(last[runs].max()), _COLUMNS):
                column = torch.arange(columns.start, columns.stop, device=first.device)
                row, at = ((column >= first) & (column < last)).nonzero(as_tuple=True)
                yield self.row_class[rows][row], self._similarities(rows, columns)[row, at]

    def _similarities(self, rows: slice, columns: slice) -> Tensor:
        anchors, references = self._anchors[_tiles(rows)], self._references[_tiles(columns)]
        sim = anchors.new_empty(len(anchors), len(references))
        torch.mm(anchors, references.T, out=sim)  # autocast leaves `out=` alone
        if self._map is not None:
            self._map.apply_(sim)
        return sim[: rows.stop - rows.start, : columns.stop - columns.start]


def nearest_different(pairs: AllPairs, places: Sequence[int]) -> Tensor:
    """The similarities at these places (from 1) among all pairs of two classes, nearest first; exact.

    Counts by 16 bits of the number at a time: two passes over the pairs in float32, four in float64, and
    65,536 counts for each place.
    """
    bits = torch.finfo(pairs.dtype).bits
    found, left = (
        [0] * len(places),
        list(places),
    )  # of the number, its higher digits; its place among those alike
    for shift in range(bits - _DIGIT_BITS, -1, -_DIGIT_BITS):
        for k, count in enumerate(_digits(pairs, shift, found)):
            above = count.flip(0).cumsum(0)
            at = int(torch.searchsorted(above, left[k]))
            left[k] -= int(above[at - 1]) if at else 0
            digit = _DIGITS - 1 - at
            if shift + _DIGIT_BITS == bits and digit >= _DIGITS // 2:  # its first bit is the sign
                digit -= _DIGITS
            found[k] = found[k] << _DIGIT_BITS | digit
    return _from_ascending(torch.tensor(found, device=pairs.order.device), pairs.dtype)


def _digits(pairs: AllPairs, shift: int, higher: Sequence[int]) -> Tensor:
    """(k, 65536) how often the digit at this shift is which, among numbers with these higher digits."""
    counts = torch.zeros(len(higher), _DIGITS, dtype=torch.int64, device=pairs.order.device)
    for panel in pairs.different():
        key = _ascending(panel.sim.flatten())
        first = shift + _DIGIT_BITS == torch.iinfo(key.dtype).bits
        for count, digits in zip(counts, higher):
            among = key if first else key[key >> (shift + _DIGIT_BITS) == digits]
            count += torch.bincount((among >> shift) & (_DIGITS - 1), minlength=_DIGITS)
    return counts


def _ascending(x: Tensor) -> Tensor:
    """Integers whose bits, without a sign, are in the order of the numbers."""
    key = x.view(torch.int32 if x.dtype == torch.float32 else torch.int64)
    return torch.where(key < 0, ~key, key ^ torch.iinfo(key.dtype).min)


def _from_ascending(key: Tensor, dtype: torch.dtype) -> Tensor:
    key = key.to(torch.int32 if dtype == torch.float32 else torch.int64)
    return torch.where(key < 0, key ^ torch.iinfo(key.dtype).min, ~key).view(dtype)


def _by_class(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Labels in ascending order, unlabelled rows last, and which row stands at each place."""
    key, order = labels.masked_fill(labels == UNLABELLED, _LAST).sort(stable=True)
    return key, order


def _whole_tiles(rows: Tensor) -> Tensor:
    return F.pad(rows, (0, 0, 0, -len(rows) % _TILE))


def _tiles(part: slice) -> slice:
    return slice(part.start, -(-part.stop // _TILE) * _TILE)


def _slices(start: int, stop: int, step: int) -> Iterator[slice]:
    for at in range(start, stop, step):
        yield slice(at, min(at + step, stop))
