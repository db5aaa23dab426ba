"""Learning curves and interval bars as the coordinates of small drawings; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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

    Measured on validation items; where nothing could be, on test items, at the start and the end.
    """
    validated = results["curves"][names[0]][0]["validation_recall_at_1"][-1] is not None
    part = "validation" if validated else "test"
    curves = {name: [_measured(seed, part) for seed in results["curves"][name]] for name in names}
    steps = max(curve[-1].step for seeds in curves.values() for curve in seeds)
    axis = Axis.over(max(point.recall for seeds in curves.values() for curve in seeds for point in curve))
    panels = tuple(_panel(name, seeds, steps, axis) for name, seeds in curves.items())
    return Chart(part, steps, axis, panels)


class _Point(NamedTuple):
    step: int
    recall: float


def _measured(curve: Mapping[str, Any], part: str) -> list[_Point]:
    pairs = zip(curve["step"], curve[f"{part}_recall_at_1"])
    return [_Point(step, recall) for step, recall in pairs if recall is not None]


def _panel(name: str, seeds: Sequence[Sequence[_Point]], last: int, axis: Axis) -> Panel:
    steps = [point.step for point in seeds[0]]
    columns = list(zip(*([point.recall for point in curve] for curve in seeds)))
    means = [sum(values) / len(values) for values in columns]
    low = [min(values) for values in columns]
    high = [max(values) for values in columns]

    def points(xs: Sequence[int], ys: Sequence[float]) -> str:
        return " ".join(f"{WIDTH * x / last:.1f},{HEIGHT * (1 - axis.share(y)):.1f}" for x, y in zip(xs, ys))

    band = points([*steps, *reversed(steps)], [*high, *reversed(low)])
    return Panel(name, points(steps, means), band, means[0], means[-1])
