from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mimetric import named
from mimetric.core.errors import InputError
from mimetric.recipes.jung2022 import ARMS, HEADS, NOISY, Options

Small = Callable[[str], dict[str, Any]]


@pytest.mark.parametrize("head", HEADS)
def test_arms_add_negatives_to_their_head(head: str) -> None:
    """More negatives never cost less; without any in the batch the head is left."""
    x, y = torch.randn(20, 8, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 5
    weight = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    alone, filtered, unfiltered = (
        named.create(ARMS[arm], width=8, num_classes=5)
        for arm in (head, f"{head}_unpg", f"{head}_unfiltered")
    )
    for objective in (alone, filtered, unfiltered):
        objective.weight.data = weight
    assert alone(x, y) < filtered(x, y) <= unfiltered(x, y)
    torch.testing.assert_close(filtered(x[:1], y[:1]), alone(x[:1], y[:1]))


def test_every_arm_is_measured(small: Small) -> None:
    found = {name: metric["mean"] for name, metric in small("jung2022")["measured"].items()}
    for arm in (*ARMS, *(f"wrong_{name}" for name in NOISY)):
        assert 0 < found[f"recall_{arm}"] < 1
        assert 0 <= found[f"tar_{arm}"] <= found[f"tar_at_0.01_{arm}"] < 1
        assert 0 < found[f"eer_{arm}"] < 0.6
    assert found["tar_unpg"] == pytest.approx((found["tar_cosface_unpg"] + found["tar_arcface_unpg"]) / 2)


@pytest.mark.parametrize("name", ["classes", "steps", "test", "wrong"])
def test_a_size_of_nothing_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=rf"^jung2022: {name} must be > 0, got 0$"):
        Options(**{name: 0})
