from __future__ import annotations

from functools import partial
from math import e, log, pi

import numpy as np
import pytest
import torch
from hypothesis import given
from scipy.special import digamma
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf

from mimetric.core.errors import InputError
from mimetric.estimators import (
    conditional_gaussian_entropy,
    gaussian_entropy,
    gaussian_information,
    gaussian_label_information,
    label_entropy,
)
from mimetric.estimators.known import CorrelatedGaussians, LabelledGaussians, Mapped, spiral
from strategies import batches

# The set of the unifying-view sheet.
Z = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]], dtype=torch.float64)
TWO_CLASSES = torch.tensor([0, 0, 1, 1])


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of_covariance(covariance):
    return multivariate_normal(cov=covariance).entropy()


@pytest.mark.parametrize(("n", "width"), [(5, 20), (30, 7), (400, 3)])
def test_shrinkage_is_that_of_scikit_learn(n, width):
    x = normal(n, width) @ normal(width, width, seed=1) + 5
    covariance, amount = ledoit_wolf(x.numpy())
    assert gaussian_entropy(x).item() == pytest.approx(of_covariance(covariance))
    assert gaussian_entropy(x, shrinkage=amount).item() == pytest.approx(of_covariance(covariance))
    if n > width:
        expected = of_covariance(np.cov(x.numpy().T, bias=True))
        assert gaussian_entropy(x, shrinkage=0).item() == pytest.approx(expected)
    whole = width / 2 * log(2 * pi * e * x.var(0, correction=0).mean())
    assert gaussian_entropy(x, shrinkage=1).item() == pytest.approx(whole)


def test_the_sheet_by_hand():
    # Within classes the rows are off their centers by -+(0.1, -0.3) and +-(0.3, 0.1): second moments
    # (0.02 + 0.18)/4 = 0.05 each, mixed (-0.06 + 0.06)/4 = 0.  Determinant 0.05^2.
    found = conditional_gaussian_entropy(Z, TWO_CLASSES, shrinkage=0).item()
    assert found == pytest.approx(log(2 * pi * e) + log(0.05))
    # The whole: means (0.3, 0.6), second moments 0.5 - 0.09 = 0.41, 0.5 - 0.36 = 0.14, mixed 0 - 0.18.
    total = log(2 * pi * e) + log(0.41 * 0.14 - 0.18**2) / 2
    assert gaussian_entropy(Z, shrinkage=0).item() == pytest.approx(total)
    assert gaussian_label_information(Z, TWO_CLASSES, shrinkage=0).item() == pytest.approx(total - found)
    # The cross-entropy with N(center, I), whose excess over d/2 log 2 pi is T_center / n = 0.2 / 4, is above it.
    assert log(2 * pi) + 0.2 / 4 > found


@given(batch=batches())
def test_equals_numpy(batch):
    x, y = batch
    kept = [c for c in set(y.tolist()) - {-1} if (y == c).sum() > 1]
    width = x.shape[1]

    def entropy(rows):
        centered = rows - rows.mean(0)
        plain = centered.T @ centered / len(rows)
        shrunk = 0.5 * plain + 0.5 * np.trace(plain) / width * np.eye(width)
        sign, size = np.linalg.slogdet(shrunk)
        return width / 2 * log(2 * pi * e) + (size / 2 if sign > 0 else -np.inf)

    classes = [x[y == c].numpy() for c in kept]
    count = sum(map(len, classes))
    within = np.concatenate([own - own.mean(0) for own in classes]) if kept else None
    apart = sum(len(own) * entropy(own) for own in classes) / count if kept else np.nan
    found = conditional_gaussian_entropy(x, y, pooled=False, shrinkage=0.5).item()
    assert found == pytest.approx(apart, rel=1e-9, nan_ok=True)
    found = conditional_gaussian_entropy(x, y, shrinkage=0.5).item()
    assert found == pytest.approx(entropy(within) if kept else np.nan, rel=1e-9, nan_ok=True)


@pytest.mark.parametrize("width", [1, 5])
def test_exact_for_normals(width):
    known = CorrelatedGaussians.with_information(1.5, width=width)
    x, y = known.sample(4000, torch.Generator().manual_seed(0))
    truth = width / 2 * log(2 * pi * e)
    for shrinkage in (None, 0):
        # Spread of one estimate: sqrt(d rho^2 / n) < 0.04, by the sum of d correlations.
        assert gaussian_information(x, y, shrinkage=shrinkage).item() == pytest.approx(1.5, abs=0.08)
        assert gaussian_entropy(x, shrinkage=shrinkage).item() == pytest.approx(truth, abs=0.06)


def test_bias_is_as_stated():
    n, d, classes = 60, 3, 4
    y = torch.arange(n) % classes
    draws = [normal(n, 2 * d, seed=seed) for seed in range(300)]
    entropy = np.mean([gaussian_entropy(x[:, :d], shrinkage=0).item() for x in draws])
    exact = sum(digamma((n - j) / 2) - log(n / 2) for j in range(1, d + 1)) / 2
    assert entropy - d / 2 * log(2 * pi * e) == pytest.approx(exact, abs=0.02)
    assert exact == pytest.approx(-d * (d + 3) / (4 * n), rel=0.05)
    information = np.mean([gaussian_information(x[:, :d], x[:, d:], shrinkage=0).item() for x in draws])
    assert information == pytest.approx(d * d / (2 * n), rel=0.15)
    pooled = np.mean([gaussian_label_information(x[:, :d], y, shrinkage=0).item() for x in draws])
    assert pooled == pytest.approx(d * (classes - 1) / (2 * n), rel=0.15)
    apart = np.mean(
        [gaussian_label_information(x[:, :d], y, pooled=False, shrinkage=0).item() for x in draws]
    )
    assert apart == pytest.approx(d * (d + 3) * (classes - 1) / (4 * n), rel=0.25)


def test_upper_bound_on_the_information_of_labels():
    known = LabelledGaussians((-1.5, 1.5), width=2)
    x, y = known.sample(4000, torch.Generator().manual_seed(0))
    for pooled in (True, False):
        assert known.information - 0.02 < gaussian_label_information(x, y, pooled=pooled) < 1.4
    # Exactly: each coordinate has variance 1 + 1.5^2 in all and 1 within.
    assert gaussian_label_information(x, y).item() == pytest.approx(log(1 + 1.5**2), abs=0.05)
    assert gaussian_label_information(torch.cat((x, 50 * y[:, None] + x), 1), y) > label_entropy(y) + 0.5


def test_linear_dependence_alone():
    x = normal(2000, 1)
    assert gaussian_information(x, x**2) < 0.05
    turned = Mapped(CorrelatedGaussians.with_information(1.0, width=2), of_x=spiral, of_y=spiral)
    assert gaussian_information(*turned.sample(2000, torch.Generator().manual_seed(0))) < 0.5


def test_pooled_is_above_classes_of_their_own():
    x, y = normal(60, 3), torch.arange(60) % 4
    x[y == 1] *= 5
    own, pooled = (conditional_gaussian_entropy(x, y, pooled=p, shrinkage=0) for p in (False, True))
    assert own < pooled < gaussian_entropy(x, shrinkage=0)


def test_linear_maps():
    x, y, labels = normal(50, 3), normal(50, 2, seed=1), torch.arange(50) % 4
    x[:, 0] += y[:, 0]
    a = normal(3, 3, seed=2)
    moved = x @ a + 100
    size = torch.linalg.slogdet(a).logabsdet
    for plain in (
        partial(gaussian_entropy, shrinkage=0),
        lambda x: conditional_gaussian_entropy(x, labels, shrinkage=0),
        lambda x: conditional_gaussian_entropy(x, labels, pooled=False, shrinkage=0),
    ):
        torch.testing.assert_close(plain(moved), plain(x) + size)
    for same in (
        lambda x: gaussian_information(x, y, shrinkage=0),
        lambda x: gaussian_label_information(x, labels, shrinkage=0),
    ):
        torch.testing.assert_close(same(moved), same(x))
    turn = torch.linalg.qr(a).Q
    shrunk = gaussian_label_information(x, labels)
    torch.testing.assert_close(gaussian_label_information(7 * x @ turn - 2, 9 - labels), shrunk)
    units = torch.tensor([1e3, 1.0, 1e-3], dtype=torch.float64)
    torch.testing.assert_close(gaussian_information(x * units, y), gaussian_information(x, y))
    torch.testing.assert_close(gaussian_information(y, x), gaussian_information(x, y))
    torch.testing.assert_close(gaussian_entropy(3 * x), gaussian_entropy(x) + 3 * log(3))


def test_few_rows_in_many_dimensions_stay_finite():
    x, y = normal(20, 64), torch.arange(20) % 4
    for found in (
        gaussian_entropy(x),
        gaussian_label_information(x, y),
        gaussian_label_information(x, y, pooled=False),
        gaussian_information(x, normal(20, 30, seed=1)),
    ):
        assert found.isfinite()


def test_ends():
    ones, points = torch.ones(6, 2), torch.eye(2)[[0, 0, 0, 1, 1, 1]]
    y = [0, 0, 0, 1, 1, 1]
    assert gaussian_entropy(0.1 * ones) == -torch.inf
    assert conditional_gaussian_entropy(points, y) == -torch.inf
    assert gaussian_label_information(points, y) == torch.inf
    assert gaussian_label_information(0.1 * ones, y) == 0
    assert gaussian_label_information(points, y, pooled=False) == torch.inf
    assert gaussian_information(ones, points[:, :1]) == 0
    assert gaussian_information(ones, points).isnan()
    x = normal(9, 2)
    assert gaussian_information(x, 2 * x, shrinkage=0) > 15
    assert gaussian_entropy(x[:1]).isnan()
    assert gaussian_information(x[:0], x[:0]).isnan()
    for alone in ([0, 1, 2, 3, 4, 5], [-1] * 6):
        assert gaussian_label_information(ones, alone).isnan()
        assert conditional_gaussian_entropy(ones, alone, pooled=False).isnan()


def test_gradient():
    x, y = normal(8, 2).requires_grad_(), normal(8, 2, seed=1).requires_grad_()
    labels = torch.arange(8) % 2
    assert torch.autograd.gradcheck(gaussian_information, (x, y))
    for pooled in (True, False):
        estimate = partial(gaussian_label_information, labels=labels, pooled=pooled)
        assert torch.autograd.gradcheck(estimate, x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gaussian_entropy(Z / 0), "gaussian_entropy: embeddings must be finite"),
        (lambda: gaussian_entropy(Z[:2], shrinkage=0), "got 2 rows of 2 columns.*shrinkage=None"),
        (lambda: gaussian_entropy(Z, shrinkage=2), r"shrinkage must lie in 0\.\.1, got 2"),
        (lambda: gaussian_information(Z, Z[:3]), "x and y must have as many rows, got 4 and 3"),
        (lambda: gaussian_information(Z, Z, shrinkage=0), "got 4 rows of 4 columns"),
        (lambda: gaussian_information(Z, Z[:, 0]), r"y must have shape \(rows, width\)"),
        (
            lambda: conditional_gaussian_entropy(Z, TWO_CLASSES, pooled=False, shrinkage=0),
            "more rows than columns",
        ),
        (lambda: gaussian_label_information(Z, [0, 1]), r"labels must have shape \(4,\)"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
