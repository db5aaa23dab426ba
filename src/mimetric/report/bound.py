"""How far cross-entropy lies above its pairwise forms while a linear classifier is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mimetric.report.axis import Axis
from mimetric.report.plot import Plot, Trace, over_seeds

LINES = {  # as in results.json -> as drawn
    "cross_entropy": "cross-entropy",
    "pairwise_cross_entropy": "pairwise",
    "simplified_pairwise_cross_entropy": "simplified pairwise",
}


@dataclass(frozen=True)
class Line:
    """One of them; `kind` is its name in results.json."""

    kind: str
    trace: Trace
    last: float


@dataclass(frozen=True)
class Panel:
    """Those of one objective; `gap` is cross-entropy less its pairwise form at the end."""

    name: str
    plot: Plot
    lines: tuple[Line, ...]
    gap: float


def bounds(results: Mapping[str, Any], names: Sequence[str]) -> list[Panel]:
    """Means over seeds with bands, in nats; of objectives with a linear classifier."""
    found = {name: over_seeds(results["curves"][name], "step", *LINES) for name in names}
    panels = []
    for name, probes in found.items():
        if not probes:
            continue
        every = [value for _, *own in probes for one in own for value in (one.low, one.high)]
        steps = [step.mean for step, *_ in probes]
        plot = Plot(Axis.between([0, *steps]), Axis.around([0, *every], most=4), "optimizer step", "nats")
        lines = tuple(
            Line(kind, plot.trace([(step, own[place]) for step, *own in probes]), probes[-1][1 + place].mean)
            for place, kind in enumerate(LINES)
        )
        panels.append(Panel(name, plot, lines, lines[0].last - lines[1].last))
    return panels
