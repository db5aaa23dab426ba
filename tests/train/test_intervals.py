from __future__ import annotations

import pytest

from mimetric.train.intervals import standings, summary


def test_golden():
    # 0.6 +- t(0.975, 2 degrees of freedom) = 4.302653 times 0.1 / sqrt(3)
    found = summary([0.5, 0.6, 0.7])
    assert found["mean"] == pytest.approx(0.6)
    assert (found["low"], found["high"]) == pytest.approx((0.6 - 0.2484138, 0.6 + 0.2484138))
    assert found["values"] == [0.5, 0.6, 0.7]


def test_one_seed_has_no_interval():
    assert summary([0.4]) == {"mean": 0.4, "low": None, "high": None, "values": [0.4]}


def test_equal_values_have_an_interval_without_width():
    assert summary([0.25, 0.25]) == {"mean": 0.25, "low": 0.25, "high": 0.25, "values": [0.25, 0.25]}


def test_paired_differences_decide():
    """Seeds differ by much and objectives by little: only the pairing tells b from a, and c is like a."""
    found = standings({"b": [0.10, 0.50, 0.89], "a": [0.12, 0.52, 0.91], "c": [0.13, 0.49, 0.92]})
    assert {name: entry["standing"] for name, entry in found.items()} == {
        "a": "best", "b": "below", "c": "not distinguishable"
    }  # fmt: skip
    assert found["b"]["behind_best"]["mean"] == pytest.approx(0.02)


def test_one_seed_tells_nothing():
    found = standings({"a": [0.5], "b": [0.4]})
    assert found["a"]["standing"] == "best"
    assert found["b"]["standing"] is None
