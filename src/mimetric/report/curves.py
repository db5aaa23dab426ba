"""Learning curves and interval bars as the coordinates of small drawings; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 240, 130  # of a plotting area, in its own units


@dataclass(frozen=True)
class Axis:
    """From 0 to `top`, with labelled ticks that are round numbers.

    >>> Axis.over(0.66).ticks
    (0.0, 0.2, 0.4, 0.6, 0.8)
    """

    top: float
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, most: float) -> Axis:
        """The axis of a fraction whose largest value is `most`: three to six ticks."""
        step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if most <= 4 * step or step == 0.2)
        count = max(1, min(math.ceil(most / step - 1e-9), round(1 / step)))
        return cls(count * step, tuple(round(tick * step, 2) for tick in range(count + 1)))

    def share(self, value: float) -> float:
        """Where a value lies along the axis, in [0, 1]."""
        return min(max(value / self.top, 0.0), 1.0)


@dataclass(frozen=True)
class Panel:
    """The learning curve of one objective, as the point lists of SVG."""

    name: str
    line: str
    band: str
    first: float
    last: float


@dataclass(frozen=True)
class Chart:
    """One panel per objective, best first, on common axes."""

    measured_on: str
    steps: int
    axis: Axis
    panels: tuple[Panel, ...]


def learning_curves(results: Mapping[str, Any], names: Sequence[str]) -> Chart:
    """Recall@1 against the step: the mean over seeds, and a band from the lowest seed to the highest.

    Measured on validation items, or on test items where there are no others.
    """
    part = "validation" if results["data"]["validation"]["items"] else "test"
    key = f"{part}_recall_at_1"
    curves = {name: results["curves"][name] for name in names}
    steps = max(curve["step"][-1] for seeds in curves.values() for curve in seeds)
    axis = Axis.over(max(max(curve[key]) for seeds in curves.values() for curve in seeds))
    panels = tuple(_panel(name, seeds, key, steps, axis) for name, seeds in curves.items())
    return Chart(part, steps, axis, panels)


def _panel(name: str, seeds: Sequence[Mapping[str, Any]], key: str, last: int, axis: Axis) -> Panel:
    steps = seeds[0]["step"]
    columns = list(zip(*(curve[key] for curve in seeds)))
    means = [sum(values) / len(values) for values in columns]
    low = [min(values) for values in columns]
    high = [max(values) for values in columns]

    def points(xs: Sequence[int], ys: Sequence[float]) -> str:
        return " ".join(f"{WIDTH * x / last:.1f},{HEIGHT * (1 - axis.share(y)):.1f}" for x, y in zip(xs, ys))

    band = points([*steps, *reversed(steps)], [*high, *reversed(low)])
    return Panel(name, points(steps, means), band, means[0], means[-1])
