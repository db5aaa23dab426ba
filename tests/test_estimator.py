from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from mimetric.core.errors import InputError
from mimetric.estimator import MetricLearner
from mimetric.metrics import retrieval_metrics

SMALL = MetricLearner("supcon", encoder="linear", width=3, steps=30, batch_size=32, lr=0.05, device="cpu")
RNG = np.random.default_rng(0)
Y = np.arange(60) % 3
# The class stands in one column out of six, the others are louder: neighbors by cosine are mostly wrong.
X = np.column_stack((Y - 1 + 0.1 * RNG.normal(size=60), 3 * RNG.normal(size=(60, 5))))


@pytest.fixture(scope="module")
def learner() -> MetricLearner:
    return clone(SMALL).fit(X, Y)


def test_it_learns_what_makes_a_class(learner):
    raw = retrieval_metrics(X, Y)["recall_at_1"]
    assert raw < 0.6
    assert learner.score(X, Y) > raw + 0.3
    np.testing.assert_allclose(np.linalg.norm(learner.transform(X), axis=1), 1, rtol=1e-5)
    assert learner.score(X, Y) == retrieval_metrics(learner.transform(X), Y)["recall_at_1"]
    assert list(learner.get_feature_names_out()) == ["metriclearner0", "metriclearner1", "metriclearner2"]


def test_labels_are_names_of_any_kind():
    """-1 is a class here, as everywhere in scikit-learn; elsewhere in this package it is no label."""
    quick = clone(SMALL).set_params(steps=2)
    want = clone(quick).fit(X, Y).transform(X)
    for labels in (np.array(["α", "β", "γ"])[Y], Y - 1, np.array([2.0, 5.0, 7.0])[Y]):
        found = quick.fit(X, labels)
        np.testing.assert_array_equal(found.transform(X), want)
        np.testing.assert_array_equal(found.classes_, np.unique(labels))


def test_clones_and_pickles_are_the_same(learner):
    again = pickle.loads(pickle.dumps(learner))
    np.testing.assert_array_equal(again.transform(X), learner.transform(X))
    np.testing.assert_array_equal(clone(learner).fit(X, Y).transform(X), learner.transform(X))


def test_images_of_bytes():
    x = RNG.integers(0, 256, (60, 1, 6, 6), dtype=np.uint8)
    found = clone(SMALL).set_params(steps=1).fit(x, Y)
    assert found.model_.settings["input_dtype"] == "uint8"
    assert found.transform(x).shape == (60, 3)


def test_batches_fit_small_data():
    assert clone(SMALL).set_params(steps=1).fit(X[:5], Y[:5]).transform(X).shape == (60, 3)
    for wrong in ({"batch_size": 6}, {"per_class": 0}, {"objective": "no-such"}, {"lr": -1}):
        with pytest.raises(InputError):
            clone(SMALL).set_params(**wrong).fit(X, Y)
    with pytest.raises(InputError, match="at least two classes"):
        clone(SMALL).fit(X, np.zeros(60, int))


@pytest.mark.slow
def test_in_a_pipeline_and_a_grid_search():
    pipeline = make_pipeline(SMALL, KNeighborsClassifier(3))
    grid = {"metriclearner__objective": ["supcon", "contrastive"], "metriclearner__width": [2, 3]}
    found = GridSearchCV(pipeline, grid, cv=2).fit(X, Y)
    assert found.best_score_ > KNeighborsClassifier(3).fit(X[::2], Y[::2]).score(X[1::2], Y[1::2]) + 0.2


@pytest.mark.slow
@parametrize_with_checks(
    [
        MetricLearner(steps=2, width=4, encoder=encoder, device="cpu", sampler=sampler)
        for encoder, sampler in (("linear", "class-balanced"), ("auto", "random"))
    ]
)
def test_checks_of_scikit_learn(estimator, check):
    """All of them: none is expected to fail."""
    check(estimator)
