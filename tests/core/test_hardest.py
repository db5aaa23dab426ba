"""Losses of the hardest negative are the same from lists of pairs as from blocks of slopes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from cases import CASES, Case, names
from mimetric import losses
from mimetric.core import hardest
from mimetric.losses import Pairing
from strategies import batches, compared

few = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
KINDS = (
    "batch-hard-triplet", "soft-batch-hard-triplet", "easy-positive-triplet", "easy-positive-hard-triplet",
    "centroid-triplet",
)  # fmt: skip
CHOSEN = [case for case in CASES if case.name in KINDS]
MAPPED = [(CHOSEN[0], similarity) for similarity in ("negative_euclidean", "negative_poincare")]


@pytest.fixture
def taken(monkeypatch):
    """Lists in parts and blocks of few rows; how often they were taken to the end, and not left for rows."""
    seen, spread = [], hardest.Pairs.spread

    def counted(*args, mirrored):
        seen.append(spread)
        return spread(*args, mirrored=mirrored)

    monkeypatch.setattr(hardest.Pairs, "spread", counted)
    monkeypatch.setattr(hardest, "_FEWEST", 1)
    monkeypatch.setattr(hardest, "BLOCK_ELEMENTS", 20)
    monkeypatch.setattr(hardest, "_AT_ONCE", 3)
    return seen


def value_and_gradients(function, *rows):
    rows = [x.clone().requires_grad_() for x in rows]
    value = function(*rows)
    value.backward()
    return value.detach(), *(x.grad for x in rows)


@pytest.mark.parametrize(("case", "similarity"), [(case, None) for case in CHOSEN] + MAPPED)
@pytest.mark.usefixtures("taken")
@few
@given(batch=batches(max_size=14))
def test_same_value_and_gradient(case: Case, similarity, batch):
    x, y = batch
    x = x / 8  # inside the Poincare ball, or on its rim
    found = value_and_gradients(lambda x: case(x, y, similarity=similarity), x)
    expected = value_and_gradients(lambda x: case.plain(x, y, similarity=similarity), x)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("case", CHOSEN[:2], ids=names)
@pytest.mark.usefixtures("taken")
@few
@given(batch=compared())
def test_same_beside_references(case: Case, batch):
    x, y, references, labels = batch

    def against(loss):
        return lambda x, references: loss(x, y, references, labels)

    found = value_and_gradients(against(case), x, references)
    expected = value_and_gradients(against(case.plain), x, references)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("reduction", [None, "anchors", "active", "sum", "none"])
def test_averages_weights_and_ids(taken, reduction):
    x = torch.randn(15, 4, dtype=torch.float64)
    y = torch.randperm(15) // 4
    ids, weights = torch.arange(15), torch.linspace(0, 2, 15, dtype=torch.float64)
    ids[y == 2] = 40  # the same instance several times: no pairs of one another

    def loss(block):
        pairing = Pairing(ids=ids, reduction=reduction, weights=weights, block=block)
        return lambda x: (losses.batch_hard_triplet_loss(x, y, pairing=pairing) * weights).sum()

    expected = value_and_gradients(loss(4), x)
    assert not taken
    torch.testing.assert_close(value_and_gradients(loss(None), x), expected)
    assert taken


@pytest.mark.parametrize("loss", [losses.batch_hard_triplet_loss, losses.soft_batch_hard_triplet_loss])
@pytest.mark.parametrize("several", [True, False])
def test_equally_hard_negatives_share_the_slope(taken, monkeypatch, loss, several):
    monkeypatch.setattr(hardest, "_MOST_TIES", 3 if several else 0)
    x = torch.randn(4, 3, dtype=torch.float64).repeat(
        3, 1
    )  # each negative stands there three times, or twice
    y = torch.tensor([0, 1, 2, 0, 0, 1, 2, 0, 5, 6, 7, 8])
    found = value_and_gradients(lambda x: loss(x, y), x)
    expected = value_and_gradients(lambda x: loss(x, y, pairing=Pairing(block=12)), x)
    torch.testing.assert_close(found, expected)
    assert bool(taken) is several  # too many of them take rows


def test_what_is_not_finite_shows(taken):
    x = torch.randn(9, 3)
    x[4, 1] = torch.nan
    value, gradient = value_and_gradients(
        lambda x: losses.batch_hard_triplet_loss(x, torch.arange(9) // 3), x
    )
    assert value.isnan()
    assert gradient.isnan().all()
    assert not taken


def test_large_classes_take_rows(taken):
    losses.batch_hard_triplet_loss(torch.randn(70, 2, requires_grad=True), torch.arange(70) % 2)
    assert not taken


@pytest.mark.parametrize("similarity", ["cosine", "negative_euclidean"])
def test_full_size_in_float32(similarity):
    # Two blocks, and a last column of groups that is not full.  Beside float64: as near as rows are.
    x, y = torch.randn(1500, 16), torch.arange(1500) % 377

    def loss(block=None):
        pairing = Pairing(similarity=similarity, block=block)
        return lambda x: losses.soft_batch_hard_triplet_loss(x, y, pairing=pairing)

    value, gradient = value_and_gradients(loss(), x)
    _, by_rows = value_and_gradients(loss(block=1500), x)
    expected, exact = value_and_gradients(loss(), x.double())
    assert abs(value - expected) <= 1e-6 * expected
    assert (gradient - exact).norm() <= 2 * (by_rows - exact).norm() + 1e-6 * exact.norm()
