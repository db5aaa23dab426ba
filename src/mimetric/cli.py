"""The command ``mimetric``: option classes become flags, results become tables, mistakes become one line.

Imports no torch: the help must be instant.  What a command needs is imported when it runs.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count, takewhile
from pathlib import Path
from typing import Annotated, Any

import mimetric
from mimetric import recipes
from mimetric.core.errors import InputError
from mimetric.core.files import writable_folder, write_whole
from mimetric.train.options import CompareOptions, EvaluateOptions, TrainOptions

try:
    from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError
except ModuleNotFoundError as error:
    sys.exit(f"mimetric: {error.name} is not installed; the command needs: pip install 'mimetric[app]'")

AsJson = Annotated[bool, Parameter(name="--json")]


def main(tokens: Sequence[str] | None = None) -> int:
    """Run the command with these words, by default those it was called with; return its exit code.

    0 is success, 2 a mistake of the user (one line on stderr says which), 130 Ctrl-C.
    """
    # Before torch loads: threads that wait for each other give way soon.  If they spin as long as they do unless
    # told, a step takes 20 times as long once anything else wants a core (4 times like this); on idle cores
    # giving way costs a tenth to a third.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    tokens = sys.argv[1:] if tokens is None else tokens
    place = " ".join(["mimetric", *tokens[:1]])
    try:
        command, bound, _ = command_line(tokens).parse_args(tokens, exit_on_error=False, print_error=False)
        command(*bound.args, **bound.kwargs)
    except CycloptsError as error:
        place = " ".join(["mimetric", *(error.command_chain or ())])
        return _failed(place, _one_line(error, place), 2)
    except InputError as error:
        return _failed(place, str(error), 2)
    except KeyboardInterrupt as error:
        kept = "; runs that had ended are kept" if tokens[:1] == ["compare"] else ""
        return _failed(place, str(error) or f"stopped by Ctrl-C{kept}", 130)
    return 0


def command_line(tokens: Sequence[str] = ()) -> App:
    """The commands and their flags; `reproduce` has the flags of the one recipe that is named, if one is.

    Raises:
        InputError: the words name a recipe that there is not.
    """
    app = App(
        name="mimetric",
        help="Which metric-learning objective fits your data, why it works, and what it costs.",
        version=mimetric.__version__,
        default_parameter=Parameter(negative=()),
    )
    app.command(compare)
    app.command(train)
    app.command(evaluate)
    app.command(doctor)
    app.command(explain)
    app.command(objectives)
    words = tokens[1:] if tokens[:1] == ["reproduce"] else []
    for name in takewhile(lambda word: not word.startswith("-"), words):
        recipes.header(name)  # says an unknown recipe before its flags are looked at
    named = set(words) & set(recipes.names())
    if len(named) == 1:
        recipe = recipes.load(*named)
        app.command(
            _reproduce(recipe.quick if "--quick" in words else recipe.options), help=_about(recipe.header)
        )
    else:
        app.command(_reproduce(None))
    return app


def compare(
    *, options: Annotated[CompareOptions, Parameter(name="*")] = CompareOptions(), as_json: AsJson = False
) -> None:
    """Train several objectives on one data set and one budget, and compare them with error bars.

    Writes report.html, results.json, results.csv and a checkpoint per objective and seed into --out.  The
    default folder is never written over: the next is runs/compare-2.  A folder you name is.

    Args:
        as_json: Print the content of results.json on stdout in place of the table.
    """
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


def train(
    *,
    options: Annotated[TrainOptions, Parameter(name="*")] = TrainOptions(),
    resume: bool = False,
    as_json: AsJson = False,
) -> None:
    """Train one objective, saved after each epoch, and judge it on the test as compare does.

    The folder --out is a run: mimetric evaluate and mimetric explain take it.  Ctrl-C stops it after the step under
    way; --resume goes on, also after a crash, to the numbers of a run that was never stopped.  No run is ever
    written over: without --out the next is runs/train-2.

    Args:
        resume: Go on with the run in --out, with the options it began with.
        as_json: Print the content of results.json on stdout in place of the table.
    """
    from mimetric.report.progress import shown_progress
    from mimetric.train.machine import launched
    from mimetric.train.run import train

    if not resume and options.out == TrainOptions.out:
        options = replace(options, out=_unused(options.out))
    with shown_progress() as progress:
        results = train(options, resume=resume, progress=progress)
    if launched()[0]:
        return  # the first process speaks for all
    if as_json:
        print(json.dumps(results, allow_nan=False))
        return
    [(name, entry)] = results["objectives"].items()
    print(f"{name}, {results['data']['name']}: {results['data']['note']}")
    for metric in ("recall_at_1", "map_at_r", "r_precision", "nmi"):
        print(f"{metric:<12} {entry[metric]['mean']:.4f}")
    if entry["note"]:
        print(entry["note"])
    print(f"Run: {options.out}; with intervals: mimetric evaluate {options.out}")


def evaluate(
    source: Path,
    /,
    *,
    options: Annotated[EvaluateOptions, Parameter(name="*")] = EvaluateOptions(),
    as_json: AsJson = False,
) -> None:
    """Measure what a comparison trained, or any embeddings, with bootstrap intervals, and warn of what flatters them.

    Args:
        source: The folder of mimetric train or compare, one of its checkpoints, or a file of embeddings: .npz or
            .parquet with embeddings (n, d), labels (n,) and, if you like, split, query, gallery and logits.
        as_json: Print one JSON object on stdout in place of the table.
    """
    from mimetric.evaluation import Evaluation
    from mimetric.report.evaluation import print_evaluation, print_evaluations
    from mimetric.report.progress import shown_progress
    from mimetric.train.evaluate import evaluate_source

    with shown_progress() as progress:
        found = evaluate_source(source, options, progress=progress)
    content: dict[str, Any]
    if isinstance(found, Evaluation):
        content, printed = found.as_json(), print_evaluation
    else:
        content, printed = {"runs": {name: one.as_json() for name, one in found.items()}}, print_evaluations
    if as_json:
        print(json.dumps(content, allow_nan=False))
    else:
        printed(content)


def doctor(data: str, /, *, as_json: AsJson = False) -> None:
    """Examine data before training: singletons, copies, leaks across the split, imbalance, H(Y).

    Exit code 0 whatever it warns of, 2 where the data cannot be read.

    Args:
        data: Data set: glyphs, digits, npz:PATH, or folder:PATH of class folders.
        as_json: Print one JSON object on stdout in place of the table.
    """
    from mimetric.data.sources import load_data
    from mimetric.doctor import examine
    from mimetric.report.evaluation import print_examination

    loaded = load_data(data)
    found = examine(loaded).as_json()
    if as_json:
        print(json.dumps({"data": data, "note": loaded.note, **found}, allow_nan=False))
    else:
        print_examination(found, loaded.note)


def explain(run: Path, /, *inputs: str, out: Path) -> None:
    """Show where in inputs a run sees what it sees, as a picture.

    Of each input, where it looks like the class that is predicted (infoCAM+, infoCAM, pointwise information, CAM and
    Grad-CAM), if the run's objective has class weights; then which regions make the first input and each other similar.

    Args:
        run: The folder of mimetric train, or a folder in the folder checkpoints of mimetric compare.
        inputs: Files of pictures, or numbers of test rows of the run's data, from 0.
        out: File to write the picture to, .png.
    """
    if not inputs:
        raise InputError("name at least one input: a picture, or the number of a test row of the run's data")
    if out.suffix.lower() != ".png":
        raise InputError(f"out: must be a .png file, got {out}; name another by --out")
    writable_folder(out.parent)
    from mimetric.report.overlay import draw_overlays
    from mimetric.train.explain import explain_run

    draw_overlays(explain_run(run.expanduser(), inputs), out)
    print(f"wrote {out}")


def objectives(*, as_json: AsJson = False) -> None:
    """List the losses: what they take and compare it with, both sides, options and paper.

    What takes embeddings and labels is an objective of compare; the others are called from Python.

    Args:
        as_json: Print them as one JSON object on stdout.
    """
    from mimetric.catalog import entries, others
    from mimetric.report.table import print_objectives

    facts = ("family", "takes", "references", "tightness", "contrast", "options", "paper")
    every = entries() | others()
    listed = {name: {fact: getattr(entry, fact) for fact in facts} for name, entry in every.items()}
    if as_json:
        for entry in listed.values():  # JSON has no infinity
            entry["options"] = {
                option: str(default) if default in (math.inf, -math.inf) else default
                for option, default in entry["options"].items()
            }
        print(json.dumps(listed, allow_nan=False))
    else:
        print_objectives(listed)


def _reproduce(flags: type | None) -> Callable[..., None]:
    """The command `reproduce`; the fields of a recipe's options are flags too."""

    def reproduce(
        *names: str,
        options: Any = None,
        seeds: int = 3,
        quick: bool = False,
        every: Annotated[bool, Parameter(name="--all")] = False,
        listed: Annotated[bool, Parameter(name="--list")] = False,
        out: Path | None = None,
        as_json: AsJson = False,
    ) -> None:
        """Measure the claims of papers, small and on real data, and judge them.

        Alone, a recipe has flags of its own: mimetric reproduce NAME --help.

        Args:
            names: Recipes; --list shows them.
            seeds: Seeds 0, 1, ...; intervals are over them.
            quick: Run in seconds; its numbers say little.
            every: Run every recipe, and write docs/reproduced.md unless --quick.
            listed: Show name and claim of every recipe, and run none.
            out: File to write what was measured to, as markdown.
            as_json: Print what was measured on stdout, as one JSON object of recipes by name.
        """
        if listed:
            _print_recipes(as_json)
            return
        if every == bool(names):
            raise InputError(f"name recipes, or give --all; there are {', '.join(recipes.names())}")
        if every and not quick and out is None:
            out = Path("docs/reproduced.md")
        chosen = recipes.names() if every else list(dict.fromkeys(names))
        _run_recipes(chosen, options, seeds=seeds, quick=quick, out=out, as_json=as_json)

    own = Parameter(parse=False) if flags is None else Parameter(name="*", group="Parameters of the recipe")
    reproduce.__annotations__["options"] = Annotated[flags or Any, own]
    return reproduce


def _print_recipes(as_json: bool) -> None:
    from mimetric.report.claims import print_headers

    headers = {name: recipes.header(name) for name in recipes.names()}
    if as_json:
        print(json.dumps(headers))
    else:
        print_headers(headers)


def _run_recipes(
    names: Sequence[str], options: Any, *, seeds: int, quick: bool, out: Path | None, as_json: bool
) -> None:
    from mimetric.report.claims import markdown, print_recipe
    from mimetric.report.progress import shown_progress
    from mimetric.train.recipe import reproduce

    if out:
        if out.is_dir() or not out.parent.is_dir():
            raise InputError(
                f"out: must be a file in a folder that is there, got {out}; name another by --out"
            )
        writable_folder(out.parent)
    chosen = [recipes.load(name) for name in names]
    results = {}
    for recipe in chosen:
        own = options or (recipe.quick if quick else recipe.options)()
        with shown_progress() as progress:
            results[recipe.name] = reproduce(recipe, own, seeds=seeds, progress=progress)
        if not as_json:
            print_recipe(results[recipe.name])
    if as_json:
        print(json.dumps(results, allow_nan=False))
    if out:
        write_whole(out, markdown(results).encode())


def _about(header: Mapping[str, str]) -> str:
    """A recipe's header as the text above its flags."""
    return "\n\n".join(text if name == "title" else f"{name}: {text}" for name, text in header.items())


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
