"""The information plane: both views of I(Z;Y) against the epoch, and one against the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mimetric.report.axis import Axis
from mimetric.report.plot import Curves, Plot, Point, Probe, Spread, Trace, over_seeds

VIEWS = ("discriminative", "generative")
_KERNEL = ("kernel_lower", "kernel_upper")
_SIDE = 130


@dataclass(frozen=True)
class View:
    """One view of one objective, against the epoch."""

    kind: str
    by_epoch: Trace
    last: float


@dataclass(frozen=True)
class Panel:
    """One objective, with the views that could be measured; `way` is generative against discriminative."""

    name: str
    views: tuple[View, ...]
    kernel: str | None
    way: Trace | None


@dataclass(frozen=True)
class Plane:
    """One panel per objective on common axes; `ceiling` is where H(Y) lies on both of them."""

    by_epoch: Plot
    views: Plot
    label_entropy: float
    ceiling: Point
    panels: tuple[Panel, ...]


def information_plane(results: Mapping[str, Any], names: Sequence[str]) -> Plane | None:
    """What was measured on validation rows while training: means over seeds; None where nothing was."""
    measured = (results.get("information") or {}).get("validation")
    found = {name: _probes(results["curves"][name]) for name in names}
    found = {name: views for name, views in found.items() if views}
    if not measured or not found:
        return None
    probes = [probe for views in found.values() for own in views.values() for probe in own]
    ceiling = measured["label_entropy"]
    nats = Axis.around([0, ceiling, *(end for _, value in probes for end in (value.low, value.high))], most=4)
    by_epoch = Plot(Axis.between([0, *(epoch.mean for epoch, _ in probes)], most=4), nats, "epoch",
                    "I(Z;Y), nats", 170, _SIDE)  # fmt: skip
    views = Plot(nats, nats, "discriminative", "generative", _SIDE, _SIDE)
    panels = tuple(_panel(name, own, results["curves"][name], by_epoch, views) for name, own in found.items())
    return Plane(by_epoch, views, ceiling, views.at(ceiling, ceiling), panels)


def _probes(curves: Curves) -> dict[str, list[Probe]]:
    """Epoch and information of each view, without the views of which nothing was measured."""
    found = {kind: over_seeds(curves, "epoch", f"validation_information_{kind}") for kind in VIEWS}
    return {kind: probes for kind, probes in found.items() if probes}


def _panel(
    name: str, found: Mapping[str, Sequence[Probe]], curves: Curves, by_epoch: Plot, views: Plot
) -> Panel:
    drawn = tuple(View(kind, by_epoch.trace(own), own[-1][1].mean) for kind, own in found.items())
    kernel = over_seeds(curves, "epoch", *(f"validation_information_{kind}" for kind in _KERNEL))
    band = [(epoch, Spread(lower.mean, lower.mean, upper.mean)) for epoch, lower, upper in kernel]
    both = over_seeds(curves, *(f"validation_information_{kind}" for kind in VIEWS))
    way = views.way([(x.mean, y.mean) for x, y in both]) if both else None
    return Panel(name, drawn, by_epoch.trace(band).band if band else None, way)
