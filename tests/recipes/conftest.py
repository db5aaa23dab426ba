from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from mimetric import recipes
from mimetric.train.recipe import reproduce


@pytest.fixture(scope="session")
def small() -> Callable[[str], dict[str, Any]]:
    """What a recipe's quick form measures with seed 0; each is run once."""

    @cache
    def measured(name: str) -> dict[str, Any]:
        recipe = recipes.load(name)
        return reproduce(recipe, recipe.quick(), seeds=1)

    return measured
