from __future__ import annotations

from functools import partial
from math import log

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.pairwise import rbf_kernel

import reference_estimators_k as reference
from mimetric.core import kernels
from mimetric.core.errors import InputError
from mimetric.estimators import (
    hsic,
    label_entropy,
    median_bandwidth,
    renyi_entropy,
    renyi_information,
    scott_bandwidth,
)
from mimetric.estimators.known import CorrelatedGaussians
from strategies import batches, rows


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@st.composite
def pairs(draw, least=1, most=7):
    n = draw(st.integers(least, most))
    return draw(rows(n, draw(st.integers(1, 3)))), draw(rows(n, 2))


def renyi_by_eigenvalues(matrix, alpha):
    values = np.linalg.eigvalsh(np.array(matrix) / len(matrix)).clip(0)
    if alpha == 1:
        values = values[values > 0]
        return -(values * np.log(values)).sum()
    return np.log((values**alpha).sum()) / (1 - alpha)


@given(pair=pairs())
def test_hsic_equals_plain_loops(pair):
    x, y = pair
    k, q = reference.gram(x.tolist(), 0.7), reference.gram(y.tolist(), 1.5)
    expected = reference.hsic(k, q)
    assert hsic(x, y, bandwidth=0.7, y_bandwidth=1.5).item() == pytest.approx(expected, abs=1e-12)


@given(pair=pairs(least=4))
def test_unbiased_hsic_is_the_mean_over_different_rows(pair):
    x, y = pair
    k, q = reference.gram(x.tolist(), 0.7), reference.gram(y.tolist(), 1.5)
    expected = reference.unbiased_hsic(k, q)
    found = hsic(x, y, unbiased=True, bandwidth=0.7, y_bandwidth=1.5).item()
    assert found == pytest.approx(expected, abs=1e-12)


@given(pair=pairs(), alpha=st.sampled_from([0.5, 1.0, 1.01, 2.0, 3.0]))
def test_renyi_equals_plain_loops(pair, alpha):
    x, y = pair
    k, q = np.array(reference.gram(x.tolist(), 0.7)), np.array(reference.gram(y.tolist(), 1.5))
    expected = [renyi_by_eigenvalues(m, alpha) for m in (k, q, k * q)]
    assert renyi_entropy(x, alpha=alpha, bandwidth=0.7).item() == pytest.approx(expected[0], abs=1e-6)
    found = renyi_information(x, y, alpha=alpha, bandwidth=0.7, y_bandwidth=1.5).item()
    assert found == pytest.approx(expected[0] + expected[1] - expected[2], abs=1e-6)


@given(batch=batches())
def test_class_ids(batch):
    x, y = batch  # with unlabelled rows, whose pairs are left out
    x, known = x[y != -1], y[y != -1]
    assert renyi_entropy(y, alpha=1).item() == pytest.approx(label_entropy(y).item(), abs=1e-9, nan_ok=True)
    if not len(known):
        return
    k, q = reference.gram(x.tolist(), 0.7), reference.same(known.tolist())
    assert hsic(batch[0], y, bandwidth=0.7).item() == pytest.approx(reference.hsic(k, q), abs=1e-12)
    joint = np.array(k) * np.array(q)
    expected = [renyi_by_eigenvalues(m, 2) for m in (k, q, joint)]
    found = renyi_information(y, batch[0], alpha=2, y_bandwidth=0.7).item()
    assert found == pytest.approx(expected[0] + expected[1] - expected[2], abs=1e-9)


def test_two_points_by_hand():
    # Two pairs of equal rows, far apart: eigenvalues 1/2, 1/2, and each pair's information is all of it.
    x = torch.tensor([[0.0], [0.0], [99.0], [99.0]])
    for alpha in (0.5, 1, 1.01, 2):
        assert renyi_entropy(x, alpha=alpha, bandwidth=1.0).item() == pytest.approx(log(2))
        assert renyi_information(x, [0, 0, 1, 1], alpha=alpha, bandwidth=1.0).item() == pytest.approx(log(2))
        assert renyi_information(x, [0, 1, 0, 1], alpha=alpha, bandwidth=1.0).item() == pytest.approx(
            0, abs=1e-9
        )
    # HSIC: mean of K L 1/2, of each 1/2, of the row means 1/4: 1/2 + 1/4 - 1/2.
    assert hsic(x, x, bandwidth=1.0, y_bandwidth=1.0).item() == pytest.approx(0.25)
    assert hsic(x, [0, 1, 0, 1], bandwidth=1.0).item() == pytest.approx(0)


def test_second_order_information_can_be_negative():
    # Two labels with joint shares .8, .1 | .1, 0: sums of squares .66, and .82 of either side; 0.66 < 0.82^2.
    a, b = [0] * 9 + [1], [0] * 8 + [1, 0]
    assert renyi_information(a, b, alpha=2).item() == pytest.approx(log(0.66 / 0.82**2))
    assert renyi_information(a, b, alpha=1) >= 0


@pytest.mark.parametrize(
    "estimate",
    [
        hsic,
        partial(hsic, unbiased=True),
        renyi_information,
        partial(renyi_information, alpha=2),
    ],
)
def test_shift_scale_rotation_and_order_change_nothing(estimate):
    x, y = normal(40, 3), normal(40, 2, seed=1)
    y[:, 0] += x[:, 0]
    whole = estimate(x, y)
    turn = torch.linalg.qr(normal(3, 3, seed=2)).Q
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(estimate(1e4 + 7 * x @ turn, y - 3), whole, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(estimate(x[order], y[order]), whole)
    torch.testing.assert_close(estimate(y, x), whole)
    assert estimate(x.float().numpy(), y.tolist()).item() == pytest.approx(whole.item(), rel=1e-4)
    labels = torch.arange(40) % 4
    torch.testing.assert_close(estimate(x, 9 - labels), estimate(x, labels))


def test_blocks_change_nothing(monkeypatch):
    x, y = normal(40, 3), normal(40, 2, seed=1)

    def all_of_them():
        yield renyi_entropy(x, alpha=2)
        yield renyi_information(x, y)
        yield renyi_information(x, torch.arange(40) % 3, alpha=2)
        yield hsic(x, y)
        yield hsic(x, y, unbiased=True)

    whole = list(all_of_them())
    monkeypatch.setattr(kernels, "BLOCK_ELEMENTS", 3 * 40)
    for a, b in zip(whole, all_of_them()):
        torch.testing.assert_close(a, b)


def test_against_matrices_of_scikit_learn():
    x, y = normal(60, 4), normal(60, 3, seed=1)
    k, q = rbf_kernel(x.numpy(), gamma=1 / (2 * 1.3**2)), rbf_kernel(y.numpy(), gamma=1 / (2 * 0.9**2))
    h = np.eye(60) - 1 / 60
    found = hsic(x, y, bandwidth=1.3, y_bandwidth=0.9).item()
    assert found == pytest.approx(np.trace(k @ h @ q @ h) / 60**2)


def test_dependence_is_seen_and_independence_too():
    x, y = CorrelatedGaussians(0.8).sample(300, torch.Generator().manual_seed(0))
    other = normal(300, 1, seed=5)
    for estimate in (hsic, renyi_information, partial(renyi_information, alpha=2)):
        assert estimate(x, y) > 5 * estimate(x, other)
        assert estimate(x, x**2) > estimate(x, other)  # uncorrelated, and dependent
    nothing = [hsic(normal(50, 2, seed=s), normal(50, 2, seed=s + 99), unbiased=True) for s in range(30)]
    assert abs(np.mean(nothing)) < 3 * np.std(nothing) / 30**0.5  # free of bias; the biased form has 1/n


def test_ends():
    x, y = normal(30, 2), normal(30, 2, seed=1)
    constant = torch.ones(30, 2)
    assert renyi_entropy(constant).item() == pytest.approx(0, abs=1e-9)
    assert renyi_entropy(x, bandwidth=1e-4).item() == pytest.approx(log(30))
    for estimate in (hsic, renyi_information, partial(renyi_information, alpha=2)):
        assert estimate(x, constant).item() == pytest.approx(0, abs=1e-9)
    # Narrow kernels see each row alone and find log n in anything.
    assert renyi_information(x, y, bandwidth=1e-4, y_bandwidth=1e-4).item() == pytest.approx(log(30))
    assert renyi_information(x, y) <= min(renyi_entropy(x), renyi_entropy(y))
    for estimate in (hsic, renyi_information):
        assert estimate(x[:0], y[:0]).isnan()
        assert estimate(x, [-1] * 30).isnan()
    assert renyi_entropy(x[:0], alpha=2).isnan()


def test_bandwidths():
    x = normal(50, 3)
    apart = torch.pdist(x)
    assert median_bandwidth(x).item() == apart.sort().values[(len(apart) - 1) // 2].item()
    twice = torch.cat((x, x))
    assert median_bandwidth(twice).item() == median_bandwidth(x).item()  # distances of 0 do not count
    assert median_bandwidth(torch.ones(5, 2)).item() == 1
    many = normal(5000, 2, seed=1)  # of which 2,048 are looked at
    assert median_bandwidth(many).item() == pytest.approx(torch.pdist(many).median().item(), rel=0.03)
    assert scott_bandwidth(2 * x).item() == pytest.approx(2 * x.var(0).mean().sqrt().item() * 50 ** (-1 / 7))
    assert scott_bandwidth(torch.ones(5, 2)).item() == 0


def test_gradient():
    x, y = normal(5, 2).requires_grad_(), normal(5, 3, seed=1).requires_grad_()
    for estimate in (hsic, renyi_information, partial(renyi_information, alpha=2)):
        fixed = partial(estimate, bandwidth=1.0, y_bandwidth=2.0)
        assert torch.autograd.gradcheck(fixed, (x, y))


X = torch.zeros(3, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hsic(X, X[:2]), r"hsic: x and y must have as many rows, got shapes \(3, 2\) and \(2, 2\)"),
        (lambda: hsic(X, X[:, 0]), r"y must have shape \(rows, width\), got \(3,\)"),
        (lambda: hsic(X, X, unbiased=True), "needs at least 4 rows, got 3"),
        (lambda: hsic(X, X / 0), "y must be finite"),
        (lambda: hsic(X, X, bandwidth=0), "bandwidth must be > 0"),
        (lambda: renyi_entropy(X, alpha=0), "alpha must be > 0"),
        (lambda: renyi_entropy(normal(5000, 1)), "at most 4096 rows.*got 5000.*alpha=2"),
        (lambda: renyi_entropy(X.long()), "must be floating point"),
        (lambda: median_bandwidth(X[0]), "must have shape"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
