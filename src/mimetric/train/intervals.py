"""Means over seeds with their intervals, and which differences they leave open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Mean and 95% t interval of a metric over seeds: ``{mean, low, high, values}``.

    One value has no interval: low and high are None.

    >>> round(summary([0.5, 0.6, 0.7])["low"], 4)  # 0.6 - 4.3027 * 0.1 / sqrt(3)
    0.3516
    """
    mean = float(np.mean(values))
    low = high = None
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
        low, high = mean - half, mean + half
    return {"mean": mean, "low": low, "high": high, "values": [float(value) for value in values]}


def standings(values: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Any]]:
    """How each objective stands to the one of the highest mean, over the same seeds.

    Returns, for each name, ``standing``: "best"; "not distinguishable" where the 95% t interval of the
    paired differences from the best includes 0; "below"; or None with one seed, where nothing can be
    said.  And ``behind_best``: the :func:`summary` of those differences (best minus this one).
    """
    best = max(values, key=lambda name: float(np.mean(values[name])))
    found = {}
    for name, own in values.items():
        behind = summary(np.subtract(values[best], own).tolist())
        standing: str | None = "best"
        if name != best:
            low = behind["low"]
            standing = None if low is None else "below" if low > 0 else "not distinguishable"
        found[name] = {"standing": standing, "behind_best": behind}
    return found
