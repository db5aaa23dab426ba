from __future__ import annotations

from collections.abc import Callable
from math import log, pi
from typing import Any

import pytest
import torch
from torch.distributions import Normal

from mimetric.core.errors import InputError
from mimetric.losses import self_contrast_loss
from mimetric.recipes.livne2025 import ARMS, LEAST, Options, latent_cost

Small = Callable[[str], dict[str, Any]]


def test_latent_costs_are_those_of_normals() -> None:
    mean, log_std = torch.randn(2, 5, 3, dtype=torch.float64)
    code = mean + log_std.exp() * torch.randn(5, 3, dtype=torch.float64)
    log_q = Normal(mean, log_std.exp()).log_prob(code).sum(1)
    log_prior = Normal(0.0, 1.0).log_prob(code).sum(1)
    torch.testing.assert_close(latent_cost(code, mean, log_std, "mim"), -(log_q + log_prior) / 2)
    torch.testing.assert_close(latent_cost(code, mean, log_std, "vae"), log_q - log_prior)


def test_a_code_at_the_origin() -> None:
    zero = torch.zeros(1, 3, dtype=torch.float64)
    assert latent_cost(zero, zero, zero, "mim").item() == pytest.approx(1.5 * log(2 * pi))  # 2.756816
    assert latent_cost(zero, zero, zero, "vae").item() == pytest.approx(0)


def test_mim_rewards_a_sharper_code_and_a_vae_penalizes_it() -> None:
    zero, sharper = torch.zeros(1, 3), torch.tensor([[-1.0, 0.0, 0.0]])
    for kind, change in (("mim", -0.5), ("vae", 1.0)):
        cost = latent_cost(zero, zero, sharper, kind) - latent_cost(zero, zero, zero, kind)
        assert cost.item() == pytest.approx(change, abs=1e-5)
    floor = torch.full((1, 3), LEAST)  # what the clamp leaves MIM to gain: 6 / 2 nats a number
    assert latent_cost(zero, zero, floor, "mim").item() == pytest.approx(1.5 * log(2 * pi) - 9, abs=1e-4)


def test_the_contrastive_term_is_small_beside_them() -> None:
    for _, _, temperature in ARMS.values():
        assert self_contrast_loss(torch.randn(50, 8), temperature=temperature) <= log(2)
    # A high temperature sees nothing: log 2 whatever the codes are.
    assert self_contrast_loss(torch.randn(50, 8), temperature=1e4).item() == pytest.approx(log(2), abs=1e-4)


def test_every_arm_learns(small: Small) -> None:
    found = {name: metric["mean"] for name, metric in small("livne2025")["measured"].items()}
    for arm in ARMS:
        assert found[f"linear_{arm}"] > 0.3  # ten classes
        assert -1 <= found[f"cosine_{arm}"] <= 1
    assert found["mse_mim"] < found["mse_vae"] < found["mse_infonce"]  # whose decoder learns nothing
    assert found["saved_by_cmim"] == pytest.approx(1 - found["mse_cmim"] / found["mse_mim"])


@pytest.mark.parametrize("name", ["rows", "steps"])
def test_a_size_below_one_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=rf"^livne2025: {name} must be > 0, got 0$"):
        Options(**{name: 0})
