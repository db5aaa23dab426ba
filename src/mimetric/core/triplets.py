"""A form for triplets whose cost is smooth: what a negative adds depends on each of the anchor's positives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .classes import ClassRuns, Rows
from .forms import Slopes
from .reduce import Mean, Near

_FAR_BELOW = -1e30  # its softplus is 0, and so are all its derivatives


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
        total = F.softplus(torch.where(there, over, _FAR_BELOW)).sum((1, 2))
        return _sides(rows.near, total, (rows.far != -torch.inf).sum(1))

    def opened_(
        self,
        sim: Tensor,
        runs: ClassRuns,
        tensors: tuple[Tensor, ...],  # noqa: ARG002
        spread: float,  # noqa: ARG002
    ) -> tuple[Mean, Mean, Slopes]:
        near = Near(sim.gather(1, runs.columns), runs.positive)
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
        for p in range(int(near.count.max()) if len(sim) else 0):  # the invalid come last
            torch.sub(sim, thresholds[:, p, None], out=over)
            total += F.softplus(over).sum(1)
            slopes += over.sigmoid_()
            of_positive.scatter_(1, order[:, p, None], over.sum(1, keepdim=True))
        return total, slopes, of_positive


def _sides(near: Near, total: Tensor, negatives: Tensor) -> tuple[Mean, Mean]:
    of_positives = near.sum(near.sim) * negatives
    triplets = near.count * negatives
    return Mean(-of_positives, triplets), Mean(total + of_positives, triplets)
