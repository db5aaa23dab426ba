"""Blocks of similarities, once for sums and once for slopes: near and far of all anchors as differentiable tensors.

Forward keeps nothing but the rows; backward makes the blocks again.  Memory is O(n * block) beside near and far.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .blocks import Gradients, Problem
from .classes import ClassRuns
from .processes import share_of
from .pushes import Push
from .reduce import Mean, Near


class Block(NamedTuple):
    """Similarities of some rows, with -inf in the places of each row's class."""

    at: slice
    sim: Tensor  # (k, m)
    near: Near
    runs: ClassRuns
    steepness: Tensor | None  # 1 / slope of the similarity in the product

    def slopes_(self) -> Tensor:
        """The slopes of the products, where the block holds those of the similarities."""
        return self.sim if self.steepness is None else self.sim.div_(self.steepness)


def blocks(problem: Problem, rows: Tensor, references: Tensor) -> Iterator[Block]:
    """Blocks one after another, in one buffer."""
    plan = problem.blocks(len(rows), len(references))
    buffer = rows.new_empty(plan[0].stop - plan[0].start if plan else 0, len(references))
    for at in plan:
        sim = problem.product(rows[at], references, buffer)
        steepness = None if problem.map is None else problem.map.apply_(sim)
        runs = problem.classes.of(at)
        near = runs.near(sim)
        runs.fill_(sim, -torch.inf)
        yield Block(at, sim, near, runs, steepness)


class NearAndFar(torch.autograd.Function):
    """apply(problem, push, rows (n, w), references (m, w) or None) -> near (n, p), far (n, ...), its count.

    Where work is divided, of this process's share of the rows.
    """

    @staticmethod
    def forward(
        ctx: Any, problem: Problem, push: Push, rows: Tensor, references: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        width = problem.classes.of(slice(None)).columns.shape[1]
        nears, fars, counts = [rows.new_zeros(0, width)], [], []
        for block in blocks(problem, rows, rows if references is None else references):
            nears.append(F.pad(block.near.sim, (0, width - block.near.sim.shape[1])))
            sums = push.sums_(block.sim, block.near, _spread(problem))
            fars.append(sums.total)
            counts += [] if sums.count is None else [sums.count]
        far = torch.cat(fars) if fars else rows.new_zeros(0)
        count = torch.cat(counts) if counts else rows.new_zeros(0)
        ctx.problem, ctx.push = problem, push
        ctx.save_for_backward(rows, references)
        ctx.mark_non_differentiable(count)
        return torch.cat(nears), far, count

    @staticmethod
    def backward(ctx: Any, to_near: Tensor, to_far: Tensor, _: Tensor) -> Any:
        rows, references = ctx.saved_tensors
        needs = ctx.needs_input_grad[2:]
        mine = ctx.problem.mine(len(rows))
        if torch.is_grad_enabled():  # second derivatives are wanted
            near, far, _ = near_and_far(ctx.problem, ctx.push, rows, references, plain=True)
            outputs = near.sim[mine], far[mine]
            return None, None, *again(outputs, (to_near, to_far), (rows, references), needs)
        gradients = Gradients(rows, references, needs)
        for block in blocks(ctx.problem, rows, rows if references is None else references):
            here = slice(block.at.start - mine.start, block.at.stop - mine.start)
            ctx.push.slopes_(block.sim, block.near, _spread(ctx.problem), to_far[here])
            to_sim = to_near[here, : block.near.sim.shape[1]]
            block.sim.scatter_add_(1, block.runs.columns, torch.where(block.near.valid, to_sim, 0))
            gradients.add_(block.at, block.slopes_())
        return None, None, gradients.to_anchors, gradients.to_others


def again(
    outputs: tuple[Tensor, ...],
    grads: tuple[Tensor, ...],
    inputs: tuple[Tensor | None, ...],
    needs: Sequence[bool],
) -> list[Tensor | None]:
    """Gradients of a plain formula with a graph of their own, None where none is needed."""
    wanted = [x for x, need in zip(inputs, needs) if need and x is not None]
    found = iter(torch.autograd.grad(outputs, wanted, grads, create_graph=True, materialize_grads=True))
    return [next(found) if need and x is not None else None for x, need in zip(inputs, needs)]


def _spread(problem: Problem) -> float:
    return 2.0 if problem.bounded else float("inf")


def near_and_far(
    problem: Problem, push: Push, rows: Tensor, references: Tensor | None, *, plain: bool
) -> tuple[Near, Tensor, Tensor]:
    """Positives of all rows, their sums over negatives, and what these count (nothing, or as the push says)."""
    runs = problem.classes.of(slice(None))
    if not plain:
        problem = replace(problem, share=share_of(len(rows)))
        parts = NearAndFar.apply(problem, push, rows, references)  # type: ignore[no-untyped-call]
        near, far, count = parts if problem.share is None else problem.share.collected(parts, len(rows))
        return Near(near, runs.positive), far, count
    found = runs.rows(problem.similarities(rows, rows if references is None else references))
    sums = push.far(found.far, found.near)
    if isinstance(sums, Mean):
        return found.near, sums.total, sums.count
    return found.near, sums, sums.new_zeros(0)
