"""H(Z) against H(Z|Y): where an objective moves the embedding, from the untrained encoder to the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mimetric.report.axis import Axis
from mimetric.report.plot import Plot, Point, Trace, over_seeds


@dataclass(frozen=True)
class Diagonal:
    """All places where H(Z) - H(Z|Y) is `difference`."""

    difference: str
    start: Point
    end: Point


@dataclass(frozen=True)
class Panel:
    """The way of one objective."""

    name: str
    trace: Trace
    first: float
    last: float


@dataclass(frozen=True)
class Chart:
    """One panel per objective on common axes; first and last are H(Z) - H(Z|Y)."""

    plot: Plot
    diagonals: tuple[Diagonal, ...]
    panels: tuple[Panel, ...]


def entropies(results: Mapping[str, Any], names: Sequence[str]) -> Chart | None:
    """H(Z) against H(Z|Y) on validation rows, means over seeds; None where nothing was measured."""
    keys = ("validation_conditional_entropy", "validation_entropy")
    found = {name: over_seeds(results["curves"][name], *keys) for name in names}
    ways = {name: probes for name, probes in found.items() if probes}
    if not ways:
        return None
    points = [(within.mean, whole.mean) for way in ways.values() for within, whole in way]
    plot = Plot(
        x=Axis.around([x for x, _ in points], most=4),
        y=Axis.around([y for _, y in points], most=4),
        x_title="H(Z|Y), nats",
        y_title="H(Z), nats",
        height=180,
    )
    panels = tuple(
        Panel(name, plot.trace(way), *(way[end][1].mean - way[end][0].mean for end in (0, -1)))
        for name, way in ways.items()
    )
    return Chart(plot, _diagonals(plot, [y - x for x, y in points]), panels)


def _diagonals(plot: Plot, differences: Sequence[float]) -> tuple[Diagonal, ...]:
    """Lines of equal difference at round numbers, cut to the plotting area."""
    levels = Axis.around(differences, most=4)
    found = []
    for level in levels.ticks:
        start = max(plot.x.low, plot.y.low - level)
        end = min(plot.x.high, plot.y.high - level)
        if start < end:
            ends = plot.at(start, start + level), plot.at(end, end + level)
            found.append(Diagonal("+" * (level > 0) + levels.label(level), *ends))
    return tuple(found)
