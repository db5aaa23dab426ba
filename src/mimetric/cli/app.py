"""The command ``mimetric``: its commands, and a mistake as one line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from itertools import takewhile

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

import mimetric
from mimetric import recipes
from mimetric.cli.compare import compare
from mimetric.cli.config import from_file
from mimetric.cli.doctor import doctor
from mimetric.cli.embed import embed
from mimetric.cli.evaluate import evaluate
from mimetric.cli.explain import explain
from mimetric.cli.export import export
from mimetric.cli.mine import mine
from mimetric.cli.objectives import objectives
from mimetric.cli.report import report
from mimetric.cli.reproduce import about, reproduce_with
from mimetric.cli.search import search
from mimetric.cli.serve import serve
from mimetric.cli.train import train
from mimetric.core.errors import InputError


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
        config=from_file,
    )
    for command in (
        compare,
        train,
        evaluate,
        doctor,
        embed,
        explain,
        export,
        mine,
        objectives,
        report,
        search,
        serve,
    ):
        app.command(command)
    words = tokens[1:] if tokens[:1] == ["reproduce"] else []
    for name in takewhile(lambda word: not word.startswith("-"), words):
        recipes.header(name)  # says an unknown recipe before its flags are looked at
    named = set(words) & set(recipes.names())
    if len(named) == 1:
        recipe = recipes.load(*named)
        app.command(
            reproduce_with(recipe.quick if "--quick" in words else recipe.options), help=about(recipe.header)
        )
    else:
        app.command(reproduce_with(None))
    return app


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
