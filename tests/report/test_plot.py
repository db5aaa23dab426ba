from __future__ import annotations

from mimetric.report.axis import Axis
from mimetric.report.plot import Plot, Point, Spread, over_seeds


def test_places_by_hand() -> None:
    plot = Plot(Axis.between([0, 4]), Axis.around([-2, 2]), width=100, height=50)
    assert plot.at(0, -2) == Point(0, 50)
    assert plot.at(3, 1) == Point(75, 12.5)
    assert plot.at(9, 9) == Point(100, 0)  # kept inside


def test_a_trace_has_a_band_around_its_means() -> None:
    plot = Plot(Axis.between([0, 4]), Axis.around([0, 4]), width=100, height=100)
    drawn = plot.trace([(Spread(0, 0, 0), Spread(1, 0, 2)), (Spread(4, 4, 4), Spread(3, 2, 4))])
    assert drawn.line == "0.0,75.0 100.0,25.0"
    assert drawn.band == "0.0,50.0 100.0,0.0 100.0,50.0 0.0,100.0"
    assert drawn.end == Point(100, 25)


def test_a_probe_counts_where_every_seed_has_every_number() -> None:
    first = {"step": [0, 5, 9], "tightness": [None, 1.0, 2.0], "contrast": [1.0, 1.0, 1.0]}
    second = {"step": [0, 5, 9], "tightness": [0.0, 2.0, 6.0], "contrast": [2.0, None, 3.0]}
    assert over_seeds([first, second], "step", "tightness", "contrast") == [
        (Spread(9, 9, 9), Spread(4.0, 2.0, 6.0), Spread(2.0, 1.0, 3.0))
    ]


def test_numbers_that_older_results_lack_are_no_numbers() -> None:
    assert over_seeds([{"step": [0, 5]}], "step", "tightness") == []
