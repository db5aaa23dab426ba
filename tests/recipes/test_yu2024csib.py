from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mimetric.core.errors import InputError
from mimetric.recipes.yu2024csib import ARMS, Options, coded, cs, regressor, squared_error, toward_error

Small = Callable[[str], dict[str, Any]]


def test_every_arm_learns_and_an_attack_hurts_it(small: Small) -> None:
    found = {name: metric["mean"] for name, metric in small("yu2024csib")["measured"].items()}
    for name in ARMS:
        assert 0 <= found[f"information_{name}"] <= 1
        assert found[f"attacked_{name}"] > found[f"rmse_{name}"]
    assert found["rmse_mse"] < 0.95  # of a standard deviation
    assert found["information_csib_0.1"] < found["information_cs"]


def test_the_loss_is_zero_for_the_target_and_has_a_gradient_elsewhere() -> None:
    x, y = torch.randn(30, 10), torch.randn(30, 1)
    code = torch.randn(30, 16)
    assert abs(float(cs(weights="symmetric")(x, y, code, y))) < 1e-9
    prediction = torch.zeros(30, 1, requires_grad=True)
    value = cs(beta=0.1)(x, y, code, prediction)
    assert float(torch.autograd.grad(value, prediction)[0].abs().sum()) > 0


def test_the_attack_climbs_the_squared_error() -> None:
    torch.manual_seed(0)
    net, x, y = regressor(), torch.randn(20, 10), torch.randn(20, 1)
    with torch.no_grad():
        before = squared_error(x, y, *coded(net, x))
    slope = toward_error(net, x, y)
    with torch.no_grad():
        after = squared_error(x, y, *coded(net, x + 0.01 * slope.sign()))
    assert slope.shape == x.shape
    assert after > before


@pytest.mark.parametrize("name", ["epochs", "attack", "splits"])
def test_a_size_below_one_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=rf"^yu2024csib: {name} must be > 0, got 0$"):
        Options(**{name: 0})
