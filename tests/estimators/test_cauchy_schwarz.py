from __future__ import annotations

from functools import partial
from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_estimators_k as reference
from mimetric.core import kernels
from mimetric.core.errors import InputError
from mimetric.estimators import conditional_cs_divergence, cs_divergence, cs_information
from strategies import batches, rows

# The rows of the sheet, bandwidths 1.
X = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
Y = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
PREDICTION = torch.tensor([[0.5], [1.0], [1.5]], dtype=torch.float64)
conditional = partial(conditional_cs_divergence, bandwidth=1.0, y_bandwidth=1.0)
information = partial(cs_information, bandwidth=1.0, y_bandwidth=1.0)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@st.composite
def triples(draw):
    n = draw(st.integers(1, 6))
    return draw(rows(n, 2)), draw(rows(n, 1)), draw(rows(n, 1))


def test_the_sheet():
    sums = reference.conditional_cs_sums(
        X.tolist(), Y.tolist(), PREDICTION.tolist(), 1.0, 1.0, symmetric=False
    )
    assert sums == pytest.approx((3.1110, 3.4267, 3.0723), abs=5e-5)
    assert conditional(X, Y, PREDICTION).item() == pytest.approx(0.1216, abs=5e-5)
    assert conditional(X, Y, PREDICTION).item() / log(2) == pytest.approx(0.1755, abs=5e-5)
    assert information(X, Y).item() == pytest.approx(0.2874, abs=5e-5)
    assert information(X, Y, normalized=True).item() == pytest.approx(0.9603, abs=5e-5)


def test_gradient_where_the_prediction_is_right():
    # Row weights: the value is 0 and no minimum; the sheet's gradient.  Symmetric weights: a minimum.
    found = {}
    for weights in ("row", "symmetric"):
        prediction = Y.clone().requires_grad_()
        value = conditional(X, Y, prediction, weights=weights)
        value.backward()
        assert value.item() == pytest.approx(0, abs=1e-12)
        found[weights] = prediction.grad[:, 0].tolist()
    assert found["row"] == pytest.approx([-0.0009, 0.0057, 0.0071], abs=5e-5)
    assert found["symmetric"] == pytest.approx([0, 0, 0], abs=1e-12)


@given(triple=triples(), weights=st.sampled_from(["row", "symmetric"]))
def test_conditional_equals_plain_loops(triple, weights):
    x, y, prediction = triple
    sums = reference.conditional_cs_sums(
        x.tolist(), y.tolist(), prediction.tolist(), 1.0, 2.0, symmetric=weights == "symmetric"
    )
    expected = log(sums[0]) + log(sums[1]) - 2 * log(sums[2])
    found = conditional_cs_divergence(x, y, prediction, weights=weights, bandwidth=1.0, y_bandwidth=2.0)
    assert found.item() == pytest.approx(expected, abs=1e-9)
    if weights == "symmetric":
        assert found >= -1e-9


@given(batch=batches())
def test_information_equals_plain_loops(batch):
    x, y = batch
    k = reference.gram(x.tolist(), 1.0)
    q = reference.gram(x[:, :1].tolist(), 0.5)
    found = cs_information(x, x[:, :1], bandwidth=1.0, y_bandwidth=0.5)
    assert found.item() == pytest.approx(reference.cs_information(k, q), abs=1e-9)
    assert found >= -1e-12
    kept = y != -1
    if kept.any():
        k, q = reference.gram(x[kept].tolist(), 1.0), reference.same(y[kept].tolist())
        expected = reference.cs_information(k, q)
        assert cs_information(x, y, bandwidth=1.0).item() == pytest.approx(expected, abs=1e-9)


@given(x=rows(4, 2), y=rows(3, 2))
def test_divergence_equals_plain_loops(x, y):
    found = cs_divergence(x, y, bandwidth=1.5)
    assert found.item() == pytest.approx(reference.cs_divergence(x.tolist(), y.tolist(), 1.5), abs=1e-9)
    assert found >= -1e-12
    torch.testing.assert_close(cs_divergence(y, x, bandwidth=1.5), found)
    assert abs(cs_divergence(x, x.flip(0))) < 1e-12


def test_divergence_of_two_normals():
    # N(0, 1) and N(d, 1) smoothed to variance 1 + s^2/2: d^2 / (2 (1 + s^2/2)); the sheet's 0.245 at s = 0.
    shift, width = 0.7, 0.5
    x = torch.distributions.Normal(0, 1).icdf((torch.arange(2000.0, dtype=torch.float64) + 0.5) / 2000)[
        :, None
    ]
    found = cs_divergence(x, x + shift, bandwidth=width).item()
    assert found == pytest.approx(shift**2 / 2 / (1 + width**2 / 2), rel=2e-3)


def test_divergence_far_apart():  # where every kernel value underflows
    found = cs_divergence(torch.zeros(2, 1), torch.full((2, 1), 1e3), bandwidth=1.0)
    assert found.item() == pytest.approx(1e6)


def test_conditional_of_predictions_far_off():
    # Alike among themselves, every one 100 off: - 2 log of the mean of k(100).
    found = conditional(X, torch.zeros(3, 1), torch.full((3, 1), 100.0))
    assert found.item() == pytest.approx(100**2)


def test_ends():
    x, y = normal(30, 2), normal(30, 2, seed=1)
    constant = torch.ones(30, 1)
    for normalized in (False, True):
        assert cs_information(x, constant, normalized=normalized).item() == pytest.approx(0, abs=1e-9)
    assert cs_information(x, x, normalized=True).item() == pytest.approx(1)
    assert cs_information(x, y, bandwidth=1e-4, y_bandwidth=1e-4).item() == pytest.approx(log(30))
    assert cs_information(x[:0], y[:0]).isnan()
    assert cs_divergence(x, y[:0]).isnan()
    assert conditional_cs_divergence(x[:0], y[:0], y[:0]).isnan()


def test_shift_order_and_blocks_change_nothing(monkeypatch):
    x, y, prediction = normal(40, 3), normal(40, 1, seed=1), normal(40, 1, seed=2)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))

    def all_of_them(x, y, prediction):
        yield cs_divergence(y, prediction)
        yield cs_information(x, y)
        yield cs_information(y, x)
        yield cs_information(x, y, normalized=True)
        yield conditional_cs_divergence(x, y, prediction)
        yield conditional_cs_divergence(x, y, prediction, weights="symmetric")

    whole = list(all_of_them(x, y, prediction))
    torch.testing.assert_close(whole[1], whole[2])
    moved = list(all_of_them(x[order] + 1e3, y[order] - 50, prediction[order] - 50))
    monkeypatch.setattr(kernels, "BLOCK_ELEMENTS", 3 * 40)
    for a, b, c in zip(whole, moved, all_of_them(x, y, prediction)):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(a, c)


def test_gradient():
    x, y, prediction = (normal(4, 2, seed=s).requires_grad_() for s in range(3))
    assert torch.autograd.gradcheck(partial(cs_divergence, bandwidth=1.0), (x, y))
    for normalized in (False, True):
        assert torch.autograd.gradcheck(partial(information, normalized=normalized), (x, y))
    for weights in ("row", "symmetric"):
        assert torch.autograd.gradcheck(partial(conditional, weights=weights), (x, y, prediction))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cs_divergence(X, normal(3, 2)), r"cs_divergence: y must have shape \(3, 1\) to match x"),
        (lambda: cs_information(X, Y[:2]), "x and y must have as many rows"),
        (lambda: conditional(X, Y, Y[:, 0]), r"prediction must have shape \(rows, width\)"),
        (lambda: conditional(X, Y, normal(3, 2)), r"prediction must have shape \(3, 1\) to match y \(3, 1\)"),
        (lambda: conditional(X, Y[:2], Y[:2]), r"y must have shape \(3, 1\) to match x"),
        (lambda: conditional(X, Y, Y, weights="rows"), "weights must be one of row, symmetric"),
        (lambda: cs_information(X, Y, y_bandwidth=0), "bandwidth must be > 0"),
        (lambda: cs_divergence(X / 0, Y), "x must be finite"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
