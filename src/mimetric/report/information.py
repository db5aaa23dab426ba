"""The information plane: both views of I(Z;Y) against the epoch and against Recall@1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mimetric.report.axis import Axis
from mimetric.report.plot import Curves, Plot, Point, Probe, Trace, over_seeds

VIEWS = ("discriminative", "generative")
_WIDTH, _HEIGHT = 150, 120


@dataclass(frozen=True)
class View:
    """One view of one objective."""

    kind: str
    by_epoch: Trace
    by_recall: Trace
    last: float


@dataclass(frozen=True)
class Panel:
    """One objective, with the views that could be measured."""

    name: str
    views: tuple[View, ...]


@dataclass(frozen=True)
class Plane:
    """One panel per objective on common axes; `ceiling` is where H(Y) lies, `ends` where all of them end."""

    by_epoch: Plot
    by_recall: Plot
    label_entropy: float
    ceiling: Point
    panels: tuple[Panel, ...]
    ends: tuple[tuple[str, Point], ...]


def information_plane(results: Mapping[str, Any], names: Sequence[str]) -> Plane | None:
    """What was measured on validation rows while training: means over seeds; None where nothing was."""
    measured = (results.get("information") or {}).get("validation")
    found = {name: _probes(results["curves"][name]) for name in names}
    found = {name: views for name, views in found.items() if views}
    if not measured or not found:
        return None
    probes = [probe for views in found.values() for own in views.values() for probe in own]
    ceiling = measured["label_entropy"]
    nats = Axis.around([0, ceiling, *(end for _, _, value in probes for end in (value.low, value.high))])
    by_epoch = Plot(Axis.between([0, *(epoch.mean for epoch, _, _ in probes)], most=4), nats, "epoch",
                    "I(Z;Y), nats", _WIDTH, _HEIGHT)  # fmt: skip
    recall = Axis.around([0, 0.01, *(recall.mean for _, recall, _ in probes)], unit="%", most=4)
    by_recall = Plot(recall, nats, "recall@1", "", _WIDTH, _HEIGHT)
    panels = tuple(
        Panel(name, tuple(_view(kind, own, by_epoch, by_recall) for kind, own in views.items()))
        for name, views in found.items()
    )
    ends = tuple((panel.name, view.by_recall.end) for panel in panels for view in panel.views)
    return Plane(by_epoch, by_recall, ceiling, by_epoch.at(0, ceiling), panels, ends)


def _probes(curves: Curves) -> dict[str, list[Probe]]:
    """Epoch, recall and information of each view, without the views of which nothing was measured."""
    along = ("epoch", "validation_recall_at_1")
    found = {kind: over_seeds(curves, *along, f"validation_information_{kind}") for kind in VIEWS}
    return {kind: probes for kind, probes in found.items() if probes}


def _view(kind: str, probes: Sequence[Probe], by_epoch: Plot, by_recall: Plot) -> View:
    return View(
        kind,
        by_epoch.trace([(epoch, value) for epoch, _, value in probes]),
        by_recall.trace([(recall, value) for _, recall, value in probes]),
        probes[-1][2].mean,
    )
