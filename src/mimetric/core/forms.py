"""The two forms of a pair loss: near and far, or whole rows.

A form says what becomes of a block of similarities: its sides, then, in place, its slopes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .average import Side
from .classes import ClassRuns, Rows
from .mined import Mined
from .reduce import Mean, Near
from .terms import Term

Slopes = Callable[[Tensor], tuple[Tensor, ...]]
"""Turns the open block into the slopes of a cost, in place; returns the gradients of the tensors."""


class Form(Protocol):
    """How a block of similarities becomes two sides, and then slopes."""

    @property
    def scale(self) -> float:
        """How much faster than a similarity the loss moves."""

    @property
    def blocks_held(self) -> int:
        """How many arrays of the size of a block are alive at once."""

    def plain(self, rows: Rows, tensors: tuple[Tensor, ...]) -> tuple[Side, Side]:
        """Tightness and contrast by autograd: the formula."""

    def opened_(
        self, sim: Tensor, runs: ClassRuns, tensors: tuple[Tensor, ...], spread: float
    ) -> tuple[Side, Side, Slopes]:
        """The same from a block that may be overwritten, and how to make it slopes."""


@dataclass(frozen=True)
class NearFar:
    """Positives one by one, negatives summed by one term."""

    push: Term
    sides: Callable[..., tuple[Side, Side]]
    mined: Mined | None = None

    @property
    def scale(self) -> float:
        return self.push.scale

    @property
    def blocks_held(self) -> int:
        mining = 0 if self.mined is None else self.mined.mining.blocks_held
        return max(self.push.blocks_held, 1 + mining)

    def plain(self, rows: Rows, tensors: tuple[Tensor, ...]) -> tuple[Side, Side]:
        near, far = rows.near, rows.far
        if self.mined is not None:
            kept = self.mined.kept(
                Near(near.sim.detach(), near.valid, near.relevance), far.detach(), rows.runs
            )
            near = near.kept(kept.valid)
            far = torch.where(kept.left_out(far), -torch.inf, far)
        return self.sides(near, self.push.far(far, near), *tensors)

    def opened_(
        self, sim: Tensor, runs: ClassRuns, tensors: tuple[Tensor, ...], spread: float
    ) -> tuple[Side, Side, Slopes]:
        near = runs.near(sim)
        runs.fill_(sim, -torch.inf)
        if self.mined is not None:
            kept = self.mined.kept(near, sim, runs)
            near = near.kept(kept.valid)
            sim.masked_fill_(kept.left_out(sim), -torch.inf)
        sums = self.push.slopes_(sim, near, spread)
        total = sums.total
        leaves = (near.sim.requires_grad_(), total.requires_grad_(), *tensors)
        far = total if sums.count is None else Mean(total, sums.count)
        tightness, contrast = self.sides(near, far, *tensors)

        def slopes_(cost: Tensor) -> tuple[Tensor, ...]:
            to_near, to_far, *to_tensors = torch.autograd.grad(cost, leaves, materialize_grads=True)
            # Over no negatives the sum is -inf and nothing depends on it.  Anything else that is not finite is
            # the caller's to see.
            sim.mul_((to_far * sums.factor).masked_fill_(total == -torch.inf, 0).unsqueeze(1))
            runs.put_(sim, near, to_near)
            return tuple(to_tensors)

        return tightness, contrast, slopes_


@dataclass(frozen=True)
class WholeRows:
    """A function of whole rows, by autograd inside the block: one number per anchor, no two sides."""

    cost: Callable[..., Side]
    scale = 1.0
    blocks_held = 5

    def plain(self, rows: Rows, tensors: tuple[Tensor, ...]) -> tuple[Side, Side]:
        return self.cost(rows, *tensors), rows.sim.new_zeros(len(rows.sim))

    def opened_(
        self,
        sim: Tensor,
        runs: ClassRuns,
        tensors: tuple[Tensor, ...],
        spread: float,  # noqa: ARG002
    ) -> tuple[Side, Side, Slopes]:
        leaf = sim.detach().requires_grad_()
        cost_of_rows, nothing = self.plain(runs.rows(leaf), tensors)

        def slopes_(cost: Tensor) -> tuple[Tensor, ...]:
            to_sim, *to_tensors = torch.autograd.grad(cost, (leaf, *tensors), materialize_grads=True)
            sim.copy_(to_sim)
            return tuple(to_tensors)

        return cost_of_rows, nothing, slopes_
