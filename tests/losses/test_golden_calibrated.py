"""Calibration by correctness, and entropies of predictions: values with their derivation."""

from __future__ import annotations

from math import log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_teacher as reference
from mimetric.core.errors import InputError
from mimetric.losses import (
    AdaptiveTemperature,
    CategoryDiversityLoss,
    CorrectnessAwareLoss,
    LinearLogits,
    PredictionEntropyLoss,
    category_diversity_loss,
    consistency_features,
    correctness_aware_loss,
    prediction_entropy_loss,
)
from mimetric.metrics import top1_brier
from strategies import rows

# The narrow miss of Liu et al., arXiv:2404.13016: class 0 is true, class 1 wins.
MISS = torch.tensor([[0.412, 0.455, 0.068, 0.065]], dtype=torch.float64).log()
HIT = torch.tensor([[0.7, 0.1, 0.1, 0.1]], dtype=torch.float64).log()
P = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
few = settings(max_examples=12)


@st.composite
def tables(draw):
    """Logits (n, C)."""
    return draw(rows(draw(st.integers(1, 6)), draw(st.integers(1, 4))))


def test_correctness_aware():
    assert correctness_aware_loss(MISS, [0]).item() == pytest.approx(0.455**2)
    assert correctness_aware_loss(torch.cat((MISS, HIT)), [0, 0]).item() == pytest.approx(
        (0.455**2 + 0.3**2) / 2
    )


@pytest.mark.parametrize(
    ("temperature", "entropy", "expected"),
    [(0.5, 0.8206, 0.2882), (1.0, 0.8867, 0.2070), (2.0, 1.0488, 0.1356), (5.0, 1.2263, 0.0895)],
)
def test_a_narrow_miss_wants_to_be_unsure_where_cross_entropy_wants_it_sharper(
    temperature, entropy, expected
):
    assert F.cross_entropy(MISS / temperature, torch.tensor([0])).item() == pytest.approx(entropy, abs=5e-5)
    assert correctness_aware_loss(MISS / temperature, [0]).item() == pytest.approx(expected, abs=5e-5)


def test_a_wrong_row_costs_no_less_than_guessing_and_its_winner_is_lowered():
    x = MISS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(correctness_aware_loss(x, [0]), x)
    (other,) = torch.autograd.grad(correctness_aware_loss(x, [3]), x)
    assert gradient[0, 1] > 0
    torch.testing.assert_close(gradient, other)  # whatever the label is
    assert correctness_aware_loss(MISS / 1e9, [0]).item() == pytest.approx(1 / 16)
    costs = [correctness_aware_loss(HIT / t, [0]).item() for t in (0.1, 0.5, 1.0, 2.0)]
    assert costs == sorted(costs)


def test_balanced_weights():
    x, y = torch.cat((MISS, HIT, HIT, HIT)), [0, 0, 0, 0]
    # a = 3/4: the wrong row weighs 3/4, the right ones 1/4 each.
    expected = (0.75 * 0.455**2 + 0.75 * 0.3**2) / 1.5
    assert correctness_aware_loss(x, y, balanced=True).item() == pytest.approx(expected, rel=1e-12)
    for of in (slice(2), slice(1, 4), slice(1)):  # half of them right, all, none
        torch.testing.assert_close(
            correctness_aware_loss(x[of], y[of], balanced=True), correctness_aware_loss(x[of], y[of])
        )


def test_it_is_the_mean_of_the_top_1_brier_score():
    logits = torch.randn(30, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(30) % 4
    torch.testing.assert_close(
        CorrectnessAwareLoss()(logits, labels), top1_brier(logits.softmax(1), labels).mean()
    )


def test_consistency_features():
    # Its two likeliest classes are 1 and 0; copies are read at those.
    copies = torch.tensor([[[0.5, 0.4, 0.1]], [[0.1, 0.2, 0.7]]]).log()
    found = consistency_features(torch.tensor([[0.2, 0.7, 0.1]]).log(), copies, k=2)
    torch.testing.assert_close(found, torch.tensor([[0.4, 0.5, 0.2, 0.1]]))
    torch.testing.assert_close(
        consistency_features(copies[0], list(copies.half()), k=1),
        torch.tensor([[0.5, 0.1]]),
        rtol=0,
        atol=1e-3,
    )
    with pytest.raises(
        InputError, match=r"^consistency_features: k must lie in 1..3, the number of classes, got 4$"
    ):
        consistency_features(copies[0], copies)
    with pytest.raises(
        InputError, match=r"^consistency_features: transformed must hold logits of shape \(1, 3\)"
    ):
        consistency_features(copies[0], [copies[0, :, :2]], k=2)
    with pytest.raises(InputError, match=r"at least once, got \[\]$"):
        consistency_features(copies[0], [], k=2)


def test_a_temperature_for_each_row_tells_right_from_wrong():
    """Rows whose copies disagree become unsure; predictions stay."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(5, (200,), generator=generator)
    shaky = torch.arange(200) % 2 == 1
    shown = torch.where(shaky & (torch.rand(200, generator=generator) < 0.8), (y + 1) % 5, y)
    logits = 3 * F.one_hot(shown, 5) + 0.1 * torch.randn(200, 5, generator=generator)
    copies = torch.where(shaky[:, None], 0.0, 1.0) * logits + 0.1 * torch.randn(
        3, 200, 5, generator=generator
    )
    torch.manual_seed(0)
    features, temperature = consistency_features(logits, copies), AdaptiveTemperature(12)
    assert 0.2 < temperature(features).min() < temperature(features).max() < 2.5
    optimizer = torch.optim.Adam(temperature.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        correctness_aware_loss(logits / temperature(features)[:, None], y).backward()
        optimizer.step()
    calibrated = logits / temperature(features)[:, None]
    assert torch.equal(calibrated.argmax(1), logits.argmax(1))
    confidence = calibrated.softmax(1).amax(1)
    assert confidence[~shaky].mean() > confidence[shaky].mean() + 0.3
    with pytest.raises(InputError, match=r"^AdaptiveTemperature: num_features must be > 0, got 0"):
        AdaptiveTemperature(0)


# Entropies of predictions.


def test_entropy_and_diversity():
    entropy, diversity = PredictionEntropyLoss()(P.log()), CategoryDiversityLoss()(P.log())
    assert entropy.item() == pytest.approx(0.41274270, abs=1e-8)
    assert -diversity.item() == pytest.approx(0.68813881, abs=1e-8)
    assert (entropy + diversity).item() == pytest.approx(-0.27539612, abs=1e-8)
    supervised = F.cross_entropy(torch.tensor([[2.0, 0.0]], dtype=torch.float64), torch.tensor([0]))
    assert (supervised + entropy + 0.2 * diversity).item() == pytest.approx(0.40204295, abs=1e-8)


@given(logits=tables())
@few
def test_equal_plain_loops(logits):
    entropy, diversity = prediction_entropy_loss(logits), category_diversity_loss(logits)
    assert entropy.item() == pytest.approx(reference.prediction_entropy(logits.tolist()), abs=1e-9)
    assert diversity.item() == pytest.approx(reference.category_diversity(logits.tolist()), abs=1e-9)
    assert entropy + diversity <= 1e-9  # Jensen
    if len(logits) == 1:
        assert (entropy + diversity).item() == pytest.approx(0, abs=1e-12)


def test_corners():
    collapsed = 50 * F.one_hot(torch.zeros(6, dtype=torch.int64), 3).double()
    sure = 50 * F.one_hot(torch.arange(6) % 3, 3).double()
    for logits, entropy, diversity in (
        (collapsed, 0, 0),
        (sure, 0, log(3)),
        (torch.zeros(6, 3), log(3), log(3)),
    ):
        assert prediction_entropy_loss(logits).item() == pytest.approx(entropy, abs=1e-6)
        assert -category_diversity_loss(logits).item() == pytest.approx(diversity, abs=1e-6)


def test_gradients_of_the_paper():
    # Of p_jk: -(log p + 1) / n, and (log mean p + 1) / n.
    p = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], dtype=torch.float64).requires_grad_()
    for loss, slope in (
        (prediction_entropy_loss, -(p.log() + 1) / 2),
        (category_diversity_loss, (p.mean(0).log() + 1) / 2),
    ):
        slope = slope.detach().expand_as(p)
        (found,) = torch.autograd.grad(loss(p.log()), p)
        torch.testing.assert_close(found, slope - (slope * p).sum(1, keepdim=True).detach())
        assert torch.autograd.gradcheck(loss, p.detach().log().requires_grad_())


@pytest.mark.parametrize("loss", [prediction_entropy_loss, category_diversity_loss])
def test_odd_logits(loss):
    for logits in (torch.zeros(0, 3), torch.zeros(1, 1), 1e30 * torch.eye(3), torch.tensor([[200.0, 0.0]])):
        x = logits.clone().requires_grad_()
        value = loss(x)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(x.grad).all()
    x, weight = torch.randn(4, 3), torch.randn(5, 3)
    torch.testing.assert_close(loss(LinearLogits(x, weight)), loss(x @ weight.T))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(x.bfloat16()).dtype == torch.float32
    assert loss(x * torch.nan).isnan()
    with pytest.raises(
        InputError, match=rf"^{loss.__name__}: logits must have shape \(rows, width\), got \(4,\)"
    ):
        loss(x[:, 0])
