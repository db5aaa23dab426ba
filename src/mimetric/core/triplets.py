"""What triplets add, without a triplet ever being listed: terms of hinges, and a form for a smooth cost."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .classes import ClassRuns, Rows
from .forms import Slopes
from .reduce import FINITE, Mean, Near
from .terms import Hardest, Sums

# Up to so many positives, a pass over the negatives for each costs less than a search among all.
_MOST_PASSES = 100


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
        return Mean((_over_positives(near, reached) * there).sum(1), reached.sum(2))

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        positive, order = torch.where(near.valid, near.sim, torch.inf).sort(dim=1)  # the invalid come last
        most = max(1, int(near.valid.sum(1).max()))
        positive, order = positive[:, :most], order[:, :most]
        passed_by = _pass_each if most <= _MOST_PASSES else _search
        thresholds = positive - self.margin
        weights = None if near.relevance is None else near.relevance.gather(1, order)
        if not self.semi_hard:
            passed, in_order = passed_by(sim, thresholds, weights)
        else:
            # s_j >= s_p is s_j > the number before s_p, which a margin lost in rounding must not lie above.
            before = positive.nextafter(torch.full_like(positive, -torch.inf))
            passed, in_order = passed_by(sim, torch.minimum(thresholds, before), weights)
            nearer, of_nearer = passed_by(sim, before, weights)
            passed -= nearer
            in_order -= of_nearer
        count = torch.zeros_like(near.sim).scatter_(1, order, in_order)
        total = torch.linalg.vecdot(passed, sim.clamp_(min=FINITE)) + self.margin * near.sum(count)
        sim.copy_(passed)
        return Sums(total, 1.0, count)


@dataclass(frozen=True)
class HardestBelow:
    r""":math:`\max_j s_j` over :math:`s_j < \max_p s_p`: the nearest of the negatives behind the nearest positive."""

    scale = float("inf")  # the choice jumps where s_j passes s_p
    blocks_held = 1

    def far(self, sim: Tensor, near: Near) -> Tensor:
        return torch.where(sim < _nearest(near), sim, -torch.inf).amax(1)

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:
        return Hardest().slopes_(sim.masked_fill_(sim >= _nearest(near), -torch.inf), near, spread)


def distance_chances(cosines: Tensor, width: int, nearest: float, furthest: float) -> Tensor:
    r"""(k, m) chances in proportion to :math:`1 / q(D)`; 0 throughout where none can be drawn.

    q is the density of distances D of random rows of length 1 in so many dimensions,
    :math:`q(D) \propto D^{d - 2} (1 - D^2 / 4)^{(d - 3) / 2}`: any distance is as likely as any other.  A row nearer
    than `nearest` counts as that near; from `furthest` on none is drawn, and none at cosine -inf.
    """
    squares = (2 - 2 * cosines).clamp(min=nearest**2)
    weights = squares.log().mul_(1 - width / 2)
    weights -= squares.div(-4).add_(1).clamp_(min=1e-6).log_().mul_((width - 3) / 2)
    weights.masked_fill_(~(squares < furthest**2), -torch.inf)
    top = weights.amax(1, keepdim=True).clamp_(min=FINITE)
    weights.sub_(top).exp_()
    return weights.div_(weights.sum(1, keepdim=True).clamp_(min=1e-30))


@dataclass(frozen=True)
class DrawnTriplets:
    r"""What :class:`TripletHinge` adds if each positive draws one negative, in expectation.

    A negative is drawn with :func:`distance_chances`.  Similarities are cosines, and no gradient runs through the
    chances.
    """

    margin: float
    width: int  # d
    nearest: float
    furthest: float
    scale = float("inf")  # chances are powers of the distance as high as d
    blocks_held = 6

    def far(self, sim: Tensor, near: Near) -> Mean:
        positive = near.sim.detach()[:, :, None]  # (k, p, 1)
        reached = near.valid[:, :, None] & (sim[:, None, :] > positive - self.margin)  # (k, p, m)
        drawn = reached * self._chances(sim.detach())[:, None]
        there = torch.where(sim == -torch.inf, 0, sim + self.margin)
        return Mean((_over_positives(near, drawn) * there).sum(1), drawn.sum(2))

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        chances = self._chances(sim)
        drawn, passes = torch.zeros_like(sim), torch.empty_like(sim)
        count = torch.zeros_like(near.sim)
        for p, limit in enumerate(torch.where(near.valid, near.sim - self.margin, torch.inf).unbind(1)):
            torch.gt(sim, limit[:, None], out=passes)
            count[:, p] = passes.mul_(chances).sum(1)
            drawn += passes if near.relevance is None else passes.mul_(near.relevance[:, p, None])
        total = torch.linalg.vecdot(drawn, sim.clamp_(min=FINITE)) + self.margin * near.sum(count)
        sim.copy_(drawn)
        return Sums(total, 1.0, count)

    def _chances(self, sim: Tensor) -> Tensor:
        return distance_chances(sim, self.width, self.nearest, self.furthest)


@dataclass(frozen=True)
class SoftTriplets:
    r""":math:`\sum_{p, j} \log(1 + e^{s_j - s_p + m})` over the triplets of an anchor, and how many there are.

    Tightness is the part :math:`-s_p` of each, contrast the rest.  A negative's slope is a sum over positives
    and a positive's one over negatives: one pass over the block for each positive gives both.
    """

    margin: float
    scale = 1.0
    blocks_held = 4

    def plain(self, rows: Rows, tensors: tuple[Tensor, ...]) -> tuple[Mean, Mean]:  # noqa: ARG002
        over = rows.far[:, None] - rows.near.sim[:, :, None] + self.margin  # (k, p, m)
        there = rows.near.valid[:, :, None] & (rows.far != -torch.inf)[:, None]
        total = rows.near.sum(F.softplus(torch.where(there, over, FINITE)).sum(2))
        return _sides(rows.near, total, (rows.far != -torch.inf).sum(1))

    def opened_(
        self,
        sim: Tensor,
        runs: ClassRuns,
        tensors: tuple[Tensor, ...],  # noqa: ARG002
        spread: float,  # noqa: ARG002
    ) -> tuple[Mean, Mean, Slopes]:
        near = runs.near(sim)
        runs.fill_(sim, -torch.inf)
        negatives = (sim != -torch.inf).sum(1)
        total, slopes, of_positive = self._passes(sim, near)
        near.sim.requires_grad_()
        total.requires_grad_()
        tightness, contrast = _sides(near, total, negatives)

        def slopes_(cost: Tensor) -> tuple[Tensor, ...]:
            to_near, to_total = torch.autograd.grad(cost, (near.sim, total), materialize_grads=True)
            to_near = to_near - to_total[:, None] * of_positive
            torch.mul(slopes, to_total[:, None], out=sim)  # 0 in the places of the class
            sim.scatter_add_(1, runs.columns, torch.where(near.valid, to_near, 0))
            return ()

        return tightness, contrast, slopes_

    def _passes(self, sim: Tensor, near: Near) -> tuple[Tensor, Tensor, Tensor]:
        """The sum over triplets (k,), its slopes in the negatives (k, m), and minus those in the positives (k, p)."""
        thresholds, order = torch.where(near.valid, near.sim - self.margin, torch.inf).sort(dim=1)
        total, slopes, over = sim.new_zeros(len(sim)), torch.zeros_like(sim), torch.empty_like(sim)
        of_positive = torch.zeros_like(near.sim)
        relevance = torch.ones_like(thresholds) if near.relevance is None else near.relevance.gather(1, order)
        for p in range(int(near.valid.sum(1).max()) if len(sim) else 0):  # the invalid come last
            weight = relevance[:, p]
            torch.sub(sim, thresholds[:, p, None], out=over)
            total += weight * F.softplus(over).sum(1)
            slopes += over.sigmoid_().mul_(weight[:, None])
            of_positive.scatter_(1, order[:, p, None], over.sum(1, keepdim=True))
        return total, slopes, of_positive


def _sides(near: Near, total: Tensor, negatives: Tensor) -> tuple[Mean, Mean]:
    of_positives = near.sum(near.sim) * negatives
    triplets = near.count * negatives
    return Mean(-of_positives, triplets), Mean(total + of_positives, triplets)


def _nearest(near: Near) -> Tensor:
    return torch.where(near.valid, near.sim.detach(), -torch.inf).amax(1, keepdim=True)


def _over_positives(near: Near, each: Tensor) -> Tensor:
    """(k, p, m) -> (k, m)."""
    return (each if near.relevance is None else each * near.relevance[:, :, None]).sum(1)


def _pass_each(sim: Tensor, thresholds: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """The weights of the thresholds (k, p) that each s_j (k, m) passes, 1 each with None; how many s_j pass each."""
    passed, passes = torch.zeros_like(sim), torch.empty_like(sim)
    count = torch.empty_like(thresholds)
    for p, threshold in enumerate(thresholds.unbind(1)):
        torch.gt(sim, threshold[:, None], out=passes)
        count[:, p] = passes.sum(1)
        passed += passes if weights is None else passes.mul_(weights[:, p, None])
    return passed, count


def _search(sim: Tensor, thresholds: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """The same for thresholds in order, in a time that hardly depends on how many there are."""
    passed = torch.searchsorted(thresholds.contiguous(), sim)
    ones = torch.ones((), dtype=sim.dtype, device=sim.device).expand_as(sim)
    passing = sim.new_zeros(len(sim), thresholds.shape[1] + 1).scatter_add_(1, passed, ones)
    count = passing.flip(1).cumsum(1).flip(1)[:, 1:]  # s_j passes the first `passed` of them
    if weights is None:
        return passed.to(sim.dtype), count
    return F.pad(weights.cumsum(1), (1, 0)).gather(1, passed), count
