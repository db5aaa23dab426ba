from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mimetric.core.errors import InputError
from mimetric.data.sources import load_data
from mimetric.recipes.qin2021 import (
    CENTERS,
    SHARES,
    Options,
    Quick,
    gaussians,
    images,
    labelled_gaussians,
    measure,
    uneven,
)

Small = Callable[[str], dict[str, Any]]


def test_the_truth_is_that_of_monte_carlo() -> None:
    torch.manual_seed(0)
    x, y = labelled_gaussians(20_000, 10)
    assert torch.bincount(y).div(len(y)).tolist() == pytest.approx(SHARES, abs=0.01)
    density = -(x[:, None, :] - torch.tensor(CENTERS)[:, None]).square().sum(2) / 2
    evidence = (density + torch.tensor(SHARES).log()).logsumexp(1)
    pointwise = density[torch.arange(len(y)), y] - evidence
    truth = gaussians(replace(Quick(), pairs=100, steps=1), 10)["truth"]
    assert pointwise.mean().item() == pytest.approx(truth, abs=0.02)
    assert truth == pytest.approx(1.487, abs=5e-4)  # Monte Carlo of two seeds: 1.487


def test_balanced_scores_overstate_by_the_missing_entropy(small: Small) -> None:
    # log 5 - H(Y) = 1.6094 - 1.4898, up to the entropy of the labels that were drawn.
    found = {name: metric["mean"] for name, metric in small("qin2021")["measured"].items()}
    for width in (1, 10):
        excess = found[f"softmax_{width}"] - found[f"softmax_with_entropy_{width}"]
        assert excess == pytest.approx(0.1196, abs=0.02)
        assert found[f"pc_{width}"] < found[f"truth_{width}"]  # 20 steps are too few to learn it all


def test_uneven_keeps_few_of_every_other_class() -> None:
    data = load_data("digits")
    rows = [uneven(data, Options(common=50), np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])
    assert np.bincount(data.y[rows[0]]).tolist() == [8, 50] * 5
    assert set(rows[0].tolist()) <= set(data.split.train.tolist())


def test_correction_helps_the_rare_classes() -> None:
    """What the full run shows, of one network."""
    found = images(load_data("digits"), replace(Options(), image_steps=80), seed=0)
    assert found["macro_pc"] > found["macro_ce"]
    assert found["as_trained_ce"] > 0.8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Options(rare=0), "^qin2021: rare must be > 0, got 0$"),
        (
            lambda: measure(Options(data="glyphs", pairs=600, steps=1), 0),
            "^glyphs: must hold images of test classes trained on",
        ),
    ],
)
def test_mistakes(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
