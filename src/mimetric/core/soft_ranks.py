"""Ranks made smooth: how many similarities of a row are larger than some others, counted by sigmoids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from .forms import WholeRows
from .reduce import Near
from .terms import Sums


@dataclass(frozen=True)
class SharpRows(WholeRows):
    """Rows whose cost moves faster than a similarity: autocast's rounding would be felt."""

    scale: float = 1.0
    blocks_held: int = 5


@dataclass(frozen=True)
class Nearer:
    r"""A push that counts the negatives nearer than each positive: (k, p) :math:`\sum_j \sigma((s_j - s_p) / T)`.

    The sigmoids are made again for the slopes, one positive at a time.
    """

    temperature: float
    blocks_held = 3

    @property
    def scale(self) -> float:
        return 1 / self.temperature

    def far(self, sim: Tensor, near: Near) -> Tensor:
        return torch.where(near.valid, count_nearer(sim, near.sim, self.temperature), 0)

    def sums_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        sim.div_(self.temperature)
        counts, step = torch.zeros_like(near.sim), torch.empty_like(sim)
        for place, one in self._each(near):
            counts.scatter_(1, place, torch.sub(sim, one, out=step).sigmoid_().sum(1, keepdim=True))
        return Sums(counts.mul_(near.valid), 1 / self.temperature)

    def slopes_(self, sim: Tensor, near: Near, sums: Sums, to_far: Tensor) -> Tensor:
        slopes, step, to_near = torch.zeros_like(sim), torch.empty_like(sim), torch.zeros_like(near.sim)
        weights = to_far * sums.factor * near.valid
        for place, one in self._each(near):
            torch.sub(sim, one, out=step).sigmoid_()
            weight = weights.gather(1, place)
            slopes.addcmul_(step.addcmul_(step, step, value=-1), weight)
            to_near.scatter_(1, place, step.sum(1, keepdim=True).mul_(-weight))
        sim.copy_(slopes)
        return to_near

    def _each(self, near: Near) -> Iterator[tuple[Tensor, Tensor]]:
        """Positives (k, 1) and where they stand, as many as any row has: an anchor beside itself is passed over."""
        places = near.valid.to(torch.int8).argsort(dim=1, descending=True, stable=True)
        width = places.shape[1]
        if places.is_cpu and len(places):  # an accelerator would wait
            width = int(near.count.max())
        for p in range(width):
            place = places[:, p, None]
            yield place, near.sim.detach().gather(1, place) / self.temperature


def count_nearer(sim: Tensor, of: Tensor, temperature: float) -> Tensor:
    r"""(k, p) :math:`\sum_j \sigma((s_{ij} - o_{ip}) / T)` of each row of sim (k, m) for each number of `of` (k, p).

    A -inf in sim counts nowhere; a number of a row that is compared with itself counts one half.

    >>> count_nearer(torch.tensor([[0.9, 0.1, -torch.inf]]), torch.tensor([[0.5]]), 0.01)
    tensor([[1.]])
    """
    return cast(Tensor, _Nearer.apply(sim, of, temperature))  # type: ignore[no-untyped-call]


class _Nearer(torch.autograd.Function):
    """Sums of sigmoids, made again for the gradient, one column of `of` at a time: autograd would keep (k, p, m)."""

    @staticmethod
    def forward(ctx: Any, sim: Tensor, of: Tensor, temperature: float) -> Tensor:
        ctx.save_for_backward(sim, of)
        ctx.temperature = temperature
        counts = torch.empty_like(of)
        for p, one in enumerate(of.unbind(1)):
            counts[:, p] = sim.sub(one[:, None]).div_(temperature).sigmoid_().sum(1)
        return counts

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        sim, of = ctx.saved_tensors
        to_sim, to_of = torch.zeros_like(sim), []
        for one, weight in zip(of.unbind(1), grad.div(ctx.temperature).unbind(1)):
            step = ((sim - one[:, None]) / ctx.temperature).sigmoid()
            slope = step * (1 - step) * weight[:, None]
            to_sim = to_sim + slope
            to_of.append(-slope.sum(1))
        return to_sim, torch.stack(to_of, 1), None
