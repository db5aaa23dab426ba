"""Losses of two classes: slopes drawn at random, and metrics of a soft confusion matrix."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_teacher as reference
from mimetric.core.errors import InputError
from mimetric.losses import (
    AnyLoss,
    EnsLoss,
    LinearClassifier,
    Pairing,
    any_loss,
    ens_loss,
    ens_loss_slopes,
    soft_confusion,
)

METRICS = ["accuracy", "f_beta", "g_mean", "balanced_accuracy"]
few = settings(max_examples=12)
numbers = st.integers(-40, 40).map(lambda k: k / 16)


@st.composite
def scored(draw):
    """Logits (n,) and labels, with -1 among them now and then."""
    n = draw(st.integers(0, 9))
    x = draw(st.lists(numbers, min_size=n, max_size=n))
    return torch.tensor(x, dtype=torch.float64), draw(st.lists(st.integers(-1, 1), min_size=n, max_size=n))


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


# EnsLoss: u = (1.2214, 0.4966, 1.1052) for lambda 0; the largest margin has the least, over itself.


@pytest.mark.parametrize(
    ("box_cox", "first", "value"), [(0.0, -0.24829, 0.00114), (1.0, -0.15, 0.0667), (-0.5, -0.2743, -0.0162)]
)
def test_slopes(box_cox, first, value):
    margins, normals = double(2.0, -1.0, 0.5), double(0.2, -0.7, 0.1)
    slopes = ens_loss_slopes(margins, normals, box_cox=box_cox)
    torch.testing.assert_close(slopes + 1e-6, double(first, -1.0, -1.0), rtol=0, atol=5e-5)
    assert (slopes * margins).mean().item() == pytest.approx(value, abs=5e-5)


@given(
    margins=st.lists(numbers, max_size=9), box_cox=st.sampled_from([0.0, 1.0, 0.3, -0.5, -1.0]),
    seed=st.integers(0, 9),
)  # fmt: skip
@few
def test_slopes_are_those_of_a_calibrated_convex_loss(margins, box_cox, seed):
    z = torch.tensor(margins, dtype=torch.float64)
    normals = torch.randn(len(z), dtype=torch.float64, generator=drawn(seed))
    found = ens_loss_slopes(z, normals, box_cox=box_cox)
    torch.testing.assert_close(found, double(*reference.ens_slopes(margins, normals.tolist(), box_cox)))
    assert (found[z.argsort(stable=True)].diff() >= 0).all()
    assert (found <= -1e-6).all()
    assert (found >= -1 - 1e-6).all()


def test_draws_that_are_all_large_make_a_hinge_with_a_tail():
    z = double(-1.0, 0.5, 1.0, 4.0)
    torch.testing.assert_close(
        ens_loss_slopes(z, double(0.0, 1.0, 2.0, 0.1)) + 1e-6, double(-1, -1, -1, -0.25)
    )


@given(batch=scored(), seed=st.integers(0, 9))
@few
def test_the_gradient_is_the_slopes(batch, seed):
    """Of the labelled rows, over all n; unlabelled rows take no draw from the others."""
    x, y = batch[0].requires_grad_(), batch[1]
    value = ens_loss(x, y, generator=drawn(seed))
    value.backward()
    known = [i for i, label in enumerate(y) if label >= 0]
    normals = torch.randn(len(y), dtype=torch.float64, generator=drawn(seed)).tolist()
    signs = [2 * y[i] - 1 for i in known]
    margins = [s * x[i].item() for s, i in zip(signs, known, strict=True)]
    slopes = reference.ens_slopes(margins, [normals[i] for i in known])
    expected = torch.zeros(len(y), dtype=torch.float64)
    expected[known] = double(*[s * g / len(y) for s, g in zip(signs, slopes, strict=True)])
    if len(set(margins)) == len(margins):  # of equal margins any order does
        torch.testing.assert_close(x.grad, expected)
    total = sum(g * z for g, z in zip(slopes, margins, strict=True)) / max(1, len(y))
    assert value.item() == pytest.approx(total, abs=1e-9)


def test_the_order_of_rows_tells_nothing_and_the_generator_everything():
    x, y = torch.linspace(-2, 2, 9), torch.arange(9) % 2
    order = torch.randperm(9, generator=drawn(3))
    value = ens_loss(x, y, generator=drawn())
    torch.testing.assert_close(ens_loss(x[order], y[order], generator=drawn()), value)
    generator = drawn()
    module = EnsLoss(generator=generator)
    assert module(x, y) == value
    assert module(x, y) != value
    torch.manual_seed(5)
    first = ens_loss(x, y)
    torch.manual_seed(5)
    assert ens_loss(x, y) == first


def test_weights_multiply_slopes_and_reductions_are_those_of_all_losses():
    x, y = double(0.3, -2.0, 1.5), [1, 1, 0]
    each = ens_loss(x, y, generator=drawn(), pairing=Pairing(reduction="none"))
    weighted = ens_loss(x, y, generator=drawn(), pairing=Pairing(weights=double(1.0, 2.0, 5.0)))
    torch.testing.assert_close(weighted, (each * double(1.0, 2.0, 5.0)).sum() / 8)


# AnyLoss.


@pytest.mark.parametrize(
    ("probability", "amplified", "slope"),
    [(0.5, 0.5, 73 / 4), (0.52, 0.8115, 11.1652), (0.49, 0.3252, 16.0193)],
)
def test_amplification(probability, amplified, slope):
    logit = torch.tensor([log(probability / (1 - probability))], dtype=torch.float64, requires_grad=True)
    count = soft_confusion(logit, [1]).true_positives
    assert count.item() == pytest.approx(amplified, abs=1e-4)
    (gradient,) = torch.autograd.grad(count, logit)
    assert gradient.item() / (probability * (1 - probability)) == pytest.approx(slope, rel=2e-3)


def test_confusion_keeps_what_is_almost_none():
    confusion = soft_confusion(double(-800.0, 800.0), [1, 0])
    small = exp(-36.5)  # A(0) = 1.4069e-16
    assert confusion.true_positives.item() == pytest.approx(small, rel=1e-9)
    assert confusion.true_negatives.item() == pytest.approx(small, rel=1e-9)
    assert confusion.false_negatives.item() == pytest.approx(1)


@pytest.mark.parametrize("metric", METRICS)
def test_all_four_agree_on_a_symmetric_batch(metric):
    p, y = double(0.9, 0.4, 0.6, 0.1), [1, 1, 0, 0]
    counts = soft_confusion(p.logit(), y)
    torch.testing.assert_close(
        double(*counts), double(1.000675, 0.999325, 0.999325, 1.000675), rtol=0, atol=1e-6
    )
    assert any_loss(p.logit(), y, metric=metric).item() == pytest.approx(0.499662, abs=1e-6)


@given(
    batch=scored(), metric=st.sampled_from(METRICS), beta=st.sampled_from([0.5, 1.0, 2.0]),
    amplification=st.sampled_from([1.0, 10.0, 73.0]),
)  # fmt: skip
def test_any_loss_equals_the_form_in_marginals(batch, metric, beta, amplification):
    x, y = batch
    found = any_loss(x, y, metric=metric, beta=beta, amplification=amplification)
    expected = reference.any_metric(x.tolist(), y, metric, beta, amplification)
    assert found.item() == pytest.approx(expected, abs=1e-9)


def test_all_undecided():
    zeros, y = torch.zeros(10, dtype=torch.float64), [1] + [0] * 9
    values = {metric: any_loss(zeros, y, metric=metric).item() for metric in METRICS}
    assert values == pytest.approx(
        {"accuracy": 0.5, "f_beta": 1 - 1 / 6, "g_mean": 0.5, "balanced_accuracy": 0.5}
    )


@pytest.mark.parametrize("metric", METRICS)
def test_any_loss_gradcheck(metric):
    x, y = 0.1 * torch.randn(8, dtype=torch.float64, generator=drawn()), [1, 0, 0, 1, -1, 0, 0, 1]
    assert torch.autograd.gradcheck(lambda x: any_loss(x, y, metric=metric, beta=2.0), x.requires_grad_())


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 0, 0], [-1, -1, -1]])
def test_a_batch_without_what_a_metric_needs_costs_nothing(labels):
    lacks = {"accuracy": -1 in labels, "f_beta": 1 not in labels, "g_mean": True, "balanced_accuracy": True}
    for metric in METRICS:
        x = double(0.1, -0.2, 0.0).requires_grad_()
        value = any_loss(x, labels, metric=metric)
        value.backward()
        assert (value.item() == 0) == lacks[metric]
        assert torch.isfinite(x.grad).all()


def test_all_wrong_and_sure_has_no_slope_and_is_finite():
    for metric in METRICS:
        x = double(-800.0, 800.0).requires_grad_()
        value = any_loss(x, [1, 0], metric=metric)
        value.backward()
        assert value.item() == pytest.approx(1, abs=1e-5)
        assert torch.isfinite(x.grad).all()


# Both.

BOTH = [lambda x, y: ens_loss(x, y, generator=drawn()), any_loss]


@pytest.mark.parametrize("loss", BOTH, ids=["ens", "any"])
def test_columns_half_precision_nan_and_a_classifier(loss):
    x, y = torch.linspace(-1, 1, 6), [0, 1, 0, 1, 1, -1]
    torch.testing.assert_close(loss(x[:, None], y), loss(x, y))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(x.bfloat16(), y)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(x.bfloat16().float(), y))
    nan = torch.where(torch.arange(6) == 0, torch.nan, x).requires_grad_()
    value = loss(nan, y)
    value.backward()
    assert value.isnan()
    assert nan.grad[0].isnan()
    for rows in (x[:0], 1e30 * x):
        rows = rows.requires_grad_()
        value = loss(rows, y[: len(rows)])
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(rows.grad).all()


def test_they_train_a_classifier_of_one_column():
    x = torch.randn(40, 3, dtype=torch.float64, generator=drawn())
    y = (x[:, 0] > 0).long()
    for module in (EnsLoss(generator=drawn()), AnyLoss(metric="g_mean", amplification=10.0)):
        torch.manual_seed(0)
        objective = LinearClassifier(module, 3, 1).double()
        optimizer = torch.optim.Adam(objective.parameters(), lr=0.1)
        for _ in range(40):
            optimizer.zero_grad()
            objective(x, y).backward()
            optimizer.step()
        scores = F.linear(x, objective.weight, objective.bias)[:, 0]
        assert ((scores > 0) == (y == 1)).double().mean() > 0.9
        assert objective.sides is None


@pytest.mark.parametrize("loss", [ens_loss, any_loss, soft_confusion])
def test_names_what_is_wrong(loss):
    name = loss.__name__
    for logits, labels, message in (
        (
            torch.zeros(2, 2),
            [0, 1],
            r"logits must have shape \(n,\) or \(n, 1\), a number for each row, got \(2, 2\)",
        ),
        (torch.zeros(2), [0, 2], r"labels must lie in 0..1 \(or be -1, unlabelled\), got 2"),
        (torch.zeros(2), [0], r"labels must have shape \(2,\)"),
        (torch.zeros(2).long(), [0, 1], "logits must be floating point, got int64"),
    ):
        with pytest.raises(InputError, match=f"^{name}: {message}"):
            loss(logits, labels)


def test_options_out_of_range():
    with pytest.raises(
        InputError, match=r"^ens_loss_slopes: margins and normals must have one shape \(n,\), got"
    ):
        ens_loss_slopes(torch.zeros(2), torch.zeros(3))
    for option, message in (
        ({"metric": "f1"}, "metric must be one of accuracy, f_beta, g_mean, balanced_accuracy, got 'f1'"),
        ({"beta": 0}, "beta must be > 0, got 0"),
        ({"amplification": -1}, "amplification must be > 0, got -1"),
    ):
        with pytest.raises(InputError, match=f"^AnyLoss: {message}"):
            AnyLoss(**option)
        with pytest.raises(InputError, match=f"^any_loss: {message}"):
            any_loss(torch.zeros(2), [0, 1], **option)
