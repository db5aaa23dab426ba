"""The plain loop, for networks and losses that :func:`mimetric.train.loop.fit` is not made for."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer


def descend(optimizer: Optimizer, losses: Iterable[Tensor]) -> None:
    """One step of the optimizer down each loss.

    Give a generator: it computes a loss when asked for it, with the weights that the step before has left.

    Args:
        optimizer: of the weights to move; their gradients are None afterwards.
        losses: scalars with a graph.

    >>> weight = torch.nn.Parameter(torch.tensor(1.0))
    >>> descend(torch.optim.SGD([weight], lr=0.25), (weight**2 for _ in range(3)))
    >>> weight.item()  # halved at every step
    0.125
    """
    for loss in losses:
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
