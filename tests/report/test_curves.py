from __future__ import annotations

from typing import Any

import pytest

from mimetric.report.curves import HEIGHT, WIDTH, Axis, learning_curves


def results(key: str, *seeds: list[float | None]) -> dict[str, Any]:
    nothing = dict.fromkeys(("validation_recall_at_1", "test_recall_at_1"), [None] * 3)
    curves = [{"seed": seed, "step": [0, 5, 10], **nothing, key: values} for seed, values in enumerate(seeds)]
    return {"curves": {"supcon": curves}}


def test_points_by_hand() -> None:
    # Axis 0 to 0.8: means 0, 0.4, 0.8 lie at the bottom, the middle and the top.
    chart = learning_curves(results("validation_recall_at_1", [0.0, 0.2, 0.8], [0.0, 0.6, 0.8]), ["supcon"])
    [panel] = chart.panels
    assert (chart.measured_on, chart.steps, chart.axis.top) == ("validation", 10, 0.8)
    assert (WIDTH, HEIGHT) == (240, 130)
    assert panel.line == "0.0,130.0 120.0,65.0 240.0,0.0"
    assert panel.band == "0.0,130.0 120.0,32.5 240.0,0.0 240.0,0.0 120.0,97.5 0.0,130.0"
    assert (panel.first, panel.last) == (0.0, 0.8)


def test_curves_are_on_test_items_without_validation() -> None:
    chart = learning_curves(results("test_recall_at_1", [0.0, None, 0.8]), ["supcon"])
    assert chart.measured_on == "test"
    assert chart.panels[0].line == "0.0,130.0 240.0,0.0"


@pytest.mark.parametrize("most", [0.0, 1e-9, 0.011, 0.2, 0.33, 0.5, 0.81, 1.0])
def test_axis_covers_its_values_with_few_round_ticks(most: float) -> None:
    axis = Axis.over(most)
    assert most <= axis.top + 1e-9 <= 1.01
    assert axis.ticks[0] == 0
    assert axis.ticks[-1] == pytest.approx(axis.top)
    assert 2 <= len(axis.ticks) <= 6


def test_share_stays_on_the_axis() -> None:
    assert [Axis.over(1.0).share(value) for value in (-0.1, 0.5, 1.2)] == [0.0, 0.5, 1.0]
