"""Similarities of queries with references, exact, a panel of columns at a time, for what counts or searches them.

Blocks of queries meet panels of references: a panel of similarities is made, looked at while it is near the
cores, and overwritten by the next one.  Nothing of size q x m is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from functools import reduce
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .similarity import Map, Similarity, lift

Ties = Literal["mean", "optimistic", "pessimistic"]
TIES: tuple[Ties, ...] = ("mean", "optimistic", "pessimistic")

# Rows and columns of a product come in whole tiles (see Search): 96 is a multiple of the widths that kernels
# work in, 8 to 48.
TILE_ROWS = 32
TILE = 96
# Queries in a block: more gain nothing.
MOST_ROWS = 512
# A panel of similarities, 4 MiB in float32: made, counted and overwritten while it is near the cores.  From 1 to 4 MiB
# take the same time and 64 MiB twice that, so however much memory is free, no more is used.
_PANEL_ELEMENTS = 1 << 20
# On an accelerator, where a step costs the same however small, a quarter of what is free up to this.
_LARGE_PANEL_ELEMENTS = 1 << 26
# From this many thresholds a query, sorting a panel once is cheaper than counting once for each.
_SORT_FROM = 40


class Search:
    """Similarities of queries (q, d) with some or all references (m, d), before the map where there is one.

    Half precision is searched in float32; float64 stays; `dtype` says otherwise.  For cosine and dot no row is copied
    before it is needed, so a set of any size costs no second one.

    On a CPU equal rows get equal numbers wherever they stand, so copies tie.  A kernel rounds rows and columns
    that are left over from its tiles in another way: every product here is of whole tiles.
    """

    def __init__(
        self,
        similarity: Similarity,
        queries: Tensor,
        references: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        queries = queries.detach()
        others = queries if references is None else references.detach().to(queries.device)
        self.dtype = dtype or reduce(torch.promote_types, (queries.dtype, others.dtype), torch.float32)
        self.map: Map | None = None
        self.width = len(others)
        if similarity not in ("cosine", "dot"):
            wide = queries.to(self.dtype)
            lifted = lift(similarity, wide, None if references is None else others.to(self.dtype))
            queries, others, self.map = lifted.anchors, lifted.references, lifted.map
        self._similarity = similarity
        self._references = self._rows_of(others, least=TILE)
        self._queries = self._references if queries is others else self._rows_of(queries)

    def of(self, queries: Tensor) -> Search:
        """The search for other queries; by cosine or dot, which depend on the references in no other way."""
        other = copy(self)
        other._queries = self._rows_of(queries)
        return other

    def _rows_of(self, rows: Tensor, least: int = 0) -> _Rows:
        rows = F.pad(rows, (0, 0, 0, least - len(rows))) if len(rows) < least else rows
        return _Rows(rows, self.dtype, unit=self._similarity == "cosine")

    def rows(self, query: Tensor) -> Tensor:
        """The queries (k, d), and more rows to fill the last tile."""
        return self._queries[F.pad(query, (0, -len(query) % TILE_ROWS))]

    def similarities(self, rows: Tensor, columns: Tensor) -> Tensor:
        """With the references of these columns, a multiple of the tile."""
        return _product(rows, self._references[columns])

    def panels(self, rows: Tensor, at_least: int = 1) -> Iterator[tuple[int, Tensor]]:
        """With all references, a panel of columns at a time in one buffer: (first column, similarities)."""
        m = len(self._references)
        whole = m // TILE * TILE
        columns = max(1, max(at_least, _panel_elements(rows.device) // len(rows)) // TILE) * TILE
        buffer = rows.new_empty(len(rows), min(columns, whole))
        for start in range(0, whole, columns):
            panel = _product(rows, self._references[start : min(start + columns, whole)], buffer)
            yield start, panel[:, : self.width - start]
        if whole < m:  # the last columns once more make a tile with those before them
            yield whole, _product(rows, self._references[-TILE:])[:, whole - m :]

    def nearest(self, rows: Tensor) -> Tensor:
        """The lowest column (k, 1) of the largest similarity."""
        best = rows.new_full((len(rows), 1), -torch.inf)
        where = torch.zeros_like(best, dtype=torch.int64)
        for start, panel in self.panels(rows):
            value, column = panel.max(dim=1, keepdim=True)
            where = torch.where(value > best, column + start, where)
            best = torch.maximum(best, value)
        return where


class _Rows:
    """Rows (n, d), made ready when some are asked for."""

    def __init__(self, rows: Tensor, dtype: torch.dtype, unit: bool) -> None:
        self._rows, self._dtype = rows, dtype
        self._scale: Tensor | None = None
        if unit:
            parts = (
                torch.linalg.vector_norm(x.to(dtype), dim=1, keepdim=True) for x in blocks_of(rows, 1 << 14)
            )
            length = torch.cat((rows.new_empty(0, 1, dtype=dtype), *parts))
            self._scale = torch.where(length == 0, 0, 1 / length)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, these: Tensor | slice) -> Tensor:
        rows = self._rows[these].to(self._dtype)
        return rows if self._scale is None else rows * self._scale[these]


def blocks_of(these: Tensor, rows: int) -> Iterator[Tensor]:
    """Some rows at a time."""
    for start in range(0, len(these), rows):
        yield these[start : start + rows]


def leave_out_(panel: Tensor, columns: Tensor) -> None:
    """Put those of the columns (k, p) that lie in the panel (k, c) behind everything."""
    row, at = ((columns >= 0) & (columns < panel.shape[1])).nonzero(as_tuple=True)
    panel[row, columns[row, at]] = -torch.inf


def in_front_(values: Tensor, thresholds: Tensor, ties: Ties) -> Tensor:
    """How many values (k, m) of its row each threshold (k, p) has in front, as float64 (k, p).

    A value equal to the threshold counts as 0 (optimistic), 1 (pessimistic) or 1/2 (mean).  Values are overwritten.

    >>> in_front_(torch.tensor([[3.0, 2.0, 2.0, 1.0]]), torch.tensor([[2.0, 0.0]]), "mean")
    tensor([[2., 4.]], dtype=torch.float64)
    """
    if thresholds.shape[1] >= _SORT_FROM:
        return _in_front_by_sorting(values, thresholds, ties)
    total = torch.empty(thresholds.shape, dtype=torch.float64, device=values.device)
    last = thresholds.shape[1] - 1
    spare = torch.empty_like(values) if last else values  # a new array would cost as much as its marks
    for k in range(last + 1):
        threshold, marks = thresholds[:, k, None], values if k == last else spare
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


def _product(rows: Tensor, references: Tensor, buffer: Tensor | None = None) -> Tensor:
    if buffer is None:
        buffer = rows.new_empty(len(rows), len(references))
    return torch.mm(rows, references.T, out=buffer[:, : len(references)])  # autocast leaves `out=` alone


def _panel_elements(device: torch.device) -> int:
    if device.type != "cuda":
        return _PANEL_ELEMENTS
    bytes_free, _ = torch.cuda.mem_get_info(device)
    return max(_PANEL_ELEMENTS, min(_LARGE_PANEL_ELEMENTS, bytes_free // 4 // 8))
