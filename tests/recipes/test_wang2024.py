from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mimetric.core.errors import InputError
from mimetric.losses import adaptive_multi_head_loss
from mimetric.recipes.wang2024 import ARMS, CHANGES, Options

Small = Callable[[str], dict[str, Any]]


def test_a_temperature_for_each_role_solves_the_task_without_the_rows() -> None:
    """What the header gives as the reason: the rows below are random, and two constants bring the loss near 0."""
    first = torch.randn(1, 40, 16, generator=torch.Generator().manual_seed(0))
    rows, ids = torch.cat((first, first + 0.5 * first.roll(1, 1)), 1), torch.arange(40).repeat(2)

    def cost(positive: float, negative: float) -> float:
        def fixed(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ARG001
            return torch.full((1, 1, 1), positive), torch.full((1, 1, 1), negative)

        return adaptive_multi_head_loss(rows, ids, temperatures=fixed, beta=0.0).item()

    assert cost(0.09, 0.31) < 0.1 * cost(0.31, 0.31)
    assert cost(0.08, 1.85) < 0.01


def test_every_arm_is_measured(small: Small) -> None:
    found = {name: metric["mean"] for name, metric in small("wang2024")["measured"].items()}
    for change in CHANGES:
        accuracy = {arm: found[f"knn_{arm}_{change}"] for arm in ARMS}
        assert all(0.1 < value < 1 for value in accuracy.values())  # ten classes
        assert found[f"knn_simclr_{change}"] == max(accuracy["simclr_0.1"], accuracy["simclr_0.5"])
        for kind in ("positives", "negatives"):
            assert 0.9 < found[f"{kind}_amcl_{change}"] < 1.1  # the middle, where training begins
    assert found["within_bounds"] == pytest.approx(0.9, abs=0.1)
    assert found["knn_amcl"] == pytest.approx((found["knn_amcl_one"] + found["knn_amcl_four"]) / 2)


@pytest.mark.parametrize("name", ["rows", "steps"])
def test_a_size_below_one_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=rf"^wang2024: {name} must be > 0, got 0$"):
        Options(**{name: 0})
