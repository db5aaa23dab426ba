from __future__ import annotations

import json
from pathlib import Path

import pytest

from mimetric.cli import main
from sample_results import sample_examples, sample_results


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name, objective in (("a", "supcon"), ("b", "spce")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "results.json").write_text(
            json.dumps(sample_results({objective: (0.5, 60)})), encoding="utf-8"
        )
        (folder / "examples.json").write_text(json.dumps(sample_examples([objective])), encoding="utf-8")
    metric = {"mean": 0.5, "low": None, "high": None}
    evaluation = {"metrics": {"auc": metric}, "warnings": []}
    (tmp_path / "e.json").write_text(json.dumps(evaluation), encoding="utf-8")
    return tmp_path


def test_one_run_several_runs_and_evaluations(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = runs / "page.html"
    for given, part in (
        (["a"], "supcon finds the right class first"),
        (["a", "b"], "the most of 2 objectives"),
        (["e.json"], "auc is 0.5000"),
    ):
        assert main(["report", *(str(runs / name) for name in given), "--out", str(out)]) == 0
        text = out.read_text(encoding="utf-8")
        assert part in text
        assert ("Map of the embeddings" in text) == (given != ["e.json"])
        assert capsys.readouterr().out == f"wrote {out}\n"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "name at least one run"),
        (["nothing"], "nothing: no results.json there"),
        (["a", "e.json"], "e.json: an evaluation is not reported with runs"),
        (["a", "a"], "the same run is named twice"),
        (["a/results.json"], "results.json: must be what mimetric evaluate --json printed"),
    ],
)
def test_mistakes_are_one_line(
    runs: Path, capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    assert main(["report", *(str(runs / name) for name in given), "--out", str(runs / "page.html")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (runs / "page.html").exists()


def test_the_page_is_named_as_one(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(runs / "a"), "--out", str(runs / "page.txt")]) == 2
    assert "must be a .html file" in capsys.readouterr().err
