r"""Entropy and information from covariances, as if rows were normal, in nats.

A covariance S is shrunk towards the identity times its mean variance v, :math:`(1 - \rho) S + \rho v I`: of few rows
its log-determinant is far too small, or -inf.  How much is Ledoit and Wolf's estimate, which assumes no distribution,
or a given number; 0 is the plain covariance.  For normal rows the log-determinant of the plain one is too small by
:math:`\sum_{j=1}^d [\log \tfrac n2 - \psi(\tfrac{n - j}2)]`, about d (d + 3) / 2n.

Computed in float64, in O(n d + d^2) memory; a gradient where rows ask for one.

References: Ledoit and Wolf, J. Multivariate Analysis 88(2), 2004; Cover and Thomas, Elements of Information Theory,
chapter 8, for the rest.
"""

from __future__ import annotations

from math import log, pi
from typing import Any

import torch
from torch import Tensor

from ..core.checks import check_finite, check_rows
from ..core.errors import InputError
from .nearest import of_shared_classes


def gaussian_entropy(embeddings: Any, *, shrinkage: float | None = None) -> Tensor:
    r"""Differential entropy of a normal distribution with the covariance of the rows.

    .. math:: \hat H(Z) = \tfrac d2 \log 2 \pi e + \tfrac12 \log \det \hat \Sigma

    Direction: **upper bound** on H(Z) for the true covariance, as of all distributions with one covariance the normal
        has the largest entropy; equal to it for normal rows.
    Bias: with the plain covariance downwards, by half of what the module states; shrinkage makes it larger, the more
        so the fewer rows.
    Saturation: none, and no floor.
    Cost: O(n d^2 + d^3); 2,000 rows of width 512: 0.1 s on one core.

    Args:
        embeddings: (n, d) floating point.
        shrinkage: in [0, 1]; None is Ledoit and Wolf's; 0 needs n > d.

    Returns:
        Scalar float64 in nats; -inf where all rows are equal, nan for fewer than two.
    Raises:
        InputError: not (n, d) floating point, not finite, shrinkage outside [0, 1], or 0 with n <= d.

    >>> z = torch.tensor([[1.0], [-1.0]])  # variance 1
    >>> gaussian_entropy(z, shrinkage=0)
    tensor(1.4189, dtype=torch.float64)
    """
    where = "gaussian_entropy"
    rows = check_rows(where, "embeddings", embeddings)
    check_finite(where, "embeddings", rows)
    return _entropy(where, rows.double(), shrinkage)


def conditional_gaussian_entropy(
    embeddings: Any, labels: Any, *, pooled: bool = True, shrinkage: float | None = None
) -> Tensor:
    r"""Differential entropy of normal classes around their means.

    .. math:: \hat H(Z | Y) = \tfrac d2 \log 2 \pi e + \tfrac12 \log \det \hat \Sigma_W
              \quad \text{or} \quad \tfrac d2 \log 2 \pi e + \tfrac12 \sum_c \tfrac{n_c}n \log \det \hat \Sigma_c

    with one covariance within all classes (pooled: a class needs two rows), or one for each class (better where
    classes differ in shape and have many times d rows).  Without shrinkage the pooled one is never below the other.

    Direction: **upper bound** on H(Z|Y) for true covariances, equal to it for normal classes.
    Bias: without shrinkage downwards, pooled by about d (d + 1 + 2 C) / 4n, each class's own by d (d + 3) / 4 n_c;
        shrinkage makes it larger.
    Saturation: none, and no floor.
    Cost: O(n d^2 + d^3) pooled, O(n d^2 + C d^3) with a covariance for each class.

    Args:
        embeddings: (n, d) floating point.
        labels: (n,) integer class ids; rows that are unlabelled (-1) or alone in their class are left out.
        pooled: one covariance for all classes.
        shrinkage: in [0, 1]; None is Ledoit and Wolf's, of each covariance; 0 needs more rows than d.

    Returns:
        Scalar float64 in nats; -inf where classes are points, nan when no class has two rows.
    Raises:
        InputError: shapes disagree, labels are not integers, values are not finite, shrinkage outside [0, 1], or 0
            with too few rows.

    >>> conditional_gaussian_entropy(torch.tensor([[1.0], [-1.0], [9.0], [7.0]]), [0, 0, 1, 1], shrinkage=0)
    tensor(1.4189, dtype=torch.float64)
    """
    where = "conditional_gaussian_entropy"
    rows, labels, _ = of_shared_classes(where, embeddings, labels)
    return _conditional(where, rows, labels, pooled, shrinkage)


def gaussian_label_information(
    embeddings: Any, labels: Any, *, pooled: bool = True, shrinkage: float | None = None
) -> Tensor:
    r"""Information between rows and labels as a difference of Gaussian entropies, H(Z) - H(Z|Y).

    Pooled and without shrinkage, half the log of :math:`\det \Sigma_T / \det \Sigma_W`, the inverse of Wilks' lambda.
    At least 0 without shrinkage, with it slightly below now and then.  Unchanged by shift, rotation and scale, without
    shrinkage by every invertible linear map.

    Direction: **upper bound**, for true covariances, where classes are normal with those assumed, as H(Z) is one; for
        others neither.
    Bias: upwards, without shrinkage by about d (C - 1) / 2n pooled and d (d + 3) (C - 1) / 4n with a covariance for
        each class; with it, of 42 normal classes in 64 dimensions, by 1.8 of 2.9 nats with 2,000 rows, by 4.0 with 500.
    Saturation: none, it **does not stop at H(Y)**: classes far apart give any value; what exceeds H(Y) says that it
        cannot be trusted.
    Cost: as :func:`gaussian_entropy` and :func:`conditional_gaussian_entropy` together.

    Args:
        embeddings: (n, d) floating point.
        labels: (n,) integer class ids; rows that are unlabelled (-1) or alone in their class are left out.
        pooled: one covariance for all classes.
        shrinkage: in [0, 1]; None is Ledoit and Wolf's, of each covariance; 0 needs more rows than d.

    Returns:
        Scalar float64 in nats; inf where classes are different points (or flat, without shrinkage), 0 where all rows
        are equal, nan when no class has two rows.
    Raises:
        InputError: as :func:`conditional_gaussian_entropy`.

    >>> z = torch.tensor([[1.0], [-1.0], [5.0], [3.0]])  # variance 5 in all, 1 within
    >>> gaussian_label_information(z, [0, 0, 1, 1], shrinkage=0)  # log(5) / 2
    tensor(0.8047, dtype=torch.float64)
    """
    where = "gaussian_label_information"
    rows, labels, _ = of_shared_classes(where, embeddings, labels)
    within = _conditional(where, rows, labels, pooled, shrinkage)
    gain = torch.where(within == -torch.inf, torch.inf, _entropy(where, rows, shrinkage) - within)
    return torch.where((rows == rows[:1]).all() & bool(len(rows)), 0, gain)


def gaussian_information(x: Any, y: Any, *, shrinkage: float | None = None) -> Tensor:
    r"""Information between two sets of columns, as if they were normal together.

    .. math:: \hat I(X; Y) = \tfrac12 \log \frac{\det \hat \Sigma_x \det \hat \Sigma_y}{\det \hat \Sigma_{xy}}

    Columns are scaled to variance 1 first, so units change nothing; columns that do not vary are left out.  At least 0:
    both sides are blocks of one matrix.

    Direction: exact for jointly normal rows, a lower bound where each side is normal by itself, both for the true
        covariance; **for others neither bound**: it sees linear dependence alone.
    Bias: without shrinkage upwards by about :math:`d_x d_y / 2n`; shrinkage makes it smaller.
    Saturation: with shrinkage :math:`\rho` at about :math:`-\tfrac12 \log 2 \rho` a dimension: by Ledoit and Wolf's
        about :math:`\tfrac12 \log \tfrac n8` is found of a normal column and its copy, 2.8 nats of 2,000 rows.
        Without it some 15 nats a dimension, where float64 ends, or inf.
    Cost: as :func:`gaussian_entropy` with :math:`d = d_x + d_y`.

    Args:
        x: (n, d_x) floating point.
        y: (n, d_y) floating point.
        shrinkage: in [0, 1], of the joint covariance; None is Ledoit and Wolf's; 0 needs n > d_x + d_y.

    Returns:
        Scalar float64 in nats >= 0; nan for fewer than two rows, or where columns of one side depend linearly on each
        other and nothing is shrunk.  Where y is a linear map of x the truth is inf.
    Raises:
        InputError: wrong shapes, not finite, shrinkage outside [0, 1], or 0 with too few rows.

    >>> x = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    >>> y = torch.tensor([[3.0], [1.0], [-1.0], [-3.0]])  # correlation sqrt(0.8)
    >>> gaussian_information(x, y, shrinkage=0)  # -log(1 - 0.8) / 2
    tensor(0.8047, dtype=torch.float64)
    """
    where = "gaussian_information"
    sides = [_standardized(where, name, rows) for name, rows in (("x", x), ("y", y))]
    if len(sides[0]) != len(sides[1]):
        raise InputError(f"{where}: x and y must have as many rows, got {len(sides[0])} and {len(sides[1])}")
    both = torch.cat(sides, 1)
    if len(both) < 2:
        return both.new_tensor(torch.nan)
    joint = _covariance(where, both, shrinkage)
    split = sides[0].shape[1]
    parts = joint[:split, :split], joint[split:, split:], joint
    first, second, together = (_log_determinant(part) for part in parts)
    return ((first + second - together) / 2).clamp(min=0)


def _standardized(where: str, name: str, x: Any) -> Tensor:
    """Columns that vary, with mean 0 and variance 1."""
    rows = check_rows(where, name, x)
    check_finite(where, name, rows)
    rows = rows.double()
    rows = rows[:, (rows != rows[:1]).any(0)]
    rows = rows - rows.mean(0)
    return rows / rows.square().mean(0).sqrt()


def _entropy(where: str, rows: Tensor, shrinkage: float | None) -> Tensor:
    if len(rows) < 2:
        return rows.new_tensor(torch.nan)
    rows = torch.where((rows == rows[0]).all(), 0, rows - rows.mean(0))  # equal rows: no variance by rounding
    return (rows.shape[1] * (log(2 * pi) + 1) + _log_determinant(_covariance(where, rows, shrinkage))) / 2


def _conditional(where: str, rows: Tensor, labels: Tensor, pooled: bool, shrinkage: float | None) -> Tensor:
    """Of rows in classes of two and more."""
    counts = torch.unique(labels, return_counts=True)[1].tolist()
    classes = torch.split(rows[labels.argsort()], counts) if len(rows) else ()
    if not classes:
        return rows.new_tensor(torch.nan)
    if not pooled:
        return torch.stack([len(own) * _entropy(where, own, shrinkage) for own in classes]).sum() / len(rows)
    within = [torch.where((own == own[0]).all(), 0, own - own.mean(0)) for own in classes]
    return _entropy(where, torch.cat(within), shrinkage)


def _covariance(where: str, centered: Tensor, shrinkage: float | None) -> Tensor:
    """(d, d), shrunk, of rows (n, d) with mean 0."""
    n, width = centered.shape
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise InputError(f"{where}: shrinkage must lie in 0..1, got {shrinkage}")
    if shrinkage == 0 and n <= width:
        raise InputError(
            f"{where}: without shrinkage more rows than columns are needed, got {n} rows of {width} columns; "
            "give more rows, or shrinkage=None"
        )
    plain = centered.T @ centered / n
    amount = _ledoit_wolf(centered, plain) if shrinkage is None else shrinkage
    target = torch.eye(width, dtype=plain.dtype, device=plain.device) * plain.trace() / max(1, width)
    return (1 - amount) * plain + amount * target


def _ledoit_wolf(centered: Tensor, plain: Tensor) -> Tensor:
    """How far the plain covariance is expected off, over how far it is from the target; both squared."""
    squares = plain.square().sum()
    off = (centered.square().sum(1).square().mean() - squares) / len(centered)
    spread = squares - plain.trace().square() / max(1, len(plain))
    return torch.where(spread > 0, off / torch.where(spread > 0, spread, 1), 1).clamp(0, 1)


def _log_determinant(matrix: Tensor) -> Tensor:
    """-inf where it is singular, or by rounding negative."""
    sign, log_size = torch.linalg.slogdet(matrix)
    return torch.where(sign > 0, log_size, -torch.inf)
