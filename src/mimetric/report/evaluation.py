"""How an evaluation and an examination of data read on a terminal.  Both come as their JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_METRICS_ACROSS = 3  # columns of numbers that fit beside the name of a run
_INTERVALS = (
    "Interval: 95%, by a bootstrap over classes. A metric without one is one number for the whole set."
)


def print_evaluation(found: Mapping[str, Any], console: Console | None = None) -> None:
    """Print each metric with its interval, then the warnings.

    Args:
        found: ``{"metrics": {name: {mean, low, high}}, "warnings": [...]}``.
        console: where to print, by default stdout.
    """
    console = console or Console()
    table = _table("metric", "value", "95% interval")
    for name, metric in found["metrics"].items():
        table.add_row(name, number(metric["mean"]), interval(metric))
    console.print(table)
    _print_notes(console, [_INTERVALS], found["warnings"])


def print_evaluations(found: Mapping[str, Any], console: Console | None = None) -> None:
    """Print runs side by side, a few metrics to a table, intervals below the numbers.

    Args:
        found: ``{"runs": {name: what print_evaluation takes}}``, of the same metrics.
        console: where to print, by default stdout.
    """
    console, runs = console or Console(), found["runs"]
    names = list(next(iter(runs.values()))["metrics"])
    for start in range(0, len(names), _METRICS_ACROSS):
        across = names[start : start + _METRICS_ACROSS]
        table = _table("run", *across)
        for run, one in runs.items():
            cells = [one["metrics"][name] for name in across]
            table.add_row(Text(run), *(number(cell["mean"]) for cell in cells))
            if any(interval(cell) for cell in cells):
                table.add_row("", *(Text(interval(cell), style="dim") for cell in cells))
        console.print(table)
        if start + _METRICS_ACROSS < len(names):
            console.print()
    _print_notes(console, [_INTERVALS], shared_warnings(runs))


def print_examination(found: Mapping[str, Any], note: str, console: Console | None = None) -> None:
    """Print sizes, what each check found, and what to do about it.

    Args:
        found: ``{"facts": {...}, "checks": [{name, count, found, advice}], "warnings": [...]}``.
        note: one line on how the data are split.
        console: where to print, by default stdout.
    """
    console = console or Console()
    facts = found["facts"]
    console.print(Text(note))
    console.print(Text(f"{facts['rows']:,} rows of {facts['width']:,} numbers, {facts['classes']:,} classes"))
    if "label_entropy" in facts:
        console.print(
            Text(
                f"rows in a class: largest {facts['largest_class']:,}, median {facts['median_class']:,g}, "
                f"smallest {facts['smallest_class']:,}; H(Y) = {facts['label_entropy']:.3f} nats, as much as "
                f"{facts['effective_classes']:,.1f} equal classes"
            )
        )
    console.print()
    table = _table("check", "found", right=False)
    for check in found["checks"]:
        table.add_row(Text(check["name"], style="bold" if check["advice"] else ""), check["found"])
    console.print(table)
    _print_notes(console, [] if found["warnings"] else ["Nothing stands out."], found["warnings"])


def number(value: float | None) -> str:
    """Four decimals, or three digits where there would be less; - for none.

    >>> number(0.73456), number(0.0), number(0.000123456), number(None)
    ('0.7346', '0.0000', '1.23e-04', '-')
    """
    if value is None:
        return "-"
    return f"{value:.2e}" if 0 < abs(value) < 0.001 else f"{value:.4f}"


def interval(metric: Mapping[str, Any]) -> str:
    """Its bounds; empty where there are none.

    >>> interval({"low": 0.7, "high": 0.76}), interval({"low": None, "high": None})
    ('0.700 to 0.760', '')
    """
    return "" if metric["low"] is None else f"{metric['low']:.3f} to {metric['high']:.3f}"


def _table(first: str, *others: str, right: bool = True) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first, overflow="fold")
    for header in others:
        table.add_column(header, justify="right" if right else "left", overflow="fold")
    return table


def shared_warnings(runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Warnings of several runs once, with the runs they are of where those are not all."""
    whose: dict[str, list[str]] = {}
    for name, found in runs.items():
        for warning in found["warnings"]:
            whose.setdefault(warning, []).append(name)
    return [
        warning if len(names) == len(runs) else f"{', '.join(names)}: {warning}"
        for warning, names in whose.items()
    ]


def _print_notes(console: Console, notes: Sequence[str], warnings: Sequence[str]) -> None:
    console.print()
    for note in notes:
        console.print(Text(note, style="dim"))
    for warning in warnings:
        console.print(Text("Warning: ", style="bold").append(warning, style="default"))
