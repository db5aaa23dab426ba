"""Halves of a batch beside itself are the same loss as its rows, whichever losses take them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cases import CASES, Case, names
from mimetric import losses
from mimetric.core import halves, tiles
from mimetric.core.mined import Kept
from mimetric.losses import Pairing
from mimetric.mining import (
    EasyHardMining,
    HDCMining,
    MarginMining,
    MultiSimilarityMining,
    TripletMarginMining,
)
from strategies import batches

few = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
KINDS = (
    "supcon", "supcon-warm", "supcon-inside", "nt-xent", "nt-xent-all", "snca", "decoupled",
    "multi-similarity", "contrastive", "contrastive-loose", "circle", "circle-soft",
    "squared-contrastive",
)  # fmt: skip
CHOSEN = [case for case in CASES if case.name in KINDS]


@dataclass(frozen=True)
class EasierThanHardest:
    """Positives alone are chosen."""

    by_hardest = True
    blocks_held = 0

    def __call__(self, seen):
        return Kept(seen.near.valid & (seen.near.sim > seen.hardest[:, None]))


MININGS = [
    MultiSimilarityMining(epsilon=1.0),
    EasyHardMining(),
    EasyHardMining("easy", "semi-hard"),
    EasyHardMining("all", "all"),
    MarginMining(positive=1.0, negative=0.0),
    EasierThanHardest(),
]
OVER_MINED = [losses.contrastive_loss, losses.nt_xent_loss, losses.circle_loss]


@pytest.fixture(params=["kept", "made again"])
def taken(request, monkeypatch):
    """Tiles of 4 by 3 for all that can be had so, all slopes kept or none; how often they were taken."""
    seen, by_halves = [], halves.by_halves

    def counted(*args):
        seen.append(by_halves)
        return by_halves(*args)

    monkeypatch.setattr(halves, "_FEWEST", 2)
    monkeypatch.setattr(halves, "HEIGHT", 4)
    monkeypatch.setattr(tiles, "HEIGHT", 4)
    monkeypatch.setattr(tiles, "_WIDTH", 3)
    monkeypatch.setattr(tiles, "BLOCK_ELEMENTS", 1000 if request.param == "kept" else 0)
    monkeypatch.setattr(halves, "by_halves", counted)
    return seen


def value_and_gradient(function, x, *args, **options):
    x = x.clone().requires_grad_()
    value = function(x, *args, **options)
    value.backward()
    return value.detach(), x.grad


def batch_of(n, width=4, largest_class=4):
    """Labels out of order, one of them -1, classes of several sizes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, width, dtype=torch.float64, generator=generator)
    y = torch.arange(n).div(largest_class, rounding_mode="floor")[torch.randperm(n, generator=generator)]
    y[1] = -1
    return x, y


@pytest.mark.parametrize("case", CHOSEN, ids=names)
@pytest.mark.usefixtures("taken")
@few
@given(batch=batches(max_size=14))
def test_same_value_and_gradient(case: Case, batch):
    x, y = batch
    value, gradient = value_and_gradient(case, x, y)
    expected, plain = value_and_gradient(case.plain, x, y)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient, plain, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("case", CHOSEN, ids=names)
def test_sides_have_their_own_gradients(taken, case):
    x, y = batch_of(15)

    def side(x, which, block=None):
        return case.sides(x, y, block=block)[which]

    for which in (0, 1):
        expected = value_and_gradient(side, x, which, block=15)
        torch.testing.assert_close(value_and_gradient(side, x, which), expected)
    assert taken


@st.composite
def corners(draw):
    """Rows with cosines -1, 0 and 1, so that many tie with each other and with limits, and labels."""
    n = draw(st.integers(2, 12))
    places, signs = (
        draw(st.lists(st.sampled_from(of), min_size=n, max_size=n)) for of in ((0, 1, 2), (-1, 0, 1))
    )
    x = torch.zeros(n, 3, dtype=torch.float64)
    x[torch.arange(n), torch.tensor(places)] = torch.tensor(signs, dtype=torch.float64)
    return x, torch.tensor(draw(st.lists(st.integers(-1, 3), min_size=n, max_size=n)))


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize("mining", MININGS, ids=repr)
@pytest.mark.parametrize("loss", OVER_MINED[1:])
@few
@given(batch=corners())
def test_minings_where_all_ties(loss, mining, batch):
    x, y = batch
    expected = value_and_gradient(loss, x, y, pairing=Pairing(mining=mining, block=3))
    torch.testing.assert_close(value_and_gradient(loss, x, y, pairing=Pairing(mining=mining)), expected)


@pytest.mark.parametrize("mining", MININGS, ids=repr)
@pytest.mark.parametrize("loss", OVER_MINED)
def test_minings_of_any_rows(taken, loss, mining):
    x, y = batch_of(15)
    expected = value_and_gradient(loss, x, y, pairing=Pairing(mining=mining, block=15))
    assert not taken
    torch.testing.assert_close(value_and_gradient(loss, x, y, pairing=Pairing(mining=mining)), expected)
    assert taken


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize("similarity", ["dot", "negative_squared_euclidean", "negative_euclidean"])
@pytest.mark.parametrize(
    "loss", [losses.contrastive_loss, losses.generalized_lifted_structure_loss], ids=["hinge", "log-sum"]
)
@few
@given(batch=batches(max_size=12))
def test_other_similarities(loss, similarity, batch):
    x, y = batch[0] / 4, batch[1]
    expected = value_and_gradient(loss, x, y, pairing=Pairing(similarity=similarity, block=3))
    torch.testing.assert_close(
        value_and_gradient(loss, x, y, pairing=Pairing(similarity=similarity)), expected
    )


@pytest.mark.parametrize("similarity", ["dot", "negative_squared_euclidean", "negative_euclidean"])
def test_other_similarities_are_taken(taken, similarity):
    x, y = batch_of(15)
    losses.generalized_lifted_structure_loss(x / 4, y, pairing=Pairing(similarity=similarity))
    assert taken


@pytest.mark.parametrize("mining", [None, MultiSimilarityMining()], ids=["all", "mined"])
@pytest.mark.parametrize("loss", [losses.supcon_loss, losses.contrastive_loss], ids=["supcon", "contrastive"])
@pytest.mark.parametrize("reduction", [None, "anchors", "active", "sum", "none"])
def test_averages_weights_and_ids(taken, loss, reduction, mining):
    x, y = batch_of(15)
    ids = torch.arange(15)
    ids[y == 2] = 40  # the same instance several times: no pairs of one another
    weights = torch.linspace(0, 2, 15, dtype=torch.float64)

    def tilted(x, block=None):
        pairing = Pairing(ids=ids, reduction=reduction, weights=weights, block=block, mining=mining)
        value = loss(x, y, pairing=pairing)
        return (value * weights).sum() if value.ndim else value

    expected = value_and_gradient(lambda x: tilted(x, block=4), x)
    assert not taken
    torch.testing.assert_close(value_and_gradient(tilted, x), expected)
    assert taken


def test_first_and_second_derivatives(taken):
    x, y = batch_of(6)
    loss = losses.DecoupledLoss(sigma=0.5)
    assert torch.autograd.gradcheck(lambda x: loss(x, y), (x.requires_grad_(),))
    assert torch.autograd.gradgradcheck(lambda x: losses.supcon_loss(x, y), (x,))
    assert taken


def test_a_value_alone_keeps_nothing(taken):
    x, y = batch_of(15)
    with torch.no_grad():
        value = losses.supcon_loss(x, y)
    assert taken
    assert not value.requires_grad
    torch.testing.assert_close(value, losses.supcon_loss(x, y, pairing=Pairing(block=4)))


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: losses.supcon_loss(x, y, temperature=0.01),  # exponents up to 100
        lambda x, y: losses.supcon_loss(20 * x, y, pairing=Pairing(similarity="dot")),  # no better
        lambda x, y: losses.supcon_loss(x, torch.zeros_like(y)),  # a class higher than a tile
        lambda x, y: losses.triplet_margin_loss(x, y),  # what a negative costs depends on the positives
        lambda x, y: losses.supcon_loss(x, y, pairing=Pairing(mining=HDCMining())),  # looks at whole rows
        lambda x, y: losses.supcon_loss(x, y, pairing=Pairing(mining=TripletMarginMining())),
    ],
)
def test_what_halves_cannot_hold_takes_rows(taken, call):
    call(*batch_of(15))
    assert not taken


@pytest.mark.parametrize("temperature", [1 / 70, 0.1])
def test_full_size_in_float32(temperature):
    # Beside float64: as near as rows are, at the steepest exponent that is let in.
    x = torch.nn.functional.normalize(torch.randn(1200, 32))
    y = torch.arange(1200) % 311
    expected = value_and_gradient(losses.supcon_loss, x.double(), y, temperature=temperature)
    value, gradient = value_and_gradient(losses.supcon_loss, x, y, temperature=temperature)
    by_rows = value_and_gradient(
        losses.supcon_loss, x, y, temperature=temperature, pairing=Pairing(block=1200)
    )
    assert abs(value - expected[0]) < 1e-5 * expected[0]
    error, of_rows = ((found - expected[1]).abs().max() for found in (gradient, by_rows[1]))
    assert error < 2 * of_rows + 1e-8
