"""Rows apart, whatever their labels: over the sphere, over columns, over directions.  All of it is contrast.

To be added to a loss that pulls rows together, as in ``alignment+uniformity`` or ``supcon+0.1*koleo`` on the command.
"""

from __future__ import annotations

from math import log
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.checks import check_positive, check_rows
from ..core.classes import UNLABELLED
from ..core.coupled import checked
from ..core.exponentials import LogSumExp
from ..core.objective import Regularizer
from ..core.paired import nearest_other
from ..core.pairing import Pairing
from ..core.passes import near_and_far
from ..core.pushes import OneSum
from ..core.similarity import full_precision, normalized, without_autocast


def uniformity_loss(embeddings: Any, *, t: float = 2.0) -> Tensor:
    r"""Uniformity: log of the mean Gaussian potential of all pairs of rows on the unit sphere.

    .. math:: \log \frac{1}{n (n - 1)} \sum_{i \ne j} e^{-t \lVert x_i - x_j \rVert^2}

    with rows scaled to length 1; a zero row is at squared distance 2 from all, with a zero gradient.  Exact, in blocks
    of the pair engine and two passes; never n x n.

    Args:
        embeddings: (n, d) floating point, of any norm.
        t: sharpness > 0.

    Returns:
        Scalar in [-4 t, 0], in nats; 0 for fewer than two rows.
    Raises:
        InputError: not (n, d) floating point, or t is not > 0.

    Reference: Wang and Isola, ICML 2020, arXiv:2005.10242.

    >>> uniformity_loss(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]))
    tensor(-4.3963)
    """
    where = "uniformity_loss"
    check_positive(where, t=t)
    rows = _rows(where, embeddings)
    if len(rows) < 2:
        return rows[:0].sum()
    mean: Tensor = _log_mean_of_others(where, rows, 2 * t).logsumexp(0)  # |x - y|^2 = 2 - 2 cos
    return mean - log(len(rows))


class UniformityLoss(Regularizer):
    """Module form of :func:`uniformity_loss`."""

    function = staticmethod(uniformity_loss)

    def __init__(self, *, t: float = 2.0) -> None:
        check_positive("UniformityLoss", t=t)
        super().__init__(t=t)


def self_contrast_loss(embeddings: Any, *, temperature: float = 0.1) -> Tensor:
    r"""Self-contrast of cMIM: each row is told from the mean of the others, with itself as its positive.

    .. math:: \frac1n \sum_i \log\Bigl(1 + \frac1{n - 1} \sum_{j \ne i} e^{(s_{ij} - 1) / T}\Bigr)

    with cosine similarity s.  The mean of the others, where InfoNCE has their sum, keeps it in 0..log 2 whatever n is:
    log 2 where all rows are one, nearly 0 where they are at right angles, so it parts hardly more than what is nearer.
    It needs no second view, and parts rows of one class as well.  Exact, in blocks; never n x n.

    Args:
        embeddings: (n, d) floating point, of any norm; in the paper the drawn codes of an auto-encoder.
        temperature: T > 0, in cosine units.

    Returns:
        Scalar in 0..log 2, in nats; 0 for fewer than two rows.
    Raises:
        InputError: not (n, d) floating point, or temperature is not > 0.

    Reference: Livne, 2025, arXiv:2502.19642, the contrastive term of cMIM.  log 2 less it is
    :func:`mimetric.estimators.mean_contrast_bound` of s / T.

    >>> self_contrast_loss(torch.eye(4), temperature=1.0)  # log(1 + 1 / e)
    tensor(0.3133)
    """
    where = "self_contrast_loss"
    check_positive(where, temperature=temperature)
    rows = _rows(where, embeddings)
    if len(rows) < 2:
        return rows[:0].sum()
    return F.softplus(_log_mean_of_others(where, rows, 1 / temperature)).mean()


class SelfContrastLoss(Regularizer):
    """Module form of :func:`self_contrast_loss`."""

    function = staticmethod(self_contrast_loss)

    def __init__(self, *, temperature: float = 0.1) -> None:
        check_positive("SelfContrastLoss", temperature=temperature)
        super().__init__(temperature=temperature)


def koleo_loss(embeddings: Any, *, epsilon: float = 1e-8) -> Tensor:
    r"""KoLeo: rows away from their nearest neighbors, as the entropy estimate of Kozachenko and Leonenko has it.

    .. math:: -\frac1n \sum_i \log \bigl(\min_{j \ne i} \lVert x_i - x_j \rVert + \varepsilon\bigr)

    with rows scaled to length 1.  The gradient goes to a row and to its nearest one.  Neighbors are found exactly, in
    panels; distances are of the rows themselves, so that small ones keep their digits.  Two equal rows have no
    direction to part in, and no gradient.

    Args:
        embeddings: (n, d) floating point, of any norm.
        epsilon: > 0: the most that two equal rows cost is its negative log.

    Returns:
        Scalar >= -log 2, in nats; 0 for fewer than two rows.
    Raises:
        InputError: not (n, d) floating point, or epsilon is not > 0.

    Reference: Sablayrolles et al., ICLR 2019, arXiv:1806.03198; with ε as in DINOv2 (Oquab et al., 2023,
    arXiv:2304.07193), whose weight is 0.1.

    >>> koleo_loss(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, -1.0]]))
    tensor(-0.0411)
    """
    where = "koleo_loss"
    check_positive(where, epsilon=epsilon)
    rows = _rows(where, embeddings)
    if len(rows) < 2:
        return rows[:0].sum()
    unit = normalized(rows)
    nearest = nearest_other(unit, "negative_squared_euclidean")  # cosines would not do for zero rows
    distance = torch.linalg.vector_norm(unit - unit[nearest], dim=1)
    loss: Tensor = -(distance + epsilon).log().mean()
    return loss


class KoLeoLoss(Regularizer):
    """Module form of :func:`koleo_loss`."""

    function = staticmethod(koleo_loss)

    def __init__(self, *, epsilon: float = 1e-8) -> None:
        check_positive("KoLeoLoss", epsilon=epsilon)
        super().__init__(epsilon=epsilon)


def variance_loss(embeddings: Any, *, target: float = 1.0, epsilon: float = 1e-4) -> Tensor:
    r"""The variance term of VICReg: every column is to vary.

    .. math:: \frac1d \sum_k \max\bigl(0,\ \gamma - \sqrt{\operatorname{Var}(x_{\cdot k}) + \varepsilon}\bigr)

    with the variance over n - 1.

    Args:
        embeddings: (n, d) floating point; not scaled.
        target: γ > 0, the standard deviation from which a column costs nothing.
        epsilon: > 0.

    Returns:
        Scalar in [0, γ), in units of the rows; 0 for fewer than two rows.
    Raises:
        InputError: not (n, d) floating point, or an option is not > 0.

    Reference: Bardes et al., ICLR 2022, arXiv:2105.04906, equation 1.

    >>> variance_loss(torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
    tensor(0.4950)
    """
    check_positive("variance_loss", target=target, epsilon=epsilon)
    rows = _rows("variance_loss", embeddings)
    return rows[:0].sum() if len(rows) < 2 else variance_cost(rows.var(0), target, epsilon)


class VarianceLoss(Regularizer):
    """Module form of :func:`variance_loss`."""

    function = staticmethod(variance_loss)

    def __init__(self, *, target: float = 1.0, epsilon: float = 1e-4) -> None:
        check_positive("VarianceLoss", target=target, epsilon=epsilon)
        super().__init__(target=target, epsilon=epsilon)


def covariance_loss(embeddings: Any) -> Tensor:
    r"""The covariance term of VICReg: no two columns are to vary together.

    .. math:: \frac1d \sum_{k \ne l} C_{kl}^2

    with C (d, d) the covariance of columns, over n - 1.

    Args:
        embeddings: (n, d) floating point; not scaled.

    Returns:
        Scalar >= 0, in units of the rows to the fourth; 0 for fewer than two rows.
    Raises:
        InputError: not (n, d) floating point.

    Reference: Bardes et al., ICLR 2022, arXiv:2105.04906, equation 4.

    >>> covariance_loss(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
    tensor(4.)
    """
    rows = _rows("covariance_loss", embeddings)
    return rows[:0].sum() if len(rows) < 2 else covariance_cost(column_covariance(rows))


class CovarianceLoss(Regularizer):
    """Module form of :func:`covariance_loss`."""

    function = staticmethod(covariance_loss)


def spectral_decay_loss(embeddings: Any, *, epsilon: float = 1e-3) -> Tensor:
    r"""Spectral decay: how far the singular values of the rows are from all equal.

    .. math:: -\frac1D \sum_k \log(D \, p_k), \qquad
              p_k = \frac{\sigma_k / \sum_l \sigma_l + \varepsilon / D}{1 + \varepsilon}

    the divergence of the uniform distribution from the :math:`D = \min(n, d)` singular values of the matrix (n, d) of
    rows as they are, not centered; ε keeps it finite where a direction is not used at all.

    Args:
        embeddings: (n, d) floating point.
        epsilon: > 0.

    Returns:
        Scalar in [0, log(1 + 1 / ε)), in nats.
    Raises:
        InputError: not (n, d) floating point, or epsilon is not > 0.

    Reference: Roth et al., ICML 2020, arXiv:2002.08473, where it is a measure, as in
    :func:`mimetric.metrics.spectral_decay`, of rows of length 1.  That it is made less, and ε, are ours; other papers
    call other penalties on spectra so, mostly of the weights of a network.

    >>> spectral_decay_loss(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), epsilon=1e-6)
    tensor(0.1438)
    """
    where = "spectral_decay_loss"
    check_positive(where, epsilon=epsilon)
    rows = _rows(where, embeddings)
    if not rows.numel():
        return rows.sum()
    there = rows.detach().isfinite()
    values = torch.linalg.svdvals(torch.where(there, rows, 0))  # raises an error on nan
    total = values.sum()
    shares = values / torch.where(total == 0, 1, total)
    decay: Tensor = ((1 + epsilon) / (shares * len(values) + epsilon)).log().mean()
    return decay * torch.where(there.all(), 1.0, torch.nan).to(decay)


class SpectralDecayLoss(Regularizer):
    """Module form of :func:`spectral_decay_loss`."""

    function = staticmethod(spectral_decay_loss)

    def __init__(self, *, epsilon: float = 1e-3) -> None:
        check_positive("SpectralDecayLoss", epsilon=epsilon)
        super().__init__(epsilon=epsilon)


def variance_cost(variance: Tensor, target: float, epsilon: float) -> Tensor:
    """:func:`variance_loss`, from the variance (d,) of each column."""
    return (target - (variance + epsilon).sqrt()).relu().mean()


def covariance_cost(covariance: Tensor) -> Tensor:
    """:func:`covariance_loss`, from the covariance (d, d) of columns."""
    return (covariance - covariance.diagonal().diag()).square().sum() / len(covariance)


def column_covariance(rows: Tensor) -> Tensor:
    """(d, d) of the columns of rows (n, d), n >= 2, over n - 1."""
    with without_autocast(rows.device):
        return cast(Tensor, _Covariance.apply(rows))  # type: ignore[no-untyped-call]


class _Covariance(torch.autograd.Function):
    """One product each way: autograd takes three, and an array more for centering."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        centered = rows - rows.mean(0)
        return centered.T @ centered / (len(rows) - 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        [rows] = ctx.saved_tensors
        centered = rows - rows.mean(0)
        found: Tensor = centered @ ((grad + grad.T) / (len(rows) - 1))  # columns of mean 0 already
        return found


def _log_mean_of_others(where: str, rows: Tensor, scale: float) -> Tensor:
    """(n,) log of the mean of exp(scale (cos - 1)) over the other rows, of n >= 2; in blocks of the pair engine."""
    n = len(rows)
    with torch.autocast(rows.device.type, enabled=False):
        batch = checked(where, rows, torch.full((n,), UNLABELLED), None, None, Pairing())  # all are negatives
        problem, unit, _ = batch.problem((1.0, 1.0))
        _, far, _ = near_and_far(problem, OneSum(LogSumExp(scale, base=1.0)), unit, None, plain=False)
    return far - log(n - 1)


def _rows(where: str, embeddings: Any) -> Tensor:
    rows: Tensor = full_precision(check_rows(where, "embeddings", embeddings))
    return rows
