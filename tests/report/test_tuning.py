"""Tuning in words."""

from __future__ import annotations

from mimetric.report.tuning import tuned


def test_nothing_tuned_is_nothing_said() -> None:
    assert tuned({}) == tuned({"tuning": None}) == []


def test_what_was_searched_chosen_and_not_looked_at() -> None:
    found = {
        "space": {
            "lr": {"low": 0.001, "high": 0.1, "log": True, "default": 0.01},
            "base": {"low": 0.2, "high": 0.8, "log": False, "default": 0.5},
        },
        "chosen": {"lr": 0.0234567, "base": 0.4},
        "validation_recall_at_1": 0.625,
        "asked_validation_recall_at_1": 0.5,
    }
    first, line = tuned({"tuning": {"trials": 8, "seed": 1000, "objectives": {"multi-similarity": found}}})
    assert "8 trials for each objective" in first
    assert "No trial looked at the test" in first
    assert line == (
        "multi-similarity: lr 0.0235 of 0.001 to 0.1 (log scale), base 0.4 of 0.2 to 0.8; "
        "recall@1 on validation 50.0% as asked, 62.5% as chosen."
    )
