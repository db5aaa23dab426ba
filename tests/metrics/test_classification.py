from __future__ import annotations

from math import isnan

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_metrics_c as reference
from mimetric.core.errors import InputError
from mimetric.metrics import (
    StreamingClassification,
    accuracy,
    class_scores,
    classification_metrics,
    confusion_matrix,
    top_k_accuracy,
)


@st.composite
def classified(draw, max_size=9):
    """Logits (n, C) with ties, and labels with -1 among them; no rows, one class, classes that never occur."""
    n, classes = draw(st.integers(0, max_size)), draw(st.integers(1, 5))
    flat = draw(st.lists(st.integers(-4, 4), min_size=n * classes, max_size=n * classes))
    y = draw(st.lists(st.integers(-1, classes - 1), min_size=n, max_size=n))
    return torch.tensor(flat, dtype=torch.float64).reshape(n, classes), torch.tensor(y, dtype=torch.int64)


@given(classified(), st.integers(1, 6))
def test_equals_plain_loops(batch, k):
    logits, y = batch
    predicted = [reference.argmax(row) for row in logits.tolist()]
    right = [float(p == label) if label >= 0 else torch.nan for p, label in zip(predicted, y.tolist())]
    among = [
        reference.top_k(row, label, k) if label >= 0 else torch.nan for row, label in zip(logits.tolist(), y)
    ]
    assert accuracy(logits, y).tolist() == pytest.approx(right, nan_ok=True)
    assert top_k_accuracy(logits, y, k).tolist() == pytest.approx(among, nan_ok=True)
    scores = reference.class_scores(predicted, y.tolist(), logits.shape[1])
    found = class_scores(logits, y)
    for mine, theirs in zip(torch.stack(found[:3], 1).tolist(), scores):
        assert mine == pytest.approx(list(theirs), nan_ok=True)
    assert classification_metrics(logits, y, k=(k,)) == pytest.approx(
        {
            "accuracy": reference.nanmean(right),
            "balanced_accuracy": reference.nanmean(recall for _, recall, _ in scores),
            "macro_f1": reference.nanmean(f1 for _, _, f1 in scores),
            f"top_{k}_accuracy": reference.nanmean(among),
        },
        nan_ok=True,
    )


@given(classified(max_size=12), st.lists(st.integers(0, 12), max_size=3))
def test_any_batches_and_merged_streams_equal_one_call(batch, cuts):
    logits, y = batch
    streams = [StreamingClassification(logits.shape[1], k=(2,)) for _ in range(2)]
    for at, (z, labels) in enumerate(zip(logits.tensor_split(sorted(cuts)), y.tensor_split(sorted(cuts)))):
        streams[at % 2].update(z, labels)
    streams[0].merge(streams[1])
    assert streams[0].compute() == pytest.approx(
        classification_metrics(logits, y, k=(2,)), nan_ok=True, rel=0
    )


def test_golden():
    # Rows 4, 2, 1 of classes 0, 1, 2; all of 0 and one of 1 right, the rest predicted as 0: predicted 6, 1, 0.
    # Recall 1, 1/2, 0; precision 4/6, 1, undefined; F1 8/10, 2/3, 0.
    predicted, y = [0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1, 2]
    found = class_scores(predicted, y)
    assert found.recall.tolist() == pytest.approx([1, 0.5, 0])
    assert found.precision.tolist() == pytest.approx([4 / 6, 1, torch.nan], nan_ok=True)
    assert found.f1.tolist() == pytest.approx([0.8, 2 / 3, 0])
    assert confusion_matrix(predicted, y).tolist() == [[4, 0, 0], [1, 1, 0], [1, 0, 0]]


def test_collapsed_logits_predict_the_lowest_class():
    found = classification_metrics(torch.zeros(10, 5), torch.arange(10) % 5, k=(1, 2))
    assert found == pytest.approx(
        {
            "accuracy": 0.2,
            "balanced_accuracy": 0.2,
            "macro_f1": 1 / 15,
            "top_1_accuracy": 0.2,
            "top_2_accuracy": 0.4,
        }
    )


def test_predicted_classes_and_their_logits_are_one():
    y = torch.randint(4, (50,))
    logits = torch.randn(50, 4)
    for mine, theirs in zip(class_scores(logits, y), class_scores(logits.argmax(1), y, num_classes=4)):
        torch.testing.assert_close(mine, theirs, equal_nan=True)


def test_num_classes_keeps_classes_that_do_not_occur():
    assert class_scores([0], [0], num_classes=3).rows.tolist() == [1, 0, 0]
    assert all(isnan(value) for value in class_scores([0], [0], num_classes=2).f1[1:])
    assert class_scores([], []).rows.tolist() == []


def test_takes_half_precision_arrays_and_lists():
    logits = np.random.default_rng(0).normal(size=(8, 3))
    y = np.arange(8) % 3
    assert accuracy(logits.tolist(), y.tolist()).tolist() == accuracy(torch.tensor(logits), y).tolist()
    assert accuracy(torch.tensor(logits, requires_grad=True).bfloat16(), y).shape == (8,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: accuracy(torch.zeros(2, 2, 2), [0, 1]), "predictions must be class ids"),
        (lambda: accuracy([0.5, 1.0], [0, 1]), "predictions must be integers"),
        (lambda: accuracy([0, 1, 2], [0, 1]), "labels must have shape"),
        (lambda: accuracy(torch.full((1, 2), torch.nan), [0]), "predictions must be finite"),
        (lambda: class_scores([0, -1], [0, 1]), "predictions must lie in 0..1"),
        (lambda: class_scores([0, 1], [0, 2], num_classes=2), "labels must lie in 0..1"),
        (lambda: top_k_accuracy(torch.zeros(1, 2), [0], k=0), "k must be > 0"),
        (lambda: top_k_accuracy(torch.zeros(1, 2), [2]), "labels must lie in"),
        (lambda: top_k_accuracy(torch.zeros(0, 0), []), "logits must have a column"),
        (lambda: StreamingClassification(2).update(torch.zeros(1, 3), [0]), "for each of 2 classes"),
        (
            lambda: StreamingClassification(2).merge(StreamingClassification(2, k=(1,))),
            "merges with its like",
        ),
    ],
)
def test_says_what_is_wrong(call, message):
    with pytest.raises(InputError, match=message):
        call()
