"""The printed tables: readable on a terminal and, at 80 columns, in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mimetric.report import words
from mimetric.report.tuning import tuned


def print_comparison(results: Mapping[str, Any], page: Path, console: Console | None = None) -> None:
    """Print what was compared, best first, then what it means and where the report lies.

    Args:
        results: the content of results.json.
        page: path of the report.
        console: where to print, by default stdout.
    """
    console = console or Console()
    console.print(_table(results))
    console.print()
    for line in (*words.setting(results), *words.legend(results), *tuned(results)):
        console.print(Text(line, style="dim"))
    console.print()
    console.print(Text(" ".join(words.verdict(results))))
    console.print(Text(f"Next: {words.advice(results)}"))
    console.print(Text(f"Report: {page}"), soft_wrap=True)


def print_objectives(listed: Mapping[str, Mapping[str, Any]], console: Console | None = None) -> None:
    """Print a few lines for each objective.

    Args:
        listed: name -> what is known of it, by its heading; a mapping is printed as options with defaults.
        console: where to print, by default stdout.
    """
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, facts in listed.items():
        for number, (heading, value) in enumerate(facts.items()):
            if isinstance(value, Mapping):
                value = ", ".join(f"{key}={default}" for key, default in value.items()) or "none"
            table.add_row(Text("" if number else name), heading, Text(str(value)))
        table.add_row()
    (console or Console()).print(table)


def _table(results: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("objective", overflow="fold")
    for header in ("recall@1", "95% interval", "MAP@R", "time", "memory"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("")
    for name in words.ranked(results):
        entry = results["objectives"][name]
        marks = words.marks(entry)
        table.add_row(
            Text(name), *_quality(entry), words.duration(entry["train_seconds"]),
            words.memory(entry["peak_memory_bytes"]), ", ".join(marks), style="bold" if "best" in marks else "",
        )  # fmt: skip
    table.add_row()
    for key, name in words.BASELINES.items():
        table.add_row(name, *_quality(results["baselines"][key]))
    return table


def _quality(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    recall = entry["recall_at_1"]
    return words.percent(recall), words.interval(recall), words.percent(entry["map_at_r"])
