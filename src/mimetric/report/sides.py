"""Tightness against contrast: the way of each objective through training, in the units of its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mimetric.report.axis import Axis
from mimetric.report.plot import Plot, Trace, over_seeds


@dataclass(frozen=True)
class Panel:
    """The way of one objective, on axes of its own; `first` and `last` are (tightness, contrast)."""

    name: str
    plot: Plot
    trace: Trace
    first: tuple[float, float]
    last: tuple[float, float]


def sides(results: Mapping[str, Any], names: Sequence[str]) -> list[Panel]:
    """Means over seeds on training batches, from the untrained encoder to the end; what has no sides is left out."""
    found = {name: over_seeds(results["curves"][name], "tightness", "contrast") for name in names}
    return [_panel(name, [(a.mean, b.mean) for a, b in probes]) for name, probes in found.items() if probes]


def _panel(name: str, way: Sequence[tuple[float, float]]) -> Panel:
    x, y = (Axis.around([point[side] for point in way], most=4) for side in (0, 1))
    plot = Plot(x, y, "tightness", "contrast", height=150)
    return Panel(name, plot, plot.way(way), way[0], way[-1])
