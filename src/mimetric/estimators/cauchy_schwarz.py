r"""Cauchy-Schwarz divergence and information from kernels between all pairs of rows, in nats.

.. math:: D_{CS}(p; q) = -2 \log \frac{\int p q}{\sqrt{\int p^2 \int q^2}}

Closed forms for kernel density estimates.  Kernels, class ids, memory and gradients: as in
:mod:`mimetric.estimators.kernel`.
"""

from __future__ import annotations

from math import log
from typing import Any, get_args

import torch
from torch import Tensor

from ..core import kernels
from ..core.checks import check_choice, check_match
from ..core.kernels import blocks_of, log_gaussian
from .kernel import chosen_bandwidth, double_rows, kernels_of


def cs_divergence(x: Any, y: Any, *, bandwidth: float | None = None) -> Tensor:
    r"""Cauchy-Schwarz divergence of the distributions of two sets of rows.

    .. math:: D_{CS}(p; q) = -2 \log \frac{\int p q}{\sqrt{\int p^2 \int q^2}}, \qquad
              \hat D = \log \bar K_{xx} + \log \bar K_{yy} - 2 \log \bar K_{xy}

    Never negative, 0 where the sets are the same, symmetric.

    Direction: none, **not KL and no bound on it**, though equal to it for two normals of one covariance.
    Bias: exact for the kernel density estimates of width :math:`s / \sqrt 2`, whose noise makes it too small; upwards
        on few rows, whose own pairs count.
    Saturation: none, sets far apart give any value.
    Cost: O((n + m)^2 d); n = m = 2,000 rows of width 64: 0.1 s on one core, and as much for the bandwidth.

    Args:
        x: (n, d) floating point.
        y: (m, d) floating point.
        bandwidth: s > 0; None is :func:`median_bandwidth` of both sets together.

    Returns:
        Scalar float64 >= 0; nan where a set is empty.
    Raises:
        InputError: wrong shapes, not finite, or bandwidth <= 0.

    Reference: Principe, Information Theoretic Learning, 2010; Yu et al., ICLR 2024, arXiv:2404.17951.

    >>> cs_divergence(torch.tensor([[0.0]]), torch.tensor([[2.0]]), bandwidth=1.0)  # 2^2 / s^2
    tensor(4., dtype=torch.float64)
    """
    where = "cs_divergence"
    x, y = double_rows(where, "x", x), double_rows(where, "y", y)
    check_match(where, "y", y, (len(y), x.shape[1]), "x", x)
    both = torch.cat((x, y))
    if not len(x) or not len(y):
        return both.new_full((), torch.nan)
    width = chosen_bandwidth(where, bandwidth, both)
    x, y = x - both.detach().mean(0), y - both.detach().mean(0)
    xx, yy, xy = (_log_mean_kernel(a, b, width) for a, b in ((x, x), (y, y), (x, y)))
    return xx + yy - 2 * xy


def cs_information(
    x: Any,
    y: Any,
    *,
    normalized: bool = False,
    bandwidth: float | None = None,
    y_bandwidth: float | None = None,
) -> Tensor:
    r"""Cauchy-Schwarz quadratic mutual information: the divergence of the joint from the product of the marginals.

    .. math:: \log \frac{\operatorname{tr} K Q}{n^2} + \log \frac{1^T K 1 \; 1^T Q 1}{n^4}
              - 2 \log \frac{1^T K Q 1}{n^3}

    Never negative, 0 where x or y is constant.

    Direction: none, **no estimate of Shannon's I, and no bound on it**.
    Bias: upwards on few rows, of independent x and y too.
    Saturation: at log n where both kernels see each row alone, as narrow ones do whatever the data are.
    Cost: O(n^2 d); 2,000 rows of width 64: 0.1 s on one core, three times that normalized, and 0.1 s for each
        bandwidth.

    Args:
        x: (n, d) floating point rows, or (n,) integer class ids.
        y: the same of the second variable.
        normalized: over :math:`\sqrt{I(x; x) I(y; y)}`, which is 1 for y = x; 0 where x or y is constant.
        bandwidth: > 0, of the kernel on x; None is :func:`median_bandwidth`.
        y_bandwidth: the same on y.

    Returns:
        Scalar float64 >= 0; nan without rows.
    Raises:
        InputError: wrong shapes or types, not finite, or bandwidth <= 0.

    Reference: Yu et al., ICLR 2024, arXiv:2404.17951 (their code: base 2, bandwidths 1).

    >>> cs_information(torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [1.0], [2.0]]), bandwidth=1.0)
    tensor(0.2874, dtype=torch.float64)
    """
    return kernels.cs_information(
        *kernels_of("cs_information", x, y, bandwidth, y_bandwidth), normalized=normalized
    )


def conditional_cs_divergence(
    x: Any,
    y: Any,
    prediction: Any,
    *,
    weights: kernels.Weights = "row",
    bandwidth: float | None = None,
    y_bandwidth: float | None = None,
) -> Tensor:
    r"""Cauchy-Schwarz divergence of the conditional distributions of y and of its prediction, given x.

    .. math:: \log \sum_{ji} W_{ji} L(y_j, y_i) + \log \sum_{ji} W_{ji} L(\hat y_j, \hat y_i)
              - 2 \log \sum_{ji} W_{ji} L(\hat y_j, y_i)

    with :math:`W_{ji} = K_{ji} / D_j` and :math:`D_j = \sum_i K_{ji}^2` for the kernel K on x.  0 where the prediction
    is y.  These weights, the paper's, are not symmetric: the value **can be slightly negative**, and its gradient at
    prediction = y is not 0.  With ``weights="symmetric"`` (ours) :math:`W_{ji} = K_{ji} / \sqrt{D_j D_i}`: never
    negative, and least there.

    Direction: none, no bound on a KL divergence.
    Bias: of kernel density estimates: what is finer than the bandwidths is smoothed away.
    Saturation: none; but in many dimensions with a narrow kernel on x each row is compared with itself alone.
    Cost: O(n^2 (d + e)); 2,000 rows of width 64: 0.2 s on one core, and 0.1 s for each bandwidth.

    Args:
        x: (n, d) floating point, what is conditioned on.
        y: (n, e) floating point.
        prediction: (n, e) floating point.
        weights: as above.
        bandwidth: > 0, of the kernel on x; None is :func:`median_bandwidth`.
        y_bandwidth: the same on y and its prediction; None is that of y.

    Returns:
        Scalar float64; nan without rows.
    Raises:
        InputError: wrong shapes, not finite, bandwidth <= 0, or an unknown kind of weights.

    Reference: Yu et al., ICLR 2024, arXiv:2404.17951, proposition 1.

    >>> x, y = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [1.0], [2.0]])
    >>> conditional_cs_divergence(x, y, torch.tensor([[0.5], [1.0], [1.5]]), bandwidth=1.0, y_bandwidth=1.0)
    tensor(0.1216, dtype=torch.float64)
    """
    where = "conditional_cs_divergence"
    check_choice(where, "weights", weights, get_args(kernels.Weights))
    x, y, prediction = (
        double_rows(where, "x", x),
        double_rows(where, "y", y),
        double_rows(where, "prediction", prediction),
    )
    check_match(where, "y", y, (len(x), y.shape[1]), "x", x)
    check_match(where, "prediction", prediction, tuple(y.shape), "y", y)
    return kernels.conditional_cs_divergence(
        x, y, prediction, weights=weights, bandwidth=chosen_bandwidth(where, bandwidth, x),
        y_bandwidth=chosen_bandwidth(where, y_bandwidth, y),
    )  # fmt: skip


def _log_mean_kernel(rows: Tensor, others: Tensor, width: Tensor) -> Tensor:
    """In logs throughout: sets far apart have a finite divergence."""
    blocks = blocks_of(len(rows), len(others))
    found = [log_gaussian(rows[at], others, width).logsumexp((0, 1)) for at in blocks]
    return torch.stack(found).logsumexp(0) - log(len(rows) * len(others))
