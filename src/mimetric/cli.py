"""The command ``mimetric``: option classes become flags, results become tables, mistakes become one line.

Imports no torch: the help must be instant.  What a command needs is imported when it runs.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import Annotated

import mimetric
from mimetric.core.errors import InputError
from mimetric.train.options import CompareOptions

try:
    from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError
except ModuleNotFoundError as error:
    sys.exit(f"mimetric: {error.name} is not installed; the command needs: pip install 'mimetric[app]'")

app = App(
    name="mimetric",
    help="Which metric-learning objective fits your data, why it works, and what it costs.",
    version=mimetric.__version__,
    default_parameter=Parameter(negative=()),
)
AsJson = Annotated[bool, Parameter(name="--json")]


def main(tokens: Sequence[str] | None = None) -> int:
    """Run the command with these words, by default those it was called with; return its exit code.

    0 is success, 2 a mistake of the user (one line on stderr says which), 130 Ctrl-C.
    """
    tokens = sys.argv[1:] if tokens is None else tokens
    place = " ".join(["mimetric", *tokens[:1]])
    try:
        command, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
        command(*bound.args, **bound.kwargs)
    except CycloptsError as error:
        place = " ".join(["mimetric", *(error.command_chain or ())])
        return _failed(place, _one_line(error, place), 2)
    except InputError as error:
        return _failed(place, str(error), 2)
    except KeyboardInterrupt:
        return _failed(place, "stopped by Ctrl-C; runs that had ended are kept", 130)
    return 0


@app.command
def compare(
    *, options: Annotated[CompareOptions, Parameter(name="*")] = CompareOptions(), as_json: AsJson = False
) -> None:
    """Train several objectives on one data set and one budget, and compare them with error bars.

    Writes report.html, results.json, results.csv and a checkpoint per objective and seed into --out.  The
    default folder is never written over: the next is runs/compare-2.  A folder you name is.

    Args:
        as_json: Print the content of results.json on stdout in place of the table.
    """
    # Before torch loads: threads that wait for each other give way soon.  If they spin as long as they do unless
    # told, a step takes 20 times as long once anything else wants a core (4 times like this); on idle cores
    # giving way costs a tenth to a third.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

    from mimetric.report.page import write_report
    from mimetric.report.progress import shown_progress
    from mimetric.report.table import print_comparison
    from mimetric.train.compare import compare

    if options.out == CompareOptions.out:
        options = replace(options, out=_unused(options.out))
    page = options.out / "report.html"
    with shown_progress() as progress:
        if (options.out / "results.json").exists():
            progress.said(f"writing over the results in {options.out}")
        results = compare(options, progress=progress)
    write_report(results, page)
    if as_json:
        print(json.dumps(results, allow_nan=False))
    else:
        print_comparison(results, page)


@app.command
def objectives(*, as_json: AsJson = False) -> None:
    """List the objectives: what an anchor is compared with, both sides of the loss, options and paper.

    Args:
        as_json: Print them as one JSON object on stdout.
    """
    from mimetric.catalog import entries
    from mimetric.report.table import print_objectives

    facts = ("family", "references", "tightness", "contrast", "options", "paper")
    listed = {name: {fact: getattr(entry, fact) for fact in facts} for name, entry in entries().items()}
    if as_json:
        print(json.dumps(listed, allow_nan=False))
    else:
        print_objectives(listed)


def _unused(folder: Path) -> Path:
    """The folder, or the first of folder-2, folder-3, ... that holds nothing yet."""
    names = chain([folder], (folder.with_name(f"{folder.name}-{number}") for number in count(2)))
    return next(name for name in names if not name.exists() or (name.is_dir() and not any(name.iterdir())))


def _failed(place: str, message: str, code: int) -> int:
    print(f"{place}: {message}", file=sys.stderr)
    return code


def _one_line(error: CycloptsError, place: str) -> str:
    """The parser's sentences as one line in the form of all our messages, with the remedy last."""
    if isinstance(error, UnusedCliTokensError):
        words = " ".join(error.unused_tokens or ())
        return f"unexpected {words!r}; give values by name, see {place} --help"
    first, *rest = re.split(r"(?<=[.?])\s+", " ".join(str(error).split()))
    suggested = [sentence for sentence in rest if not sentence.startswith("Available commands")]
    remedies = suggested or rest or [f"see {place} --help"]
    return "; ".join(_lowered(sentence).removesuffix(".") for sentence in (first, *remedies))


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
