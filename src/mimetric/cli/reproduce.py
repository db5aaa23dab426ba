"""The command ``mimetric reproduce``, with the flags of one recipe."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from mimetric import recipes
from mimetric.cli.config import ConfigFile
from mimetric.cli.shared import AsJson
from mimetric.core.errors import InputError
from mimetric.core.files import writable_folder, write_whole


def reproduce_with(flags: type | None) -> Callable[..., None]:
    """The command `reproduce`; the fields of a recipe's options are flags too."""

    def reproduce(
        *names: str,
        options: Any = None if flags is None else flags(),
        seeds: int = 3,
        quick: bool = False,
        every: Annotated[bool, Parameter(name="--all")] = False,
        listed: Annotated[bool, Parameter(name="--list")] = False,
        out: Path | None = None,
        config: ConfigFile = None,  # noqa: ARG001 (for the parser: see from_file)
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
            config: TOML file of the recipe's own options; flags go on top.
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


def about(header: Mapping[str, str]) -> str:
    """A recipe's header as the text above its flags."""
    return "\n\n".join(text if name == "title" else f"{name}: {text}" for name, text in header.items())


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
