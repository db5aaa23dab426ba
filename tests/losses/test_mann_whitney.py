"""The Mann-Whitney loss: numbers worked out by hand, its bound on AUC, and every pair beside every other."""

from __future__ import annotations

from math import exp, log, log1p

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import reference_listwise as reference
from mimetric import losses
from mimetric.core.errors import InputError
from mimetric.losses import Pairing, mann_whitney_loss, mann_whitney_scores_loss

IN_BATCH = torch.tensor([[1.0, 0.2], [0.5, 0.4]], dtype=torch.float64)
OWN = torch.eye(2, dtype=torch.bool)


def of(positives, negatives, **options):
    """The loss of a list of scores of positives and one of negatives."""
    scores = torch.tensor([[*positives, *negatives]], dtype=torch.float64)
    mask = torch.arange(scores.numel())[None] < len(positives)
    return mann_whitney_scores_loss(scores, mask, **options).item()


def test_by_hand():
    # Differences -0.5, -2, 0.5, -1: the mean of log(1 + e^d); AUC is 3 of 4.
    want = sum(log1p(exp(d)) for d in (-0.5, -2.0, 0.5, -1.0)) / 4
    assert want == pytest.approx(0.472086, abs=1e-6)
    assert of([1.0, 0.0], [0.5, -1.0]) == pytest.approx(want)
    assert of([1.0, 0.0], [0.5, -1.0], form="paper") == pytest.approx(2 * want)
    assert 1 - roc_auc_score([1, 1, 0, 0], [1.0, 0.0, 0.5, -1.0]) == 0.25 <= want / log(2)


def test_in_batch_scores():
    assert mann_whitney_scores_loss(IN_BATCH, OWN).item() == pytest.approx(0.546928, abs=1e-6)
    assert mann_whitney_scores_loss(IN_BATCH, OWN, form="paper").item() == pytest.approx(1.093857, abs=1e-6)


def test_a_softmax_does_not_see_what_is_added_to_a_list_and_this_does():
    moved = IN_BATCH + torch.tensor([[0.0], [3.0]])
    for scores in (IN_BATCH, moved):
        assert F.cross_entropy(scores, torch.arange(2)).item() == pytest.approx(0.557749, abs=1e-6)
    assert mann_whitney_scores_loss(moved, OWN).item() == pytest.approx(0.933585, abs=1e-6)


def test_cold():
    # Only 0.6 against 0.7 is out of order: 10 of its 4 pairs; the others add e^-10 or less.
    assert of([0.8, 0.6], [0.7, 0.5], temperature=0.01) == pytest.approx(2.500034, abs=1e-6)


@settings(max_examples=10)
@given(st.integers(0, 999), st.floats(-50, 50))
def test_one_constant_changes_nothing(seed, constant):
    scores = torch.randn(5, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mask = torch.eye(5, 6, dtype=torch.bool)
    value = mann_whitney_scores_loss(scores, mask).item()
    assert mann_whitney_scores_loss(scores + constant, mask).item() == pytest.approx(value)


def test_equal_scores_cost_log_2():
    assert of([0.3] * 4, [0.3] * 9, temperature=0.01) == pytest.approx(log(2))


def test_one_negative_is_binary_logistic_regression_and_a_softmax_of_two():
    scores = torch.tensor([[0.7, -0.4]], dtype=torch.float64)
    value = mann_whitney_scores_loss(scores, torch.tensor([[True, False]]))
    torch.testing.assert_close(value, -F.logsigmoid(scores[0, 0] - scores[0, 1]))
    torch.testing.assert_close(value, F.cross_entropy(scores, torch.tensor([0])))


@settings(max_examples=12)
@given(st.integers(0, 999), st.sampled_from([0.01, 0.1, 1.0]), st.booleans())
def test_it_bounds_the_area_over_the_curve(seed, temperature, rounded):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(1, 30, generator=generator, dtype=torch.float64)
    scores = scores.round(decimals=1) if rounded else scores  # with ties
    mask = torch.rand(1, 30, generator=generator) < 0.3
    mask[0, 0], mask[0, 1] = True, False
    auc = roc_auc_score(mask[0], scores[0])
    assert auc == pytest.approx(reference.roc_auc(scores[mask].tolist(), scores[~mask].tolist()))
    assert 1 - auc <= mann_whitney_scores_loss(scores, mask, temperature=temperature).item() / log(2) + 1e-12


def test_as_it_cools_it_becomes_a_hinge():
    generator = torch.Generator().manual_seed(0)
    scores, mask = torch.randn(1, 40, generator=generator, dtype=torch.float64), torch.arange(40)[None] < 9
    hinge = (scores[~mask][:, None] - scores[mask]).clamp(min=0).mean()
    cold = 1e-6 * mann_whitney_scores_loss(scores, mask, temperature=1e-6)
    assert cold.item() == pytest.approx(hinge.item(), rel=1e-6)


def of_the_batch(x, y, temperature):
    """All pairs of pairs at once, by autograd."""
    unit = F.normalize(x, dim=1)
    same = y[:, None] == y
    positives, negatives = (
        (unit @ unit.T)[same & ~torch.eye(len(y), dtype=torch.bool)],
        (unit @ unit.T)[~same],
    )
    return F.softplus((negatives[:, None] - positives) / temperature, threshold=50).mean()


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("block", [None, 1, 7, 100])
def test_value_and_gradient_are_those_of_all_pairs_of_pairs(temperature, block):
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.arange(60) % 13
    ours, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    value = mann_whitney_loss(ours, y, temperature=temperature, pairing=Pairing(block=block))
    want = of_the_batch(plain, y, temperature)
    value.backward(), want.backward()
    torch.testing.assert_close(value, want, rtol=1e-12, atol=0)
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [4, 80])  # one by one, and by a table
def test_the_gradient_over_all_scores_adds_up_to_nothing(n):
    scores = torch.randn(
        n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True
    )
    mann_whitney_scores_loss(scores, torch.eye(n, dtype=torch.bool)).backward()
    assert abs(scores.grad.sum().item()) < 1e-12
    assert (scores.grad.diagonal() < 0).all()


def test_what_is_ignored_is_neither():
    scores = torch.randn(
        6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True
    )
    positive, ignored = torch.eye(6, 8, dtype=torch.bool), torch.zeros(6, 8, dtype=torch.bool)
    ignored[0, 3] = ignored[2, 2] = ignored[5, 7] = True
    kept = scores.detach()[~ignored]
    want = mann_whitney_scores_loss(kept[None], positive[~ignored][None])
    value = mann_whitney_scores_loss(scores, positive, ignored)
    value.backward()
    torch.testing.assert_close(value, want)
    assert not scores.grad[ignored].any()


def test_scores_are_the_batch_of_their_rows():
    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.tensor([0, 0, 1, 1, 1, 2, 3, -1, -1])
    unit = F.normalize(x, dim=1)
    positive = (y[:, None] == y) & (y != -1)
    given = mann_whitney_scores_loss(unit @ unit.T, positive, torch.eye(9, dtype=torch.bool), temperature=0.1)
    torch.testing.assert_close(given, mann_whitney_loss(x, y, temperature=0.1))


@pytest.mark.parametrize("mask", [torch.zeros(2, 3), torch.ones(2, 3)])
def test_without_positives_or_without_negatives_it_is_0_with_a_graph(mask):
    scores = torch.randn(2, 3, requires_grad=True)
    value = mann_whitney_scores_loss(scores, mask.bool())
    value.backward()
    assert value == 0
    assert not scores.grad.any()


def test_half_precision_scores():
    scores = torch.randn(8, 9, generator=torch.Generator().manual_seed(0)).half().requires_grad_()
    mask = torch.eye(8, 9, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = mann_whitney_scores_loss(scores, mask, temperature=0.1)
    value.backward()
    exact = mann_whitney_scores_loss(scores.detach().double(), mask, temperature=0.1)
    assert value.dtype == torch.float32
    assert scores.grad.dtype == torch.float16
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)


def test_module_form():
    module = losses.MannWhitneyScoresLoss(temperature=0.5, form="paper")
    want = mann_whitney_scores_loss(IN_BATCH, OWN, temperature=0.5, form="paper")
    assert module(IN_BATCH, OWN) == want
    assert repr(module) == "MannWhitneyScoresLoss(temperature=0.5, form='paper')"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: losses.MannWhitneyLoss(temperature=0.0),
            "MannWhitneyLoss: temperature must be > 0, got 0.0",
        ),
        (lambda: losses.MannWhitneyScoresLoss(form="sum"), "form must be one of mean, paper, got 'sum'"),
        (
            lambda: mann_whitney_loss(torch.eye(2), [0, 0], form="sum"),
            "mann_whitney_loss: form must be one of",
        ),
        (lambda: mann_whitney_scores_loss(IN_BATCH, OWN, temperature=-1), "temperature must be > 0, got -1"),
        (
            lambda: mann_whitney_scores_loss(IN_BATCH, OWN.float()),
            r"positive_mask must be bool of shape \(2, 2\) to match scores, got float32 of shape \(2, 2\)",
        ),
        (
            lambda: mann_whitney_scores_loss(IN_BATCH, OWN, OWN[:1]),
            r"ignore_mask must be .* got bool of shape \(1, 2\)",
        ),
        (lambda: mann_whitney_scores_loss([1, 2], OWN), "scores must be floating point, got int64"),
        (
            lambda: mann_whitney_scores_loss([1.0, 2.0], OWN),
            r"scores must have shape \(rows, width\), got \(2,\)",
        ),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
