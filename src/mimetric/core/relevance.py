"""Which references are relevant to a query, and which count as nothing: for ranks, a block of queries at a time.

A reference is a positive of a query (of its class, or sharing a label, or by a given relation), left out (the
query itself, or of its class and its group), or a negative: all that is neither.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .classes import UNLABELLED
from .search import TILE, TILE_ROWS, blocks_of

# Pairs of a block of queries with all references that are looked at for shared labels at once: 16 MiB in float32.
_SHARED_ELEMENTS = 1 << 22
# Bool pairs of a block held for a relation that is no partition.
_RELATED_ELEMENTS = 1 << 24


class Listed(NamedTuple):
    """Some references of each of k queries."""

    columns: Tensor  # (u,) those of all k together, filled up to whole tiles
    slot: Tensor  # (k, p) where in `columns` those of each query are; p >= 1
    member: Tensor  # (k, p) bool: they are, not padding
    gain: Tensor | None = None  # (k, p) how relevant each is; None is 1


class Relevant(NamedTuple):
    """What is no negative of k queries."""

    columns: Tensor  # (u,) as in Listed
    slot: Tensor  # (k, p) as in Listed
    positive: Tensor  # (k, p) bool
    hidden: Tensor  # (k, h) columns that are no negatives, the positives among them; -1 is none
    gain: Tensor | None = None  # (k, p)

    def without(self, left_out: Tensor) -> Relevant:
        """One reference (k, 1) of each counts as nothing."""
        return self._replace(
            positive=self.positive & (self.columns[self.slot] != left_out),
            hidden=torch.cat((self.hidden, left_out), dim=1),
        )


class Lists(Protocol):
    """Which references are listed for which queries."""

    order: Tensor  # (q,) queries in the order to take them
    longest: int  # references listed for any query, or more; at least 1
    rows: int  # queries to take at once, at most

    def of(self, query: Tensor) -> Listed:
        """For these queries."""


class Relevance:
    """Positives and what is left out, of any queries.

    Args:
        lists: whose references are related: :class:`SameKey`, :class:`SharedLabels` or :class:`Given`.
        ids: (q,) and (m,) what each row is of; a reference of the query's own id is left out.
        groups: (q,) and (m,); a related reference of the query's own group is left out.
    """

    def __init__(
        self,
        lists: Lists,
        ids: tuple[Tensor, Tensor] | None = None,
        groups: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self.lists = lists
        self._itself = None if ids is None else SameKey(*ids)
        # One key more than references: with none of these, padding still finds one.
        self._apart = [(mine, F.pad(others, (0, 1))) for mine, others in filter(None, (ids, groups))]

    def of(self, query: Tensor) -> Relevant:
        columns, slot, positive, gain = self.lists.of(query)
        column = columns[slot]
        hidden = column.masked_fill(~positive, -1)
        for mine, others in self._apart:
            positive = positive & (mine[query, None] != others[column])
        if self._itself is not None:
            itself = self._itself.of(query)
            hidden = torch.cat((hidden, itself.columns[itself.slot].masked_fill(~itself.member, -1)), dim=1)
        return Relevant(columns, slot, positive, hidden, gain)


class SameKey:
    """References of the query's key (class id): in order of key they are one run, a first place and a size."""

    def __init__(self, keys: Tensor, other_keys: Tensor, known: Tensor | None = None) -> None:
        in_order, self._column = other_keys.sort(stable=True)
        self._first = torch.searchsorted(in_order, keys)
        self._size = torch.searchsorted(in_order, keys, right=True) - self._first
        if known is not None:
            self._size[~known] = 0
        # Queries of a class together, and of classes of about one size: little padding.
        by_class = self._first.argsort(stable=True)
        self.order = by_class[self._size[by_class].argsort(stable=True)]
        self.longest = max(1, int(self._size.max())) if len(keys) else 1
        self.rows = max(1, len(keys))

    @classmethod
    def of_classes(cls, labels: Tensor, reference_labels: Tensor) -> SameKey:
        """A query with label -1 is of no class."""
        return cls(labels, reference_labels, labels != UNLABELLED)

    def of(self, query: Tensor) -> Listed:
        size = self._size[query, None]
        first, run = torch.unique(self._first[query], return_inverse=True)
        length = torch.zeros_like(first).scatter_reduce_(0, run, size[:, 0], "amax")
        start = length.cumsum(0) - length
        place = torch.arange(int(length.sum()), device=query.device)
        columns = self._column[place + (first - start).repeat_interleave(length)]
        columns = F.pad(columns, (0, TILE - len(columns) % TILE))
        place = torch.arange(max(1, int(size.max())), device=query.device)
        slot = (start[run, None] + place).clamp_(max=len(columns) - 1)
        return Listed(columns, slot, place < size)


class SharedLabels:
    """References that share a label with the query: labels (q, L) and (m, L) bool."""

    def __init__(self, labels: Tensor, reference_labels: Tensor) -> None:
        self._labels, self._others = labels, reference_labels
        self.order = torch.arange(len(labels), device=labels.device)
        shared = reference_labels.sum(0).double()
        at_most = max((int((part.double() @ shared).max()) for part in blocks_of(labels, 1 << 16)), default=1)
        self.longest = max(1, min(len(reference_labels), at_most))
        self.rows = max(TILE_ROWS, _RELATED_ELEMENTS // max(1, len(reference_labels)))

    def of(self, query: Tensor) -> Listed:
        mine = self._labels[query].float()
        related = torch.empty(len(query), len(self._others), dtype=torch.bool, device=query.device)
        step = max(1, _SHARED_ELEMENTS // len(query))
        for start in range(0, len(self._others), step):
            part = slice(start, start + step)
            torch.gt(mine @ self._others[part].float().T, 0, out=related[:, part])
        return _listed(related)


class Given:
    """References as a relation (q, m) has them: bool, or a gain >= 0 that is 0 for a negative."""

    def __init__(self, related: Tensor) -> None:
        self._related = related
        self.order = torch.arange(len(related), device=related.device)
        self.rows = max(TILE_ROWS, _RELATED_ELEMENTS // max(1, related.shape[1]))
        sizes = (int((part > 0).sum(1).max()) for part in blocks_of(related, self.rows) if part.numel())
        self.longest = max(1, max(sizes, default=1))

    def of(self, query: Tensor) -> Listed:
        rows = self._related[query]
        if rows.dtype == torch.bool:
            return _listed(rows)
        found = _listed(rows > 0)
        gain = F.pad(rows, (0, 1)).double().gather(1, found.columns[found.slot])
        return found._replace(gain=gain.masked_fill(~found.member, 0))


def _listed(related: Tensor) -> Listed:
    """The columns where each row (k, m) of a bool matrix holds."""
    anyone = related.any(0)
    columns = anyone.nonzero()[:, 0]
    size = related.sum(1, keepdim=True)
    row, column = related.nonzero(as_tuple=True)  # in order of rows
    slot = torch.full(
        (len(related), max(1, int(size.max()))), len(columns), dtype=torch.int64, device=related.device
    )
    first = size[:, 0].cumsum(0) - size[:, 0]
    slot[row, torch.arange(len(row), device=row.device) - first[row]] = (anyone.cumsum(0) - 1)[column]
    columns = F.pad(columns, (0, TILE - len(columns) % TILE))
    return Listed(columns, slot, torch.arange(slot.shape[1], device=row.device) < size)
