"""Tightness and contrast of each objective over the steps, each in the units of its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mimetric.report.axis import Axis
from mimetric.report.plot import Curves, Plot, Probe, Trace, over_seeds

_HEIGHT = 62


@dataclass(frozen=True)
class Side:
    """One side on an axis of its own."""

    kind: str
    plot: Plot
    trace: Trace
    first: float
    last: float


@dataclass(frozen=True)
class Panel:
    """Both sides of one objective."""

    name: str
    sides: tuple[Side, ...]


def sides(results: Mapping[str, Any], names: Sequence[str]) -> list[Panel]:
    """Means over seeds on training batches, with bands; objectives without sides are left out."""
    found = {name: _sides(results["curves"][name]) for name in names}
    return [Panel(name, own) for name, own in found.items() if own]


def _sides(curves: Curves) -> tuple[Side, ...]:
    found = ((kind, over_seeds(curves, "step", kind)) for kind in ("tightness", "contrast"))
    return tuple(_side(kind, probes) for kind, probes in found if probes)


def _side(kind: str, probes: Sequence[Probe]) -> Side:
    y = Axis.around([end for _, value in probes for end in (value.low, value.high)], most=3)
    x = Axis.between([0, *(step.mean for step, _ in probes)])
    plot = Plot(x, y, "optimizer step" if kind == "contrast" else "", kind, height=_HEIGHT)
    return Side(kind, plot, plot.trace(probes), probes[0][1].mean, probes[-1][1].mean)
