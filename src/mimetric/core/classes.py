"""Who is whose positive: by class, by shared labels, or by a given relation.

Each says of a block of anchors which columns are of their class, padded to the longest list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .reduce import Near

UNLABELLED = -1
_NOWHERE = -(1 << 62)  # added to an id, a class label that nobody else has


class Relation(Protocol):
    """Which references are an anchor's positives, and which is the anchor itself."""

    @property
    def longest(self) -> int:
        """The most members of any anchor's class, at least 1."""

    def of(self, block: slice) -> ClassRuns:
        """The classes of a block of anchors."""

    def lean(self, block: slice) -> ClassRuns:
        """The same, or their positives alone where that leaves nothing to pad."""


class Classes:
    """Class ids: where each anchor's class stands among the references: its positives, and the anchor itself.

    In order of label a class is one run, so an anchor needs two numbers, and the columns of a block are
    listed when it is at hand.

    Args:
        labels: (n,) of the anchors.
        other_labels: (m,) of the references; None is the anchors themselves.
        ids: (n,) which row an anchor is; None is its index.
        other_ids: (m,) the same of separate references; None: none of them is an anchor.
        longest: at most so many references are of one class, where that is known.
    """

    def __init__(
        self,
        labels: Tensor,
        other_labels: Tensor | None,
        ids: Tensor | None,
        other_ids: Tensor | None,
        longest: int | None = None,
    ) -> None:
        self._own = other_labels is None
        self._by_index = self._own and ids is None
        if ids is None:
            ids = torch.arange(len(labels), device=labels.device)
        sizes = Counter(labels.tolist()) if self._by_index else None  # an accelerator waits
        unlabelled = sizes is None or sizes.pop(UNLABELLED, 0)
        if unlabelled:
            labels = _told_apart(labels, ids)
        if other_labels is None:
            other_labels, other_ids = labels, ids
        elif other_ids is not None:
            other_labels = _told_apart(other_labels, other_ids)
        self._labels, self._ids, self._other_ids = labels, ids, other_ids
        self._in_order, self._order = other_labels.sort(stable=True)
        self._first = torch.searchsorted(self._in_order, labels)
        if sizes is not None:
            longest = max(sizes.values(), default=1)
        elif longest is None:  # an accelerator waits
            longest = int(self._size.max()) if len(labels) else 1
        self.longest = max(1, longest)
        # As in batches of so many rows a class.
        self._even = not unlabelled and sizes is not None and 1 < longest == min(sizes.values())

    @cached_property
    def _size(self) -> Tensor:
        return torch.searchsorted(self._in_order, self._labels, right=True).sub_(self._first)

    def of(self, block: slice) -> ClassRuns:
        first, size = self._first[block].unsqueeze(1), self._size[block].unsqueeze(1)
        place = torch.arange(self.longest, device=first.device)
        valid = place < size
        if self._own:  # an anchor is of its own class
            at, absent = torch.minimum(place, size - 1).add_(first), None
        else:
            at, absent = torch.minimum(place, (size - 1).clamp_(min=0)).add_(first), size == 0
            at.clamp_(max=len(self._order) - 1)
        columns = self._order.take(at)
        if self._other_ids is not None:
            theirs = columns if self._by_index else self._other_ids.take(columns)
            valid &= theirs != self._ids[block].unsqueeze(1)
        return ClassRuns(block, columns, valid, absent)

    def lean(self, block: slice) -> ClassRuns:
        if not self._even:
            return self.of(block)
        place = torch.arange(self.longest, device=self._order.device)
        members = self._order.take(self._first[block].unsqueeze(1) + place)
        others, last = members[:, :-1], members[:, -1:]
        columns = torch.where(others == self._ids[block].unsqueeze(1), last, others)
        return ClassRuns(block, columns, torch.ones_like(columns, dtype=torch.bool), None, members=members)

    def in_order(self) -> InOrder:
        """Of a batch that is its own reference, its rows in order of class."""
        order = self._order
        first, size, ids = self._first.take(order), self._size.take(order)[:, None], self._ids.take(order)
        place = torch.arange(self.longest, device=first.device)
        columns = torch.minimum(place, size - 1).add_(first[:, None])
        return InOrder(order, first, columns, (place < size) & (ids.take(columns) != ids[:, None]))


class InOrder(NamedTuple):
    """Rows sorted by class: each class is one run."""

    order: Tensor  # (n,) where each stands in the batch
    first: Tensor  # (n,) where the run of its class begins
    columns: Tensor  # (n, p) its class, padded with the last member
    positive: Tensor  # (n, p) bool: in the class and not the row itself


def _told_apart(labels: Tensor, ids: Tensor) -> Tensor:
    """Unlabelled rows are no positives of one another: each is a class of its own instance."""
    return torch.where(labels == UNLABELLED, _NOWHERE + ids, labels)


class Related:
    """A relation that is no partition: rows of a (n, m) bool matrix, made a block at a time."""

    def __init__(
        self, rows: Callable[[slice], Tensor], longest: int, ids: Tensor, other_ids: Tensor | None
    ) -> None:
        self._rows, self._ids, self._other_ids = rows, ids, other_ids
        self.longest = max(1, longest)

    @classmethod
    def by_labels(
        cls, labels: Tensor, other_labels: Tensor, ids: Tensor, other_ids: Tensor | None
    ) -> Related:
        """Rows of (n, L) and (m, L) bool are related if they share a label."""
        mine, others = labels.float(), other_labels.float()
        at_most = mine @ others.sum(0) if len(mine) else mine.new_zeros(1)
        longest = min(len(others), int(at_most.max())) + 1  # with the anchor itself
        return cls(lambda block: mine[block] @ others.T > 0, longest, ids, other_ids)

    @classmethod
    def by_matrix(cls, related: Tensor, ids: Tensor, other_ids: Tensor | None) -> Related:
        """As given, (n, m): bool, or how relevant each is, related if > 0."""
        longest = int((related > 0).sum(1).max()) + 1 if related.numel() else 1
        return cls(related.__getitem__, longest, ids, other_ids)

    def of(self, block: slice) -> ClassRuns:
        rows = self._rows(block)
        positive = members = rows > 0
        if self._other_ids is not None:
            itself = self._ids[block, None] == self._other_ids
            members, positive = members | itself, members & ~itself
        count = members.sum(1)
        row, column = members.nonzero().unbind(1)  # in order of rows
        first = count.cumsum(0) - count
        place = torch.arange(len(row), device=row.device) - first[row]
        last = column[(first + count - 1).clamp(0, max(0, len(column) - 1))] if len(column) else count
        columns = last[:, None].repeat(1, max(1, int(count.max())))
        columns[row, place] = column
        inside = torch.arange(columns.shape[1], device=count.device) < count[:, None]
        valid = inside & positive.gather(1, columns)
        relevance = torch.where(valid, rows.gather(1, columns), 1) if rows.is_floating_point() else None
        return ClassRuns(block, columns, valid, count[:, None] == 0, relevance)

    lean = of


class ClassRuns(NamedTuple):
    """The classes of k anchors among the references, padded to the longest."""

    at: slice  # which anchors they are
    columns: Tensor  # (k, p) beyond its class a row repeats its last column; without a class, any column
    positive: Tensor  # (k, p) bool: in the class and not the anchor itself
    absent: Tensor | None  # (k, 1) bool: no reference has this class; None where each has one that has
    relevance: Tensor | None = None  # (k, p) > 0, of how many positives each counts as; None is 1
    members: Tensor | None = None  # (k, p + 1) the class, where the columns are its positives alone

    def near(self, sim: Tensor) -> Near:
        """The positives, gathered from sim (k, m)."""
        return Near(sim.gather(1, self.columns), self.positive, self.relevance, even=self.members is not None)

    def rows(self, sim: Tensor) -> Rows:
        """Positives and negatives of sim (k, m), by autograd."""
        outside = torch.ones_like(sim, dtype=torch.bool)
        if self.absent is None:
            outside.scatter_(1, self.columns if self.members is None else self.members, False)
        else:
            outside.scatter_(1, self.columns, self.absent.expand_as(self.columns))
        return Rows(sim, self.near(sim), torch.where(outside, sim, -torch.inf), self)

    def fill_(self, sim: Tensor, value: float) -> None:
        """Puts a value in the place of every member of the anchor's class, itself included."""
        if self.absent is None:
            sim.scatter_(1, self.columns if self.members is None else self.members, value)
        else:
            sim.scatter_(1, self.columns, torch.where(self.absent, sim.gather(1, self.columns), value))

    def put_(self, slopes: Tensor, near: Near, to_near: Tensor) -> None:
        """Puts what arrives at positives in its place among slopes (k, m), and 0 in those of the rest of the class."""
        self.fill_(slopes, 0.0)
        if near.even:
            slopes.scatter_(1, self.columns, to_near)
        else:  # padding, at which nothing arrives, shares a place
            slopes.scatter_add_(1, self.columns, torch.where(near.valid, to_near, 0))


class Rows(NamedTuple):
    """A block of anchors for a loss without a near-and-far form."""

    sim: Tensor  # (k, m)
    near: Near  # the positives, gathered from sim
    far: Tensor  # (k, m) sim of the negatives, -inf elsewhere
    runs: ClassRuns
