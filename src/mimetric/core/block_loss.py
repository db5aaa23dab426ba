"""The losses of the pair engine as functions of autograd, in blocks of rows or of columns.

The gradient is found on the way forward; second derivatives recompute the plain formula.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from . import halves
from .average import Average
from .blocks import Problem, by_rows, values_by_rows
from .columns import by_columns, suits, values_by_columns


class BlockLoss(torch.autograd.Function):
    """apply(problem, anchors (n, w), others (m, w) or None for the anchors themselves, *tensors) -> scalar."""

    @staticmethod
    def forward(
        ctx: Any, problem: Problem, anchors: Tensor, others: Tensor | None, *tensors: Tensor
    ) -> Tensor:
        needs = [need and problem.wants_gradient for need in ctx.needs_input_grad[1:]]
        if problem.wants_gradient and not any(needs):
            problem = replace(problem, wants_gradient=False)
        if others is not None and suits(problem, anchors, others):
            found = by_columns(problem, anchors, others, tensors, needs)
        elif others is None and halves.suits(problem, anchors):
            found = halves.by_halves(problem, anchors, tensors, needs)
        else:
            found = by_rows(problem, anchors, others, tensors, needs)
        ctx.problem, ctx.inputs = problem, 2 + len(tensors)
        ctx.save_for_backward(anchors, others, *tensors, found.to_anchors, found.to_others, *found.to_tensors)
        return found.value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        anchors, others, *tensors = ctx.saved_tensors[: ctx.inputs]
        gradients = ctx.saved_tensors[ctx.inputs :]
        if torch.is_grad_enabled():  # second derivatives are wanted
            value = ctx.problem.plain(anchors, others, tuple(tensors))
            inputs = [x for x, g in zip((anchors, others, *tensors), gradients) if g is not None]
            found = iter(torch.autograd.grad(value, inputs, grad, create_graph=True, materialize_grads=True))
            return None, *(None if g is None else next(found) for g in gradients)
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
        twice = torch.is_grad_enabled()
        anchors, others, *tensors = ctx.saved_tensors
        needs = ctx.needs_input_grad[1:]
        weights = grad if ctx.problem.average.weights is None else grad * ctx.problem.average.weights
        with torch.enable_grad():
            given = [anchors, others, *tensors]
            if not twice:
                given = [x if x is None else x.detach().requires_grad_(need) for x, need in zip(given, needs)]
            anchors, others, *tensors = given
            if twice:
                value, arriving = ctx.problem.plain(anchors, others, tuple(tensors)), grad
            else:
                problem = replace(ctx.problem, average=Average("sum", weights))
                value, arriving = BlockLoss.apply(problem, anchors, others, *tensors), None  # type: ignore[no-untyped-call]
            inputs = [x for x, need in zip(given, needs) if need]
            found = iter(
                torch.autograd.grad(value, inputs, arriving, create_graph=twice, materialize_grads=True)
            )
        return None, *(next(found) if need else None for need in needs)
