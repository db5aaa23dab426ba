from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mimetric import named
from mimetric.core.errors import InputError
from mimetric.losses import threshold_consistent_margin_loss
from mimetric.recipes.zhang2024 import ARMS, BASES, HELPED, Options

Small = Callable[[str], dict[str, Any]]


@pytest.mark.parametrize("name", HELPED)
def test_arms_with_tcm_add_it(name: str) -> None:
    x, y = torch.randn(20, 8), torch.arange(20) % 5
    torch.manual_seed(0)
    base = named.create(BASES[name], width=8, num_classes=5)
    torch.manual_seed(0)
    helped = named.create(ARMS[f"{name}_tcm"], width=8, num_classes=5)
    torch.testing.assert_close(helped(x, y), base(x, y) + threshold_consistent_margin_loss(x, y))


def test_every_arm_is_measured(small: Small) -> None:
    found = {name: metric["mean"] for name, metric in small("zhang2024")["measured"].items()}
    for arm in (*ARMS, "seen_supcon", "seen_supcon_tcm"):
        assert 0 < found[f"recall_{arm}"] < 1
        assert 0 < found[f"opis_{arm}"] < found[f"opis_of_extremes_{arm}"] < 1000
        assert 0 < found[f"tar_{arm}"] < 1
    assert -1 <= found["recall_and_opis_rank_alike"] <= 1


@pytest.mark.parametrize("name", ["steps", "test"])
def test_a_size_below_one_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=rf"^zhang2024: {name} must be > 0, got 0$"):
        Options(**{name: 0})
