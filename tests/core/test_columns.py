"""Blocks of columns are the same loss as blocks of rows, whichever losses take them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from cases import CASES, Case, names
from mimetric import losses
from mimetric.core import block_loss, class_sums, columns
from mimetric.losses import Pairing, regression
from strategies import batches, compared

few = settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
# One of each kind of term: logs of sums, sums, centers of classes, hinges that are counted.
KINDS = (
    "p2s-grad", "curricularface", "subcenter-arcface", "soft-triple", "supcon", "nt-xent", "contrastive",
    "multi-similarity", "circle", "squared-contrastive", "binomial-deviance", "margin", "sigmoid-pair",
)  # fmt: skip
CHOSEN = [case for case in CASES if case.name in KINDS]


@pytest.fixture
def taken(monkeypatch):
    """Blocks of a few columns for all that can be had so; how often they were taken."""
    seen = []

    def counted(*args):
        seen.append(columns.by_columns)
        return columns.by_columns(*args)

    for module in (class_sums, regression):  # which have a way of their own
        monkeypatch.setattr(module, "asks_for_more", lambda *_: True)
    monkeypatch.setattr(columns, "_THIN", 1 << 40)
    monkeypatch.setattr(block_loss, "by_columns", counted)
    monkeypatch.setattr(columns._Columns, "_width", lambda self: self._group * 3)
    return seen


def value_and_gradient(function, x, *args, **options):
    x = x.clone().requires_grad_()
    value = function(x, *args, **options)
    value.backward()
    return value.detach(), x.grad


def against(case: Case, x, references):
    return (case.weight(x),) if case.classes else references


@pytest.mark.parametrize("case", CHOSEN, ids=names)
@few
@given(batch=compared())
def test_same_value_and_gradient(taken, case, batch):
    x, y, *references = batch
    ours, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    given_ours = [t.clone().requires_grad_(t.is_floating_point()) for t in against(case, x, references)]
    given_plain = [t.detach().clone().requires_grad_(t.is_floating_point()) for t in given_ours]
    value, expected = case(ours, y, *given_ours), case.plain(plain, y, *given_plain)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(given_ours[0].grad, given_plain[0].grad, rtol=1e-7, atol=1e-9)
    assert taken


@pytest.mark.parametrize("reduction", [None, "anchors", "active", "sum", "none"])
@pytest.mark.parametrize(
    "loss", [losses.normalized_softmax_loss, losses.cosface_loss], ids=["softmax", "cosface"]
)
def test_averages_and_weights(taken, loss, reduction):
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, 4, dtype=torch.float64, generator=generator) for n in (9, 30))
    y = torch.tensor([0, 29, 3, 3, -1, 7, 8, 9, 1])
    pairing = Pairing(reduction=reduction, weights=torch.rand(9, dtype=torch.float64, generator=generator))

    def tilted(x, **options):
        described = loss.__wrapped__(x, y, weight, pairing=Pairing(**vars(pairing) | options))
        value = described.general().total()  # else these go another way
        return (value * torch.linspace(1, 2, 9, dtype=torch.float64)).sum() if value.ndim else value

    expected = value_and_gradient(lambda x: tilted(x, block=4), x)
    assert not taken
    torch.testing.assert_close(value_and_gradient(tilted, x), expected)
    assert taken


def test_gradcheck_of_learned_margins_and_second_derivatives(taken):
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, 4, dtype=torch.float64, generator=generator) for n in (6, 20))
    margin, scale = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.3, 4.0))
    y = torch.tensor([0, 19, 3, 3, -1, 7])

    def loss(x, weight, margin, scale):
        return losses.cosface_loss.__wrapped__(x, y, weight, margin=margin, scale=scale).general().total()

    inputs = (x.requires_grad_(), weight.requires_grad_(), margin, scale)
    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradgradcheck(loss, inputs)
    assert taken


@few
@given(batch=batches())
def test_ids_keep_an_anchor_from_itself(taken, batch):
    x, y = batch
    ids = torch.arange(len(x))
    expected = value_and_gradient(losses.supcon_loss, x, y)
    pairing = Pairing(ids=ids, reference_ids=ids)
    x_twice = x.clone().requires_grad_()
    value = losses.supcon_loss(x_twice, y, x_twice, y, pairing=pairing)
    value.backward()
    torch.testing.assert_close((value.detach(), x_twice.grad), expected)
    assert taken


def test_what_needs_whole_rows_takes_rows(taken):
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    y = torch.arange(9) % 3
    losses.batch_hard_triplet_loss(x, y, x + 0.1, y)
    losses.smooth_ap_loss(x, y, x + 0.1, y)
    assert not taken
