from __future__ import annotations

import sys
import warnings
from math import isnan

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

import reference_metrics_v as reference
from mimetric.core.errors import InputError
from mimetric.metrics import clustering_metrics, clustering_scores, nmi


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return torch.from_numpy(x).float(), torch.from_numpy(y)


def test_groups_that_are_the_classes_have_one():
    x = torch.eye(4).repeat(5, 1) * torch.linspace(0.5, 2, 20)[:, None]
    assert nmi(x, torch.arange(20) % 4 * 100) == pytest.approx(1.0)


def test_golden_half_the_information():
    # Two far groups, four classes of two, each class inside one group, and copies: k-means finds the 4
    # distinct rows, which pair up rows of classes (0, 1), (0, 1), (2, 3), (2, 3).  H(Y) = H(C) = ln 4 and
    # I = ln 4 - H(Y|C) = ln 4 - ln 2, so NMI = 1/2.
    x = torch.tensor([[9.0, 0.0], [9.0, 1.0], [-9.0, 0.0], [-9.0, 1.0]]).repeat(2, 1)
    assert nmi(x, [0, 0, 2, 2, 1, 1, 3, 3], similarity="negative_euclidean") == pytest.approx(0.5)


def test_real_digits(digits):
    # Plain k-means on digits has an NMI of .74 in scikit-learn's own example.
    assert 0.65 < nmi(*digits) < 0.85


def test_clusters_are_as_good_as_those_of_scikit_learn(digits):
    x, y = digits
    unit = x / x.norm(dim=1, keepdim=True)
    for seed in range(2):
        peer = KMeans(10, n_init=3, random_state=seed).fit_predict(unit.double())
        assert nmi(x, y, seed=seed) == pytest.approx(sklearn.normalized_mutual_info_score(y, peer), abs=0.02)


def test_needs_no_scikit_learn(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"] + ["sklearn"]:
        monkeypatch.setitem(sys.modules, name, None)  # to import it now is an error
    assert nmi(torch.eye(3).repeat(2, 1), [0, 1, 2, 0, 1, 2]) == pytest.approx(1)


def test_the_same_seed_gives_the_same_number(digits):
    x, y = digits
    assert nmi(x[:500], y[:500], seed=3) == nmi(x[:500], y[:500], seed=3)


def test_autocast_changes_nothing(digits):
    x, y = digits
    with torch.autocast("cpu", torch.bfloat16):
        found = nmi(x[:500], y[:500])
    assert found == nmi(x[:500], y[:500])


def test_cosine_does_not_see_lengths(digits):
    x, y = digits
    lengths = torch.linspace(0.5, 3, 500)[:, None]
    assert nmi(x[:500] * lengths, y[:500]) == pytest.approx(nmi(x[:500], y[:500]))


def test_many_classes_take_another_start(monkeypatch, digits):
    x, y = digits
    monkeypatch.setattr("mimetric.metrics.clustering._SEEDED_WORK", 0)
    assert 0.6 < nmi(x, y) < 0.9


def test_undefined_without_two_classes():
    assert isnan(nmi(torch.randn(5, 2), [3, 3, 3, 3, 3]))
    assert isnan(nmi(torch.randn(3, 2), [-1, -1, 0]))
    assert isnan(nmi(torch.randn(0, 2), []))


def test_unlabelled_rows_are_left_out():
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.9, 0.1], [0.1, 0.9]])
    assert nmi(x, [0, 1, -1, 0, 1]) == pytest.approx(1.0)


@pytest.mark.parametrize("rows", [torch.zeros(12, 3), torch.ones(12, 3)])
def test_collapsed_embeddings_are_worth_nothing_and_say_nothing(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert nmi(rows, torch.arange(12) % 3) == pytest.approx(0.0)


def test_takes_half_precision_arrays_lists_and_what_trains():
    x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30, dtype=np.int16) % 3
    assert nmi(x.tolist(), y.tolist()) == nmi(torch.tensor(x, requires_grad=True), y)
    assert 0 <= nmi(torch.tensor(x).bfloat16(), y) <= 1


def test_refuses_nan_and_float_labels():
    with pytest.raises(InputError, match=r"^nmi: embeddings must be finite"):
        nmi(torch.full((4, 2), torch.nan), [0, 0, 1, 1])
    with pytest.raises(InputError, match=r"^nmi: labels must be integers"):
        nmi(torch.ones(2, 2), [0.0, 1.0])


@settings(max_examples=40)  # each goes through all orders of six rows
@given(st.data(), st.integers(2, 6))
def test_scores_equal_plain_loops(data, n):
    labels, clusters = (
        data.draw(st.lists(st.integers(-1 if k else 0, 3), min_size=n, max_size=n)) for k in range(2)
    )
    found = clustering_scores(labels, clusters)
    if len(set(labels)) < 2:
        assert all(isnan(value) for value in found.values())
    else:
        assert found == pytest.approx(reference.clustering(labels, clusters), nan_ok=True, abs=1e-9)


@pytest.mark.parametrize(("classes", "clusters"), [(3, 4), (40, 3), (700, 700), (2, 1)])
def test_scores_equal_scikit_learn(classes, clusters):
    generator = np.random.default_rng(0)
    y = generator.integers(0, classes, 1000) ** 2 * 3
    c = np.where(generator.random(1000) < 0.5, y, generator.permutation(y)) % clusters
    found = clustering_scores(y, c)
    assert found["nmi"] == pytest.approx(sklearn.normalized_mutual_info_score(y, c))
    assert found["ami"] == pytest.approx(sklearn.adjusted_mutual_info_score(y, c), abs=1e-9)
    assert found["ari"] == pytest.approx(sklearn.adjusted_rand_score(y, c))
    homogeneity, completeness, v_measure = sklearn.homogeneity_completeness_v_measure(y, c)
    assert found["homogeneity"] == pytest.approx(homogeneity, abs=1e-12)
    assert found["completeness"] == pytest.approx(completeness, abs=1e-12)
    assert found["v_measure"] == pytest.approx(v_measure, abs=1e-12)
    (_, false_pairs), (missed, both) = sklearn.pair_confusion_matrix(y, c)
    assert found["pairwise_precision"] == pytest.approx(both / (both + false_pairs))
    assert found["pairwise_recall"] == pytest.approx(both / (both + missed))


def test_unlabelled_rows_are_left_out_of_scores():
    assert clustering_scores([0, 0, 1, 1, -1, -1], [0, 1, 1, 1, 0, 1]) == clustering_scores(
        [0, 0, 1, 1], [0, 1, 1, 1]
    )


def test_rows_all_alone_leave_nothing_to_correct():
    found = clustering_scores([0, 1, 2, 3], [3, 1, 2, 0])
    assert found["nmi"] == 1
    assert isnan(found["ami"])
    assert isnan(found["pairwise_f1"])


def test_one_k_means_gives_all_scores(digits):
    x, y = digits
    found = clustering_metrics(x[:500], y[:500], seed=3)
    assert found["nmi"] == nmi(x[:500], y[:500], seed=3)
    assert found["ami"] < found["nmi"]
    assert 0.5 < found["ari"] < 0.9
    assert all(isnan(value) for value in clustering_metrics(x[:3], [0, 0, 0]).values())


def test_scores_refuse_what_does_not_match():
    with pytest.raises(InputError, match=r"^clustering_scores: clusters must have shape \(2,\)"):
        clustering_scores([0, 1], [0, 1, 2])
    with pytest.raises(InputError, match=r"^clustering_scores: labels must be integers"):
        clustering_scores([0.5, 1.0], [0, 1])
    with pytest.raises(InputError, match=r"^clustering_metrics: embeddings must be finite"):
        clustering_metrics(torch.full((4, 2), torch.nan), [0, 0, 1, 1])
