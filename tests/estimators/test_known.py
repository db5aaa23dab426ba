from __future__ import annotations

from itertools import pairwise, product
from math import log, pi, sqrt

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal, multivariate_t, norm
from scipy.stats import t as student
from sklearn.metrics import mutual_info_score

from mimetric.core.errors import InputError
from mimetric.estimators.known import (
    AdditiveUniform,
    CorrelatedGaussians,
    LabelledGaussians,
    LabelledUniforms,
    Mapped,
    StudentT,
    Table,
    bimodal,
    spiral,
)

EVERY = [
    CorrelatedGaussians(0.7, width=3),
    StudentT(0.4, width=2, degrees=4),
    AdditiveUniform(0.3),
    LabelledGaussians((-1.0, 0.5, 2.0), (0.5, 0.3, 0.2), width=2, noise=1),
    LabelledUniforms(4),
    Table(((0.1, 0.3), (0.4, 0.2))),
    Mapped(CorrelatedGaussians(0.7, width=2), of_x=spiral, of_y=bimodal),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def log_ratio(known, x, y):
    """log p(x, y) - log p(x) - log p(y) of rows, by scipy; its mean is the information."""
    x, y = x.numpy(), y.numpy()
    d = x.shape[1]
    both = np.kron([[1, known.correlation], [known.correlation, 1]], np.eye(d))
    if isinstance(known, StudentT):
        law = lambda rows, shape: multivariate_t.logpdf(rows, shape=shape, df=known.degrees)  # noqa: E731
    else:
        law = lambda rows, shape: multivariate_normal.logpdf(rows, cov=shape)  # noqa: E731
    return law(np.hstack((x, y)), both) - law(x, np.eye(d)) - law(y, np.eye(d))


@pytest.mark.parametrize(
    "known", [CorrelatedGaussians(0.7, width=3), StudentT(0.4, width=2, degrees=4), StudentT(0.0, degrees=1)]
)
def test_information_is_the_mean_log_ratio_of_densities(known):
    ratio = log_ratio(known, *known.sample(40_000, generator()))
    assert ratio.mean() == pytest.approx(known.information, abs=4 * ratio.std() / 200)


def test_student_t_of_one_degree():
    # f(1) = log(pi)/2 + (g + 2 log 2)/2, f(3) = log(pi)/2 - log 2 - 3/2 (2 - g - 2 log 2), f(2) = g, Euler's constant:
    # f(1) + f(3) - 2 f(2) = log(8 pi) - 3.
    assert StudentT(0.0, width=1, degrees=1).information == pytest.approx(log(8 * pi) - 3)
    assert StudentT(0.5, width=3, degrees=10**6).information == pytest.approx(
        CorrelatedGaussians(0.5, width=3).information, abs=1e-4
    )


@pytest.mark.parametrize("noise", [0.05, 0.3, 0.5, 0.8, 3.0])
def test_additive_uniform_is_the_entropy_of_a_trapezoid_less_that_of_the_noise(noise):
    def density(v):
        return max(0.0, min(1, v + noise) - max(0, v - noise)) / (2 * noise)

    corners = sorted({-noise, noise, 1 - noise, 1 + noise})
    entropy = sum(quad(lambda v: -density(v) * log(density(v) or 1), a, b)[0] for a, b in pairwise(corners))
    assert AdditiveUniform(noise).information == pytest.approx(entropy - log(2 * noise))


@pytest.mark.parametrize(
    ("centers", "prior"), [((-1.0, 1.0), (0.5, 0.5)), ((0.0, 0.5, 30.0), (0.2, 0.7, 0.1)), ((2.0,), (1.0,))]
)
def test_labelled_gaussians_are_the_entropy_of_a_mixture_less_that_of_a_normal(centers, prior):
    def density(v):
        return sum(p * norm.pdf(v, c) for c, p in zip(centers, prior))

    ends = min(centers) - 9, max(centers) + 9
    entropy = quad(
        lambda v: -density(v) * log(density(v) or 1), *ends, points=centers, limit=500, epsabs=1e-11
    )
    expected = entropy[0] - log(2 * pi * np.e) / 2
    known = LabelledGaussians(centers, prior)
    assert known.information == pytest.approx(expected, abs=1e-8)
    assert LabelledGaussians(centers, prior, width=3, noise=2).information == pytest.approx(
        3 * known.information
    )


def test_labelled_gaussians_far_apart_tell_the_label():
    assert LabelledGaussians((0.0, 1e6), (0.25, 0.75)).information == pytest.approx(log(4) - 0.75 * log(3))
    assert LabelledGaussians((0.0, 1e6, -1e6), width=4).information == pytest.approx(4 * log(3))
    assert LabelledGaussians((0.0, 1e6), (0.0, 1.0)).information == pytest.approx(0)


def test_labelled_gaussians_sample():
    known = LabelledGaussians((-2.0, 3.0), (0.2, 0.8), width=2, noise=1)
    x, y = known.sample(20_000, generator())
    assert x.shape == (20_000, 3)
    assert torch.bincount(y).div(20_000).tolist() == pytest.approx([0.04, 0.16, 0.16, 0.64], abs=0.015)
    for label, (second, first) in enumerate(product((-2, 3), (-2, 3))):
        own = x[y == label]
        assert own.mean(0).tolist() == pytest.approx([first, second, 0], abs=0.15)
        assert own.std(0).tolist() == pytest.approx([1, 1, 1], abs=0.1)


def test_labelled_uniforms_by_hand():
    # Two classes on [0, 2] and [1, 3]: half of the rows tell their label, the others nothing.
    assert LabelledUniforms(2).information == pytest.approx(log(2) / 2)
    assert LabelledUniforms(1).information == 0
    x, y = LabelledUniforms(3).sample(5000, generator())
    assert ((x[:, 0] >= y) & (x[:, 0] <= y + 2)).all()
    assert [x[y == c].mean().item() for c in range(3)] == pytest.approx([1, 2, 3], abs=0.1)


def test_table_equals_scikit_learn():
    cells = ((3, 0, 2), (1, 5, 9))
    known = Table(tuple(tuple(v / 20 for v in row) for row in cells))
    assert known.information == pytest.approx(mutual_info_score(None, None, contingency=np.array(cells)))
    a, b = known.sample(50_000, generator())
    counts = torch.bincount(3 * a + b, minlength=6).reshape(2, 3) / 50_000
    torch.testing.assert_close(counts, torch.tensor(cells) / 20, atol=0.01, rtol=0)


@pytest.mark.parametrize("correlation", [-0.6, 0.0, 0.9])
def test_samples_have_the_stated_correlation_and_spread(correlation):
    x, y = CorrelatedGaussians(correlation, width=2).sample(20_000, generator())
    found = np.corrcoef(torch.cat((x, y), dim=1).T)
    expected = np.kron([[1, correlation], [correlation, 1]], np.eye(2))
    np.testing.assert_allclose(found, expected, atol=0.03)
    assert [x.std().item(), y.std().item()] == pytest.approx([1, 1], abs=0.02)


def test_student_t_tails():
    x, y = StudentT(0.0, width=1, degrees=3).sample(20_000, generator())
    for side in (x, y):
        found = np.quantile(side.numpy(), (0.05, 0.25, 0.5, 0.75, 0.95))
        np.testing.assert_allclose(found, student.ppf((0.05, 0.25, 0.5, 0.75, 0.95), 3), atol=0.12)


def test_maps_can_be_undone():
    grid = torch.linspace(-5, 5, 1001, dtype=torch.float64)
    assert (bimodal(grid).diff() > 0).all()
    x = torch.randn(50, 4, dtype=torch.float64, generator=generator())
    turned = spiral(x)
    torch.testing.assert_close(turned.norm(dim=1), x.norm(dim=1))
    angle = -turned.square().sum(1)
    back = torch.complex(turned[:, 0], turned[:, 1]) * torch.polar(torch.ones_like(angle), angle)
    torch.testing.assert_close(torch.stack((back.real, back.imag), dim=1), x[:, :2])
    middle = bimodal(torch.randn(10_000, generator=generator())).abs() < 1
    assert middle.float().mean() < 0.15  # of a normal 0.68


@pytest.mark.parametrize("known", EVERY, ids=lambda known: type(known).__name__)
def test_every_one_is_drawn_alike_from_one_seed(known):
    state = torch.get_rng_state()
    (x, y), again = known.sample(7, generator()), known.sample(7, generator())
    assert len(x) == len(y) == 7
    assert torch.equal(x, again[0])
    assert torch.equal(y, again[1])
    assert not torch.equal(known.sample(7, generator(1))[0], x)
    assert torch.equal(torch.get_rng_state(), state)
    assert known.information > 0
    for side in (x, y):
        assert (side.dtype, side.ndim) in ((torch.float64, 2), (torch.int64, 1))


@pytest.mark.parametrize("information", [0.0, 0.3, 8.0])
def test_with_information(information):
    known = CorrelatedGaussians.with_information(information, width=4)
    assert known.information == pytest.approx(information)
    assert known.correlation == pytest.approx(sqrt(1 - np.exp(-information / 2)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CorrelatedGaussians(1.0), "correlation must lie between -1 and 1, got 1.0"),
        (lambda: CorrelatedGaussians(0.5, width=0), "width must be > 0, got 0"),
        (lambda: CorrelatedGaussians.with_information(-1.0), "information must be at least 0, got -1.0"),
        (lambda: StudentT(0.5, degrees=0), "degrees must be > 0"),
        (lambda: AdditiveUniform(0.0), "noise must be > 0"),
        (
            lambda: LabelledGaussians((0.0, 1.0), (0.5, 0.6)),
            "prior must be >= 0 and sum to 1, got the sum 1.1",
        ),
        (lambda: LabelledGaussians((0.0, 1.0), (1.0,)), "prior must have 2 numbers"),
        (lambda: LabelledGaussians((0.0,), noise=-1), "noise must be at least 0"),
        (lambda: LabelledUniforms(0), "classes must be > 0"),
        (lambda: Table(((0.5, 0.6), (-0.1, 0.0))), "probabilities must be >= 0"),
        (lambda: Table(((0.5,), (0.25, 0.25))), "rows of one length"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
