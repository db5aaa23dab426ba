"""Ranks made smooth: how many similarities of a row are larger than some others, counted by sigmoids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from .forms import WholeRows


@dataclass(frozen=True)
class SharpRows(WholeRows):
    """Rows whose cost moves faster than a similarity: autocast's rounding would be felt."""

    scale: float = 1.0
    blocks_held: int = 5


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
