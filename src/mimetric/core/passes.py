"""Blocks of similarities, once for sums and once for slopes: near and far of all anchors as differentiable tensors.

Forward keeps nothing but the rows; backward makes the blocks again, unless there is only one: that is kept.  Memory is
O(n * block) beside near and far.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .blocks import Gradients, Problem
from .classes import ClassRuns
from .processes import share_of
from .pushes import Push
from .reduce import Mean, Near
from .terms import Sums


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


def blocks(
    problem: Problem, rows: Tensor, references: Tensor, *, by_columns: bool = False
) -> Iterator[Block]:
    """Blocks one after another, in one buffer; one that has its columns in one piece, if asked for."""
    plan = problem.blocks(len(rows), len(references))
    shape = plan[0].stop - plan[0].start if plan else 0, len(references)
    buffer = rows.new_empty(shape[::-1]).T if by_columns else rows.new_empty(shape)
    for at in plan:
        sim = problem.product(rows[at], references, buffer)
        steepness = None if problem.map is None else problem.map.apply_(sim)
        runs = problem.classes.of(at)
        near = runs.near(sim)
        runs.fill_(sim, -torch.inf)
        yield Block(at, sim, near, runs, steepness)


class NearAndFar(torch.autograd.Function):
    """apply(problem, push, width p, rows (n, w), references (m, w) or None) -> near (n, p), far (n, ...), its count.

    Where work is divided, of this process's share of the rows.
    """

    @staticmethod
    def forward(
        ctx: Any, problem: Problem, push: Push, width: int, rows: Tensor, references: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        mine = problem.mine(len(rows))
        near = rows.new_zeros(mine.stop - mine.start, width)
        far: Tensor | None = None
        count: Tensor | None = None
        ctx.only = None
        for block in blocks(problem, rows, rows if references is None else references):
            here = slice(block.at.start - mine.start, block.at.stop - mine.start)
            sums = push.sums_(block.sim, block.near, _spread(problem))
            near[here, : block.near.sim.shape[1]] = block.near.sim
            far = _with(far, here, sums.total, len(near))
            count = count if sums.count is None else _with(count, here, sums.count, len(near))
            if block.at == mine and any(ctx.needs_input_grad):
                ctx.only = block, sums
        count = rows.new_zeros(0) if count is None else count
        ctx.problem, ctx.push = problem, push
        ctx.save_for_backward(rows, references)
        ctx.mark_non_differentiable(count)
        return near, rows.new_zeros(0) if far is None else far, count

    @staticmethod
    def backward(ctx: Any, to_near: Tensor, to_far: Tensor, _: Tensor) -> Any:
        rows, references = ctx.saved_tensors
        needs = ctx.needs_input_grad[3:]
        mine = ctx.problem.mine(len(rows))
        if torch.is_grad_enabled():  # second derivatives are wanted
            near, far, _ = near_and_far(ctx.problem, ctx.push, rows, references, plain=True)
            outputs = near.sim[mine], far[mine]
            return None, None, None, *again(outputs, (to_near, to_far), (rows, references), needs)
        gradients = Gradients(rows, references, needs)
        for block, sums in _opened(ctx, rows, references):
            here = slice(block.at.start - mine.start, block.at.stop - mine.start)
            more = ctx.push.slopes_(block.sim, block.near, sums, to_far[here])
            to_sim = to_near[here, : block.near.sim.shape[1]]
            to_sim = to_sim if more is None else to_sim + more
            block.sim.scatter_add_(1, block.runs.columns, torch.where(block.near.valid, to_sim, 0))
            gradients.add_(block.at, block.slopes_())
        return None, None, None, gradients.to_anchors, gradients.to_others


def _with(whole: Tensor | None, here: slice, part: Tensor, rows: int) -> Tensor:
    """A part in its place; small parts kept one by one between large blocks would scatter the heap."""
    whole = part.new_empty(rows, *part.shape[1:]) if whole is None else whole
    whole[here] = part
    return whole


def _opened(ctx: Any, rows: Tensor, references: Tensor | None) -> Iterator[tuple[Block, Sums]]:
    """Blocks and their sums, as forward left them."""
    if ctx.only is not None:
        only, ctx.only = ctx.only, None  # its slopes can be made once
        yield only
        return
    for block in blocks(ctx.problem, rows, rows if references is None else references):
        yield block, ctx.push.sums_(block.sim, block.near, _spread(ctx.problem))


class Dots(torch.autograd.Function):
    """apply(rows (n, w), references (m, w), first (P,), second (P,)) -> (P,) their products, a part at a time."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, references: Tensor, first: Tensor, second: Tensor) -> Tensor:
        ctx.save_for_backward(rows, references, first, second)
        parts = zip(torch.split(first, len(rows)), torch.split(second, len(rows)))
        return torch.cat([torch.linalg.vecdot(rows[i], references[j]) for i, j in parts])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        rows, references, first, second = ctx.saved_tensors
        if torch.is_grad_enabled():  # second derivatives are wanted
            products = (rows[first] * references[second]).sum(1)
            return *again((products,), (grad,), (rows, references), ctx.needs_input_grad[:2]), None, None
        to_rows, to_references = torch.zeros_like(rows), torch.zeros_like(references)
        for i, j, weights in zip(*(torch.split(x, len(rows)) for x in (first, second, grad[:, None]))):
            to_rows.index_add_(0, i, references[j] * weights)
            to_references.index_add_(0, j, rows[i] * weights)
        return to_rows, to_references, None, None


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
        width = runs.columns.shape[1]
        parts = NearAndFar.apply(problem, push, width, rows, references)  # type: ignore[no-untyped-call]
        near, far, count = parts if problem.share is None else problem.share.collected(parts, len(rows))
        return Near(near, runs.positive, runs.relevance), far, count
    found = runs.rows(problem.similarities(rows, rows if references is None else references))
    sums = push.far(found.far, found.near)
    if isinstance(sums, Mean):
        return found.near, sums.total, sums.count
    return found.near, sums, sums.new_zeros(0)
