from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mimetric.core.errors import InputError
from mimetric.report.measured import read_evaluation, render_evaluations, write_evaluations


def evaluation(recall: float, *warnings: str) -> dict[str, Any]:
    metrics = {
        "recall_at_1": {"mean": recall, "low": recall - 0.02, "high": recall + 0.02},
        "auc": {"mean": 0.9, "low": None, "high": None},
        "nmi": {"mean": None, "low": None, "high": None},
    }
    return {"metrics": metrics, "warnings": list(warnings)}


def test_one_model() -> None:
    text = render_evaluations({"a": evaluation(0.5, "few <classes>")})
    assert "recall_at_1 is 0.5000 (95% interval 0.480 to 0.520)" in text
    assert "few &lt;classes&gt;" in text


def test_several_models_of_several_files(tmp_path: Path) -> None:
    for name, content in {
        "one": evaluation(0.5),
        "two": {"runs": {"x": evaluation(0.7), "y": evaluation(0.6)}},
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    files = {name: read_evaluation(tmp_path / f"{name}.json") for name in ("one", "two")}
    write_evaluations(files, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "3 models evaluated: recall_at_1 from 0.5000 to 0.7000" in text
    assert [name in text for name in (">one<", ">two x<", ">two y<", "Nothing stood out")] == [True] * 4


def test_metrics_that_a_model_lacks_leave_a_gap() -> None:
    other = evaluation(0.5)
    del other["metrics"]["auc"], other["metrics"]["recall_at_1"]
    assert "1 models" not in render_evaluations({"a": evaluation(0.5), "b": other})
    assert "Nothing was measured" in render_evaluations({"a": {"metrics": {}, "warnings": []}})


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"metrics": {"a": 1}, "warnings": []}', '{"runs": {"a": {}}}']
)
def test_another_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.json: must be what mimetric evaluate --json printed"):
        read_evaluation(tmp_path / "a.json")
