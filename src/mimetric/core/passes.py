"""Blocks of similarities, once for sums and once for slopes: near and far of all anchors as differentiable tensors.

Forward keeps nothing but the rows; backward makes the blocks again, unless there is only one: that is kept.  Memory is
O(n * block) beside near and far.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .blocks import Gradients, Problem
from .classes import ClassRuns
from .derivatives import by_formula
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
    problem: Problem,
    rows: Tensor,
    references: Tensor,
    runs: ClassRuns | None = None,
    *,
    shift: Tensor | None = None,
    by_columns: bool = False,
) -> Iterator[Block]:
    """Blocks one after another, in one buffer; one that has its columns in one piece, if asked for.

    Classes are looked up unless those of all rows are given; a shift, () or (m,), is taken off similarities.
    """
    plan = problem.blocks(len(rows), len(references))
    shape = plan[0].stop - plan[0].start if plan else 0, len(references)
    buffer = rows.new_empty(shape[::-1]).T if by_columns else rows.new_empty(shape)
    for at in plan:
        sim = problem.product(rows[at], references, buffer)
        steepness = None if problem.map is None else problem.map.apply_(sim)
        if shift is not None:
            sim.sub_(shift)
        here = problem.classes.of(at) if runs is None else _part(runs, at)
        near = here.near(sim)
        here.fill_(sim, -torch.inf)
        yield Block(at, sim, near, here, steepness)


def _part(runs: ClassRuns, at: slice) -> ClassRuns:
    """Those of some of the anchors."""
    if len(runs.columns) == at.stop - at.start:
        return runs
    return ClassRuns(at, *(None if x is None else x[at] for x in runs[1:]))  # type: ignore[arg-type]


class NearAndFar(torch.autograd.Function):
    """apply(problem, push, runs, rows (n, w), references (m, w) or None, shift or None) -> near (n, p), far, its count.

    Where work is divided, of this process's share of the rows.
    """

    @staticmethod
    def forward(
        ctx: Any,
        problem: Problem,
        push: Push,
        runs: ClassRuns,
        rows: Tensor,
        references: Tensor | None,
        shift: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        mine = problem.mine(len(rows))
        near = rows.new_empty(mine.stop - mine.start, runs.columns.shape[1])
        far: Tensor | None = None
        count: Tensor | None = None
        ctx.only = None
        others = rows if references is None else references
        for block in blocks(problem, rows, others, runs, shift=shift):
            here = slice(block.at.start - mine.start, block.at.stop - mine.start)
            sums = push.sums_(block.sim, block.near, _spread(problem))
            near[here] = block.near.sim
            far = _with(far, here, sums.total, len(near))
            count = count if sums.count is None else _with(count, here, sums.count, len(near))
            if block.at == mine and any(ctx.needs_input_grad):
                ctx.only = block, sums
        count = rows.new_zeros(0) if count is None else count
        ctx.problem, ctx.push, ctx.runs = problem, push, runs
        ctx.save_for_backward(rows, references, shift)
        ctx.mark_non_differentiable(count)
        return near, rows.new_zeros(0) if far is None else far, count

    @staticmethod
    def backward(ctx: Any, to_near: Tensor, to_far: Tensor, _: Tensor) -> Any:
        rows, references, shift = ctx.saved_tensors
        needs = ctx.needs_input_grad[3:]
        mine = ctx.problem.mine(len(rows))
        if torch.is_grad_enabled():  # second derivatives are wanted

            def formula(
                rows: Tensor, references: Tensor | None, shift: Tensor | None
            ) -> tuple[Tensor, Tensor]:
                near, far, _ = near_and_far(
                    ctx.problem, ctx.push, rows, references, ctx.runs, shift=shift, plain=True
                )
                return near.sim[mine], far[mine]

            found = by_formula(formula, (rows, references, shift), needs, to_near, to_far)
            return None, None, None, *found
        gradients, to_shift = Gradients(rows, references, needs), None
        for block, sums in _opened(ctx, rows, references, shift):
            here = slice(block.at.start - mine.start, block.at.stop - mine.start)
            more = ctx.push.slopes_(block.sim, block.near, sums, to_far[here])
            to_sim = to_near[here] if more is None else to_near[here] + more
            block.sim.scatter_add_(1, block.runs.columns, torch.where(block.near.valid, to_sim, 0))
            if needs[2]:
                part = block.sim.sum_to_size(shift.shape)
                to_shift = -part if to_shift is None else to_shift - part
            gradients.add_(block.at, block.slopes_())
        return None, None, None, gradients.to_anchors, gradients.to_others, to_shift


def _with(whole: Tensor | None, here: slice, part: Tensor, rows: int) -> Tensor:
    """A part in its place; small parts kept one by one between large blocks would scatter the heap."""
    whole = part.new_empty(rows, *part.shape[1:]) if whole is None else whole
    whole[here] = part
    return whole


def _opened(
    ctx: Any, rows: Tensor, references: Tensor | None, shift: Tensor | None
) -> Iterator[tuple[Block, Sums]]:
    """Blocks and their sums, as forward left them."""
    if ctx.only is not None:
        only, ctx.only = ctx.only, None  # its slopes can be made once
        yield only
        return
    others = rows if references is None else references
    for block in blocks(ctx.problem, rows, others, ctx.runs, shift=shift):
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
            needs = ctx.needs_input_grad[:2]
            found = by_formula(lambda x, y: (x[first] * y[second]).sum(1), (rows, references), needs, grad)
            return *found, None, None
        to_rows, to_references = torch.zeros_like(rows), torch.zeros_like(references)
        for i, j, weights in zip(*(torch.split(x, len(rows)) for x in (first, second, grad[:, None]))):
            to_rows.index_add_(0, i, references[j] * weights)
            to_references.index_add_(0, j, rows[i] * weights)
        return to_rows, to_references, None, None


class Between(torch.autograd.Function):
    """apply(rows (n, w), first (n,)) -> () the sum of the products of all pairs of rows of two classes.

    From sums of classes, each named by its first row; in float64, as nearly all pairs may be within classes.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, first: Tensor) -> Tensor:
        wide = rows.double()
        sums = torch.zeros_like(wide).index_add_(0, first, wide)
        others = sums.sum(0) - sums.index_select(0, first)  # what each row meets
        ctx.save_for_backward(rows, first, others.to(rows.dtype))
        return torch.dot(wide.view(-1), others.view(-1)).to(rows.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        rows, first, others = ctx.saved_tensors
        if torch.is_grad_enabled():  # second derivatives are wanted
            return *by_formula(partial(_between, first=first), (rows,), ctx.needs_input_grad, grad), None
        return others * (2 * grad), None


def _between(rows: Tensor, first: Tensor) -> Tensor:
    """The same, by autograd."""
    sums = torch.zeros_like(rows).index_add(0, first, rows)
    return (rows * (sums.sum(0) - sums[first])).sum()


def _spread(problem: Problem) -> float:
    return 2.0 if problem.bounded else float("inf")


def near_and_far(
    problem: Problem,
    push: Push,
    rows: Tensor,
    references: Tensor | None,
    runs: ClassRuns | None = None,
    *,
    shift: Tensor | None = None,
    plain: bool,
) -> tuple[Near, Tensor, Tensor]:
    """Positives of all rows, their sums over negatives, and what these count (nothing, or as the push says).

    Classes and shift as in :func:`blocks`; the shift has a gradient.
    """
    runs = problem.classes.of(slice(None)) if runs is None else runs
    if not plain:
        problem = problem.shared(share_of(len(rows)))
        parts = NearAndFar.apply(problem, push, runs, rows, references, shift)  # type: ignore[no-untyped-call]
        near, far, count = parts if problem.share is None else problem.share.collected(parts, len(rows))
        return Near(near, runs.positive, runs.relevance), far, count
    sim = problem.similarities(rows, rows if references is None else references)
    found = runs.rows(sim if shift is None else sim - shift)
    sums = push.far(found.far, found.near)
    if isinstance(sums, Mean):
        return found.near, sums.total, sums.count
    return found.near, sums, sums.new_zeros(0)
