from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given

from mimetric.core.similarity import SIMILARITIES, lift, normalized
from strategies import batches


def product(similarity, x, y=None):
    lifted = lift(similarity, x, y)
    sim = lifted.anchors @ lifted.references.T
    return -(-sim).clamp(min=0).sqrt() if lifted.root else sim


@given(batch=batches())
def test_lifts_give_the_similarities(batch):
    x, y = batch[0], batch[0].flip(0) * 2 + 1
    distance = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    expected = {
        "cosine": F.cosine_similarity(x[:, None], y[None], dim=2),
        "dot": x @ y.T,
        "negative_squared_euclidean": -distance.square(),
        "negative_euclidean": -distance,
    }
    assert set(expected) == set(SIMILARITIES)
    for similarity, sim in expected.items():
        torch.testing.assert_close(product(similarity, x, y), sim, rtol=1e-9, atol=1e-6)


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
    x, y = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def sim(x):
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
