"""What a mining sees of the pairs of some anchors, and what it leaves of them."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor

from .classes import ClassRuns
from .reduce import Near
from .similarity import full_precision, normalized


class Kept(NamedTuple):
    """What a mining leaves of the pairs of k anchors: some positives, and negatives that pass all that is given."""

    valid: Tensor  # (k, p) which positives stay
    above: Tensor | None = None  # (k,) a negative stays if its similarity is larger ...
    below: Tensor | None = None  # (k,) ... and smaller ...
    chosen: Tensor | None = None  # (k, m) ... and it is one of these

    def left_out(self, far: Tensor) -> Tensor:
        """(k, m) bool: which do not stay."""
        out = torch.zeros_like(far, dtype=torch.bool) if self.above is None else far <= self.above[:, None]
        if self.below is not None:
            out |= far >= self.below[:, None]
        return out if self.chosen is None else out.logical_or_(~self.chosen)


class Mining(Protocol):
    """Which pairs count; no gradient runs through it.

    A mining with `by_hardest = True` sees no more than `near` and `hardest`, and names no negatives (`chosen`).
    """

    @property
    def blocks_held(self) -> int:
        """How many arrays (k, m) it holds at once beside the similarities."""

    def __call__(self, seen: Seen) -> Kept: ...


class Mined:
    """A mining on the rows (n, d) and references (m, d) of one loss, as they were given."""

    def __init__(self, mining: Mining, anchors: Tensor, references: Tensor | None) -> None:
        self.mining = mining
        self._anchors, self._references = anchors, references

    def kept(self, near: Near, far: Tensor, runs: ClassRuns) -> Kept:
        return self.mining(Seen(near, far, runs, self))

    @property
    def by_hardest(self) -> bool:
        """Whether :meth:`kept_by_hardest` is enough."""
        return bool(getattr(self.mining, "by_hardest", False))

    def kept_by_hardest(self, near: Near, hardest: Tensor) -> Kept:
        """Of all anchors, from their positives and hardest negatives (n,), in any order of anchors."""
        return self.mining(cast(Seen, _NearAndHardest(near, hardest)))

    @property
    def num_anchors(self) -> int:
        """n, of all blocks."""
        return len(self._anchors)

    @cached_property
    def draws(self) -> Tensor:
        """(n,) random numbers in [0, 1): once, because blocks may be made several times."""
        return torch.rand(len(self._anchors), device=self._anchors.device)

    @cached_property
    def unit_anchors(self) -> Tensor:
        return _unit(self._anchors)

    @cached_property
    def unit_references(self) -> Tensor:
        if self._references is None:
            return self.unit_anchors
        # The engine has one reference where there is none.
        return _unit(
            self._references
            if len(self._references)
            else self._references.new_zeros(1, self._anchors.shape[1])
        )


def _unit(rows: Tensor) -> Tensor:
    return normalized(cast(Tensor, full_precision(rows.detach())))


class _NearAndHardest(NamedTuple):
    """What of :class:`Seen` such a mining sees."""

    near: Near
    hardest: Tensor


class Seen(NamedTuple):
    """A block of k anchors as a mining sees it.  Nothing of it may be changed."""

    near: Near  # similarities of the positives, in the units of the loss
    far: Tensor  # (k, m) of the negatives; -inf where there is none
    runs: ClassRuns
    data: Mined

    @property
    def hardest(self) -> Tensor:
        """(k,) the largest similarity of a negative, -inf without one."""
        return self.far.amax(1)

    @property
    def draw(self) -> Tensor:
        """(k, 1) a random number in [0, 1) for each anchor."""
        return self.data.draws[self.runs.at, None].to(self.far.dtype)

    @property
    def width(self) -> int:
        """Columns of the rows that :meth:`cosines` compares."""
        return self.data.unit_anchors.shape[1]

    def cosines(self) -> Tensor:
        """(k, m) of anchors and references, whatever the similarity of the loss: a product of its own."""
        return self.data.unit_anchors[self.runs.at] @ self.data.unit_references.T

    def cosines_of_positive(self, p: int) -> Tensor:
        """(k, m) of each anchor's p-th positive and the references."""
        return self.data.unit_references[self.runs.columns[:, p]] @ self.data.unit_references.T
