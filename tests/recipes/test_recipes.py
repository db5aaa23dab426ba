"""What every recipe has; each is run small, on real data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from mimetric import recipes
from mimetric.core.errors import InputError

NAMES = recipes.names()


@pytest.mark.parametrize("name", NAMES)
def test_the_header_is_complete(name: str) -> None:
    header = recipes.header(name)
    assert list(header) == ["title", "Claim", "Here", "Expect", "Differs", "Run"]
    assert all(header.values())
    assert "TODO" not in " ".join(header.values())
    assert header["Run"].startswith(f"mimetric reproduce {name}")


@pytest.mark.parametrize("name", NAMES)
def test_options_are_frozen_and_explained(name: str) -> None:
    recipe = recipes.load(name)
    source = (Path(recipes.__file__).parent / f"{name}.py").read_text()
    for kind in (recipe.options, recipe.quick):
        assert is_dataclass(kind)
        assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    for field in fields(recipe.options):
        lines = source.split(f"\n    {field.name}: ")[1].splitlines()
        assert lines[1].startswith('    """'), f"{field.name} has no help"
    assert issubclass(recipe.quick, recipe.options)


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_small(name: str, small: Callable[[str], dict[str, Any]]) -> None:
    found = small(name)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert all(math.isfinite(metric["mean"]) for metric in found["measured"].values())
    assert len(found["claims"]) == len(recipes.load(name).claims) >= 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_a_seed_measures_the_same_again(name: str, small: Callable[[str], dict[str, Any]]) -> None:
    recipe = recipes.load(name)
    again = recipe.measure(recipe.quick(), 0)
    assert again == {number: metric["mean"] for number, metric in small(name)["measured"].items()}


def test_an_unknown_recipe_names_the_nearest() -> None:
    for look in (recipes.header, recipes.load):
        with pytest.raises(InputError, match=r"^unknown recipe 'boudiaf2002'; did you mean boudiaf2020\?$"):
            look("boudiaf2002")
