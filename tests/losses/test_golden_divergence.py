"""Values of kernel losses of regression, from the sheet of the paper or worked by hand, and what they share."""

from __future__ import annotations

from functools import partial
from math import log, nan

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_estimators_k as reference
from mimetric import estimators
from mimetric.core.errors import InputError
from mimetric.losses import (
    ConditionalCSDivergenceLoss,
    CSInformationLoss,
    conditional_cs_divergence_loss,
    cs_information_loss,
)
from strategies import rows

few = settings(max_examples=12)

# The rows of the sheet, bandwidths 1.
X = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
Y = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
PREDICTION = torch.tensor([[0.5], [1.0], [1.5]], dtype=torch.float64)
WEIGHTS = ("row", "symmetric")


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@st.composite
def triples(draw):
    n = draw(st.integers(1, 6))
    return draw(rows(n, 2)), draw(rows(n, 2)), draw(rows(n, 3))


LOSSES = [
    conditional_cs_divergence_loss,
    partial(conditional_cs_divergence_loss, weights="symmetric"),
    lambda code, _, x: cs_information_loss(code, x, normalized=False),
    lambda code, _, x: cs_information_loss(code, x),
]
over = pytest.mark.parametrize("loss", LOSSES, ids=["row", "symmetric", "information", "normalized"])


def value_and_gradient(loss, prediction, y, x):
    prediction = prediction.clone().requires_grad_()
    value = loss(prediction, y, x)
    value.backward()
    return value.detach(), prediction.grad


def test_the_sheet():
    # Sums 3.1110, 3.4267 and 3.0723; 0.1216 nats is 0.1755 bits.
    assert conditional_cs_divergence_loss(PREDICTION, Y, X).item() == pytest.approx(0.1216, abs=5e-5)
    assert conditional_cs_divergence_loss(Y, Y, X).item() == pytest.approx(0, abs=1e-12)
    assert cs_information_loss(Y, X, normalized=False).item() == pytest.approx(0.2874, abs=5e-5)
    assert cs_information_loss(Y, X).item() == pytest.approx(0.9603, abs=5e-5)
    assert cs_information_loss(X, X).item() == pytest.approx(1)
    for normalized in (False, True):
        constant = cs_information_loss(torch.ones(3, 2), X, normalized=normalized)
        assert constant.item() == pytest.approx(0, abs=1e-6)


def test_gradient_where_the_prediction_is_right():
    # Of the sheet: row weights have no minimum there, symmetric ones do.
    _, slopes = value_and_gradient(conditional_cs_divergence_loss, Y, Y, X)
    assert slopes[:, 0].tolist() == pytest.approx([-0.0009, 0.0057, 0.0071], abs=5e-5)
    _, slopes = value_and_gradient(partial(conditional_cs_divergence_loss, weights="symmetric"), Y, Y, X)
    assert slopes[:, 0].tolist() == pytest.approx([0, 0, 0], abs=1e-12)


@given(triple=triples(), weights=st.sampled_from(WEIGHTS))
@few
def test_divergence_equals_plain_loops(triple, weights):
    prediction, y, x = triple
    sums = reference.conditional_cs_sums(
        x.tolist(), y.tolist(), prediction.tolist(), 1.5, 2.0, symmetric=weights == "symmetric"
    )
    value = conditional_cs_divergence_loss(
        prediction, y, x, weights=weights, bandwidth=1.5, target_bandwidth=2.0
    )
    assert value.item() == pytest.approx(log(sums[0]) + log(sums[1]) - 2 * log(sums[2]), abs=1e-9)
    if weights == "symmetric":
        assert value >= -1e-9


@given(triple=triples())
@few
def test_information_equals_plain_loops(triple):
    code, _, x = triple
    k, q = reference.gram(x.tolist(), 1.5), reference.gram(code.tolist(), 2.0)
    options = {"bandwidth": 1.5, "code_bandwidth": 2.0}
    found = cs_information_loss(code, x, normalized=False, **options).item()
    assert found == pytest.approx(reference.cs_information(k, q), abs=1e-9)
    alone = reference.cs_information(k, k) * reference.cs_information(q, q)
    expected = reference.cs_information(k, q) / alone**0.5 if alone > 1e-12 else 0
    assert cs_information_loss(code, x, **options).item() == pytest.approx(expected, abs=1e-5)


def test_they_are_the_estimators():
    x, y, prediction = random(40, 5), random(40, 2, seed=1), random(40, 2, seed=2)
    for weights in WEIGHTS:
        torch.testing.assert_close(
            conditional_cs_divergence_loss(prediction, y, x, weights=weights, bandwidth=2.0),
            estimators.conditional_cs_divergence(
                x, y, prediction, weights=weights, bandwidth=2.0, y_bandwidth=1.0
            ),
        )
    torch.testing.assert_close(
        cs_information_loss(prediction, x, bandwidth=2.0),
        estimators.cs_information(x, prediction, normalized=True, bandwidth=2.0, y_bandwidth=1.0),
    )


def test_one_row_has_its_squared_error():
    # Of one row all kernels with itself are 1: - 2 log L is (2^2 + 1^2) / s^2.
    value = conditional_cs_divergence_loss(
        torch.tensor([[2.0, 1.0]]), torch.zeros(1, 2), torch.ones(1, 4), target_bandwidth=2.0
    )
    assert value.item() == pytest.approx(5 / 4)


@over
def test_gradcheck_twice(loss):
    prediction, y, x = random(5, 2), random(5, 2, seed=1), random(5, 3, seed=2)
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda prediction: loss(prediction, y, x), prediction)
    assert torch.autograd.gradgradcheck(lambda prediction: loss(prediction, y, x), prediction)


@over
@pytest.mark.parametrize(
    "prediction",
    [
        torch.zeros(0, 2),
        torch.ones(1, 2),
        torch.ones(4, 2),
        1e8 * random(4, 2).float(),
        1e-8 * random(4, 2).float(),
        torch.full((4, 2), 1e3),
    ],
    ids=["none", "one", "copies", "huge", "tiny", "far off"],
)
def test_finite(loss, prediction):
    n = len(prediction)
    value, slopes = value_and_gradient(loss, prediction, torch.zeros(n, 2), torch.ones(n, 1))
    assert value.isfinite()
    assert slopes.isfinite().all()
    if not n:
        assert value == 0


@over
def test_nan_in_nan_out(loss):
    prediction, y, x = random(4, 2), random(4, 2), random(4, 2)
    broken = random(4, 2)
    broken[0, 0] = nan
    for batch in ((broken, y, x), (prediction, y, broken)):
        value, _ = value_and_gradient(loss, *batch)
        assert value.isnan()


@over
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast(loss, dtype):
    prediction, y, x = random(8, 2).to(dtype), random(8, 2, seed=1), random(8, 3, seed=2)
    exact, slopes = value_and_gradient(loss, prediction.double(), y, x)
    prediction.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(prediction, y, x)
    value.backward()
    assert value.dtype == torch.float32
    assert prediction.grad.dtype == dtype
    assert value.item() == pytest.approx(exact.item(), rel=1e-4, abs=1e-5)
    assert (prediction.grad - slopes).norm() <= 0.01 * slopes.norm()


def test_order_and_place_do_not_matter():
    prediction, y, x = random(9, 2), random(9, 2, seed=1), random(9, 3, seed=2)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    for loss in LOSSES:
        moved = loss(prediction[order] + 70, y[order] + 70, x[order] - 30)
        torch.testing.assert_close(moved, loss(prediction, y, x), rtol=1e-6, atol=1e-9)


def test_modules():
    options = {"weights": "symmetric", "bandwidth": 2.0, "target_bandwidth": 0.5}
    torch.testing.assert_close(
        ConditionalCSDivergenceLoss(**options)(PREDICTION, Y, X),
        conditional_cs_divergence_loss(PREDICTION, Y, X, **options),
    )
    options = {"normalized": False, "bandwidth": 2.0, "code_bandwidth": 0.5}
    torch.testing.assert_close(CSInformationLoss(**options)(Y, X), cs_information_loss(Y, X, **options))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: conditional_cs_divergence_loss(Y[:, 0], Y, X),
            r"conditional_cs_divergence_loss: predictions must have shape \(rows, width\), got \(3,\)",
        ),
        (
            lambda: conditional_cs_divergence_loss(random(3, 2), Y, X),
            r"_loss: targets must have shape \(3, 2\) to match predictions \(3, 2\), got \(3, 1\)",
        ),
        (
            lambda: conditional_cs_divergence_loss(Y, Y, X[:2]),
            r"_loss: inputs must have shape \(3, 1\) to match predictions \(3, 1\), got \(2, 1\)",
        ),
        (lambda: conditional_cs_divergence_loss(Y, Y.long(), X), "targets must be floating point, got int64"),
        (lambda: conditional_cs_divergence_loss(Y, Y, X, bandwidth=0.0), "bandwidth must be > 0, got 0.0"),
        (lambda: ConditionalCSDivergenceLoss(weights="rows"), "ConditionalCSDivergenceLoss: weights must be one of"),
        (lambda: CSInformationLoss(code_bandwidth=-1.0), "CSInformationLoss: code_bandwidth must be > 0, got -1.0"),
        (
            lambda: cs_information_loss(Y, X[:2]),
            r"cs_information_loss: inputs must have shape \(3, 1\) to match codes \(3, 1\), got \(2, 1\)",
        ),
    ],
)  # fmt: skip
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
