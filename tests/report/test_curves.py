from __future__ import annotations

from typing import Any

from mimetric.report.curves import learning_curves


def results(key: str, *seeds: list[float | None]) -> dict[str, Any]:
    nothing = dict.fromkeys(("validation_recall_at_1", "test_recall_at_1"), [None] * 3)
    curves = [{"seed": seed, "step": [0, 5, 10], **nothing, key: values} for seed, values in enumerate(seeds)]
    return {"curves": {"supcon": curves}}


def test_points_by_hand() -> None:
    # Axis 0 to 0.8: means 0, 0.4, 0.8 lie at the bottom, the middle and the top.
    chart = learning_curves(results("validation_recall_at_1", [0.0, 0.2, 0.8], [0.0, 0.6, 0.8]), ["supcon"])
    [panel] = chart.panels
    assert (chart.measured_on, chart.plot.y.high, chart.plot.x.high) == ("validation", 0.8, 10)
    assert (chart.plot.width, chart.plot.height) == (240, 130)
    assert panel.trace.line == "0.0,130.0 120.0,65.0 240.0,0.0"
    assert panel.trace.band == "0.0,130.0 120.0,32.5 240.0,0.0 240.0,0.0 120.0,97.5 0.0,130.0"
    assert (panel.first, panel.last) == (0.0, 0.8)


def test_curves_are_on_test_items_without_validation() -> None:
    chart = learning_curves(results("test_recall_at_1", [0.0, None, 0.8]), ["supcon"])
    assert chart.measured_on == "test"
    assert chart.panels[0].trace.line == "0.0,130.0 240.0,0.0"
