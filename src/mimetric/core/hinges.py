"""Terms of similarities above a boundary: what lies below it costs nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .reduce import FINITE, Mean, Near
from .terms import BITS, Sums


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
        power = max(self.scale, 1e-20) * BITS  # of what costs nothing it makes weights of 0, also at scale 0
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
