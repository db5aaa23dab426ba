"""Every estimator says how far it can be trusted, and what several of them say holds."""

from __future__ import annotations

import inspect
import re
from math import log, pi

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mimetric import estimators
from mimetric.estimators.known import CorrelatedGaussians

LABELS = ["Direction", "Bias", "Saturation", "Cost"]
# Public functions that are no estimators, and what they are.
OTHERS = {
    "median_bandwidth": "a width of a kernel",
    "scott_bandwidth": "a width of a kernel",
    "pc_log_softmax": "scores in another form, of which pointwise_information is the estimate",
    "replicates": "runs an estimator that is given",
    "standard_error": "runs an estimator that is given",
}
ESTIMATORS = [
    name
    for name in estimators.__all__
    if inspect.isfunction(getattr(estimators, name)) and name not in OTHERS
]


def test_exceptions_are_public_functions() -> None:
    assert all(inspect.isfunction(getattr(estimators, name)) for name in OTHERS)
    assert set(OTHERS) < set(estimators.__all__)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_states_direction_bias_saturation_and_cost(name: str) -> None:
    """In one paragraph of four statements, after the formula and before the arguments; nowhere else."""
    paragraphs = re.split(r"\n\s*\n", inspect.getdoc(getattr(estimators, name)) or "")
    found = [
        i for i, text in enumerate(paragraphs) if re.search(rf"^\s*({'|'.join(LABELS)}):", text, re.MULTILINE)
    ]
    assert len(found) == 1
    place = found[0]
    statements = [text.partition(": ") for text in re.split(r"\n(?! )", paragraphs[place])]
    assert [label for label, _, _ in statements] == LABELS
    assert all(text.strip().endswith(".") for _, _, text in statements)
    assert not any(".. math::" in text for text in paragraphs[place:])
    assert re.match(r"Arg|Return|>>>", paragraphs[place + 1])


def log_density(pairs: CorrelatedGaussians, x: Tensor, y: Tensor) -> Tensor:
    """The true log p(y | x) of one column each, broadcast."""
    variance = 1 - pairs.correlation**2
    return -((y - pairs.correlation * x) ** 2 / variance + log(2 * pi * variance)) / 2


def test_nwj_has_its_tail_below_and_dv_its_bias_above() -> None:
    """The best critic, I = 6, and 1,000 marginal pairs, more than e^6: the spread is below a nat."""
    pairs, generator = CorrelatedGaussians.with_information(6.0), torch.Generator().manual_seed(0)
    found = []
    for _ in range(300):
        (x, y), (apart, _) = pairs.sample(1000, generator), pairs.sample(1000, generator)
        of_y = -(y.square() + log(2 * pi)) / 2
        joint, marginal = ((log_density(pairs, one, y) - of_y)[:, 0] for one in (x, apart))
        found.append((estimators.nwj_bound(joint, marginal), estimators.dv_bound(joint, marginal)))
    nwj, dv = torch.tensor(found).T
    assert nwj.mean() == pytest.approx(6, abs=4 * float(nwj.std()) / 300**0.5)
    assert (nwj > 6).double().mean() > 0.5
    assert 6 - nwj.min() > 2 * (nwj.max() - 6)
    assert dv.mean() > 6 + 4 * float(dv.std()) / 300**0.5


def test_bounds_that_see_too_few_pairs() -> None:
    """I = 4, 256 pairs: InfoNCE is too low, far from its ceiling of 5.5, the leave-one-out bound far too high."""
    pairs = CorrelatedGaussians.with_information(4.0)
    x, y = pairs.sample(256, torch.Generator().manual_seed(0))
    scores = log_density(pairs, x, y.T)
    assert 3.5 < estimators.infonce_bound(scores + y.T**2 / 2) < 3.95
    assert 5 < estimators.l1out_bound(scores) < estimators.club_bound(scores)


def test_club_of_the_true_density_is_far_above() -> None:
    """rho^2 / (1 - rho^2) = e^{2 I} - 1 = 6.39 on average for I = 1."""
    pairs = CorrelatedGaussians.with_information(1.0)
    x, y = pairs.sample(2000, torch.Generator().manual_seed(0))
    assert estimators.club_bound(log_density(pairs, x, y.T)) == pytest.approx(6.39, abs=0.5)


@pytest.mark.parametrize("shrinkage", [0.3, 0.01, 1e-4])
def test_shrinkage_is_a_ceiling_of_gaussian_information(shrinkage: float) -> None:
    """Of a column and its copy the correlation becomes 1 - rho, and -log(1 - (1 - rho)^2) / 2 is found."""
    x = torch.randn(400, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = -log(1 - (1 - shrinkage) ** 2) / 2
    assert estimators.gaussian_information(x, x, shrinkage=shrinkage) == pytest.approx(expected)
    # Ledoit and Wolf's is (E|z|^4 - |S|^2) / n over |S - v I|^2, for z = (x, x) normal (12 - 4) / 2n.
    assert estimators.gaussian_information(x, x) == pytest.approx(log(400 / 8) / 2, abs=0.1)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-9, 9)), min_size=1, max_size=12))
def test_hsic_is_at_most_a_quarter(pairs: list[tuple[int, float]]) -> None:
    """Of K with K.K <= sum of K = n^2 m it is at most m (1 - m) for y = x, and by Cauchy-Schwarz for all y."""
    labels, x = torch.tensor([a for a, _ in pairs]), torch.tensor([[b] for _, b in pairs])
    assert estimators.hsic(x, labels, bandwidth=1.0) <= 0.25 + 1e-12
    assert estimators.hsic(x, x, bandwidth=1.0) <= 0.25 + 1e-12


def test_kernels_that_see_each_row_alone() -> None:
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    narrow = {"bandwidth": 1e-3, "y_bandwidth": 1e-3}
    y = x.flip(0)
    assert estimators.hsic(x, y, **narrow) == pytest.approx(49 / 50**2)
    assert estimators.hsic(x, y, unbiased=True, **narrow) == pytest.approx(0, abs=1e-9)
    assert estimators.cs_information(x, y, **narrow) == pytest.approx(log(50))
    assert estimators.renyi_information(x, y, **narrow) == pytest.approx(log(50))
    assert estimators.mixture_information(x, [0, 1] * 25, bandwidth=1e-3).lower == pytest.approx(log(2))


def test_no_draw_passes_the_prior() -> None:
    draws = 30 * torch.randn(5, 20, 3, generator=torch.Generator().manual_seed(0))
    prior = torch.tensor([0.2, 0.3, 0.5])
    labels = torch.arange(20) % 3
    ceiling = -prior.log()[labels] + 1e-6
    assert all((part <= ceiling).all() for part in estimators.sampled_information(draws, labels, prior))
