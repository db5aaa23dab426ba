"""The losses of the pair engine as functions of autograd, in blocks of rows or of columns.

The gradient is found on the way forward; second derivatives recompute the plain formula.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from . import halves, hardest, triplet_halves
from .average import Average
from .blocks import Problem, by_rows, values_by_rows
from .columns import by_columns, suits, values_by_columns
from .derivatives import by_formula
from .similarity import mirrored


class BlockLoss(torch.autograd.Function):
    """apply(problem, anchors (n, w), others (m, w) or None for the anchors themselves, *tensors) -> scalar."""

    @staticmethod
    def forward(
        ctx: Any, problem: Problem, anchors: Tensor, others: Tensor | None, *tensors: Tensor
    ) -> Tensor:
        needs = [need and problem.wants_gradient for need in ctx.needs_input_grad[1:]]
        if problem.wants_gradient and not any(needs):
            problem = replace(problem, wants_gradient=False)
        if problem.mirrored:
            needs[1] = needs[0]
        if others is not None and suits(problem, anchors, others):
            found = by_columns(problem, anchors, others, tensors, needs)
        elif others is None and triplet_halves.suits(problem, anchors):
            found = triplet_halves.by_triplet_halves(problem, anchors, needs)
        elif (others is None or problem.mirrored) and halves.suits(problem, anchors):
            found = halves.by_halves(problem, anchors, tensors, needs)
        elif hardest.suits(problem, anchors, others):
            found = hardest.by_hardest(problem, anchors, others, tensors, needs)
        else:
            found = by_rows(problem, anchors, others, tensors, needs)
        if problem.mirrored and found.to_anchors is not None and found.to_others is not None:
            to_both = found.to_anchors + mirrored(found.to_others)
            found = found._replace(to_anchors=to_both, to_others=None)
        ctx.problem, ctx.inputs = problem, 2 + len(tensors)
        ctx.save_for_backward(anchors, others, *tensors, found.to_anchors, found.to_others, *found.to_tensors)
        return found.value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        saved = ctx.saved_tensors
        (anchors, others, *tensors), gradients = saved[: ctx.inputs], saved[ctx.inputs :]
        if torch.is_grad_enabled():  # second derivatives are wanted
            needs = [g is not None for g in gradients]
            return None, *by_formula(partial(_plain, ctx.problem), (anchors, others, *tensors), needs, grad)
        return None, *(None if g is None else g * grad for g in gradients)


class PerAnchorLoss(torch.autograd.Function):
    """The same without a sum: (n,) one number per anchor.  Backward makes the blocks again, with its weights."""

    @staticmethod
    def forward(
        ctx: Any, problem: Problem, anchors: Tensor, others: Tensor | None, *tensors: Tensor
    ) -> Tensor:
        ctx.problem = problem
        ctx.save_for_backward(anchors, others, *tensors)
        if others is not None and suits(problem, anchors, others):
            return values_by_columns(problem, anchors, others, tensors)
        return values_by_rows(problem, anchors, others, tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        given = ctx.saved_tensors
        needs = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():  # second derivatives are wanted
            return None, *by_formula(partial(_plain, ctx.problem), given, needs, grad)
        weights = grad if ctx.problem.average.weights is None else grad * ctx.problem.average.weights
        problem = replace(ctx.problem, average=Average("sum", weights))
        with torch.enable_grad():
            inputs = [x if x is None else x.detach().requires_grad_(need) for x, need in zip(given, needs)]
            value = BlockLoss.apply(problem, *inputs)  # type: ignore[no-untyped-call]
        wanted = [x for x, need in zip(inputs, needs) if need and x is not None]
        found = iter(torch.autograd.grad(value, wanted, materialize_grads=True))
        return None, *(next(found) if need else None for need in needs)


def _plain(problem: Problem, anchors: Tensor, others: Tensor | None, *tensors: Tensor) -> Tensor:
    return problem.plain(anchors, others, tensors)
