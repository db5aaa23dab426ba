from __future__ import annotations

from itertools import product
from math import log, pi, sqrt

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from mimetric.core.errors import InputError
from mimetric.estimators import classifier, classifier_information, label_entropy, probe_information


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_label_entropy():
    assert label_entropy([5, 5, 9, 9, -1]).item() == pytest.approx(log(2))
    assert label_entropy([3, 3, 3]).item() == 0
    y = torch.randint(9, (200,), generator=torch.Generator().manual_seed(0))
    assert label_entropy(y).item() == pytest.approx(entropy(torch.bincount(y).numpy()))
    assert label_entropy([-1]).isnan()
    with pytest.raises(InputError, match="labels must be integers"):
        label_entropy([0.5])


def test_classifier_information_is_entropy_less_log_loss():
    y = torch.arange(60) % 3
    logits = normal(60, 4)
    expected = log(3) - log_loss(y, logits.double().softmax(1), labels=range(4))
    assert classifier_information(logits, y).item() == pytest.approx(expected)
    unlabelled = torch.cat((y, torch.full((5,), -1)))
    assert classifier_information(torch.cat((logits, normal(5, 4))), unlabelled).item() == pytest.approx(
        expected
    )


def test_the_true_posterior_has_the_true_information():
    # Two normals around -1 and 1: log posterior odds 2 z; the mean over 10^5 pairs is the information to 0.01.
    y = torch.arange(100_000) % 2
    z = normal(100_000, 1) + (2 * y - 1)[:, None]
    found = classifier_information(torch.cat((-z, z), dim=1), y).item()
    grid = np.linspace(-9, 11, 20_001)
    density = np.exp(-((grid - 1) ** 2) / 2) / sqrt(2 * pi)
    truth = log(2) - np.trapezoid(density * np.logaddexp(0, -2 * grid), grid)
    assert found == pytest.approx(truth, abs=0.01)
    # A linear probe can express that posterior; held out, it comes close from below.
    assert truth - 0.05 < probe_information(z[:4000], y[:4000]).item() < truth + 0.03


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_probe_equals_scikit_learn(noise):
    y = torch.arange(240) % 12
    x = normal(12, 16, seed=1)[y] + noise * normal(240, 16)
    fold = classifier._folds(y, 2, seed=0)
    assert torch.bincount(fold * 12 + y).unique().tolist() == [10]
    probability = np.zeros((2, 240, 12))
    for strength, held in product((0, 1), (0, 1)):
        fit, out = fold != held, fold == held
        middle = x[fit].mean(0)
        scale = (x[fit] - middle).square().sum(1).mean().sqrt()
        model = LogisticRegression(C=(4.0, 32.0)[strength], max_iter=5000, tol=1e-8)
        model.fit((x[fit] - middle) / scale, y[fit])
        probability[strength, out] = model.predict_proba((x[out] - middle) / scale)
    # Each half is scored with the strength that is better on the other half.
    halves = [[log_loss(y[fold == h], p[fold == h], labels=range(12)) for h in (0, 1)] for p in probability]
    best = [min((0, 1), key=lambda strength: halves[strength][1 - h]) for h in (0, 1)]
    expected = log(12) - (halves[best[0]][0] + halves[best[1]][1]) / 2
    assert probe_information(x, y).item() == pytest.approx(expected, abs=5e-3)


def test_probe_hears_nothing_where_there_is_nothing():
    y = torch.arange(400) % 4
    assert probe_information(normal(400, 8), y).item() < 0.01
    assert probe_information(torch.ones(400, 8), y).item() == pytest.approx(0, abs=1e-4)


def test_probe_is_free_of_scale_shift_and_names():
    y = torch.arange(120) % 6
    x = normal(6, 8)[y] + normal(120, 8, seed=1)
    expected = probe_information(x, y).item()
    assert probe_information(1000 * x + 500, y).item() == pytest.approx(expected, abs=5e-3)
    assert probe_information(x, y * 1_000_003).item() == pytest.approx(expected, abs=1e-6)


def test_probe_leaves_small_classes_out_and_the_callers_random_state_alone():
    y = torch.tensor([0] * 20 + [1] * 20 + [2, -1, -1])
    x = normal(43, 5) + 2 * y[:, None]
    state = torch.get_rng_state()
    assert probe_information(x, y).item() == pytest.approx(probe_information(x[:40], y[:40]).item(), abs=0.05)
    assert torch.equal(torch.get_rng_state(), state)
    assert probe_information(x, torch.arange(43)).isnan()
    with torch.no_grad():
        assert probe_information(x, y).isfinite()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: probe_information(normal(4, 2), [0, 0, 1, 1], folds=1), "folds must be at least 2, got 1"),
        (lambda: probe_information(normal(4, 2) / 0, [0, 0, 1, 1]), "embeddings must be finite"),
        (lambda: classifier_information(normal(2, 2), [0, 2]), r"labels must lie in 0\.\.1"),
        (lambda: classifier_information(normal(2, 2) * torch.nan, [0, 1]), "logits must be finite"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
