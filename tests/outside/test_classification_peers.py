"""Classification and calibration beside scikit-learn and torchmetrics, where they compute the same thing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from mimetric import metrics


@pytest.fixture(scope="module")
def batch():
    """Logits (200, 6) that know something of the label; a class that is never predicted; float64."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(6, (200,), generator=generator)
    logits = 2 * torch.randn(200, 6, generator=generator, dtype=torch.float64)
    logits[torch.arange(200), y] += 2
    logits[:, 5] -= 100
    return logits, y


def test_classification_agrees_with_scikit_learn(batch):
    logits, y = batch
    predicted, found = logits.argmax(1), metrics.classification_metrics(logits, y, k=(2,))
    assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(y, predicted))
    assert found["balanced_accuracy"] == pytest.approx(sklearn.balanced_accuracy_score(y, predicted))
    assert found["macro_f1"] == pytest.approx(sklearn.f1_score(y, predicted, average="macro"))
    theirs = sklearn.top_k_accuracy_score(y, logits, k=2, labels=range(6))
    assert found["top_2_accuracy"] == pytest.approx(theirs)
    precision, recall, f1, rows = sklearn.precision_recall_fscore_support(
        y, predicted, labels=range(6), zero_division=np.nan
    )
    scores = metrics.class_scores(logits, y)
    for mine, other in zip(scores, (precision, recall, f1, rows)):
        np.testing.assert_allclose(mine.numpy(), other)
    assert metrics.confusion_matrix(logits, y).tolist() == sklearn.confusion_matrix(y, predicted).tolist()


def test_scores_agree_with_scikit_learn(batch):
    logits, y = batch
    p = metrics.apply_temperature(logits, 4.0)  # theirs takes probabilities below 2e-16 for 2e-16
    assert metrics.nll(p, y).mean().item() == pytest.approx(sklearn.log_loss(y, p.numpy(), labels=range(6)))
    theirs = sklearn.brier_score_loss(y, p.numpy(), labels=range(6))
    assert metrics.brier(p, y).mean().item() == pytest.approx(theirs)


def test_reliability_agrees_with_scikit_learn(batch):
    logits, y = batch
    p = logits.softmax(1)
    confidence, predicted = p.max(1)
    for binning, strategy in (("equal_width", "uniform"), ("equal_mass", "quantile")):
        curve = metrics.reliability_curve(p, y, bins=10, binning=binning)
        accuracy, mean = calibration_curve(predicted == y, confidence, n_bins=10, strategy=strategy)
        kept = curve.rows > 0
        np.testing.assert_allclose(curve.accuracy[kept].numpy(), accuracy)
        np.testing.assert_allclose(curve.confidence[kept].numpy(), mean)


def test_temperature_agrees_with_logistic_regression():
    # Of two classes, 1 / T is the one coefficient of a logistic regression on the gap of the logits.
    generator = torch.Generator().manual_seed(1)
    gap = torch.randn(300, generator=generator, dtype=torch.float64)
    y = (torch.rand(300, generator=generator) < torch.sigmoid(gap / 2)).long()
    logits = torch.stack((torch.zeros_like(gap), gap), 1)
    peer = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(gap[:, None], y)
    assert metrics.fit_temperature(logits, y) == pytest.approx(1 / peer.coef_[0, 0], rel=1e-5)


def test_agrees_with_torchmetrics(batch):
    peer = pytest.importorskip("torchmetrics.functional.classification")
    logits, y = batch
    p = logits.softmax(1)
    found = metrics.classification_metrics(logits, y, k=(2,))
    assert found["accuracy"] == pytest.approx(peer.multiclass_accuracy(p, y, 6, average="micro").item())
    assert found["balanced_accuracy"] == pytest.approx(peer.multiclass_accuracy(p, y, 6).item())
    assert found["macro_f1"] == pytest.approx(peer.multiclass_f1_score(p, y, 6).item())
    theirs = peer.multiclass_accuracy(p, y, 6, average="micro", top_k=2).item()
    assert found["top_2_accuracy"] == pytest.approx(theirs)
    for norm, mine in (("l1", metrics.ece), ("max", metrics.mce)):
        theirs = peer.multiclass_calibration_error(p, y, 6, n_bins=15, norm=norm)
        assert mine(p, y, bins=15).item() == pytest.approx(theirs.item(), rel=1e-5)
