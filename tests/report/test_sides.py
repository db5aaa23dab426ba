from __future__ import annotations

from mimetric.report.sides import sides
from sample_results import FINAL, STEPS, sample_results


def test_each_side_has_an_axis_of_its_own() -> None:
    curve = {"step": [0, 5, 10], "tightness": [None, -0.5, -1.0], "contrast": [None, 300.0, 200.0]}
    [panel] = sides({"curves": {"supcon": [curve]}}, ["supcon"])
    tight, spread = panel.sides
    assert [tight.plot.y.label(tick) for tick in tight.plot.y.ticks] == ["−1", "−0.8", "−0.6", "−0.4"]
    assert (spread.plot.y.low, spread.plot.y.high) == (200, 300)
    assert spread.trace.line == "120.0,0.0 240.0,62.0"  # nothing at step 0, where nothing was trained
    assert (spread.kind, spread.first, spread.last) == ("contrast", 300.0, 200.0)


def test_objectives_without_sides_are_left_out() -> None:
    results = sample_results()
    for curve in results["curves"]["triplet"]:
        curve["tightness"] = curve["contrast"] = [None] * len(STEPS)
    assert [panel.name for panel in sides(results, list(FINAL))] == [
        name for name in FINAL if name != "triplet"
    ]
