"""Metrics by name: each is its function's number, and what is shared is computed once."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from mimetric.core.errors import InputError
from mimetric.metrics import (
    alignment,
    anisotropy,
    effective_rank,
    hubness,
    named,
    neural_collapse,
    retrieval,
    spectral_decay,
    tolerance,
    uniformity,
    verification,
)  # fmt: skip
from mimetric.metrics.clustering import clustering_metrics
from mimetric.metrics.named import Given, check_names, measure, metric_names
from mimetric.metrics.opis import opis

Y = torch.arange(90) % 9
X = torch.randn(9, 8, generator=torch.Generator().manual_seed(0))[Y]
X = X + torch.randn(90, 8, generator=torch.Generator().manual_seed(1))
LOGITS = torch.randn(90, 9, generator=torch.Generator().manual_seed(2))
GIVEN = Given(X, Y, logits=LOGITS, target_fmr=0.01)
EVERY = [name.replace("K", "3") for name in metric_names()]


def test_every_name_gives_a_number():
    found = measure("here", EVERY, GIVEN)
    assert list(found) == EVERY
    for name, value in found.items():
        mean = value.nanmean().item() if isinstance(value, torch.Tensor) else value
        assert math.isfinite(mean), name
        if isinstance(value, torch.Tensor):
            assert value.shape == (90,), name
            assert value.dtype == torch.float64, name


def test_names_mean_their_functions():
    found = measure("here", EVERY, GIVEN)
    ranked = {
        "mrr": retrieval.reciprocal_rank, "map": retrieval.average_precision, "map_at_r": retrieval.map_at_r,
        "r_precision": retrieval.r_precision, "ndcg": retrieval.ndcg, "ndcg_at_3": partial(retrieval.ndcg, k=3),
        "recall_at_3": partial(retrieval.recall_at_k, k=3), "precision_at_3": partial(retrieval.precision_at_k, k=3),
        "map_at_3": partial(retrieval.average_precision_at_k, k=3),
    }  # fmt: skip
    for name, value in retrieval.per_query(ranked, X, Y).items():
        torch.testing.assert_close(found[name], value)
    roc = verification.pair_roc(X, Y)
    assert found["auc"] == verification.auc(roc)
    assert found["eer"] == verification.eer(roc)
    assert found["tar_at_far"] == verification.tar_at_far(roc, 0.01)
    assert found["fnmr_at_fmr"] == verification.fnmr_at_fmr(roc, 0.01)
    assert found["threshold_at_fmr"] == verification.threshold_at_fmr(roc, 0.01)
    assert found["opis"] == opis(X, Y).opis
    for metric in (uniformity, anisotropy, effective_rank, spectral_decay, hubness):
        assert found[metric.__name__] == metric(X).item()
    for metric in (alignment, tolerance):
        assert found[metric.__name__] == metric(X, Y).item()
    assert found["nc1"] == neural_collapse(X, Y)["nc1"]
    assert found["epsilon_opis"] == opis(X, Y).epsilon_opis
    for name, value in clustering_metrics(X, Y).items():
        assert found[name] == value
    hits = LOGITS.argmax(1) == Y
    torch.testing.assert_close(found["accuracy"], hits.double())
    assert found["balanced_accuracy"] == pytest.approx(hits.double().mean())  # classes of one size
    torch.testing.assert_close(found["nll"].mean().float(), torch.nn.functional.cross_entropy(LOGITS, Y))


def test_one_pass_serves_all_that_share_it(monkeypatch):
    calls = []
    for name in ("per_query", "pair_roc", "clustering_metrics", "opis"):

        def counted(*args, name=name, real=getattr(named, name), **options):
            calls.append((name, options.get("depth")))
            return real(*args, **options)

        monkeypatch.setattr(named, name, counted)
    measure("here", EVERY, GIVEN)
    assert sorted(calls) == [
        ("clustering_metrics", None),
        ("opis", None),
        ("pair_roc", None),
        ("per_query", None),
    ]
    calls.clear()
    measure("here", ["recall_at_1", "recall_at_100", "mrr"], GIVEN)
    assert calls == [("per_query", 1)]


def test_metrics_of_one_set_take_queries_and_references_together():
    apart = Given(X[:40], Y[:40], X[40:], Y[40:])
    names = ["nmi", "opis", "auc", "mrr"]
    found, whole = measure("here", names, apart), measure("here", names, GIVEN)
    assert (found["nmi"], found["opis"]) == (whole["nmi"], whole["opis"])
    assert found["auc"] == verification.auc(verification.pair_roc(X[:40], Y[:40], X[40:], Y[40:]))
    assert found["mrr"].shape == (40,)


def test_unlabelled_rows_and_gaps_between_labels_change_no_collapse():
    rows, labels = torch.cat((X, X[:5])), torch.cat((10 * Y + 3, torch.full((5,), -1)))
    names = ["nc1", "nc2_norms", "nc2_angles"]
    want = measure("here", names, GIVEN)
    assert measure("here", names, Given(rows, labels)) == pytest.approx(want)


def test_names_are_measured_once_in_their_order():
    assert list(measure("here", ["nmi", "mrr", "nmi"], GIVEN)) == ["nmi", "mrr"]
    assert check_names("here", iter(["eer"])) == ("eer",)


@pytest.mark.parametrize("name", ["top_3_accuracy", "ece"])
def test_logits_are_asked_for(name):
    with pytest.raises(
        InputError, match=f"here: {name} needs logits of a classifier; give them, or leave it out"
    ):
        measure("here", ["mrr", name], Given(X, Y))
