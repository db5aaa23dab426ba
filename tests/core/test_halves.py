"""Halves of a batch beside itself are the same loss as its rows, whichever losses take them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from cases import CASES, Case, names
from mimetric import losses
from mimetric.core import halves
from mimetric.losses import Pairing
from strategies import batches

few = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
KINDS = (
    "supcon", "supcon-warm", "supcon-inside", "nt-xent", "nt-xent-all", "snca", "decoupled",
    "multi-similarity", "contrastive", "contrastive-loose", "circle", "circle-soft",
)  # fmt: skip
CHOSEN = [case for case in CASES if case.name in KINDS]


@pytest.fixture(params=["kept", "made again"])
def taken(request, monkeypatch):
    """Tiles of 4 by 3 for all that can be had so, all slopes kept or none; how often they were taken."""
    seen, by_halves = [], halves.by_halves

    def counted(*args):
        seen.append(by_halves)
        return by_halves(*args)

    monkeypatch.setattr(halves, "_FEWEST", 2)
    monkeypatch.setattr(halves, "_HEIGHT", 4)
    monkeypatch.setattr(halves, "_WIDTH", 3)
    monkeypatch.setattr(halves, "BLOCK_ELEMENTS", 1000 if request.param == "kept" else 0)
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


@pytest.mark.parametrize("loss", [losses.supcon_loss, losses.contrastive_loss], ids=["supcon", "contrastive"])
@pytest.mark.parametrize("reduction", [None, "anchors", "active", "sum", "none"])
def test_averages_weights_and_ids(taken, loss, reduction):
    x, y = batch_of(15)
    ids = torch.arange(15)
    ids[y == 2] = 40  # the same instance several times: no pairs of one another
    weights = torch.linspace(0, 2, 15, dtype=torch.float64)

    def tilted(x, block=None):
        value = loss(x, y, pairing=Pairing(ids=ids, reduction=reduction, weights=weights, block=block))
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
        lambda x, y: losses.supcon_loss(x, y, pairing=Pairing(similarity="dot")),  # no bound on them
        lambda x, y: losses.supcon_loss(x, torch.zeros_like(y)),  # a class higher than a tile
        lambda x, y: losses.triplet_margin_loss(x, y),  # what a negative costs depends on the positives
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
