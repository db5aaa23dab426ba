from __future__ import annotations

from mimetric.report.sides import sides
from sample_results import FINAL, STEPS, sample_results


def test_the_way_is_one_of_means_on_axes_of_its_own() -> None:
    # Tightness on -1 to -0.4 over 240 units, contrast from 200 to 300 over 150.
    seeds = [
        {"tightness": [None, -0.4, -1.0], "contrast": [None, 310.0, 200.0]},
        {"tightness": [None, -0.6, -1.0], "contrast": [None, 290.0, 200.0]},
    ]
    [panel] = sides({"curves": {"supcon": seeds}}, ["supcon"])
    assert [panel.plot.x.label(tick) for tick in panel.plot.x.ticks] == ["−1", "−0.8", "−0.6", "−0.4"]
    assert (panel.plot.y.low, panel.plot.y.high) == (200, 300)
    assert panel.trace.line == "200.0,0.0 0.0,150.0"
    assert (panel.first, panel.last) == ((-0.5, 300.0), (-1.0, 200.0))


def test_objectives_without_sides_are_left_out() -> None:
    results = sample_results()
    for curve in results["curves"]["triplet"]:
        curve["tightness"] = curve["contrast"] = [None] * len(STEPS)
    assert [panel.name for panel in sides(results, list(FINAL))] == [
        name for name in FINAL if name != "triplet"
    ]
