"""Learning curves: Recall@1 against the optimizer step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mimetric.report.axis import Axis
from mimetric.report.plot import Plot, Trace, over_seeds


@dataclass(frozen=True)
class Panel:
    """The learning curve of one objective."""

    name: str
    trace: Trace
    first: float
    last: float


@dataclass(frozen=True)
class Chart:
    """One panel per objective, best first, on common axes."""

    measured_on: str
    plot: Plot
    panels: tuple[Panel, ...]


def learning_curves(results: Mapping[str, Any], names: Sequence[str]) -> Chart:
    """Recall@1 against the step: the mean over seeds, and a band from the lowest seed to the highest.

    Measured on validation items; where nothing could be, on test items, at the start and the end.
    """
    curves = results["curves"]
    validated = curves[names[0]][0]["validation_recall_at_1"][-1] is not None
    part = "validation" if validated else "test"
    probes = {name: over_seeds(curves[name], "step", f"{part}_recall_at_1") for name in names}
    steps = [step.mean for found in probes.values() for step, _ in found]
    recalls = [recall.high for found in probes.values() for _, recall in found]
    plot = Plot(
        x=Axis.between([0, *steps]),
        y=Axis.around([0, 0.01, *recalls], unit="%"),
        x_title="optimizer step",
        y_title="recall@1",
    )
    panels = tuple(
        Panel(name, plot.trace(found), found[0][1].mean, found[-1][1].mean) for name, found in probes.items()
    )
    return Chart(part, plot, panels)
