"""``mm.evaluate``: the numbers of the metrics, intervals of the bootstrap, and warnings for faults put in."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import mimetric as mm
from mimetric.core.errors import InputError
from mimetric.evaluation import Evaluation, leaks
from mimetric.metrics.intervals import Interval, bootstrap_interval
from mimetric.metrics.named import DEFAULT
from mimetric.metrics.retrieval import per_query, r_precision, recall_at_k
from mimetric.train.options import METRICS

RANKED = ["recall_at_1", "r_precision"]


@pytest.fixture
def clustered() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 25
    return torch.randn(25, 16, generator=generator)[y] + torch.randn(200, 16, generator=generator), y


def test_gives_the_metrics_and_their_intervals(clustered):
    x, y = clustered
    found = mm.evaluate(x, y, metrics=[*RANKED, "nmi"], seed=4)
    hits = per_query({"recall_at_1": lambda ranks: recall_at_k(ranks, 1), "r_precision": r_precision}, x, y)
    for name in RANKED:
        assert found.metrics[name] == bootstrap_interval(hits[name], y, seed=4)
        assert found.metrics[name].low < found.metrics[name].mean < found.metrics[name].high
    assert found.metrics["nmi"].mean == mm.metrics.nmi(x, y, seed=4)
    assert math.isnan(found.metrics["nmi"].low)
    assert found.warnings == ()


def test_the_default_is_what_the_command_prints(clustered):
    found = mm.evaluate(*clustered)
    assert tuple(found.metrics) == DEFAULT == tuple(METRICS.split(","))
    assert all(0 <= metric.mean <= 1 for metric in found.metrics.values())


def test_queries_and_references_apart(clustered):
    x, y = clustered
    found = mm.evaluate(x[:50], y[:50], x[50:], y[50:], metrics=["recall_at_1"])
    want = per_query({"r": lambda ranks: recall_at_k(ranks, 1)}, x[:50], y[:50], x[50:], y[50:])["r"]
    assert found.metrics["recall_at_1"].mean == want.nanmean()


def test_lists_arrays_and_half_precision(clustered):
    x, y = clustered
    want = mm.evaluate(x, y, metrics=RANKED)
    assert mm.evaluate(x.tolist(), y.tolist(), metrics=RANKED) == want
    assert mm.evaluate(x.numpy(), y.numpy().astype(np.int16), metrics=RANKED) == want
    assert mm.evaluate(x.clone().requires_grad_(), y, metrics=RANKED) == want
    for half in (x.half(), x.bfloat16()):
        found = mm.evaluate(half, y, half, y, metrics=[*RANKED, "auc", "uniformity"])
        assert found.metrics["recall_at_1"].mean == 1
        assert found.warnings[0].startswith("queries that are exact copies of a reference: 200 of 200")
        found = mm.evaluate(half, y, metrics=RANKED).metrics["recall_at_1"].mean
        assert found == pytest.approx(want.metrics["recall_at_1"].mean, abs=0.03)


def test_json_has_none_for_what_is_no_number():
    found = Evaluation({"nmi": Interval(0.5), "map": Interval(math.nan, math.nan, math.nan)}, ("a warning",))
    assert found.as_json() == {
        "metrics": {
            "nmi": {"mean": 0.5, "low": None, "high": None},
            "map": {"mean": None, "low": None, "high": None},
        },
        "warnings": ["a warning"],
    }


# --- Warnings ---------------------------------------------------------------------------------------


def warned(*data: torch.Tensor) -> tuple[str, ...]:
    return mm.evaluate(*data, metrics=["recall_at_1"]).warnings


def test_singletons_and_unlabelled_rows(clustered):
    x, y = clustered
    y = y.clone()
    y[0], y[1:3] = 99, -1
    assert warned(x, y) == (
        "unlabelled queries: 2 of 200; they are in no mean",
        "queries without a positive: 1 of 200; they are in no mean of retrieval",
    )
    assert warned(x[:50], y[:50], x[50:], y[50:])[1].startswith("queries without a positive: 1 of 50")


def test_copies(clustered):
    x, y = clustered
    x = x.clone()
    x[1], x[25] = x[0], x[0]  # of another class, and of its own
    assert warned(x, y) == (
        "rows that are exact copies of another: 3 of 200, 3 of them under two labels; copies find each other",
    )
    x[160], x[151] = x[10], x[1]
    assert warned(x[:100], y[:100], x[100:], y[100:]) == (
        "queries that are exact copies of a reference: 4 of 100, 3 of them under two labels; copies find each other",
    )


def test_an_unlabelled_copy_contradicts_no_label(clustered):
    x, y = clustered[0].clone(), clustered[1].clone()
    x[1], y[1] = x[0], -1
    assert "exact copies of another: 2 of 200, 0 of them" in warned(x, y)[1]


def test_rows_of_length_zero(clustered):
    x, y = clustered[0].clone(), clustered[1]
    x[7] = 0
    assert warned(x, y) == ("rows of length 0: 1 of 200; by cosine they are like nothing",)


def test_intervals_without_width():
    x, y = torch.eye(30).repeat(2, 1) + 1e-4 * torch.arange(60)[:, None], torch.arange(60) % 30
    found = mm.evaluate(x, y, metrics=[*RANKED, "ndcg", "nmi"])
    assert found.metrics["recall_at_1"] == Interval(1.0, 1.0, 1.0)
    assert found.warnings == (
        "intervals without width: recall_at_1, r_precision, ndcg; all queries are alike, which makes nothing certain",
    )


def test_what_a_classifier_says_is_drawn_by_rows(clustered):
    x, y = clustered
    logits = torch.randn(200, 25, generator=torch.Generator().manual_seed(0)) + 2 * F.one_hot(y)
    found = mm.evaluate(x, y, logits=logits, metrics=["accuracy", "ece"])
    assert found.metrics["accuracy"] == bootstrap_interval(logits.argmax(1) == y)
    assert math.isnan(found.metrics["ece"].low)


def test_few_classes(clustered):
    x, y = clustered
    assert warned(x, y % 19) == ("classes with queries: 19; from fewer than 20 the intervals are too narrow",)


def test_embeddings_that_collapsed(clustered):
    x, y = clustered
    [one_direction] = warned(1 + 0.01 * x, y)
    assert one_direction.startswith(
        "embeddings collapsed to one direction: the mean cosine of two rows is 0.99"
    )
    line = x[:, :1] * torch.ones(16) + 0.01 * x
    [few] = warned(line, y)
    assert few.startswith("embeddings collapsed to few directions: their variance is that of 1.")
    assert few.endswith("where 16 are possible")


def test_class_means_alone_are_no_collapse(clustered):
    _, y = clustered
    means = F.one_hot(y).float() + 1e-3 * torch.randn(200, 25, generator=torch.Generator().manual_seed(0))
    assert not any("collapsed" in warning for warning in warned(means, y))
    assert warned(F.normalize(means[:, :3] + 0.1), y % 3)[0].startswith("classes with queries: 3")


def test_leaks():
    train, test = torch.arange(12.0).reshape(6, 2), torch.arange(8.0, 16.0).reshape(4, 2)
    assert leaks(train, [0, 0, 1, 1, 2, 2], test, [2, 2, 3, 4]) == [
        "classes of the test that are trained on: 1 of 3; this is no measure of unseen classes",
        "rows of the test that are exact copies of training rows: 2 of 4",
    ]
    assert leaks(train, [0, 0, 1, 1, 2, 2], test + 0.5, [5, 5, 6, 6]) == []


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_next_to_nothing(rows):
    found = mm.evaluate(
        torch.ones(rows, 3), torch.zeros(rows, dtype=torch.int64), metrics=[*RANKED, "nmi", "auc"]
    )
    assert set(found.metrics) == {*RANKED, "nmi", "auc"}
    assert found.as_json()["metrics"]["nmi"] == {"mean": None, "low": None, "high": None}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["recal_at_10"]}, "evaluate: unknown metric 'recal_at_10'; did you mean recall_at_10?"),
        ({"metrics": ["recall_at_0"]}, "unknown metric 'recall_at_0'; did you mean recall_at_"),
        ({"metrics": ["recall_at_K"]}, "unknown metric 'recall_at_K'; did you mean recall_at_1?"),
        ({"metrics": [f"recall_at_{10**30}"]}, "unknown metric"),
        ({"metrics": ["zzz"]}, "unknown metric 'zzz'; choose from recall_at_K, "),
        ({"metrics": []}, "evaluate: no metrics; choose from"),
        ({"metrics": ["accuracy"]}, "evaluate: accuracy needs logits of a classifier"),
        ({"metrics": ["eer"], "target_fmr": 5}, "evaluate: target_fmr must lie between 0 and 1, got 5; try 0.001"),
        ({"references": [[1.0]]}, "evaluate: references came without reference_labels"),
    ],
)  # fmt: skip
def test_mistakes(clustered, options, message):
    with pytest.raises(InputError) as caught:
        mm.evaluate(*clustered, **options)
    assert message in str(caught.value)


def test_values_that_are_not_finite(clustered):
    x, y = clustered
    x = x.clone()
    x[3, 0] = math.inf
    with pytest.raises(
        InputError, match=r"evaluate: embeddings must be finite, 1 of 200 rows are not \(the first is row 3"
    ):
        mm.evaluate(x, y)
    with pytest.raises(InputError, match="evaluate: references must be finite"):
        mm.evaluate(y[:, None].float(), y, x[:, :1], y)
