"""Calibrators with temperatures: probabilities softmax(logits / T).

One temperature for all rows is fitted by :func:`fit_temperature`.  One for each row comes from a network
that reads what tells right rows from wrong ones, such as :class:`~mimetric.losses.AdaptiveTemperature`, trained by
:func:`~mimetric.losses.correctness_aware_loss` of :func:`apply_temperature`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.checks import check_finite, check_rows
from ..core.classes import UNLABELLED
from ..core.errors import InputError
from ..core.temperature import likeliest_temperature
from .classification import check_logits


def apply_temperature(logits: Any, temperature: float | Tensor) -> Tensor:
    """Probabilities softmax(logits / T): flatter for T > 1, the same prediction for any T.

    Args:
        logits: (n, C) floating point, finite.
        temperature: T > 0, a number for all rows or (n,) for each; a gradient goes to it and to the logits.

    Returns:
        (n, C) float64, in which small probabilities are not yet 0.
    Raises:
        InputError: logits are not (n, C) and finite, or a temperature of another shape.

    >>> apply_temperature(torch.tensor([[0.0, 2.0]]), 2.0)
    tensor([[0.2689, 0.7311]], dtype=torch.float64)
    """
    where = "apply_temperature"
    given = check_rows(where, "logits", logits)
    check_finite(where, "logits", given)
    each = torch.as_tensor(temperature, dtype=torch.float64, device=given.device)
    if each.ndim and each.shape != given.shape[:1]:
        raise InputError(
            f"{where}: temperature must be a number or have shape ({len(given)},) to match logits "
            f"{tuple(given.shape)}, got {tuple(each.shape)}"
        )
    return (given.double() / each.reshape(-1, 1)).softmax(1)


def fit_temperature(logits: Any, labels: Any) -> float:
    r"""The one temperature at which the labels are most likely: temperature scaling.

    .. math:: \hat T = \arg\min_T \; -\frac1n \sum_i \log \operatorname{softmax}(f_i / T)_{y_i}

    Convex in 1 / T, and solved there to rounding by Newton steps between bounds.  Take rows that the
    classifier was not fitted to.

    Args:
        logits: (n, C) floating point, finite.
        labels: (n,) integers in 0..C-1; rows with -1, unlabelled, are left out.

    Returns:
        T in [0.01, 100]: at the lower end where all rows are right, at the upper end where guessing is no worse.
        1 where T makes no difference, nan over no row.
    Raises:
        InputError: shapes disagree, labels are not integers below C, or logits are not finite.

    Reference: Guo et al., ICML 2017, arXiv:1706.04599.

    >>> logits = torch.tensor([[0.0, 4.0]]).repeat(4, 1)  # three of four are right: log 3 = 4 / T
    >>> round(fit_temperature(logits, [1, 1, 1, 0]), 4)
    3.641
    """
    logits, labels = check_logits("fit_temperature", "logits", logits, labels)
    known = labels != UNLABELLED
    return likeliest_temperature(logits[known], labels[known])
