"""The temperature at which labels are most likely, for metrics and estimators."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

COLDEST, HOTTEST = 0.01, 100.0
_STEPS = 100  # more than halving the logarithm of the range down to rounding takes
_ROWS = 1 << 12  # held in float64 at once


def likeliest_temperature(logits: Tensor, labels: Tensor) -> float:
    r"""T in [0.01, 100] with the least mean :math:`-\log \operatorname{softmax}(f_i / T)_{y_i}`.

    Convex in 1 / T, and solved there to rounding by Newton steps between bounds.

    Args:
        logits: (n, C) floating point, finite.
        labels: (n,) int64 in 0..C-1.

    Returns:
        An end of the range where the best lies beyond, 1 where T makes no difference, nan over no row.
    """
    if not len(logits):
        return torch.nan
    low, sharpness, high = 1 / HOTTEST, 1.0, 1 / COLDEST
    slope, curvature = _likelihood_slope(logits, labels, sharpness)
    if slope == 0:
        return 1.0
    if _likelihood_slope(logits, labels, low)[0] >= 0:
        return HOTTEST
    if _likelihood_slope(logits, labels, high)[0] <= 0:
        return COLDEST
    for _ in range(_STEPS):
        low, high = (low, sharpness) if slope > 0 else (sharpness, high)
        step = sharpness - slope / curvature if curvature > 0 else low
        step = step if low < step < high else sqrt(low * high)
        if abs(step - sharpness) <= 1e-14 * sharpness:
            break
        sharpness = step
        slope, curvature = _likelihood_slope(logits, labels, sharpness)
    return 1 / sharpness


def _likelihood_slope(logits: Tensor, labels: Tensor, sharpness: float) -> tuple[float, float]:
    """First and second derivative of the mean NLL by 1 / T, some rows at a time."""
    total = torch.zeros(2, dtype=torch.float64, device=logits.device)
    for z, y in zip(torch.split(logits, _ROWS), torch.split(labels, _ROWS)):
        z = z.double()
        p = (z * sharpness).softmax(1)
        gap = z - z.gather(1, y[:, None])
        mean = torch.linalg.vecdot(p, gap)
        spread = torch.linalg.vecdot(p, (gap - mean[:, None]).square())
        total += torch.stack((mean.sum(), spread.sum()))
    slope, curvature = (total / len(logits)).tolist()
    return slope, curvature
