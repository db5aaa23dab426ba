from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import digamma
from sklearn.feature_selection._mutual_info import _compute_mi_cc

import reference_estimators_n as reference
from mimetric.core.errors import InputError
from mimetric.estimators import joint, ksg_information, label_information, mixed_information
from mimetric.estimators.known import (
    AdditiveUniform,
    CorrelatedGaussians,
    LabelledUniforms,
    Mapped,
    StudentT,
    Table,
    bimodal,
    spiral,
)
from strategies import rows


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def mean_of(estimator, known, n=1000, draws=4):
    return np.mean([estimator(*known.sample(n, generator(seed))).item() for seed in range(draws)])


@st.composite
def two_sides(draw):
    """Rows on a lattice, so that many tie, on one side or both."""
    n = draw(st.integers(2, 8))
    return draw(rows(n, draw(st.integers(1, 3)))), draw(rows(n, draw(st.integers(1, 2))))


@given(sides=two_sides(), k=st.integers(1, 3))
def test_mixed_equals_plain_loops(sides, k):
    x, y = sides
    k = min(k, len(x) - 1)
    expected = reference.mixed(x.tolist(), y.tolist(), k)
    assert mixed_information(x, y, k=k).item() == pytest.approx(expected, abs=1e-12)


@given(sides=two_sides(), k=st.integers(1, 3), variant=st.sampled_from([1, 2]))
def test_ksg_equals_plain_loops(sides, k, variant):
    x, y = (side + 1e-3 * normal(*side.shape, seed=seed) for seed, side in enumerate(sides))
    k = min(k, len(x) - 1)
    expected = reference.ksg(x.tolist(), y.tolist(), k, variant)
    assert ksg_information(x, y, k=k, variant=variant).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_ksg_equals_scikit_learn(k):
    x, y = (side / side.std() for side in CorrelatedGaussians(0.8).sample(500, generator()))
    expected = _compute_mi_cc(x[:, 0].numpy(), y[:, 0].numpy(), k)
    assert ksg_information(x, y, k=k).item() == pytest.approx(expected)


def test_ksg_by_hand():
    # Rows at (0, 0), (1, 1), (3, 3): nearest at 1, 1 and 2; nobody is nearer on either side.
    x = torch.tensor([0.0, 1.0, 3.0])
    assert ksg_information(x, x, k=1).item() == pytest.approx(digamma(3) - digamma(1))
    # Variant 2: the one neighbor is within its own reach, nobody else.
    assert ksg_information(x, x, k=1, variant=2).item() == pytest.approx(digamma(3) - digamma(1) - 1)


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize(
    ("known", "within"),
    [
        (CorrelatedGaussians(0.0), 0.03),
        (CorrelatedGaussians(-0.6), 0.05),
        (CorrelatedGaussians.with_information(2.0, width=2), 0.08),
        (AdditiveUniform(0.2), 0.08),
        (StudentT(0.5, width=1, degrees=3), 0.1),
        (Mapped(CorrelatedGaussians(0.8), of_x=bimodal, of_y=torch.asinh), 0.1),
        (Mapped(CorrelatedGaussians(0.6, width=2), of_x=spiral), 0.25),  # too low, as for all that bends
    ],
    ids=["independent", "correlated", "two wide", "uniform", "Student-t", "mapped", "spiral"],
)
def test_ksg_finds_what_is_known(known, within, variant):
    found = mean_of(lambda x, y: ksg_information(x, y, variant=variant), known)
    assert found == pytest.approx(known.information, abs=within)


def test_ksg_is_too_small_for_wide_rows_and_strong_relations():  # as its table says, at 2,000 rows
    wide = mean_of(ksg_information, CorrelatedGaussians.with_information(2.0, width=10), draws=2)
    assert 0.6 < wide < 1.1
    strong = mean_of(ksg_information, CorrelatedGaussians.with_information(12.0), draws=2)
    most = digamma(1000) - digamma(3) - 1 / 3
    assert most - 0.1 < strong < most + 0.01


@pytest.mark.parametrize("variant", [1, 2])
def test_ksg_laws(variant):
    x, y = CorrelatedGaussians(0.7, width=3).sample(200, generator())
    expected = ksg_information(x, y, variant=variant).item()

    def same(a, b, within=1e-12):
        assert ksg_information(a, b, variant=variant).item() == pytest.approx(expected, abs=within)

    same(y, x)
    same(64 * x, y / 1024)
    same(3 * x, 1e4 * y, within=0.1)  # the power of two is near, not exact
    same(x.flip(1), y)  # the order of coordinates
    same(-x, y + 8)
    order = torch.randperm(200, generator=generator())
    same(x[order], y[order])
    same(x.numpy(), y.tolist())


def test_mixed_without_ties_is_ksg():
    x, y = CorrelatedGaussians(0.7, width=2).sample(150, generator())
    for k in (1, 4):
        torch.testing.assert_close(mixed_information(x, y, k=k), ksg_information(x, y, k=k))


def test_mixed_of_labels_is_the_plug_in_value_less_its_bias():
    a, b = Table(((0.3, 0.1), (0.1, 0.2), (0.05, 0.25))).sample(2000, generator())
    counts = [torch.unique(v, return_counts=True)[1].numpy() for v in (2 * a + b, a, b)]
    psi = [np.average(digamma(c), weights=c) for c in counts]
    found = mixed_information(a, b).item()
    assert found == pytest.approx(digamma(2000) + psi[0] - psi[1] - psi[2])
    assert found == pytest.approx(label_information(a, b, correction="miller-madow").item(), abs=1e-4)


def test_mixed_finds_the_information_of_labelled_uniforms():
    found = mean_of(mixed_information, LabelledUniforms(5))
    assert found == pytest.approx(LabelledUniforms(5).information, abs=0.05)


def test_mixed_finds_the_information_of_zero_inflated_counts():
    # Gao et al., 2017, experiment III: x exponential, y Poisson(x) but 0 with chance 0.15; I = 0.85 * 0.3012.
    euler = 0.5772156649
    truth = 0.85 * (2 * log(2) - euler - sum(log(k) * 2.0**-k for k in range(1, 60)))
    draw = np.random.default_rng(0)
    found = []
    for _ in range(4):
        x = draw.exponential(size=1000)
        y = draw.poisson(x) * (draw.random(1000) > 0.15)
        found.append(mixed_information(x, y, k=5).item())
    assert np.mean(found) == pytest.approx(truth, abs=0.05)


def test_mixed_of_a_mixture_of_points_and_numbers():
    # Half of the pairs are (0, 0) or (1, 1), the rest two numbers that tell nothing of each other: which half is
    # known from either side.  I = log 2 + 1/2 log 2.
    draw = np.random.default_rng(0)
    found = []
    for _ in range(4):
        points, numbers = draw.integers(2, size=(500, 1)).repeat(2, 1), draw.random((500, 2)) * 0.9 + 0.05
        found.append(mixed_information(*np.concatenate((points, numbers)).T).item())
    assert np.mean(found) == pytest.approx(1.5 * log(2), abs=0.08)


def test_constant_and_repeated_rows():
    x = normal(40, 2)
    for other in (x, x.round(), torch.arange(40) % 7):
        assert mixed_information(other, torch.full((40, 3), 0.1)).item() == pytest.approx(0, abs=1e-12)
    assert mixed_information(torch.zeros(40), torch.zeros(40)).item() == pytest.approx(0, abs=1e-12)
    for variant in (1, 2):
        with pytest.raises(InputError, match="40 of 40 rows equal all their k = 3 neighbors on a side"):
            ksg_information(x, torch.ones(40, 1), variant=variant)
    copies = torch.cat((x, x[:1].repeat(3, 1)))  # four rows alike, each with three copies
    with pytest.raises(InputError, match=r"4 of 43 rows equal all .* use mixed_information"):
        ksg_information(copies, copies)


def test_blocks_change_nothing(monkeypatch):
    x, y = CorrelatedGaussians(0.5, width=2).sample(41, generator())
    calls = [
        lambda: ksg_information(x, y),
        lambda: ksg_information(x, y, variant=2),
        lambda: mixed_information(x.round(), y.round()),
    ]
    whole = [call() for call in calls]
    monkeypatch.setattr(joint, "_BLOCK_ELEMENTS", 3 * 41)
    for before, call in zip(whole, calls):
        torch.testing.assert_close(call(), before)


def test_more_noise_less_information():  # data processing
    x, noise = normal(800, 1), normal(800, 1, seed=1)
    found = [ksg_information(x, x + scale * noise).item() for scale in (0.1, 0.5, 2.0)]
    assert found == sorted(found, reverse=True)


X = torch.tensor([[0.0], [1.0], [3.0], [7.0]])


@pytest.mark.parametrize("estimator", [ksg_information, mixed_information])
@pytest.mark.parametrize(
    ("x", "y", "k", "message"),
    [
        (X, X[:3], 1, r"y must have 4 rows to match x \(4, 1\), got 3"),
        (X, X, 4, r"k must lie in 1\.\.3, below the 4 rows, got 4"),
        (X, X, 0, r"k must lie in 1\.\.3, below the 4 rows, got 0"),
        (X[:1], X[:1], 1, "x must have 2 rows at least, got 1"),
        (X / 0, X, 1, "x must be finite"),
        (X, X * torch.nan, 1, "y must be finite"),
        (X[None], X, 1, "x must have shape"),
    ],
)
def test_mistakes(estimator, x, y, k, message):
    with pytest.raises(InputError, match=f"{estimator.__name__}: {message}"):
        estimator(x, y, k=k)


def test_mistakes_of_ksg():
    with pytest.raises(InputError, match="variant must be 1 or 2, got 3"):
        ksg_information(X, X, variant=3)
    with pytest.raises(InputError, match="x must be floating point, got int64"):
        ksg_information([1, 2, 3, 4], X)
