from __future__ import annotations

from itertools import pairwise
from math import exp, lgamma, log, pi, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from scipy.special import digamma
from sklearn.feature_selection._mutual_info import _compute_mi_cd

import reference_estimators_n as reference
from mimetric.core.errors import InputError
from mimetric.estimators import (
    conditional_mean_nn_entropy,
    mean_nn_entropy,
    nearest,
    nearest_neighbor_entropy,
    ross_information,
)
from mimetric.estimators.known import LabelledGaussians, LabelledUniforms
from strategies import batches

# The set of the unifying-view sheet.
Z = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]], dtype=torch.float64)
TWO_CLASSES = torch.tensor([0, 0, 1, 1])


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def distance(a, b):
    return sqrt(sum((p - q) ** 2 for p, q in zip(a, b)))


def ross_by_loops(x, y, k):
    kept = [i for i in range(len(y)) if y[i] != -1 and y.count(y[i]) > 1]
    psi_size = psi_own = psi_within = 0.0
    for i in kept:
        to_own = sorted(distance(x[i], x[j]) for j in kept if j != i and y[j] == y[i])
        radius = to_own[min(k, len(to_own)) - 1]
        psi_size += digamma(len(to_own) + 1)
        psi_own += digamma(sum(d <= radius for d in to_own))
        psi_within += digamma(sum(distance(x[i], x[j]) <= radius for j in kept if j != i))
    n = len(kept)
    return digamma(n) + (psi_own - psi_size - psi_within) / n if n else np.nan


def mean_log_distance_by_loops(x):
    pairs = [(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]
    logs = [log(distance(a, b)) if a != b else -np.inf for a, b in pairs]
    return sum(logs) / len(logs) if logs else np.nan


@given(batch=batches())
def test_ross_equals_plain_loops(batch):
    x, y = batch  # with ties, duplicates, singletons, unlabelled rows
    expected = ross_by_loops(x.tolist(), y.tolist(), k=2)
    assert ross_information(x, y, k=2).item() == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_ross_sees_ties_that_a_product_rounds_apart():
    x = torch.tensor([[0.0], [0.0], [0.0], [0.0], [0.9375], [0.0], [1.875]], dtype=torch.float64)
    y = torch.tensor([0, 0, 0, 0, 1, 0, 1])  # from 0.9375 it is as far to 1.875 as to 0
    expected = ross_by_loops(x.tolist(), y.tolist(), k=2)
    assert ross_information(x, y, k=2).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_ross_equals_scikit_learn_in_one_dimension(k):
    y = torch.arange(400) % 5
    x = normal(400, 1) + 0.7 * y[:, None]
    expected = _compute_mi_cd(x[:, 0].numpy(), y.numpy(), k)
    assert ross_information(x, y, k=k).item() == pytest.approx(expected)


def test_ross_finds_the_information_of_two_normals():
    # Y a fair coin, Z normal around -1 or 1: I = log 2 - E log(1 + e^{-2 Z}) at mean 1, by the trapezoid rule.
    z = np.linspace(-9, 11, 20_001)
    density = np.exp(-((z - 1) ** 2) / 2) / sqrt(2 * pi)
    truth = log(2) - np.trapezoid(density * np.logaddexp(0, -2 * z), z)
    found = []
    for seed in range(5):
        y = torch.arange(1000) % 2
        found.append(ross_information(normal(1000, 1, seed=seed) + (2.0 * y - 1)[:, None], y).item())
    # One estimate has a spread of about 0.03 at this size (measured by the five themselves).
    assert np.mean(found) == pytest.approx(truth, abs=3 * np.std(found) / sqrt(5) + 0.01)
    assert np.std(found) < 0.06


def test_ross_at_its_ends():
    y = torch.arange(600) % 6
    apart = 100.0 * torch.eye(6, dtype=torch.float64)[y] + normal(600, 6)
    assert ross_information(apart, y).item() == pytest.approx(digamma(600) - digamma(100))
    # Classes collapsed to a point each, far apart: all ties, the same answer.
    assert ross_information(torch.eye(6)[y], y).item() == pytest.approx(digamma(600) - digamma(100))
    # Everything in one point tells nothing.
    one = digamma(600) - digamma(100) + digamma(99) - digamma(599)
    assert ross_information(torch.ones(600, 3), y).item() == pytest.approx(one)
    assert abs(ross_information(normal(600, 6), y).item()) < 0.05


def test_ross_is_biased_low_in_many_dimensions():  # as its docstring says
    y = torch.arange(300) % 2
    shift = torch.zeros(30, dtype=torch.float64)
    shift[0] = 2.0
    low, high = (ross_information(normal(300, d) + y[:, None] * shift[:d], y) for d in (30, 1))
    assert low < high - 0.1


def test_mean_nn_entropy_of_the_sheet():
    # d/(n(n-1)) sum log D^2 = 0.16457339; half of it is the sum of log D; log pi + 1 is the constant at d = 2.
    assert mean_nn_entropy(Z).item() == pytest.approx(0.16457339 / 2 + log(pi) + 1)
    assert mean_nn_entropy(Z).item() == pytest.approx(2.22701658)


def test_conditional_mean_nn_entropy_of_the_sheet():
    # Two classes of one pair each: distances sqrt(0.4) and sqrt(0.4).
    assert conditional_mean_nn_entropy(Z, TWO_CLASSES).item() == pytest.approx(log(0.4) + log(pi) + 1)


@given(batch=batches())
def test_mean_nn_equals_plain_loops(batch):
    x, y = batch
    d = x.shape[1]
    constant = d / 2 * log(pi) - lgamma(d / 2 + 1) + 1
    expected = d * mean_log_distance_by_loops(x.tolist()) + constant
    assert mean_nn_entropy(x).item() == pytest.approx(expected, rel=1e-9, nan_ok=True)
    classes = [x[y == c].tolist() for c in set(y.tolist()) - {-1} if (y == c).sum() > 1]
    count = sum(map(len, classes))
    inside = sum(len(own) * mean_log_distance_by_loops(own) for own in classes) / count if count else np.nan
    found = conditional_mean_nn_entropy(x, y).item()
    assert found == pytest.approx(d * inside + constant, rel=1e-9, nan_ok=True)


@pytest.mark.parametrize("factor", [1e-3, 0.5, 40.0])
def test_mean_nn_scale_law(factor):
    x, y = normal(50, 7), torch.arange(50) % 3
    for entropy in (mean_nn_entropy, lambda x: conditional_mean_nn_entropy(x, y)):
        assert (entropy(factor * x) - entropy(x)).item() == pytest.approx(7 * log(factor))


@pytest.mark.parametrize(
    ("sample", "truth", "expected"),
    [
        (lambda: normal(1500, 1), 0.5 * log(2 * pi * exp(1)), 1.38),
        (
            lambda: torch.rand(1500, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
            0.0,
            0.20,
        ),
        (lambda: normal(1500, 10), 5 * log(2 * pi * exp(1)), 16.5),
    ],
    ids=["normal", "uniform", "normal in 10"],
)
def test_mean_nn_on_known_distributions(sample, truth, expected):  # bias as the sheet measured it
    found = mean_nn_entropy(sample()).item()
    assert found == pytest.approx(expected, abs=0.1)
    assert abs(found - truth) < 2.5


@given(batch=batches())
def test_nearest_neighbor_entropy_equals_plain_loops(batch):
    x, _ = batch
    for k in range(1, min(len(x), 4)):
        expected = reference.nearest_neighbor_entropy(x.tolist(), k)
        assert nearest_neighbor_entropy(x, k=k).item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_nearest_neighbor_entropy_by_hand():
    # psi(3) - psi(1) = 1 + 1/2; the ball of one dimension is 2 long; distances 1, 1, 4.
    found = nearest_neighbor_entropy(torch.tensor([[0.0], [1.0], [5.0]]), k=1).item()
    assert found == pytest.approx(1.5 + log(2) + log(4) / 3)


@pytest.mark.parametrize(
    ("width", "within"),
    [(1, 0.05), (2, 0.06), (5, 0.15), (10, 0.2)],  # bias as its docstring says, and the spread
)
def test_nearest_neighbor_entropy_of_normals(width, within):
    truth = width / 2 * log(2 * pi * exp(1))
    assert nearest_neighbor_entropy(normal(2000, width)).item() == pytest.approx(truth, abs=within)


def test_nearest_neighbor_entropy_is_too_large_in_many_dimensions():
    assert nearest_neighbor_entropy(normal(2000, 20)).item() > 10 * log(2 * pi * exp(1)) + 0.7


def test_nearest_neighbor_entropy_laws():
    x = normal(60, 6)
    expected = nearest_neighbor_entropy(x).item()
    rotation = torch.linalg.qr(normal(6, 6, seed=1)).Q
    assert nearest_neighbor_entropy(x @ rotation + 100).item() == pytest.approx(expected)
    assert nearest_neighbor_entropy(40 * x).item() == pytest.approx(expected + 6 * log(40))
    assert nearest_neighbor_entropy(torch.cat((x, x))).item() > -torch.inf  # one copy, and k = 3
    assert nearest_neighbor_entropy(torch.cat((x, x)), k=1) == -torch.inf
    assert nearest_neighbor_entropy(torch.ones(5, 2)) == -torch.inf


@pytest.mark.parametrize(
    ("known", "within"),
    [
        (LabelledUniforms(5), 0.05),
        (LabelledGaussians((-1.0, 1.0)), 0.05),
        (LabelledGaussians((-2.0, 2.0), (0.2, 0.8), width=2), 0.06),
    ],
    ids=["uniforms", "normals", "classes of several sizes"],
)
def test_ross_finds_what_is_known(known, within):
    found = [ross_information(*known.sample(1500, torch.Generator().manual_seed(s))).item() for s in range(3)]
    assert np.mean(found) == pytest.approx(known.information, abs=within)


def test_blocks_and_shift_change_nothing(monkeypatch):
    x, y = normal(40, 5), torch.arange(40) % 4
    whole = [ross_information(x, y), mean_nn_entropy(x), conditional_mean_nn_entropy(x, y)]
    monkeypatch.setattr(nearest, "_BLOCK_ELEMENTS", 3 * 40)
    far = x.float() + 100  # by float32 rows a hundred radii off
    for a, b, c in zip(
        whole,
        [ross_information(x, y), mean_nn_entropy(x), conditional_mean_nn_entropy(x, y)],
        [ross_information(far, y), mean_nn_entropy(far), conditional_mean_nn_entropy(far, y)],
    ):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(a, c, rtol=1e-3, atol=1e-3)


def test_near_pairs_keep_their_digits():
    x = normal(30, 8)
    x = torch.cat((x, x + 1e-9 * normal(30, 8, seed=1)))
    expected = 8 * mean_log_distance_by_loops(x.tolist()) + 4 * log(pi) - lgamma(5) + 1
    assert mean_nn_entropy(x).item() == pytest.approx(expected, rel=1e-7)


def test_more_noise_less_information():
    y = torch.arange(500) % 10
    centers, noise = normal(10, 4), normal(500, 4, seed=1)
    found = [ross_information(centers[y] + scale * noise, y).item() for scale in (0.05, 0.3, 1.0, 3.0)]
    assert all(a > b for a, b in pairwise(found))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ross_information(Z, TWO_CLASSES, k=0), "k must be at least 1, got 0"),
        (lambda: ross_information(Z, [0, 1]), r"labels must have shape \(4,\)"),
        (lambda: ross_information(Z * torch.nan, TWO_CLASSES), "4 of 4 rows are not"),
        (lambda: nearest_neighbor_entropy(Z, k=4), r"k must lie in 1\.\.3, below the 4 rows, got 4"),
        (lambda: nearest_neighbor_entropy(Z, k=0), "got 0"),
        (
            lambda: nearest_neighbor_entropy(Z[:1], k=1),
            "nearest_neighbor_entropy: embeddings must have 2 rows",
        ),
        (lambda: nearest_neighbor_entropy(Z / 0), "nearest_neighbor_entropy: embeddings must be finite"),
        (lambda: mean_nn_entropy(Z / 0), "mean_nn_entropy: embeddings must be finite"),
        (lambda: mean_nn_entropy(Z.long()), "must be floating point"),
        (lambda: conditional_mean_nn_entropy(Z, TWO_CLASSES.double()), "labels must be integers"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_nothing_to_measure():
    for y in ([0, 1, 2, 3], [-1, -1, -1, 5]):
        assert ross_information(Z, y).isnan()
        assert conditional_mean_nn_entropy(Z, y).isnan()
    assert mean_nn_entropy(Z[:1]).isnan()
    assert mean_nn_entropy(Z[:0]).isnan()
    assert mean_nn_entropy(torch.ones(4, 2)) == -torch.inf
