"""Prototypical networks: numbers by hand, and torch's cross-entropy of distances."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mimetric.core.errors import InputError
from mimetric.losses import Pairing, prototypical_loss
from mimetric.mining import MultiSimilarityMining

LINE = torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_an_episode():
    # Prototypes 0 and 2.  The query at 0 has squared distances 0 and 4, the one at 3 has 9 and 1.
    tightness, contrast = prototypical_loss.sides(LINE[[0, 3]], [0, 1], LINE[[0, 2]], [0, 1])
    assert tightness.item() == pytest.approx((0 + 1) / 2)
    assert contrast.item() == pytest.approx((log(1 + exp(-4)) + log(exp(-9) + exp(-1))) / 2)


def test_each_row_left_out_of_its_own_mean():
    # Row 0: its class without it is at 1, the other at 2.5.  Row 1: at 0 and 2.5.  The other two mirror these.
    expected = (log(1 + exp(1 - 2.5**2)) + log(1 + exp(1 - 1.5**2))) / 2
    assert prototypical_loss(LINE, [0, 0, 1, 1]).item() == pytest.approx(expected)


def test_temperature_divides_distances():
    value = prototypical_loss(LINE[[0, 3]], [0, 1], LINE[[0, 2]], [0, 1], temperature=2.0)
    scaled = prototypical_loss(LINE[[0, 3]] / 2**0.5, [0, 1], LINE[[0, 2]] / 2**0.5, [0, 1])
    assert value.item() == pytest.approx(scaled.item())


def test_without_a_prototype_a_query_costs_nothing():
    # A class that the support lacks, an unlabelled query; an unlabelled support row moves no mean.
    alone = prototypical_loss(LINE[[0]], [0], LINE[[0, 2]], [0, 1])
    value = prototypical_loss(LINE[[0, 1, 2]], [0, 5, -1], LINE[[0, 2, 3]], [0, 1, -1])
    assert value.item() == pytest.approx(alone.item() / 3)
    assert prototypical_loss(LINE, [0, 1, 2, -1]) == 0


@given(seed=st.integers(0, 10**6), ways=st.integers(2, 5), shots=st.integers(1, 4))
def test_equals_cross_entropy_of_distances(seed, ways, shots):
    support = normal(ways, shots, 3, seed=seed).requires_grad_()
    queries = normal(7, 3, seed=seed + 1).requires_grad_()
    y = torch.randint(0, ways, (7,), generator=torch.Generator().manual_seed(seed))
    value = prototypical_loss(queries, y, support.flatten(0, 1), torch.arange(ways).repeat_interleave(shots))
    expected = F.cross_entropy(-torch.cdist(queries, support.mean(1)).square(), y)
    assert value.item() == pytest.approx(expected.item(), rel=1e-9)
    ours, theirs = (torch.autograd.grad(loss, (queries, support)) for loss in (value, expected))
    torch.testing.assert_close(ours, theirs)


@given(seed=st.integers(0, 10**6))
def test_left_out_is_an_episode_for_each_row(seed):
    x, y = normal(9, 3, seed=seed), torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2])
    episodes = [
        prototypical_loss(x[[i]], y[[i]], x[torch.arange(9) != i], y[torch.arange(9) != i]) for i in range(9)
    ]
    assert prototypical_loss(x, y).item() == pytest.approx(torch.stack(episodes).mean().item())


def test_a_large_class_costs_one_sum():
    x, y = normal(400, 3), torch.arange(400) % 2
    others = [(x[y == k].sum(0) - (y == k)[:, None] * x) / (200 - (y == k).double())[:, None] for k in (0, 1)]
    logits = torch.stack([-(x - mean).square().sum(1) for mean in others], dim=1)
    assert prototypical_loss(x, y).item() == pytest.approx(F.cross_entropy(logits, y).item())


def test_refuses_what_is_no_class_mean():
    for pairing, message in (
        (Pairing(mining=MultiSimilarityMining()), "takes no mining"),
        (Pairing(related=torch.eye(4).bool()), "needs one class id a row"),
    ):
        with pytest.raises(InputError, match=f"prototypical_loss: {message}"):
            prototypical_loss(LINE, [0, 0, 1, 1], pairing=pairing)
    with pytest.raises(InputError, match="prototypical_loss: temperature must be > 0, got 0"):
        prototypical_loss(LINE, [0, 0, 1, 1], temperature=0)
