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
import torch.nn.functional as F
from torch import Tensor

from .reduce import FINITE, Mean, Near, masked_logsumexp

# exp of arguments below about -88 is subnormal in float32, and 12 to 35 times slower on a CPU; what is
# clamped here is below 1e-34 of the largest entry of its row.  Powers of 2 showed no such slow range, in a third of
# the time (measured on an AMD CPU).
_LOWEST_EXPONENT = -80.0
_BITS = 1 / log(2)  # e^x = 2^(x bits)
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
class LogSumExp:
    r""":math:`\log \sum_j e^{\alpha (s_j - b)}` with scale α and base b; -inf over none."""

    scale: float
    base: float = 0.0
    blocks_held = 1
    counts = False

    def farthest(self, most: float) -> float:
        return self.scale * most

    def far(self, sim: Tensor, near: Near) -> Tensor:  # noqa: ARG002
        return masked_logsumexp(self.scale * (sim - self.base), sim != -torch.inf)

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        if self.scale * spread / 2 <= SAFE_EXPONENT:
            return self.of_sums(self.each_(sim, sim).sum(1))
        power = self.scale * _BITS
        top, _ = _top(sim)
        sums = self.of_sums(torch.add(-power * top[:, None], sim, alpha=power, out=sim).exp2_().sum(1))
        sums.total.add_(top, alpha=self.scale)
        return sums

    def each_(self, sim: Tensor, spare: Tensor) -> Tensor:  # noqa: ARG002
        return sim.mul_(self.scale * _BITS).exp2_()

    def of_sums(self, total: Tensor, count: Tensor | None = None) -> Sums:  # noqa: ARG002
        return Sums(total.log().sub_(self.scale * self.base), self.scale / total)


@dataclass(frozen=True)
class Hinge:
    r""":math:`\sum_j \max(0, s_j - b)`, and how many of them are not 0."""

    base: float = 0.0
    scale = 1.0
    blocks_held = 1
    counts = True

    def far(self, sim: Tensor, near: Near) -> Mean:  # noqa: ARG002
        costs = (sim - self.base).clamp(min=0)
        return Mean(costs.sum(1), (costs.detach() > 0).sum(1).to(costs.dtype))

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        total = sim.sub_(self.base).clamp_(min=0).sum(1)
        return Sums(total, 1.0, count=sim.sign_().sum(1))

    def farthest(self, most: float) -> float:  # noqa: ARG002
        return 0.0

    def each_(self, sim: Tensor, spare: Tensor) -> Tensor:
        costs = torch.sub(sim, self.base, out=spare).clamp_(min=0)
        torch.sign(costs, out=sim)
        return costs

    def of_sums(self, total: Tensor, count: Tensor | None) -> Sums:
        return Sums(total, 1.0, count)


@dataclass(frozen=True)
class SquaredHinge:
    r""":math:`\sum_j \max(0, s_j - b)^2`."""

    base: float = 0.0
    scale = 2.0
    blocks_held = 1
    counts = False

    def far(self, sim: Tensor, near: Near) -> Tensor:  # noqa: ARG002
        return (sim - self.base).clamp(min=0).square().sum(1)

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        sim.sub_(self.base).clamp_(min=0)
        return Sums(
            torch.linalg.vector_norm(sim, dim=1).square(), 2.0
        )  # a product of rows would hold another block

    def farthest(self, most: float) -> float:  # noqa: ARG002
        return 0.0

    def each_(self, sim: Tensor, spare: Tensor) -> Tensor:
        return torch.square(sim.sub_(self.base).clamp_(min=0), out=spare)

    def of_sums(self, total: Tensor, count: Tensor | None) -> Sums:  # noqa: ARG002
        return Sums(total, 2.0)


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
class WeightedHinge:
    r"""Mean of the excesses :math:`h_j = s_j - b > 0`, each weighing :math:`e^{\alpha h_j}`; 0 over none.

    .. math:: \sum_j p_j h_j, \qquad p_j = e^{\alpha h_j} / \sum_{k: h_k > 0} e^{\alpha h_k}

    With constant weights a slope is :math:`p_j` alone, which is not the derivative of the value.
    """

    scale: float  # alpha
    base: float = 0.0
    constant: bool = False
    blocks_held = 2

    def far(self, sim: Tensor, near: Near) -> Tensor:  # noqa: ARG002
        return weighted_hinge(sim - self.base, self.scale, self.constant)

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        power = max(self.scale, 1e-20) * _BITS  # of what costs nothing it makes weights of 0, also at scale 0
        top = sim.sub_(self.base).amax(1).clamp_(min=0)
        torch.threshold_(sim, 0.0, FINITE)
        weights = torch.add(-power * top[:, None], sim, alpha=power).exp2_()
        all_of_them = weights.sum(1)
        all_of_them.masked_fill_(all_of_them == 0, 1)
        total = sim.mul_(weights).sum(1) / all_of_them
        if self.constant:
            sim.copy_(weights)
        else:  # w (1 + a (h - total))
            sim.mul_(self.scale).addcmul_(weights, (1 - self.scale * total)[:, None])
        return Sums(total, 1 / all_of_them)


def weighted_hinge(excess: Tensor, scale: float, constant: bool = False) -> Tensor:
    """The sum of :class:`WeightedHinge` over rows of excesses (k, p); what is not above 0 does not count."""
    hinge = excess.relu()  # of slope 0 at its corner
    share = torch.where(hinge > 0, scale * hinge, FINITE).softmax(1)
    return ((share.detach() if constant else share) * hinge).sum(1)


@dataclass(frozen=True)
class Softplus:
    r""":math:`\sum_j \log(1 + e^{\alpha (s_j - b)})` with scale α and base b."""

    scale: float
    base: float = 0.0
    blocks_held = 2

    def far(self, sim: Tensor, near: Near) -> Tensor:  # noqa: ARG002
        return F.softplus(self.scale * (sim - self.base), threshold=50).sum(1)

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        sim.sub_(self.base).mul_(self.scale)
        total = F.softplus(sim, threshold=50).sum(1)
        sim.sigmoid_()
        return Sums(total, self.scale)


@dataclass(frozen=True)
class TiltedMean:
    r"""The log of the mean of :math:`e^{\alpha s}` over negatives drawn in proportion to :math:`e^{\beta \alpha s}`.

    .. math:: \log \frac{\sum_j e^{(1 + \beta) \alpha s_j}}{\sum_j e^{\beta \alpha s_j}}

    with sharpness α and tilt β >= 0; -inf over none.  The count is that of the negatives.
    """

    sharpness: float
    tilt: float
    blocks_held = 2

    @property
    def scale(self) -> float:
        return self.sharpness * (1 + self.tilt)

    def far(self, sim: Tensor, near: Near) -> Mean:  # noqa: ARG002
        there = sim != -torch.inf
        z = self.sharpness * sim
        tilted, drawn = (masked_logsumexp(a * z, there) for a in (1 + self.tilt, self.tilt))
        return Mean(torch.where(there.any(1), tilted - drawn, -torch.inf), there.sum(1).to(sim.dtype))

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        top, none = _top(sim)
        count = (sim != -torch.inf).sum(1).to(sim.dtype)
        sim.sub_(top[:, None]).mul_(self.sharpness)
        drawn = sim.mul(self.tilt).clamp_(min=_LOWEST_EXPONENT).exp_() if self.tilt else None
        over = count if drawn is None else drawn.sum(1)
        tilted = sim.mul_(1 + self.tilt).clamp_(min=_LOWEST_EXPONENT).exp_().sum(1)
        total = torch.where(none, -torch.inf, tilted.log() - over.log() + self.sharpness * top)
        sim.mul_(((1 + self.tilt) / tilted)[:, None])
        if drawn is not None:
            sim.sub_(drawn.mul_((self.tilt / over)[:, None]))
        return Sums(total, self.sharpness, count)


@dataclass(frozen=True)
class RootHinge:
    r""":math:`\sum_j \max(0, 1 - \sqrt{-s_j})`, for similarities that are minus a squared distance.

    It counts two things of each anchor, (k, 2): the negatives that cost something, and all negatives.
    """

    scale = float("inf")  # a root is steep where s nears 0
    blocks_held = 2

    def far(self, sim: Tensor, near: Near) -> Mean:  # noqa: ARG002
        apart, there = sim < 0, sim != -torch.inf
        root = torch.where(apart, torch.where(apart & there, -sim, 1).sqrt(), 0)  # slope 0 at distance 0
        costs = torch.where(there, (1 - root).clamp(min=0), 0)
        counts = torch.stack(((costs.detach() > 0).sum(1), there.sum(1)), dim=1)
        return Mean(costs.sum(1), counts.to(sim.dtype))

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        costs = torch.empty_like(sim)
        there = torch.ne(sim, -torch.inf, out=costs).sum(1)
        root = sim.neg_().clamp_(min=0).sqrt_()
        total = torch.sub(1, root, out=costs).clamp_(min=0).sum(1)
        active = costs.sign_().sum(1)
        torch.le(root, 1, out=costs)
        torch.div(costs, root, out=sim).nan_to_num_(nan=torch.nan, posinf=0.0, neginf=0.0)  # 0 at distance 0
        return Sums(total, 0.5, torch.stack((active, there), dim=1))


@dataclass(frozen=True)
class CircleLogSumExp:
    r""":math:`\log \sum_j e^{\gamma w_j (s_j - m)}`, -inf over none, with :math:`w_j = [s_j + m]_+` held constant."""

    gamma: float
    margin: float
    blocks_held = 2
    counts = False

    @property
    def scale(self) -> float:
        return self.gamma * (1 + self.margin)

    def farthest(self, most: float) -> float:
        return self.gamma * max(most**2 - self.margin**2, self.margin**2)

    def far(self, sim: Tensor, near: Near) -> Tensor:  # noqa: ARG002
        z = self.gamma * self._weights(sim.detach()) * (sim - self.margin)
        return masked_logsumexp(z, sim != -torch.inf)

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        weights, power = self._weights(sim), self.gamma * _BITS
        top, _ = _top(sim.sub_(self.margin).mul_(weights))
        total = torch.add(-power * top[:, None], sim, alpha=power, out=sim).exp2_().sum(1)
        sim.mul_(weights)
        sums = self.of_sums(total)
        sums.total.add_(top, alpha=self.gamma)
        return sums

    def each_(self, sim: Tensor, spare: Tensor) -> Tensor:
        sim.clamp_(min=-self.margin)  # below it the weight is 0; above, w (s - m) = s^2 - m^2
        costs = torch.square(sim, out=spare).sub_(self.margin**2).mul_(self.gamma * _BITS).exp2_()
        sim.add_(self.margin).mul_(costs)
        return costs

    def of_sums(self, total: Tensor, count: Tensor | None = None) -> Sums:  # noqa: ARG002
        return Sums(total.log(), self.gamma / total)

    def _weights(self, sim: Tensor) -> Tensor:
        return (sim + self.margin).clamp_(min=-1 / FINITE)  # never quite 0, so that -inf stays -inf


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


def _top(sim: Tensor) -> tuple[Tensor, Tensor]:
    """(k,) the largest number of each row, 0 where there is none, and where that is."""
    top = sim.amax(1)
    none = top == -torch.inf
    return torch.where(none, 0, top), none


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
