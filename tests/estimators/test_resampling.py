from __future__ import annotations

from functools import partial
from math import sqrt

import numpy as np
import pytest
import torch

from mimetric.core.errors import InputError
from mimetric.estimators import (
    ksg_information,
    label_information,
    replicates,
    ross_information,
    standard_error,
)
from mimetric.estimators.known import CorrelatedGaussians, LabelledGaussians, Table

X = torch.randn(60, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def held_out_mean(fit, held):
    assert len(fit) + len(held) == 60
    return held.mean()


@pytest.mark.parametrize("times", [2, 6, 60])
def test_of_a_mean_by_the_textbook(times):
    """With groups of equal size the jackknife and the folds of a mean are its error from the group means."""
    error = standard_error(torch.mean, X, times=times)
    folds = standard_error(held_out_mean, X, method="crossfit", times=times)
    torch.testing.assert_close(error, folds)
    if times == 60:
        torch.testing.assert_close(error, X.std() / sqrt(60))


def test_bootstrap_of_a_mean():
    error = standard_error(torch.mean, X, method="bootstrap", times=2000).item()
    assert error == pytest.approx(X.std(correction=0).item() / sqrt(60), rel=0.06)


def test_replicates_use_each_row_as_they_should():
    rows = torch.arange(7)
    assert sorted((21 - replicates(torch.sum, rows, times=7)).tolist()) == list(range(7))
    folds = replicates(lambda _, held: held.sum(), rows, method="crossfit", times=3)
    assert folds.sum().item() == 21
    assert replicates(lambda held: torch.tensor(len(held)), rows, method="bootstrap", times=2).tolist() == [
        7,
        7,
    ]


def test_rows_of_all_arrays_go_together():
    def aligned(*sides):
        x, y = sides[-2:]
        assert torch.equal(y, 2 * x)
        return x.sum()

    for method in ("jackknife", "bootstrap", "crossfit"):
        assert replicates(aligned, list(range(20)), 2 * np.arange(20), method=method, times=4).shape == (4,)


SPREAD = [  # estimator, distribution, method: what the spread of 24 draws is compared with
    (ksg_information, CorrelatedGaussians(0.7), "jackknife"),
    (ross_information, LabelledGaussians((-1.0, 1.0)), "jackknife"),
    (label_information, Table(((0.3, 0.1), (0.2, 0.4))), "bootstrap"),
    (label_information, Table(((0.3, 0.1), (0.2, 0.4))), "jackknife"),
]


@pytest.mark.parametrize(("estimator", "known", "method"), SPREAD)
def test_error_is_the_spread_over_other_samples(estimator, known, method):
    samples = [known.sample(300, torch.Generator().manual_seed(seed)) for seed in range(24)]
    spread = np.std([estimator(*sample).item() for sample in samples], ddof=1)
    errors = [standard_error(estimator, *sample, method=method).item() for sample in samples[:8]]
    # Both sides are estimates: the spread of 24 is right to 15%.
    assert np.mean(errors) == pytest.approx(spread, rel=0.5)


def test_one_seed_one_answer_and_the_callers_random_state_alone():
    state = torch.get_rng_state()
    found = [standard_error(torch.mean, X, method="bootstrap", seed=seed) for seed in (3, 3, 4)]
    assert found[0] == found[1] != found[2]
    assert torch.equal(torch.get_rng_state(), state)


def test_kinds_of_answer():
    assert standard_error(lambda x: x.new_zeros((), dtype=torch.float32), X).dtype == torch.float64
    assert standard_error(lambda x: x.sum() * 0 + 1, X).item() == 0
    assert standard_error(lambda x: x.mean() * torch.nan, X).isnan()
    with_graph = X.clone().requires_grad_()
    assert not standard_error(torch.mean, with_graph).requires_grad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: standard_error(torch.mean, X, times=1), "times must be at least 2, got 1"),
        (
            lambda: standard_error(torch.mean, X, times=61),
            "times must be at most 60, the number of rows, got 61",
        ),
        (lambda: standard_error(torch.mean, X, method="split"), "method must be one of bootstrap, jackknife"),
        (lambda: standard_error(torch.mean), r"arrays must be at least one, all with as many rows, got \[\]"),
        (lambda: replicates(torch.dot, X, X[:9]), r"as many rows, got \[9, 60\]"),
        (lambda: replicates(torch.sum, 3.0), r"got \[0\]"),
        (lambda: replicates(partial(ksg_information, k=5), X[:6], X[:6], times=2), "k must lie in 1..2"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
