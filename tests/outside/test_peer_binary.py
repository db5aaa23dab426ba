"""Metrics of two classes as losses, at an amplification that counts, beside scikit-learn's metrics."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, fbeta_score, recall_score

from mimetric.losses import any_loss

numbers = st.sampled_from([-2.0, -0.5, 0.25, 3.0])  # none at the threshold


@given(
    scores=st.lists(numbers, min_size=2, max_size=12),
    rest=st.lists(st.integers(0, 1), min_size=10, max_size=10),
)
@settings(max_examples=12, deadline=None)
def test_any_loss_counts(scores, rest):
    truth = [0, 1, *rest][: len(scores)]
    logits, call = torch.tensor(scores, dtype=torch.float64), [int(score > 0) for score in scores]
    both = recall_score(truth, call) * recall_score(truth, call, pos_label=0)
    for metric, expected in (
        ("accuracy", accuracy_score(truth, call)),
        ("f_beta", fbeta_score(truth, call, beta=2)),
        ("balanced_accuracy", balanced_accuracy_score(truth, call)),
        ("g_mean", both**0.5),
    ):
        found = any_loss(logits, truth, metric=metric, beta=2.0, amplification=1e4)
        assert found.item() == pytest.approx(1 - expected, abs=2e-6)
