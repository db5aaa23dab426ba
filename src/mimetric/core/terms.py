"""What a negative adds, and its slope, applied to a whole block of similarities in place.

A term is a formula of one similarity s (and of the anchor's positives), summed over the anchor's negatives.
It is stated twice: `far`, the plain formula by autograd, and `slopes_`, the same sum with its derivative left
in the block.  In both, whatever is not a negative stands at -inf and must add nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import Protocol

import torch
from torch import Tensor

from .reduce import Mean, Near

BITS = 1 / log(2)  # e^x = 2^(x bits)
# Up to here e^x, e^-x, sums of millions of either and one over such a sum are normal in float32.
SAFE_EXPONENT = 70.0


@dataclass(frozen=True)
class Sums:
    """What a term makes of a block: its sums, and the two factors of d sum_i / d s_ij."""

    total: Tensor  # (k,), one number per anchor
    factor: Tensor | float  # (k,) or a number: slope_ij = factor_i * block_ij
    count: Tensor | None = None  # (k,) or (k, p) how many negatives cost something, where the term counts


class Term(Protocol):
    @property
    def scale(self) -> float:
        """How much faster than a similarity the cost moves; decides the precision of the product."""

    @property
    def blocks_held(self) -> int:
        """How many arrays of the size of the block are alive at once."""

    def far(self, sim: Tensor, near: Near) -> Tensor | Mean:
        """The sums over rows of sim (k, m), by autograd: the definition."""

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:
        """The same sums; the block is overwritten by slopes.  Similarities lie within half a `spread` of 0."""


class EvenTerm(Term, Protocol):
    """A term by which each pair costs something of its own, the same from either of its rows."""

    counts: bool  # whether it says how many negatives cost something

    def farthest(self, most: float) -> float:
        """How far from 0 exponents may be, over similarities that are no farther than `most`."""

    def each_(self, sim: Tensor, spare: Tensor) -> Tensor:
        """What each pair adds, in one of two blocks; its slope, less a factor of its row, takes the place of sim."""

    def of_sums(self, total: Tensor, count: Tensor | None) -> Sums:
        """The sums, from what the negatives of a row add, and how many of their slopes are not 0."""


@dataclass(frozen=True)
class Square:
    r""":math:`\sum_j s_j^2`."""

    scale = 2.0
    blocks_held = 1

    def far(self, sim: Tensor, near: Near) -> Tensor:  # noqa: ARG002
        return torch.where(sim == -torch.inf, 0, sim).square().sum(1)

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        sim.nan_to_num_(nan=torch.nan, posinf=torch.inf, neginf=0.0)
        return Sums(torch.linalg.vector_norm(sim, dim=1).square(), 2.0)


@dataclass(frozen=True)
class Total:
    r""":math:`\sum_j s_j`."""

    scale = 1.0
    blocks_held = 2

    def far(self, sim: Tensor, near: Near) -> Tensor:  # noqa: ARG002
        return torch.where(sim == -torch.inf, 0, sim).sum(1)

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        there = sim != -torch.inf
        total = sim.masked_fill_(~there, 0).sum(1)
        sim.copy_(there)
        return Sums(total, 1.0)


@dataclass(frozen=True)
class Counted:
    """Another term, and how many negatives it sums over: for a mean over all negative pairs."""

    term: Term

    @property
    def scale(self) -> float:
        return self.term.scale

    @property
    def blocks_held(self) -> int:
        return self.term.blocks_held

    def far(self, sim: Tensor, near: Near) -> Mean:
        total = self.term.far(sim, near)
        return Mean(total.total if isinstance(total, Mean) else total, _how_many(sim))

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:
        count = _how_many(sim)
        return replace(self.term.slopes_(sim, near, spread), count=count)


@dataclass(frozen=True)
class FullPrecision:
    """Another term, on similarities that autocast leaves in full precision."""

    term: Term
    scale = float("inf")

    @property
    def blocks_held(self) -> int:
        return self.term.blocks_held

    def far(self, sim: Tensor, near: Near) -> Tensor | Mean:
        return self.term.far(sim, near)

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:
        return self.term.slopes_(sim, near, spread)


def _how_many(sim: Tensor) -> Tensor:
    return (sim != -torch.inf).sum(1).to(sim.dtype)


@dataclass(frozen=True)
class Hardest:
    r""":math:`\max_j s_j`, -inf over none; equal hardest negatives share the slope."""

    scale = 1.0
    blocks_held = 1

    def far(self, sim: Tensor, near: Near) -> Tensor:  # noqa: ARG002
        return sim.amax(1)

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        top = sim.amax(1)
        return Sums(top, 1 / sim.eq_(top[:, None]).sum(1))
