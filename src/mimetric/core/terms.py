"""What a negative adds, and its slope, applied to a whole block of similarities in place.

A term is a formula of one similarity s (and of the anchor's positives), summed over the anchor's negatives.
It is stated twice: `far`, the plain formula by autograd, and `slopes_`, the same sum with its derivative left
in the block.  In both, whatever is not a negative stands at -inf and must add nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .reduce import Mean, Near, masked_logsumexp

# exp of arguments below about -88 is subnormal in float32, and 12 to 35 times slower on a CPU; what is
# clamped here is below 1e-34 of the largest entry of its row.
_LOWEST_EXPONENT = -80.0
_SAFE_SPREAD = 60.0
_FINITE = -1e30  # in place of -inf where it is multiplied by 0
# Up to so many positives, a pass over the negatives for each costs less than a search among all.
_MOST_PASSES = 100


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
        """The same sums; the block is overwritten by slopes.  Similarities lie within `spread`."""


@dataclass(frozen=True)
class LogSumExp:
    r""":math:`\log \sum_j e^{\alpha (s_j - b)}` with scale α and base b; -inf over none."""

    scale: float
    base: float = 0.0
    blocks_held = 1

    def far(self, sim: Tensor, near: Near) -> Tensor:  # noqa: ARG002
        return masked_logsumexp(self.scale * (sim - self.base), sim != -torch.inf)

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        top = sim.amax(1)
        none = top == -torch.inf
        top = torch.where(none, 0, top)
        torch.add(-self.scale * top[:, None], sim, alpha=self.scale, out=sim)
        if self.scale * spread > _SAFE_SPREAD:
            sim.clamp_(min=_LOWEST_EXPONENT)
        total = sim.exp_().sum(1)
        return Sums(
            torch.where(none, -torch.inf, total.log() + self.scale * (top - self.base)),
            torch.where(none, 0, self.scale / total),
        )


@dataclass(frozen=True)
class Hinge:
    r""":math:`\sum_j \max(0, s_j - b)`, and how many of them are not 0."""

    base: float = 0.0
    scale = 1.0
    blocks_held = 1

    def far(self, sim: Tensor, near: Near) -> Mean:  # noqa: ARG002
        costs = (sim - self.base).clamp(min=0)
        return Mean(costs.sum(1), (costs.detach() > 0).sum(1).to(costs.dtype))

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        total = sim.sub_(self.base).clamp_(min=0).sum(1)
        return Sums(total, 1.0, count=sim.sign_().sum(1))


@dataclass(frozen=True)
class SquaredHinge:
    r""":math:`\sum_j \max(0, s_j - b)^2`."""

    base: float = 0.0
    scale = 2.0
    blocks_held = 1

    def far(self, sim: Tensor, near: Near) -> Tensor:  # noqa: ARG002
        return (sim - self.base).clamp(min=0).square().sum(1)

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        sim.sub_(self.base).clamp_(min=0)
        return Sums(
            torch.linalg.vector_norm(sim, dim=1).square(), 2.0
        )  # a product of rows would hold another block


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


@dataclass(frozen=True)
class TripletHinge:
    r"""What negatives add to the triplets that miss the margin m, and how many each positive misses it with.

    .. math:: \sum_{p, j: s_j > s_p - m} (s_j + m), \qquad c_p = |\{j: s_j > s_p - m\}|

    The hinge sum over all triplets is this total minus :math:`\sum_p c_p s_p`.  No triplet is ever listed:
    one pass over the negatives for each of a few positives, or, for many, one search of each negative
    among the sorted thresholds :math:`s_p - m`, and prefix sums.  Semi-hard triplets, those with
    :math:`s_j < s_p` as well, are what passes one threshold less what passes the other.
    """

    margin: float
    semi_hard: bool = False

    @property
    def scale(self) -> float:
        return float("inf") if self.semi_hard else 1.0  # the sums jump where s_j passes s_p

    @property
    def blocks_held(self) -> int:
        return 5 if self.semi_hard else 4

    def far(self, sim: Tensor, near: Near) -> Mean:
        positive = near.sim.detach()[:, :, None]  # (k, p, 1)
        reached = near.valid[:, :, None] & (sim[:, None, :] > positive - self.margin)  # (k, p, m)
        if self.semi_hard:
            reached &= sim[:, None, :] < positive
        reached = reached.to(sim.dtype)
        there = torch.where(sim == -torch.inf, 0, sim + self.margin)
        return Mean((reached.sum(1) * there).sum(1), reached.sum(2))

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        positive, order = torch.where(near.valid, near.sim, torch.inf).sort(dim=1)  # the invalid come last
        most = max(1, int(near.count.max()))
        positive, order = positive[:, :most], order[:, :most]
        passed_by = _pass_each if most <= _MOST_PASSES else _search
        thresholds = positive - self.margin
        if not self.semi_hard:
            passed, in_order = passed_by(sim, thresholds)
        else:
            # s_j >= s_p is s_j > the number before s_p, which a margin lost in rounding must not lie above.
            before = positive.nextafter(torch.full_like(positive, -torch.inf))
            passed, in_order = passed_by(sim, torch.minimum(thresholds, before))
            nearer, of_nearer = passed_by(sim, before)
            passed -= nearer
            in_order -= of_nearer
        count = torch.zeros_like(near.sim).scatter_(1, order, in_order)
        total = torch.linalg.vecdot(passed, sim.clamp_(min=_FINITE)) + self.margin * count.sum(1)
        sim.copy_(passed)
        return Sums(total, 1.0, count)


def _pass_each(sim: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor]:
    """How many of the thresholds (k, p) each s_j (k, m) passes, and how many s_j pass each threshold."""
    passed, passes = torch.zeros_like(sim), torch.empty_like(sim)
    count = torch.empty_like(thresholds)
    for p, threshold in enumerate(thresholds.unbind(1)):
        torch.gt(sim, threshold[:, None], out=passes)
        count[:, p] = passes.sum(1)
        passed += passes
    return passed, count


def _search(sim: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor]:
    """The same for thresholds in order, in a time that hardly depends on how many there are."""
    passed = torch.searchsorted(thresholds.contiguous(), sim)
    ones = torch.ones((), dtype=sim.dtype, device=sim.device).expand_as(sim)
    passing = sim.new_zeros(len(sim), thresholds.shape[1] + 1).scatter_add_(1, passed, ones)
    count = passing.flip(1).cumsum(1).flip(1)[:, 1:]  # s_j passes the first `passed` of them
    return passed.to(sim.dtype), count
