from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimetric.report.axis import Axis

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9)


@given(VALUES, st.integers(2, 6))
def test_covers_its_values_with_few_ticks(values: list[float], most: int) -> None:
    axis = Axis.around(values, most=most)
    size = max(map(abs, values))
    assert axis.low - 1e-6 * size <= min(values) <= max(values) <= axis.high + 1e-6 * size
    assert (axis.low, axis.high) == (axis.ticks[0], axis.ticks[-1])
    assert list(axis.ticks) == sorted(set(axis.ticks))
    assert 2 <= len(axis.ticks) <= most + 2


@given(VALUES)
def test_between_ends_where_the_values_end(values: list[float]) -> None:
    axis = Axis.between(values)
    assert axis.low < axis.high
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)


@pytest.mark.parametrize(
    ("values", "unit", "labels"),
    [
        ([0.0, 0.66], "%", ["0%", "20%", "40%", "60%", "80%"]),
        ([0.0, 1.0], "%", ["0%", "20%", "40%", "60%", "80%", "100%"]),
        ([-61.0, -22.5], "", ["−70", "−60", "−50", "−40", "−30", "−20"]),
        ([-0.4, 1.1], "", ["−0.5", "0", "0.5", "1", "1.5"]),
        ([3.0, 3.0], "", ["2.6", "2.8", "3", "3.2", "3.4"]),
        ([0.0, 0.0], "", ["−1", "−0.5", "0", "0.5", "1"]),
    ],
)
def test_ticks_are_round(values: list[float], unit: str, labels: list[str]) -> None:
    axis = Axis.around(values, unit=unit)
    assert [axis.label(tick) for tick in axis.ticks] == labels


def test_share_stays_on_the_axis() -> None:
    axis = Axis.around([-2.0, 2.0])
    assert [axis.share(value) for value in (-3.0, -2.0, 0.0, 1.0, 2.5)] == [0.0, 0.0, 0.5, 0.75, 1.0]
