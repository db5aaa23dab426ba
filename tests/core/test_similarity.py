from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given

from mimetric.core.similarity import SIMILARITIES, lift, normalized
from strategies import batches


def product(similarity, x, y=None):
    lifted = lift(similarity, x, y)
    sim = lifted.anchors @ lifted.references.T
    return sim if lifted.map is None else lifted.map.plain(sim.clamp(max=0))


def noise_to_signal(x, y):
    variance = x.var(1, correction=0)[:, None]
    ratio = (x[:, None] - y[None]).var(2, correction=0) / variance
    return torch.where(variance == 0, 0, ratio)


def hyperbolic(x, y):
    length = [rows.norm(dim=1, keepdim=True).clamp(min=1e-300) for rows in (x, y)]
    x, y = (torch.where(n > 1 - 1e-5, rows / n * (1 - 1e-5), rows) for rows, n in zip((x, y), length))
    gap = (1 - x.square().sum(1))[:, None] * (1 - y.square().sum(1))
    return torch.acosh(1 + 2 * (x[:, None] - y[None]).square().sum(2) / gap)


@given(batch=batches())
def test_lifts_give_the_similarities(batch):
    x, y = batch[0] / 4, batch[0].flip(0) / 2 + 0.25
    distance = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    expected = {
        "cosine": F.cosine_similarity(x[:, None], y[None], dim=2),
        "dot": x @ y.T,
        "negative_squared_euclidean": -distance.square(),
        "negative_euclidean": -distance,
        "negative_snr": -noise_to_signal(x, y),
        "negative_poincare": -hyperbolic(x, y),
    }
    assert set(expected) == set(SIMILARITIES)
    for similarity, sim in expected.items():
        # On the rim of the ball the denominator is 4e-10: equal rows there are 1e-2 apart by a product.
        slack = 0.02 if similarity == "negative_poincare" else 1e-6
        torch.testing.assert_close(product(similarity, x, y), sim, rtol=1e-6, atol=slack)


def test_noise_to_signal_of_two_rows():
    # x = (1, -1) has variance 1; y - x = (0, 4) has variance 4.
    x, y = torch.tensor([[1.0, -1.0]]), torch.tensor([[1.0, 3.0]])
    assert product("negative_snr", x, y).item() == pytest.approx(-4)
    assert product("negative_snr", y, x).item() == pytest.approx(-4)
    assert product("negative_snr", 2 * x, y).item() == pytest.approx(-2.25)  # variances 9 and 4


def test_hyperbolic_distance_of_two_rows():
    # From the origin to r it is 2 artanh r, and along a diameter distances add up.
    x, y = torch.tensor([[0.0, 0.0], [0.5, 0.0]]), torch.tensor([[0.5, 0.0], [-0.2, 0.0]])
    half, fifth = 2 * math.atanh(0.5), 2 * math.atanh(0.2)
    expected = torch.tensor([[half, fifth], [0.0, half + fifth]])
    torch.testing.assert_close(-product("negative_poincare", x, y), expected, atol=1e-3, rtol=1e-5)


def test_short_hyperbolic_distances_keep_their_digits():
    x = torch.tensor([[0.3, 0.0]], dtype=torch.float64)
    y = torch.tensor([[0.3 + 1e-6, 0.0]], dtype=torch.float64)
    assert -product("negative_poincare", x, y).item() == pytest.approx(2e-6 / (1 - 0.09), rel=1e-3)


@pytest.mark.parametrize("similarity", ["negative_euclidean", "negative_poincare"])
def test_a_map_in_place_is_the_map(similarity):
    x = torch.rand(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 2
    lifted = lift(similarity, x)
    plain = (lifted.anchors @ lifted.references.T).fill_diagonal_(0).detach().requires_grad_()
    value = lifted.map.plain(plain)
    [slope] = torch.autograd.grad(value.sum(), plain)
    block = plain.detach().clone()
    steepness = lifted.map.apply_(block)
    torch.testing.assert_close(block, value.detach())
    torch.testing.assert_close(1 / steepness, slope)
    assert (slope.diagonal() == 0).all()


def test_the_same_rows_are_lifted_once():
    x = torch.randn(3, 2)
    for similarity in ("cosine", "dot"):
        lifted = lift(similarity, x)
        assert lifted.anchors is lifted.references


def test_distances_survive_a_far_origin():
    # Rows 0.01 apart and a thousand from 0: without moving the origin float32 has no digit left.
    x = torch.tensor([[1000.0, 1000.0], [1000.0, 1000.01]])
    assert product("negative_euclidean", x)[0, 1].item() == pytest.approx(-0.01, rel=0.01)


def test_a_short_distance_by_a_product_loses_digits():
    # What the docstring states, for unit rows 1e-3 apart.
    x = F.normalize(torch.randn(500, 64, generator=torch.Generator().manual_seed(0)))
    y = x + F.normalize(torch.randn(500, 64, generator=torch.Generator().manual_seed(1))) * 1e-3
    off = (-product("negative_euclidean", x, y).diagonal() / (y - x).norm(dim=1) - 1).abs()
    assert 0.02 < off.median() < 0.15
    assert off.max() < 0.6


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_lifts_have_first_and_second_derivatives(similarity):
    x, y = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 4

    def sim(x):  # every row inside the unit ball: on its rim the Poincare distance has no end
        return lift(similarity, x, y).anchors.square().sum(1)

    assert torch.autograd.gradcheck(sim, x.requires_grad_())
    assert torch.autograd.gradgradcheck(sim, x)


def test_normalized_zero_row():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    normalized(x).sum().backward()
    assert torch.equal(x.grad[0], torch.zeros(2))
    assert torch.isfinite(x.grad).all()


def test_normalized_of_tiny_and_huge_rows():
    x = torch.tensor([[1e-15, 0.0], [1e15, 0.0]])
    torch.testing.assert_close(normalized(x), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
