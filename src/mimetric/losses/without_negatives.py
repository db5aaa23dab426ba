"""Pairs of rows that are two views of one thing, and no negatives: statistics of all rows keep these apart.

A row's other view is its reference of the same label, or without references the next row of its class
(:func:`mimetric.core.paired.partners`), so that a class of four rows or more is one of several rings, by their order.
They take no `pairing`: there is nothing to mine, and no average over anchors.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.checks import check_not_negative, check_positive
from ..core.errors import InputError
from ..core.objective import Objective
from ..core.paired import TwoSides, paired_rows
from ..core.pairs import pair_loss
from ..core.similarity import normalized
from .spread import column_covariance, covariance_cost, variance_cost


@pair_loss
def alignment_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    exponent: float = 2.0,
) -> TwoSides:
    r"""Alignment: how far the two rows of a pair are from each other, on the unit sphere.

    .. math:: \frac1p \sum_{(x, y)} \lVert x - y \rVert^{\alpha}

    with rows scaled to length 1.  All of it is tightness; contrast is 0.  Alone it is least where all rows are one:
    add :func:`uniformity_loss`, as in ``alignment+uniformity`` on the command.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer ids of instances or classes, -1 unlabelled.
        references: (m, d) the other view, each row's of the same label; None pairs a row with the next of its class.
        reference_labels: (m,) their ids.
        exponent: α > 0.

    Returns:
        Scalar in [0, 2^α]; 0 without a pair.
    Raises:
        InputError: shapes disagree, labels are not integers, or exponent is not > 0.

    Reference: Wang and Isola, ICML 2020, arXiv:2005.10242, of two views.  The metric of this name
    (:func:`mimetric.metrics.alignment`) is over all pairs of a class.

    >>> x, view = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.6, 0.8], [0.0, 3.0]])
    >>> alignment_loss(x, [0, 1], view, [0, 1])
    tensor(0.4000)
    """
    where = "alignment_loss"
    check_positive(where, exponent=exponent)
    first, second = paired_rows(where, embeddings, labels, references, reference_labels)
    square = (normalized(first) - normalized(second)).square().sum(1)
    apart = square > 0
    cost = torch.where(apart, torch.where(apart, square, 1) ** (exponent / 2), square)
    mean = cost.sum() / max(1, len(cost))
    return TwoSides(mean, torch.zeros_like(mean))


class AlignmentLoss(Objective):
    """Module form of :func:`alignment_loss`."""

    function = staticmethod(alignment_loss)

    def __init__(self, *, exponent: float = 2.0) -> None:
        check_positive("AlignmentLoss", exponent=exponent)
        super().__init__(exponent=exponent)


@pair_loss
def vicreg_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    target: float = 1.0,
    epsilon: float = 1e-4,
) -> TwoSides:
    r"""VICReg: pairs agree, every column varies, and no two columns vary together.

    .. math::
        \frac{\lambda}{p d} \sum_{(x, y)} \lVert x - y \rVert^2
        + \frac{\mu}2 \bigl(v(X) + v(Y)\bigr) + \nu \bigl(c(X) + c(Y)\bigr)

    with v of :func:`variance_loss` and c of :func:`covariance_loss` on all first and on all second rows of the p
    pairs; both are 0 below two pairs.  Tightness is the first term, contrast the others.

    Args:
        embeddings: (n, d) floating point; not scaled.
        labels: (n,) integer ids of instances or classes, -1 unlabelled.
        references: (m, d) the other view, each row's of the same label; None pairs a row with the next of its class.
        reference_labels: (m,) their ids.
        invariance_weight, variance_weight, covariance_weight: λ, μ, ν >= 0.
        target: γ > 0, the standard deviation from which a column costs nothing.
        epsilon: > 0, added to variances.

    Returns:
        Scalar >= 0, in squared units of the rows; 0 without a pair.
    Raises:
        InputError: shapes disagree, labels are not integers, or an option is out of range.

    Reference: Bardes et al., ICLR 2022, arXiv:2105.04906, weighted as in the authors' code, where the defaults are
    from.  The paper's equations do not divide the first term by d (λ = 25 d here), nor μ by 2 (μ = 50).

    >>> x, view = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> vicreg_loss(x, [0, 1], view, [0, 1])
    tensor(58.)
    """
    where = "vicreg_loss"
    check_positive(where, target=target, epsilon=epsilon)
    check_not_negative(
        where,
        invariance_weight=invariance_weight,
        variance_weight=variance_weight,
        covariance_weight=covariance_weight,
    )
    first, second = paired_rows(where, embeddings, labels, references, reference_labels)
    apart = F.mse_loss(first, second, reduction="sum") / max(1, first.numel())
    if len(first) < 2:
        return TwoSides(invariance_weight * apart, first[:0].sum() + second[:0].sum())
    one, other = column_covariance(first), column_covariance(second)
    of_one, of_other = (variance_cost(matrix.diagonal(), target, epsilon) for matrix in (one, other))
    covariance = covariance_cost(one) + covariance_cost(other)
    return TwoSides(
        invariance_weight * apart, variance_weight / 2 * (of_one + of_other) + covariance_weight * covariance
    )


class VICRegLoss(Objective):
    """Module form of :func:`vicreg_loss`."""

    function = staticmethod(vicreg_loss)

    def __init__(
        self,
        *,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        target: float = 1.0,
        epsilon: float = 1e-4,
    ) -> None:
        weights = {
            "invariance_weight": invariance_weight,
            "variance_weight": variance_weight,
            "covariance_weight": covariance_weight,
        }
        check_positive("VICRegLoss", target=target, epsilon=epsilon)
        check_not_negative("VICRegLoss", **weights)
        super().__init__(**weights, target=target, epsilon=epsilon)


@pair_loss
def barlow_twins_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    redundancy_weight: float = 0.005,
    epsilon: float = 1e-5,
) -> TwoSides:
    r"""Barlow Twins: a column agrees with itself in the other view, and with no other column.

    .. math:: \sum_k (1 - C_{kk})^2 + \lambda \sum_{k \ne l} C_{kl}^2

    with C (d, d) the correlations, over the pairs, of the columns of one view with those of the other.  Tightness is
    the first sum, contrast the second.  0 below two pairs, which have no correlation.

    Args:
        embeddings: (n, d) floating point; columns of any mean and scale.
        labels: (n,) integer ids of instances or classes, -1 unlabelled.
        references: (m, d) the other view, each row's of the same label; None pairs a row with the next of its class.
        reference_labels: (m,) their ids.
        redundancy_weight: λ >= 0.
        epsilon: > 0, added to the variances of columns: one that hardly varies correlates with nothing.

    Returns:
        Scalar >= 0, without unit.
    Raises:
        InputError: shapes disagree, labels are not integers, or an option is out of range.

    Reference: Zbontar et al., ICML 2021, arXiv:2103.03230.  The authors' code has λ = 0.0051, and ε in its batch norm.

    >>> x, view = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> barlow_twins_loss(x, [0, 1], view, [0, 1])
    tensor(4.0100)
    """
    where = "barlow_twins_loss"
    check_positive(where, epsilon=epsilon)
    check_not_negative(where, redundancy_weight=redundancy_weight)
    views = paired_rows(where, embeddings, labels, references, reference_labels)
    if len(views.first) < 2:
        nothing = views.first[:0].sum() + views.second[:0].sum()
        return TwoSides(nothing, nothing)
    first, second = (_standardized(rows, epsilon) for rows in views)
    with torch.autocast(first.device.type, enabled=False):
        correlation = first.T @ second / len(first)
    own = correlation.diagonal()
    others = correlation - own.diag()
    return TwoSides((1 - own).square().sum(), redundancy_weight * others.square().sum())


class BarlowTwinsLoss(Objective):
    """Module form of :func:`barlow_twins_loss`."""

    function = staticmethod(barlow_twins_loss)

    def __init__(self, *, redundancy_weight: float = 0.005, epsilon: float = 1e-5) -> None:
        check_positive("BarlowTwinsLoss", epsilon=epsilon)
        check_not_negative("BarlowTwinsLoss", redundancy_weight=redundancy_weight)
        super().__init__(redundancy_weight=redundancy_weight, epsilon=epsilon)


def w_mse_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    size: int = 128,
    epsilon: float = 1e-3,
) -> Tensor:
    r"""W-MSE: the distance of two views after whitening, which leaves no column without variance.

    .. math:: \frac1p \sum_{(x, y)} \Bigl\lVert \frac{W x}{|W x|} - \frac{W' y}{|W' y|} \Bigr\rVert^2, \qquad
              W x = L^{-1} (x - m), \quad L L^T = (1 - \varepsilon) \Sigma + \varepsilon \bar\sigma^2 I

    with mean m, covariance Σ and mean variance :math:`\bar\sigma^2` of the rows of one view in a part of the pairs, L
    by Cholesky.  A part has `size` pairs or up to twice that, all parts alike many, and the pairs of a class are dealt
    out over all parts.  It has no tightness and contrast: what keeps rows apart is the whitening.

    Args:
        embeddings: (n, d) floating point, of any mean and scale.
        labels: (n,) integer ids of instances or classes, -1 unlabelled.
        references: (m, d) the other view, each row's of the same label; None pairs a row with the next of its class.
        reference_labels: (m,) their ids.
        size: pairs whitened together, at least 2; twice the width, says the paper.
        epsilon: ε in (0, 1]; what is small whitens even fewer pairs than columns.

    Returns:
        Scalar in [0, 4]; 0 below two pairs.
    Raises:
        InputError: shapes disagree, labels are not integers, or an option is out of range.

    Reference: Ermolov et al., ICML 2021, arXiv:2007.06346.  There ε is 0, which needs more pairs than columns, and
    parts are drawn, once or several times; here they are the same every time.

    >>> x, view = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [5.0], [1.0]])
    >>> w_mse_loss(x, [0, 1, 2], view, [0, 1, 2])
    tensor(2.6667)
    """
    where = "w_mse_loss"
    _check_whitening(where, size, epsilon)
    views = paired_rows(where, embeddings, labels, references, reference_labels, in_order=True)
    pairs = len(views.first)
    if pairs < 2:
        return views.first[:0].sum() + views.second[:0].sum()
    parts = max(1, pairs // size)
    costs = []
    for part in range(parts):
        first, second = (normalized(_whitened(rows[part::parts], epsilon)) for rows in views)
        costs.append((first - second).square().sum())
    return torch.stack(costs).sum() / pairs


class WMSELoss(Objective):
    """Module form of :func:`w_mse_loss`."""

    function = staticmethod(w_mse_loss)
    sides = None  # type: ignore[assignment]

    def __init__(self, *, size: int = 128, epsilon: float = 1e-3) -> None:
        _check_whitening("WMSELoss", size, epsilon)
        super().__init__(size=size, epsilon=epsilon)


def _standardized(rows: Tensor, epsilon: float) -> Tensor:
    centered = rows - rows.mean(0)
    return centered / (centered.square().mean(0) + epsilon).sqrt()


def _whitened(rows: Tensor, epsilon: float) -> Tensor:
    """Rows (p, d), p >= 2, with uncorrelated columns of variance 1, but for what ε adds; all equal rows become 0."""
    largest = rows.detach().abs().amax()
    rows = rows / torch.where(largest == 0, 1, largest)  # no scale matters, and squares stay in range
    centered = rows - rows.mean(0)
    rounding = len(rows) * torch.finfo(rows.dtype).eps
    equal = centered.detach().square().mean() <= rounding**2
    centered = torch.where(equal, 0, centered)
    with torch.autocast(rows.device.type, enabled=False):
        covariance = centered.T @ centered / (len(rows) - 1)
        added = torch.where(equal, 1, epsilon * covariance.diagonal().mean())
        shrunk = (1 - epsilon) * covariance + added * torch.eye(len(covariance)).to(covariance)
        factor, _ = torch.linalg.cholesky_ex(shrunk)  # waits for no check
        white: Tensor = torch.linalg.solve_triangular(factor, centered.T, upper=False).T
    return white


def _check_whitening(where: str, size: int, epsilon: float) -> None:
    if not size >= 2:
        raise InputError(f"{where}: size must be at least 2 pairs, got {size}")
    if not 0 < epsilon <= 1:
        raise InputError(f"{where}: epsilon must lie in (0, 1], got {epsilon}")
