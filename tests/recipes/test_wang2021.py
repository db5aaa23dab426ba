from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from mimetric.core.errors import InputError
from mimetric.core.pairing import Pairing
from mimetric.core.pairs import pair_weights
from mimetric.losses import nt_xent_loss
from mimetric.mining import HDCMining
from mimetric.recipes.wang2021 import ARMS, HARD, Options, simple

Small = Callable[[str], dict[str, Any]]
SIMS = (0.8, 0.6, 0.2, -0.4)  # of one positive, and three negatives


def cost(loss: Callable[..., Tensor], *sims: float, share: float | None = None) -> Tensor:
    """What an anchor costs at given similarities: its coordinates, with references along the axes."""
    ids = torch.arange(len(sims))
    pairing = Pairing(similarity="dot", mining=None if share is None else HDCMining(share))
    row = torch.tensor([sims], dtype=torch.float64)
    return loss(row, ids[:1], torch.eye(len(sims), dtype=torch.float64), ids, pairing=pairing)


def weights(temperature: float) -> Tensor:
    """General pair weights of that anchor."""
    sim = torch.zeros(5, 5, dtype=torch.float64)
    sim[0, 1:] = torch.tensor(SIMS)
    return pair_weights(partial(nt_xent_loss, temperature=temperature), sim, [0, 0, 1, 2, 3])[0, 1:]


@pytest.mark.parametrize(
    ("temperature", "value", "penalties", "entropy"),
    [
        (0.1, 0.129114, (0.98197, 0.017985, 4.458e-5), 0.0906),
        (0.5, 0.723789, (0.6310, 0.2835, 0.0854), 0.8580),
        (1.0, 0.981605, (0.4906, 0.3289, 0.1805), 1.0241),
    ],
)
def test_negatives_are_penalized_by_a_softmax(
    temperature: float, value: float, penalties: tuple[float, ...], entropy: float
) -> None:
    # P = softmax(s / T); dL/ds_j = P_j / T; divided by |dL/ds_i| these are a softmax of the negatives alone.
    assert cost(partial(nt_xent_loss, temperature=temperature), *SIMS).item() == pytest.approx(
        value, abs=1e-6
    )
    pull, *push = weights(temperature).tolist()
    relative = [one / -pull for one in push]
    assert -pull == pytest.approx(sum(push), rel=1e-12)
    assert relative == pytest.approx(penalties, rel=1e-3)
    assert -sum(r * math.log(r) for r in relative) == pytest.approx(entropy, abs=1e-4)


def test_gradient_at_a_tenth() -> None:
    assert weights(0.1).tolist() == pytest.approx([-1.2113, 1.1894, 0.021785, 5.4e-5], rel=1e-3)


def test_a_small_temperature_is_a_triplet_with_the_hardest_negative() -> None:
    for temperature, value in ((0.1, 0.21291), (0.01, 0.2), (0.001, 0.2)):
        loss = partial(nt_xent_loss, temperature=temperature)
        assert temperature * cost(loss, 0.5, 0.7, 0.1).item() == pytest.approx(value, abs=1e-5)


def test_a_large_temperature_is_the_loss_without_softmax() -> None:
    # log N - (N - 1) / (N T) s_i + sum of s_j / (N T), which is (N - 1) / (N T) times the simple loss, less its 2.
    assert cost(simple, *SIMS).item() == pytest.approx(2 - 0.8 + 0.4 / 3)
    for temperature, value, limit in ((10.0, 1.337336, 1.336294), (100.0, 1.381305, 1.381294)):
        assert cost(partial(nt_xent_loss, temperature=temperature), *SIMS).item() == pytest.approx(
            value, abs=1e-6
        )
        near = math.log(4) + 3 / (4 * temperature) * (cost(simple, *SIMS).item() - 2)
        assert near == pytest.approx(limit, abs=1e-6)


def test_the_hardest_negatives_alone() -> None:
    loss = partial(nt_xent_loss, temperature=0.3)
    assert cost(loss, *SIMS, share=1.0).item() == pytest.approx(cost(loss, *SIMS).item())
    one = math.log(1 + math.exp((0.6 - 0.8) / 0.3))
    assert cost(loss, *SIMS, share=0.1).item() == pytest.approx(one)
    assert cost(loss, 0.8, 0.6, 0.6, -0.4, share=0.1).item() > one  # those as hard stay
    assert cost(simple, *SIMS, share=0.1).item() == pytest.approx(2 - 0.8 + 0.6)


def test_every_loss_is_blind_to_which_negative_is_which() -> None:
    for loss in (ARMS["0.3"], ARMS["hard_0.3"], ARMS["hard_simple"]):
        x, y, ids = torch.randn(20, 8), torch.randn(20, 8), torch.arange(20)
        order = torch.cat([ids[:1], 1 + torch.randperm(19)])
        costs = [loss(x[:1], ids[:1], y[rows], ids) for rows in (ids, order)]
        torch.testing.assert_close(*costs)


def test_hard_arms_keep_the_positive_and_a_tenth_of_the_negatives() -> None:
    sim = torch.randn(1, 21)
    sim.requires_grad_()
    loss = nt_xent_loss(sim, [0], torch.eye(21), range(21), temperature=1.0,
                        pairing=Pairing(mining=HARD.mining, similarity="dot"))  # fmt: skip
    slope = torch.autograd.grad(loss, sim)[0][0]
    assert slope[0] < 0
    pushed = (slope[1:] > 1e-20).nonzero().flatten()  # the engine leaves others e to the -80
    assert set(pushed.tolist()) == set(sim[0, 1:].topk(2).indices.tolist())


def test_a_few_epochs_teach_something(small: Small) -> None:
    found = {name: metric["mean"] for name, metric in small("wang2021")["measured"].items()}
    for arm in ARMS:
        assert found[f"accuracy_{arm}"] > 0.25  # ten classes
        assert 0 < found[f"uniformity_{arm}"] < 4
        assert -1 <= found[f"tolerance_{arm}"] <= 1
    falls = (
        found["uniformity_0.07"] - found["uniformity_0.1"],
        found["uniformity_0.7"] - found["uniformity_1"],
    )
    assert found["least_fall_of_uniformity"] <= min(falls)


@pytest.mark.parametrize("name", ["rows", "epochs"])
def test_a_size_below_one_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=rf"^wang2021: {name} must be > 0, got 0$"):
        Options(**{name: 0})
