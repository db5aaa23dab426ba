"""The printed tables of evaluations: numbers, intervals, and each warning once."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from mimetric.report.evaluation import print_evaluation, print_evaluations, print_examination


def printed(show: Any, *content: Any, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    show(*content, console=console)
    assert isinstance(console.file, io.StringIO)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines() if line.strip()]


def metric(
    mean: float | None, low: float | None = None, high: float | None = None
) -> dict[str, float | None]:
    return {"mean": mean, "low": low, "high": high}


def test_one_evaluation():
    found = {
        "metrics": {"recall_at_1": metric(0.51234, 0.4, 0.6), "opis": metric(1.5e-5), "map": metric(None)},
        "warnings": ["[bold]n[/bold] too small"],  # no markup: shown as it is
    }
    lines = printed(print_evaluation, found)
    assert lines[:4] == [
        "metric value 95% interval",
        "recall_at_1 0.5123 0.400 to 0.600",
        "opis 1.50e-05",
        "map -",
    ]
    assert lines[-1] == "Warning: [bold]n[/bold] too small"


def test_runs_side_by_side():
    def one(mean: float, *warnings: str) -> dict[str, Any]:
        metrics = {name: metric(mean, mean - 0.1, mean + 0.1) for name in ("mrr", "map", "ndcg")}
        return {"metrics": metrics | {"nmi": metric(0.25)}, "warnings": list(warnings)}

    runs = {"a-seed0": one(0.5, "few classes"), "b-seed0": one(0.75, "few classes", "collapsed")}
    lines = printed(print_evaluations, {"runs": runs})
    assert lines[:5] == [
        "run mrr map ndcg",
        "a-seed0 0.5000 0.5000 0.5000", " ".join(["0.400 to 0.600"] * 3),
        "b-seed0 0.7500 0.7500 0.7500", " ".join(["0.650 to 0.850"] * 3),
    ]  # fmt: skip
    assert lines[5:8] == ["run nmi", "a-seed0 0.2500", "b-seed0 0.2500"]
    assert lines[-2:] == ["Warning: few classes", "Warning: b-seed0: collapsed"]


def test_an_examination_without_labels():
    found = {"facts": {"rows": 1200, "width": 4, "classes": 0}, "checks": [], "warnings": []}
    assert printed(print_examination, found, "a note") == [
        "a note", "1,200 rows of 4 numbers, 0 classes", "check found", "Nothing stands out."
    ]  # fmt: skip
