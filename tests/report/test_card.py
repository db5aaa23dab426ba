from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimetric.report import words
from mimetric.report.card import model_card
from sample_results import metric, sample_results

SETTINGS = {
    "objective": "supcon", "encoder": "conv", "data": "glyphs", "input_shape": [1, 28, 28], "input_dtype": "uint8",
    "width": 64, "steps": 500, "batch_size": 128, "lr": 0.01, "seed": 3, "clip": None, "select": "last",
    "split": {
        "kind": "official", "hash": "ab12",
        "train": {"items": 21000, "classes": 900, "sha256": "cd34"},
        "validation": {"items": 0, "classes": 0, "sha256": "00"},
    },
    "environment": {"packages": {"mimetric": "0.1.0", "accelerate": None}},
}  # fmt: skip
EVALUATION = {
    "metrics": {"recall_at_1": {"mean": 0.652, "low": 0.631, "high": 0.68}, "recall_at_10": metric(0.9)},
    "warnings": ["rows that are exact copies of another: 3 of 6,096"],
}


@pytest.fixture(scope="module")
def card() -> str:
    return model_card(SETTINGS, sample_results({"supcon": (0.65, 70)}, seeds=1), EVALUATION)


def test_says_protocol_data_numbers_and_limits(card):
    assert re.findall(r"^#+ (.*)$", card, re.MULTILINE) == [
        "supcon on glyphs", "Use", "Measured", "Trained", "For what, and not",
    ]  # fmt: skip
    for line in (
        "| Recall@1 | 65.2 | 63.1 to 68.0 |",
        "| Recall@10 | 90.0 |  |",
        "| Recall@1, raw input | 20.3 |  |",
        "- Warning: rows that are exact copies of another: 3 of 6,096.",
        "- Split: official, hash `ab12`",
        "- Rows of train: 21,000 of 900 classes, SHA-256 `cd34`",
        "- Options: steps 500, batch_size 128, lr 0.01, seed 3, select last",
        "- Versions: mimetric 0.1.0",
    ):
        assert line in card.splitlines()
    assert "Rows of validation" not in card
    assert "fewer than 20 classes" not in card


def test_shows_three_lines_that_parse(card):
    [code] = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    compile(code, "card", "exec")
    assert len(code.split("\n\n")[1].splitlines()) == 3


def test_what_was_not_measured_is_not_claimed():
    card = model_card({**SETTINGS, "data": None, "input_shape": [8], "split": {}, "environment": {}})
    assert "## Measured" not in card
    assert "Nothing was measured" in card
    assert "- Data: arrays in memory" in card
    assert "pipeline_tag: feature-extraction" in card


@given(st.text())
def test_names_of_data_leave_the_page_whole(name):
    card = model_card({**SETTINGS, "data": name, "objective": name or "supcon"})
    outside = re.sub(r"```.*?```", "", card, flags=re.DOTALL)
    assert re.findall(r"^## (.*)$", card, re.MULTILINE) == ["Use", "Trained", "For what, and not"]
    assert not re.search(r"(?<!\\)<", re.sub(r"`[^`\n]*`", "", outside))


def test_the_report_of_one_run_names_its_own_command():
    results = sample_results({"supcon": (0.65, 70)}, seeds=1)
    settings = {
        key: value
        for key, value in results["settings"].items()
        if key not in ("objectives", "seeds", "probes")
    }
    results["settings"] = settings | {
        "objective": "supcon",
        "seed": 0,
        "cut_classes": True,
        "select": "validation",
    }
    results["objectives"]["supcon"]["still_rising"] = False
    assert words.maker(results) == "mimetric train"
    assert words.command(results).startswith("mimetric train --data glyphs --encoder auto")
    assert words.command(results).endswith("--objective supcon --seed 0 --cut-classes")
    assert "run mimetric compare with --seeds 3" in words.advice(results)
    assert "the best on validation of all epochs in 500 steps" in words.setting(results)[1]
