"""What triplets add, without a triplet ever being listed: terms of hinges, and a form for a smooth cost."""

from __future__ import annotations

from collections.abc import Iterator
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
_TILE = 1 << 18  # numbers of some rows of a block


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
    blocks_held = 1

    @property
    def scale(self) -> float:
        return float("inf") if self.semi_hard else 1.0  # the sums jump where s_j passes s_p

    def far(self, sim: Tensor, near: Near) -> Mean:
        positive = near.sim.detach()[:, :, None]  # (k, p, 1)
        reached = near.valid[:, :, None] & (sim[:, None, :] > positive - self.margin)  # (k, p, m)
        if self.semi_hard:
            reached &= sim[:, None, :] < positive
        reached = reached.to(sim.dtype)
        there = torch.where(sim == -torch.inf, 0, sim + self.margin)
        return Mean((_over_positives(near, reached) * there).sum(1), reached.sum(2))

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        limits, order = self.limits(near)
        weights = None if near.relevance is None else near.relevance.gather(1, order)
        passed_by = pass_each if order.shape[1] <= _MOST_PASSES else _search
        total, in_order = sim.new_empty(len(sim)), torch.empty_like(limits[0])
        for tile, at in _tiles(sim):
            weights_here = None if weights is None else weights[at]
            passed, in_order[at] = passed_by(tile, [limit[at] for limit in limits], weights_here)
            total[at] = _become_(tile, passed)
        count = torch.zeros_like(near.sim).scatter_(1, order, in_order)
        return Sums(total + self.margin * near.sum(count), 1.0, count)

    def limits(self, near: Near) -> tuple[list[Tensor], Tensor]:
        """What s_j must lie above, and not above if semi-hard, for each positive in order (k, p); that order."""
        positive, order = torch.where(near.valid, near.sim, torch.inf).sort(dim=1)  # the invalid come last
        most = max(1, _most(near))
        positive, order = positive[:, :most], order[:, :most]
        if not self.semi_hard:
            return [positive - self.margin], order
        # s_j >= s_p is s_j > the number before s_p, which a margin lost in rounding must not lie above.
        before = positive.nextafter(torch.full_like(positive, -torch.inf))
        return [torch.minimum(positive - self.margin, before), before], order


def over_triplets(near: Near, far: Mean) -> tuple[Mean, Mean]:
    """Both sides over the triplets that a term has counted for each positive."""
    counted = near.sum(far.count)
    return Mean(-near.sum(far.count * near.sim), counted), Mean(far.total, counted)


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
    # With D^2 = 2 (1 - s) this is 1 / q = (1 - s^2)^((3 - d) / 2) (1 - s)^(-1 / 2), less a constant factor.
    there = torch.gt(cosines, 1 - furthest**2 / 2, out=torch.empty_like(cosines))
    apart = (1 - cosines).clamp_(min=nearest**2 / 2, max=2 - 2e-6)
    weights = (2 - apart).mul_(apart).log2_().mul_((3 - width) / 2).mul_(there)
    weights.sub_(weights.amax(1, keepdim=True)).exp2_().mul_(apart.rsqrt_()).mul_(there)
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
    blocks_held = 1

    def far(self, sim: Tensor, near: Near) -> Mean:
        positive = near.sim.detach()[:, :, None]  # (k, p, 1)
        reached = near.valid[:, :, None] & (sim[:, None, :] > positive - self.margin)  # (k, p, m)
        drawn = reached * self._chances(sim.detach())[:, None]
        there = torch.where(sim == -torch.inf, 0, sim + self.margin)
        return Mean((_over_positives(near, drawn) * there).sum(1), drawn.sum(2))

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        count, total = torch.zeros_like(near.sim), sim.new_empty(len(sim))
        limits = torch.where(near.valid, near.sim - self.margin, torch.inf)
        for tile, at in _tiles(sim):
            weights = None if near.relevance is None else near.relevance[at]
            drawn, count[at] = pass_each(tile, [limits[at]], weights, self._chances(tile))
            total[at] = _become_(tile, drawn)
        return Sums(total + self.margin * near.sum(count), 1.0, count)

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
    blocks_held = 1

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
        total, of_positive, negatives = self._slopes_(sim, near)
        near.sim.requires_grad_()
        total.requires_grad_()
        tightness, contrast = _sides(near, total, negatives)

        def slopes_(cost: Tensor) -> tuple[Tensor, ...]:
            to_near, to_total = torch.autograd.grad(cost, (near.sim, total), materialize_grads=True)
            to_near = to_near - to_total[:, None] * of_positive
            sim.mul_(to_total[:, None])  # 0 in the places of the class
            sim.scatter_add_(1, runs.columns, torch.where(near.valid, to_near, 0))
            return ()

        return tightness, contrast, slopes_

    def _slopes_(self, sim: Tensor, near: Near) -> tuple[Tensor, Tensor, Tensor]:
        """The sum over triplets (k,), minus its slopes in the positives (k, p), negatives; slopes in place of sim."""
        thresholds, order = torch.where(near.valid, near.sim - self.margin, torch.inf).sort(dim=1)
        most = _most(near)  # the invalid come last
        weights = None if near.relevance is None else near.relevance.gather(1, order)
        (total, negatives), of_positive = sim.new_zeros(2, len(sim)), torch.zeros_like(near.sim)
        for tile, at in _tiles(sim):
            over, slopes = torch.empty_like(tile), torch.zeros_like(tile)
            negatives[at] = torch.ne(tile, -torch.inf, out=over).sum(1)
            for p in range(most):
                torch.sub(tile, thresholds[at, p, None], out=over)
                costs = F.softplus(over).sum(1)
                over.sigmoid_()
                if weights is not None:
                    costs, over = costs.mul_(weights[at, p]), over.mul_(weights[at, p, None])
                total[at] += costs
                slopes += over
                of_positive[at].scatter_(1, order[at, p, None], over.sum(1, keepdim=True))
            tile.copy_(slopes)
        return total, of_positive, negatives


def _sides(near: Near, total: Tensor, negatives: Tensor) -> tuple[Mean, Mean]:
    of_positives = near.sum(near.sim) * negatives
    triplets = near.count * negatives
    return Mean(-of_positives, triplets), Mean(total + of_positives, triplets)


def _most(near: Near) -> int:
    """How many positives an anchor of the block has at most; an accelerator, which would wait, is told the width."""
    if near.valid.device.type != "cpu" or not len(near.valid):
        return near.valid.shape[1]
    return int(near.valid.sum(1).max())


def _nearest(near: Near) -> Tensor:
    return torch.where(near.valid, near.sim.detach(), -torch.inf).amax(1, keepdim=True)


def _over_positives(near: Near, each: Tensor) -> Tensor:
    """(k, p, m) -> (k, m)."""
    return (each if near.relevance is None else each * near.relevance[:, :, None]).sum(1)


def _tiles(sim: Tensor) -> Iterator[tuple[Tensor, slice]]:
    """Rows that stay in a core's cache while all positives pass over them; an accelerator takes all at once."""
    rows = max(1, _TILE // max(1, sim.shape[1])) if sim.device.type == "cpu" else max(1, len(sim))
    for start in range(0, len(sim), rows):
        at = slice(start, start + rows)
        yield sim[at], at


def _become_(sim: Tensor, weights: Tensor) -> Tensor:
    """(k,) the sums over rows of weighted similarities, whose place the weights take."""
    total: Tensor = torch.linalg.vecdot(weights, sim.clamp_(min=FINITE))
    sim.copy_(weights)
    return total


def pass_each(
    sim: Tensor, limits: list[Tensor], weights: Tensor | None, chances: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The weights of the positives (k, p) that each s_j (k, m) passes, 1 each with None; how many s_j pass each.

    To pass is to lie above the first limit, and not above the second where there is one.  With chances (k, m) of each
    s_j, both in expectation.
    """
    passed, passes = torch.zeros_like(sim), torch.empty_like(sim)
    above = torch.empty_like(sim) if len(limits) > 1 else None
    count = torch.empty_like(limits[0])
    for p, each in enumerate(torch.stack(limits).permute(2, 0, 1).contiguous()[..., None]):
        torch.gt(sim, each[0], out=passes)
        if above is not None:
            passes -= torch.gt(sim, each[1], out=above)
        if chances is not None:
            passes *= chances
        count[:, p] = passes.sum(1)
        passed += passes if weights is None else passes.mul_(weights[:, p, None])
    return passed, count


def _search(sim: Tensor, limits: list[Tensor], weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """The same for positives in order, in a time that hardly depends on how many there are."""
    passed, count = _search_among(limits[0], sim, weights)
    for limit in limits[1:]:
        above, of_above = _search_among(limit, sim, weights)
        passed, count = passed - above, count - of_above
    return passed, count


def _search_among(thresholds: Tensor, sim: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    passed = torch.searchsorted(thresholds.contiguous(), sim)
    ones = torch.ones((), dtype=sim.dtype, device=sim.device).expand_as(sim)
    passing = sim.new_zeros(len(sim), thresholds.shape[1] + 1).scatter_add_(1, passed, ones)
    count = passing.flip(1).cumsum(1).flip(1)[:, 1:]  # s_j passes the first `passed` of them
    if weights is None:
        return passed.to(sim.dtype), count
    return F.pad(weights.cumsum(1), (1, 0)).gather(1, passed), count
