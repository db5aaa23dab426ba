"""All triplets from halves of a batch beside itself are the same loss as from its rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from cases import CASES
from mimetric import losses
from mimetric.core import triplet_halves
from mimetric.losses import Pairing
from strategies import batches

few = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
[CASE] = [case for case in CASES if case.name == "triplet-margin"]


@pytest.fixture
def taken(monkeypatch):
    """Tiles of 4 by 3 for all that can be had so; how often they were taken."""
    seen, by_halves = [], triplet_halves.by_triplet_halves

    def counted(*args):
        seen.append(by_halves)
        return by_halves(*args)

    monkeypatch.setattr(triplet_halves, "_FEWEST", 2)
    monkeypatch.setattr(triplet_halves, "_HEIGHT", 4)
    monkeypatch.setattr(triplet_halves, "_MOST", 4)  # as high as a tile
    monkeypatch.setattr(triplet_halves, "_WIDTH", 3)
    monkeypatch.setattr(triplet_halves, "by_triplet_halves", counted)
    return seen


def value_and_gradient(function, x, *args, **options):
    x = x.clone().requires_grad_()
    value = function(x, *args, **options)
    value.backward()
    return value.detach(), x.grad


def batch_of(n, width=4, largest_class=4, dtype=torch.float64):
    """Labels out of order, one of them -1, classes of several sizes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, width, dtype=dtype, generator=generator)
    y = torch.arange(n).div(largest_class, rounding_mode="floor")[torch.randperm(n, generator=generator)]
    y[1] = -1
    return x, y


@pytest.mark.usefixtures("taken")
@few
@given(batch=batches(max_size=14))
def test_same_value_and_gradient(batch):
    x, y = batch
    generator = torch.Generator().manual_seed(0)  # two more columns, so that nothing ties
    x = torch.cat((x, torch.randn(len(x), 2, dtype=x.dtype, generator=generator)), 1)
    expected = value_and_gradient(CASE.plain, x, y)
    torch.testing.assert_close(value_and_gradient(CASE, x, y), expected, rtol=1e-7, atol=1e-9)


def test_sides_ids_and_dot_products(taken):
    x, y = batch_of(15)
    ids = torch.arange(15)
    ids[y == 2] = 40  # the same instance several times: no pairs of one another
    for which in (0, 1):
        expected = value_and_gradient(lambda x, which=which: CASE.sides(x, y, ids=ids, block=15)[which], x)
        assert len(taken) == 2 * which  # both sides, each time
        found = value_and_gradient(lambda x, which=which: CASE.sides(x, y, ids=ids)[which], x)
        torch.testing.assert_close(found, expected)
    dot = {"similarity": "dot"}
    torch.testing.assert_close(
        value_and_gradient(CASE, x, y, **dot), value_and_gradient(CASE, x, y, block=4, **dot)
    )


def test_a_value_alone_and_second_derivatives(taken):
    x, y = batch_of(15)
    with torch.no_grad():
        value = losses.triplet_margin_loss(x, y)
    assert taken
    torch.testing.assert_close(value, losses.triplet_margin_loss(x, y, pairing=Pairing(block=4)))
    x, y = batch_of(6)
    assert torch.autograd.gradgradcheck(lambda x: losses.triplet_margin_loss(x, y), (x.requires_grad_(),))


@pytest.mark.parametrize(
    "call",
    [
        losses.semi_hard_triplet_loss,  # where copies tie
        lambda x, y: losses.triplet_margin_loss(x, torch.zeros_like(y)),  # many positives
        lambda x, y: losses.triplet_margin_loss(x, y, pairing=Pairing(reduction="active")),
        lambda x, y: losses.triplet_margin_loss(x, y, pairing=Pairing(weights=x[:, 0].abs())),
        lambda x, y: losses.triplet_margin_loss(x, y, pairing=Pairing(similarity="negative_euclidean")),
    ],
)
def test_what_they_cannot_hold_takes_rows(taken, call):
    call(*batch_of(20))
    assert not taken


def test_full_size_in_float32():
    x, y = batch_of(1100, width=32, dtype=torch.float32)
    value, gradient = value_and_gradient(CASE, x, y)
    expected, plain = value_and_gradient(CASE, x.double(), y, block=500)
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=0)
    error = (gradient - plain).norm()  # a triplet or two lie within rounding of the margin
    assert error < 1e-3 * plain.norm()
