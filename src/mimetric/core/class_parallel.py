r"""Class weights cut among processes: each holds some classes, all have the same rows, the normalizer is exchanged.

A process meets all rows with its own classes.  What a softmax needs of the others are two numbers a row: the similarity
to the row's class, from the process that has it, and the log-sum over negatives, put together from a maximum and a sum.
With both every process computes the same value, then the slopes of its own columns; no weights and no logits are sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from .processes import sharing, world_size
from .reduce import Near
from .terms import Sums

_parallel = ContextVar("class_parallel", default=False)


@contextmanager
def class_parallel() -> Iterator[None]:
    """Inside, references of a loss are those of all processes together, each with its own, no class in two of them.

    Embeddings are the same in all processes; the label of a row whose class is elsewhere is -1.
    """
    before = _parallel.set(True)
    try:
        with sharing(False):
            yield
    finally:
        _parallel.reset(before)


def are_classes_cut() -> bool:
    """Whether references of a loss are those of several processes."""
    return _parallel.get() and world_size() > 1


def exchanged(near: Near, sums: Sums, logs: bool) -> tuple[Near, Sums]:
    """Of all processes' references: each row's only positive, and its sum over negatives.

    Args:
        near: (k, 1) of the own references.
        sums: (k,) of them.
        logs: whether the sum is the log of one.
    """
    own = torch.stack((near.sum(near.sim), near.count))
    dist.all_reduce(own)
    total, count = sums.total.clone(), sums.count
    if logs:
        top = total.clone()
        dist.all_reduce(top, dist.ReduceOp.MAX)
        top = torch.where(top == -torch.inf, 0, top)
        total = (total - top).exp()
    dist.all_reduce(total)
    if logs:
        total = total.log() + top
    if count is not None:
        count = count.clone()
        dist.all_reduce(count)
    return Near(own[0, :, None], own[1, :, None] > 0), Sums(total, 1.0, count)


def rows_of_all(rows: Tensor) -> Tensor:
    """The same rows, whose gradient of this process counts w times: the sum over processes is w times the whole.

    That is what :func:`~mimetric.core.processes.gathered` and the average over processes expect.
    """
    return cast(Tensor, _Times.apply(rows, world_size()))  # type: ignore[no-untyped-call]


class _Times(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, factor: int) -> Tensor:
        ctx.factor = factor
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return ctx.factor * grad, None
