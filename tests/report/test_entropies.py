from __future__ import annotations

from typing import Any

import pytest

from mimetric.report.entropies import entropies
from sample_results import FINAL, sample_results, without_validation


def small(within: list[float | None], whole: list[float | None]) -> dict[str, Any]:
    curve = {"validation_conditional_entropy": within, "validation_entropy": whole}
    return {"curves": {"supcon": [curve]}}


def test_points_by_hand() -> None:
    # x from -40 to -20 over 240 units, y from -20 to 0 over 180.
    chart = entropies(small([-20.0, None, -40.0], [-20.0, -9.0, 0.0]), ["supcon"])
    assert chart is not None
    [panel] = chart.panels
    assert panel.trace.line == "240.0,180.0 0.0,0.0"
    assert (panel.first, panel.last) == (0.0, 40.0)


def test_diagonals_join_equal_differences_inside_the_plot() -> None:
    chart = entropies(small([-20.0, -40.0], [-20.0, 0.0]), ["supcon"])
    assert chart is not None
    ends = {line.difference: (line.start, line.end) for line in chart.diagonals}
    # H(Z) = H(Z|Y) + 20 goes from (-40, -20) to (-20, 0), corner to corner; 10 leaves on the right, 30 at the top.
    assert ends["+20"] == ((0, 180), (240, 0))
    assert ends["+10"] == ((120, 180), (240, 90))
    assert ends["+30"] == ((0, 90), (120, 0))
    assert not {"0", "+40"} & set(ends)  # of these a corner alone lies inside


def test_nothing_where_nothing_was_measured() -> None:
    assert entropies(without_validation(sample_results()), list(FINAL)) is None


@pytest.mark.parametrize("value", [0.0, -35.25])
def test_an_embedding_that_never_moves_is_a_point(value: float) -> None:
    chart = entropies(small([value, value], [value, value]), ["supcon"])
    assert chart is not None
    start, end = chart.panels[0].trace.points
    assert start == end
    assert 0 < start.x < chart.plot.width
    assert 0 < start.y < chart.plot.height
