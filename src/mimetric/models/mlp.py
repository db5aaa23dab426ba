"""Encoders of vectors, and of anything flattened: `mlp` and `linear`."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import nn

from mimetric.models.layers import Scaled, head


def mlp(shape: Sequence[int], width: int | None, *, hidden: int = 256) -> nn.Module:
    """Standardized by batch statistics, since columns of a table have any scale; then two hidden layers.

    >>> import torch
    >>> mlp((5,), 64)(torch.zeros(2, 5)).shape
    torch.Size([2, 64])
    """
    inputs = prod(shape)
    return nn.Sequential(
        Scaled(), nn.Flatten(), nn.BatchNorm1d(inputs, affine=False),
        nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True),
        *head(hidden, width),
    )  # fmt: skip


def linear(shape: Sequence[int], width: int | None) -> nn.Module:
    """One linear map of the flattened inputs: a Mahalanobis distance, or a head on embeddings made once.

    >>> import torch
    >>> linear((5,), 64)(torch.zeros(2, 5)).shape
    torch.Size([2, 64])
    """
    return nn.Sequential(Scaled(), nn.Flatten(), *head(prod(shape), width))
