"""One paper, one file: its claim, reproduced small on real data, and what came out.

``mimetric reproduce NAME`` runs one.  Headers are read without importing a recipe, and so without torch.
"""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mimetric.core.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from mimetric.train.recipe import Recipe


def names() -> list[str]:
    """The recipes there are, in order: <author><year>.

    >>> "boudiaf2020" in names()
    True
    """
    return sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py"))


def header(name: str) -> dict[str, str]:
    """What the head of a recipe's file says: its title, and Claim, Here, Expect, Differs, Run.

    Raises:
        InputError: there is no such recipe.

    >>> header("boudiaf2020")["Run"]
    'mimetric reproduce boudiaf2020 [--data npz:PATH]'
    """
    if name not in names():
        raise InputError(f"unknown recipe {name!r}; {did_you_mean(name, names())}")
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    title, _, rest = (ast.get_docstring(ast.parse(source)) or "").partition("\n")
    fields = re.split(r"^([A-Z][a-z]+) {2,}", rest, flags=re.MULTILINE)[1:]
    return {"title": title} | {key: " ".join(text.split()) for key, text in zip(fields[::2], fields[1::2])}


def load(name: str) -> Recipe:
    """A recipe by name, its module imported.

    Raises:
        InputError: there is no such recipe.
    """
    said = header(name)
    from mimetric.train.recipe import Recipe

    module = import_module(f"{__name__}.{name}")
    return Recipe(name, said, module.Options, module.Quick, module.CLAIMS, module.measure)
