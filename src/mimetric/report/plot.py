"""Numbers of results.json as the coordinates of small drawings; the template draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

from mimetric.report.axis import Axis

Curves = Sequence[Mapping[str, Any]]  # of one objective, one for each seed


class Spread(NamedTuple):
    """One number over seeds."""

    mean: float
    low: float
    high: float


Probe = tuple[Spread, ...]  # what was measured at one step, a number for each key asked for


class Point(NamedTuple):
    """A place in a drawing, in its own units, from the upper left corner of the plotting area."""

    x: float
    y: float


@dataclass(frozen=True)
class Trace:
    """A line through points and the band around it, as the point lists of SVG."""

    line: str
    band: str
    points: tuple[Point, ...]

    @property
    def end(self) -> Point:
        """Where the line ends."""
        return self.points[-1]


@dataclass(frozen=True)
class Plot:
    """A plotting area: two axes with their titles, drawn `width` by `height`."""

    x: Axis
    y: Axis
    x_title: str = ""
    y_title: str = ""
    width: int = 240
    height: int = 130

    def at(self, x: float, y: float) -> Point:
        """Where the values x and y lie."""
        return Point(round(self.width * self.x.share(x), 1), round(self.height * (1 - self.y.share(y)), 1))

    def trace(self, probes: Sequence[Probe]) -> Trace:
        """The line of means of probes (x, y), and the band from the lowest to the highest y."""
        points = [self.at(x.mean, y.mean) for x, y in probes]
        upper = [self.at(x.mean, y.high) for x, y in probes]
        lower = [self.at(x.mean, y.low) for x, y in reversed(probes)]
        return Trace(listed(points), listed(upper + lower), tuple(points))

    def way(self, places: Sequence[tuple[float, float]]) -> Trace:
        """The line through places (x, y), without a band."""
        return self.trace([(Spread(x, x, x), Spread(y, y, y)) for x, y in places])


def over_seeds(curves: Curves, *keys: str) -> list[Probe]:
    """One tuple for each probe at which every seed has a number under every key.

    >>> over_seeds([{"step": [0, 5], "loss": [None, 2.0]}, {"step": [0, 5], "loss": [None, 4.0]}], "step", "loss")
    [(Spread(mean=5.0, low=5, high=5), Spread(mean=3.0, low=2.0, high=4.0))]
    """
    if any(key not in curve for curve in curves for key in keys):  # results of an older version
        return []
    rows = zip(*(zip(*(curve[key] for curve in curves)) for key in keys))
    return [tuple(map(_spread, row)) for row in rows if not any(None in values for values in row)]


def _spread(values: Sequence[float]) -> Spread:
    return Spread(fmean(values), min(values), max(values))


def listed(points: Sequence[Point]) -> str:
    """As the point list of SVG."""
    return " ".join(f"{point.x},{point.y}" for point in points)
