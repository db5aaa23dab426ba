"""How long rows are, and how far their numbers lie from a mean of 0."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.checks import check_positive, check_rows
from ..core.errors import InputError
from ..core.objective import Regularizer
from ..core.similarity import full_precision


def embedding_norm_loss(embeddings: Any, *, p: float = 2.0, power: float = 1.0) -> Tensor:
    r"""The mean length of rows, to a power.

    .. math:: \frac1n \sum_i \lVert x_i \rVert_p^q

    Args:
        embeddings: (n, d) floating point.
        p: of the norm, >= 1; infinity is the largest number of a row.
        power: q > 0; 2 with p = 2 is what N-pairs and others add.

    Returns:
        Scalar >= 0; 0 without rows.
    Raises:
        InputError: not (n, d) floating point, or an option is out of range.

    >>> embedding_norm_loss(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor(2.5000)
    """
    check_norm("embedding_norm_loss", p, power)
    return norm_cost(_rows("embedding_norm_loss", embeddings), p, power)


class EmbeddingNormLoss(Regularizer):
    """Module form of :func:`embedding_norm_loss`."""

    function = staticmethod(embedding_norm_loss)
    sides = None  # type: ignore[assignment]

    def __init__(self, *, p: float = 2.0, power: float = 1.0) -> None:
        check_norm("EmbeddingNormLoss", p, power)
        super().__init__(p=p, power=power)


def zero_mean_loss(embeddings: Any) -> Tensor:
    r"""How far the numbers of a row are from a mean of 0, times their number.

    .. math:: \frac1n \sum_i \Bigl| \sum_k x_{ik} \Bigr|

    For losses that do not see the mean of a row, such as :func:`snr_contrastive_loss`, where it is part of the loss.

    Args:
        embeddings: (n, d) floating point.

    Returns:
        Scalar >= 0; 0 without rows.
    Raises:
        InputError: not (n, d) floating point.

    Reference: Yuan et al., CVPR 2019, arXiv:1904.02616.

    >>> zero_mean_loss(torch.tensor([[1.0, -1.0], [2.0, 1.0]]))
    tensor(1.5000)
    """
    rows = _rows("zero_mean_loss", embeddings)
    return rows.sum(1).abs().sum() / max(1, len(rows))


class ZeroMeanLoss(Regularizer):
    """Module form of :func:`zero_mean_loss`."""

    function = staticmethod(zero_mean_loss)
    sides = None  # type: ignore[assignment]


def norm_cost(rows: Tensor, p: float, power: float) -> Tensor:
    """Mean length of checked rows to a power, of slope 0 at a zero row."""
    length: Tensor = torch.linalg.vector_norm(rows, p, dim=1)
    if power != 1:
        length = torch.where(length == 0, 0, torch.where(length == 0, 1, length) ** power)
    return length.sum() / max(1, len(rows))


def check_norm(where: str, p: float, power: float) -> None:
    """Options of a mean length."""
    check_positive(where, power=power)
    if not p >= 1:
        raise InputError(f"{where}: p must be >= 1, got {p}")


def _rows(where: str, embeddings: Any) -> Tensor:
    rows: Tensor = full_precision(check_rows(where, "embeddings", embeddings))
    return rows
