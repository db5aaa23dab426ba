"""Regression by what a batch tells of distributions: of the target given the input, and of the input in the code.

Together they are an information bottleneck, as ``conditional_cs_divergence_loss(prediction, y, x) + 0.01 *
cs_information_loss(code, x)``.  They are not in the catalog of `compare`: they need targets that are numbers.  Means
over all pairs of rows, n x n numbers, so take batches of some thousands at the most.  Computed in float64: with float32
too few digits are left of the differences of sums, and a code trains worse.
"""

from __future__ import annotations

from typing import Any, cast, get_args

import torch
from torch import Tensor

from ..core import kernels
from ..core.checks import check_choice, check_match, check_positive, check_rows
from ..core.objective import Bound
from ..core.similarity import full_precision


def conditional_cs_divergence_loss(
    predictions: Any,
    targets: Any,
    inputs: Any,
    *,
    weights: kernels.Weights = "row",
    bandwidth: float = 1.0,
    target_bandwidth: float = 1.0,
) -> Tensor:
    r"""Conditional Cauchy-Schwarz divergence: predictions distributed as the targets are, given the inputs.

    .. math:: \log \sum_{ji} W_{ji} L(y_j, y_i) + \log \sum_{ji} W_{ji} L(\hat y_j, \hat y_i)
              - 2 \log \sum_{ji} W_{ji} L(\hat y_j, y_i)

    with :math:`W_{ji} = K_{ji} / D_j`, :math:`D_j = \sum_i K_{ji}^2`, and Gaussian kernels K on inputs, L on targets
    and predictions.  0 where predictions are the targets.  These weights, the paper's, are not symmetric: the value can
    be slightly negative, and there is a small gradient at a perfect prediction.  With ``weights="symmetric"`` (ours)
    :math:`W_{ji} = K_{ji} / \sqrt{D_j D_i}`: never negative, and least there.

    Bandwidths are in units of the data: standardize inputs and targets.  With many inputs and the default each row is
    compared with itself alone; the root of their number is a good start.

    Args:
        predictions: :math:`\hat y`, (n, e) floating point.
        targets: y, (n, e) floating point.
        inputs: x, (n, d) floating point.
        weights: W, as above.
        bandwidth: > 0, of the kernel on inputs.
        target_bandwidth: > 0, of that on targets and predictions.

    Returns:
        Scalar, in nats; 0 without rows.
    Raises:
        InputError: shapes disagree, no floating point, or an option out of range.

    Reference: Yu et al., ICLR 2024, arXiv:2404.17951, proposition 1.  Their code has base 2.  As a measure:
    :func:`mimetric.estimators.conditional_cs_divergence`.

    >>> x, y = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [1.0], [2.0]])
    >>> conditional_cs_divergence_loss(torch.tensor([[0.5], [1.0], [1.5]]), y, x)
    tensor(0.1216)
    """
    where = "conditional_cs_divergence_loss"
    _check_conditional(where, weights, bandwidth, target_bandwidth)
    found = full_precision(check_rows(where, "predictions", predictions))
    aims, given = _beside(where, found, "predictions", targets=targets, inputs=inputs)
    check_match(where, "targets", aims, tuple(found.shape), "predictions", found)
    if not len(found):
        return cast(Tensor, found.sum())
    value = kernels.conditional_cs_divergence(
        given, aims, found.double(), bandwidth=bandwidth, y_bandwidth=target_bandwidth, weights=weights
    )
    return value.to(found.dtype)


class ConditionalCSDivergenceLoss(Bound):
    """Module form of :func:`conditional_cs_divergence_loss`."""

    function = staticmethod(conditional_cs_divergence_loss)

    def __init__(
        self,
        *,
        weights: kernels.Weights = "row",
        bandwidth: float = 1.0,
        target_bandwidth: float = 1.0,
    ) -> None:
        _check_conditional("ConditionalCSDivergenceLoss", weights, bandwidth, target_bandwidth)
        super().__init__(weights=weights, bandwidth=bandwidth, target_bandwidth=target_bandwidth)

    def forward(self, predictions: Any, targets: Any, inputs: Any) -> Tensor:
        return cast(Tensor, self.function(predictions, targets, inputs, **self.options))


def cs_information_loss(
    codes: Any,
    inputs: Any,
    *,
    normalized: bool = True,
    bandwidth: float = 1.0,
    code_bandwidth: float = 1.0,
) -> Tensor:
    r"""Cauchy-Schwarz information between inputs and their codes: the compression of an information bottleneck.

    .. math:: I(x; t) = \log \frac{\operatorname{tr} K Q}{n^2} + \log \frac{1^T K 1 \; 1^T Q 1}{n^4}
              - 2 \log \frac{1^T K Q 1}{n^3}, \qquad \frac{I(x; t)}{\sqrt{I(x; x) \, I(t; t)}}

    with Gaussian kernels K on inputs and Q on codes, the second where normalized.  0 where all codes are one, with a
    zero gradient where normalized.  Alone it makes them so: add it to a loss of predictions, with a small factor.

    Args:
        codes: t, (n, k) floating point.
        inputs: x, (n, d) floating point.
        normalized: as above, as the authors' code has it: no scale of the kernels is gained by.
        bandwidth: > 0, of the kernel on inputs, in their units; the root of d is a good start.
        code_bandwidth: > 0, of that on codes.

    Returns:
        Scalar >= 0, in nats, or where normalized in 0..1; 0 without rows.
    Raises:
        InputError: shapes disagree, no floating point, or a bandwidth is not > 0.

    Reference: Yu et al., ICLR 2024, arXiv:2404.17951, proposition 2, whose weight is 1e-4 to 1.  As a measure:
    :func:`mimetric.estimators.cs_information`.

    >>> x = torch.tensor([[0.0], [1.0], [3.0]])
    >>> cs_information_loss(torch.tensor([[0.0], [1.0], [2.0]]), x)
    tensor(0.9603)
    """
    where = "cs_information_loss"
    check_positive(where, bandwidth=bandwidth, code_bandwidth=code_bandwidth)
    found = full_precision(check_rows(where, "codes", codes))
    [given] = _beside(where, found, "codes", inputs=inputs)
    if not len(found):
        return cast(Tensor, found.sum())
    of_inputs, of_codes = kernels.gaussian(given, bandwidth), kernels.gaussian(found.double(), code_bandwidth)
    return kernels.cs_information(of_inputs, of_codes, normalized=normalized).to(found.dtype)


class CSInformationLoss(Bound):
    """Module form of :func:`cs_information_loss`."""

    function = staticmethod(cs_information_loss)

    def __init__(
        self, *, normalized: bool = True, bandwidth: float = 1.0, code_bandwidth: float = 1.0
    ) -> None:
        check_positive("CSInformationLoss", bandwidth=bandwidth, code_bandwidth=code_bandwidth)
        super().__init__(normalized=normalized, bandwidth=bandwidth, code_bandwidth=code_bandwidth)

    def forward(self, codes: Any, inputs: Any) -> Tensor:
        return cast(Tensor, self.function(codes, inputs, **self.options))


def _beside(where: str, rows: Tensor, name: str, **others: Any) -> list[Tensor]:
    """Other rows (n, ...) of the same things, in float64."""
    found = []
    for other, given in others.items():
        beside = check_rows(where, other, given)
        check_match(where, other, beside, (len(rows), beside.shape[1]), name, rows)
        found.append(beside.to(rows.device, torch.float64))
    return found


def _check_conditional(where: str, weights: str, bandwidth: float, target_bandwidth: float) -> None:
    check_choice(where, "weights", weights, get_args(kernels.Weights))
    check_positive(where, bandwidth=bandwidth, target_bandwidth=target_bandwidth)
