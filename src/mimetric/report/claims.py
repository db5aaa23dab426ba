"""How a reproduced recipe reads: printed for a terminal, and as markdown for the documentation.

Both read the JSON values of :mod:`mimetric.train.recipe`; a *metric* is ``{mean, low, high, values}``.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

VERDICTS = ("holds", "does not hold", "inconclusive")
RULE = (
    "A claim is judged by the paired differences, method minus baseline, over seeds: it holds if their whole 95% t "
    "interval is at or above what is needed, does not hold if all of it is below, and is inconclusive else."
)


def print_recipe(result: Mapping[str, Any], console: Console | None = None) -> None:
    """Print each claim with its method, baseline, difference and verdict, then what else was measured.

    Args:
        result: what :func:`mimetric.train.recipe.reproduce` returns.
        console: where to print, by default stdout.
    """
    console = console or Console()
    console.print(Text(f"{result['name']}: {result['header']['title']}", style="bold"))
    console.print(Text(f"{command(result)} ({duration(result)})", style="dim"))
    judged = set()
    for claim in result["claims"]:
        judged |= {claim["method"], claim["baseline"]}
        console.print()
        console.print(Text(f"{claim['verdict']}: ", style="bold").append(sentence(claim), style="default"))
        _print_grid(console, claim_rows(result, claim))
    others = {name: metric for name, metric in result["measured"].items() if name not in judged}
    if others:
        console.print(Text("\nAlso measured:", style="dim"))
        _print_grid(
            console, [(name, number(metric["mean"]), interval(metric)) for name, metric in others.items()]
        )
    console.print()
    for name in ("Expect", "Differs"):
        console.print(Text(f"{name}: {result['header'][name]}", style="dim"))
    console.print(Text(f"{result['name']}: {tally(result)}"))


def print_headers(headers: Mapping[str, Mapping[str, str]], console: Console | None = None) -> None:
    """Print the name, title and claim of each recipe.

    Args:
        headers: name -> header of :func:`mimetric.recipes.header`.
        console: where to print, by default stdout.
    """
    console = console or Console()
    for name, header in headers.items():
        console.print(Text(name, style="bold").append(f"  {header['title']}", style="default"))
        console.print(Padding(Text(header["Claim"], style="dim"), (0, 0, 0, 2), expand=False))


def markdown(results: Mapping[str, Mapping[str, Any]]) -> str:
    """All recipes as one page: for each its claims with their verdicts, its numbers and its departures."""
    parts = [
        "# What the recipes reproduce",
        "Written by `mimetric reproduce --all`, from one run of each recipe. " + RULE,
    ]
    for result in results.values():
        parts += _section(result)
    return "\n\n".join(parts) + "\n"


def sentence(claim: Mapping[str, Any]) -> str:
    """The claim, and whose it is where it is not the paper's own."""
    return str(claim["text"]) + ("" if claim["source"] == "paper" else " (Our claim, at this scale.)")


def claim_rows(result: Mapping[str, Any], claim: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Method, baseline and difference of a claim: label, name, mean, interval."""
    percent, measured = claim["percent"], result["measured"]
    unit = " (%)" if percent else ""
    constant = {"mean": claim["baseline"], "low": None}
    against = measured.get(claim["baseline"], constant)
    needed = f"needed: {number(claim['at_least'], percent)}{' points' if percent else ''} or more"
    shown = [
        ("method", claim["method"] + unit, measured[claim["method"]]),
        ("baseline", "constant" if against is constant else claim["baseline"] + unit, against),
        ("difference", needed, claim["difference"]),
    ]
    return [(label, name, number(m["mean"], percent), interval(m, percent)) for label, name, m in shown]


def command(result: Mapping[str, Any]) -> str:
    """The command that gives these numbers again, every option spelled out."""
    settings = {**result["settings"], "seeds": len(result["seeds"])}
    flags = [f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in settings.items()]
    return " ".join([f"mimetric reproduce {result['name']}", *flags])


def duration(result: Mapping[str, Any]) -> str:
    """How long all seeds took.

    >>> duration({"seconds": 7.3}), duration({"seconds": 754})
    ('7 s', '12.6 min')
    """
    seconds = result["seconds"]
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def tally(result: Mapping[str, Any]) -> str:
    """How many claims came out how.

    >>> tally({"claims": [{"verdict": "holds"}, {"verdict": "holds"}, {"verdict": "inconclusive"}], "seeds": [0, 1]})
    'holds: 2, inconclusive: 1 (of 3 claims)'
    """
    counts = Counter(claim["verdict"] for claim in result["claims"])
    found = ", ".join(f"{verdict}: {counts[verdict]}" for verdict in VERDICTS if counts[verdict])
    alone = "; one seed has no interval, run again with --seeds 3" if len(result["seeds"]) == 1 else ""
    return f"{found} (of {len(result['claims'])} claims){alone}"


def number(value: float | None, percent: bool = False) -> str:
    """Three decimals, or in percent with one; - for what could not be measured.

    >>> number(0.4086), number(0.4086, percent=True), number(-0.0001), number(None)
    ('0.409', '40.9', '0.000', '-')
    """
    if value is None:
        return "-"
    return f"{100 * value:z.1f}" if percent else f"{value:z.3f}"


def interval(metric: Mapping[str, Any], percent: bool = False) -> str:
    """Its 95% interval; empty where there is none.

    >>> interval({"low": -0.1, "high": 0.25}, percent=True), interval({"low": None, "high": None})
    ('-10.0 to 25.0', '')
    """
    if metric["low"] is None:
        return ""
    return f"{number(metric['low'], percent)} to {number(metric['high'], percent)}"


def _print_grid(console: Console, rows: Sequence[Sequence[str]]) -> None:
    """Rows of words, then a mean and its interval."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in rows[0][:-2]:
        table.add_column(overflow="fold")
    table.add_column(justify="right")
    table.add_column()
    for first, *rest in rows:
        table.add_row(f"  {first}", *rest)
    console.print(table)


def _section(result: Mapping[str, Any]) -> list[str]:
    header, packages = result["header"], result["environment"]["packages"]
    claims: list[Sequence[str]] = [("claim", "method", "baseline", "difference", "verdict")]
    for claim in result["claims"]:
        shown = [
            f"{mean} ({spread}), {name}" if spread else f"{mean}, {name}"
            for _, name, mean, spread in claim_rows(result, claim)
        ]
        claims.append((sentence(claim), *shown, f"**{claim['verdict']}**"))
    numbers: list[Sequence[str]] = [("measured", "mean", "95% interval")]
    numbers += [
        (name, number(metric["mean"]), interval(metric)) for name, metric in result["measured"].items()
    ]
    return [
        f"## {result['name']}",
        header["title"],
        *(f"{name}: {header[name]}" for name in ("Claim", "Here", "Expect", "Differs")),
        f"`{command(result)}`: {duration(result)}, torch {packages['torch']}.",
        _table(claims),
        _table(numbers),
    ]


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body))
