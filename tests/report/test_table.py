from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from mimetric.report.table import print_comparison
from sample_results import FINAL, sample_results


def printed(results: dict[str, Any]) -> str:
    text = io.StringIO()
    print_comparison(results, Path("runs/compare/report.html"), Console(file=text, width=80))
    return text.getvalue()


def test_rows_are_sorted_and_end_with_what_nobody_trained() -> None:
    lines = printed(sample_results()).splitlines()
    assert [line.split("  ")[0] for line in lines[1 : 1 + len(FINAL)]] == list(FINAL)
    assert [line[:10] for line in lines[len(FINAL) + 2 : len(FINAL) + 4]] == ["raw input ", "untrained "]


def test_a_row_holds_mean_interval_cost_and_mark() -> None:
    row = next(line for line in printed(sample_results()).splitlines() if line.startswith("supcon"))
    assert row.split() == ["supcon", "65.0", "63.0", "to", "67.0", "39.0", "7.2", "s", "212", "MB", "tied"]


def test_is_plain_text_of_80_columns_in_a_file() -> None:
    names = {**FINAL, "multi-similarity:beta=40,mining=multi-similarity,base=0.25": (0.6, 300)}
    text = printed(sample_results(names))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert text.isascii()
    assert "\x1b" not in text


def test_names_are_not_read_as_markup() -> None:
    assert "[bold]x" in printed(sample_results({"[bold]x": (0.6, 50)}))


def test_ends_with_what_to_do_next() -> None:
    text = printed(sample_results())
    assert "Next: normalized-softmax and cross-entropy were still improving" in text
    assert text.rstrip().endswith("Report: runs/compare/report.html")
