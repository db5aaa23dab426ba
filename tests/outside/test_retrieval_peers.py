"""Retrieval metrics beside scikit-learn, torchmetrics and pytorch-metric-learning, where they compute the same thing.

Where they do not, a test shows the difference; docs/differences.md lists it.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from mimetric import metrics


@pytest.fixture(scope="module")
def data():
    """Queries, their classes, references, theirs; cosine similarities; the same as hits and grades."""
    torch.manual_seed(0)
    centers = torch.randn(12, 8)
    y, ry = torch.randint(12, (40,)), torch.randint(12, (150,))
    x, rx = centers[y] + 2 * torch.randn(40, 8), centers[ry] + 2 * torch.randn(150, 8)
    x, rx = (torch.nn.functional.normalize(each.double()) for each in (x, rx))
    hits = y[:, None] == ry
    return x, y, rx, ry, x @ rx.T, hits, hits * torch.randint(1, 4, hits.shape)


def ours(data, metric, **options):
    x, y, rx, ry, *_ = data
    return metrics.per_query({"it": metric}, x, y, rx, ry, **options)["it"]


@pytest.mark.parametrize("k", [None, 1, 7, 150])
def test_ndcg_is_scikit_learn_s(data, k):
    theirs = pytest.importorskip("sklearn.metrics").ndcg_score
    *_, sim, _, grades = data
    found = ours(data, partial(metrics.ndcg, k=k), related=grades.double())
    assert found.mean().item() == pytest.approx(theirs(grades, sim, k=k))


def test_ndcg_of_positives_that_tie_is_scikit_learn_s():
    # Three copies of one row, of gains 3, 1 and 2, after a negative: both average over their orders.
    theirs = pytest.importorskip("sklearn.metrics").ndcg_score
    references, gains = torch.tensor([[2.0], [1.0], [1.0], [1.0]]), torch.tensor([[0.0, 3.0, 1.0, 2.0]])
    found = metrics.per_query(
        {"it": metrics.ndcg}, torch.ones(1, 1), None, references, related=gains, similarity="dot"
    )
    assert found["it"].item() == pytest.approx(theirs(gains, references.T))


def test_average_precision_is_scikit_learn_s(data):
    theirs = pytest.importorskip("sklearn.metrics").average_precision_score
    *_, sim, hits, _ = data
    want = [theirs(hit, row) for hit, row in zip(hits.numpy(), sim.numpy())]
    assert ours(data, metrics.average_precision).tolist() == pytest.approx(want)


TORCHMETRICS = {
    "RetrievalMAP": ({}, metrics.average_precision),
    "RetrievalMRR": ({}, metrics.reciprocal_rank),
    "RetrievalRPrecision": ({}, metrics.r_precision),
    "RetrievalPrecision": ({"top_k": 5}, partial(metrics.precision_at_k, k=5)),
    "RetrievalHitRate": ({"top_k": 5}, partial(metrics.recall_at_k, k=5)),
    "RetrievalNormalizedDCG": ({"top_k": 5}, partial(metrics.ndcg, k=5)),
}


@pytest.mark.parametrize("name", TORCHMETRICS)
def test_is_torchmetrics(data, name):
    theirs = pytest.importorskip("torchmetrics.retrieval")
    options, metric = TORCHMETRICS[name]
    *_, sim, hits, grades = data
    graded = name == "RetrievalNormalizedDCG"
    query = torch.arange(len(sim))[:, None].expand_as(sim)
    # Similarities above 0: theirs takes a relevant reference at 0 or below for a negative.
    want = getattr(theirs, name)(**options)(2 + sim, grades if graded else hits, indexes=query)
    found = ours(data, metric, **({"related": grades.double()} if graded else {}))
    assert found.nanmean().item() == pytest.approx(want.item(), rel=1e-5)


def test_theirs_takes_a_negative_cosine_for_a_negative():
    theirs = pytest.importorskip("torchmetrics.functional.retrieval").retrieval_average_precision
    sim = torch.tensor([-0.1, -0.5])
    assert theirs(sim, torch.tensor([True, False])) == 0
    found = metrics.per_query(
        {"it": metrics.average_precision}, torch.ones(1, 1), [1], sim[:, None], [1, 0], similarity="dot"
    )
    assert found["it"].tolist() == [1.0]


def test_their_average_precision_at_k_is_over_what_was_found(data):
    theirs = pytest.importorskip("torchmetrics.retrieval").RetrievalMAP(top_k=5)
    *_, sim, hits, _ = data
    query = torch.arange(len(sim))[:, None].expand_as(sim)
    found_at_5 = hits.gather(1, sim.argsort(dim=1, descending=True)[:, :5]).sum(1)
    over_found = (
        ours(data, partial(metrics.average_precision_at_k, k=5)) * hits.sum(1).clamp(max=5) / found_at_5
    )
    want = theirs(2 + sim, hits, indexes=query).item()
    assert over_found.nan_to_num().mean().item() == pytest.approx(want, rel=1e-5)


# Their name, k, ours.  Their k must reach the last positive, or metrics of all positives are cut off.
PML = {
    "precision_at_1": ("max_bin_count", partial(metrics.recall_at_k, k=1)),
    "r_precision": ("max_bin_count", metrics.r_precision),
    "mean_average_precision_at_r": ("max_bin_count", metrics.map_at_r),
    "mean_average_precision": (None, metrics.average_precision),
    "mean_reciprocal_rank": (None, metrics.reciprocal_rank),
}


@pytest.fixture(scope="module")
def calculator():
    pytest.importorskip("pytorch_metric_learning")
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    return partial(AccuracyCalculator, knn_func=CustomKNN(CosineSimilarity()))


@pytest.mark.parametrize("macro", [False, True])
@pytest.mark.parametrize("name", PML)
def test_is_pytorch_metric_learning_s(data, calculator, name, macro):
    x, y, rx, ry, *_ = data
    k, metric = PML[name]
    names = (name, "precision_at_1")  # for the reciprocal rank alone theirs does not search, and fails
    want = calculator(include=names, k=k, avg_of_avgs=macro).get_accuracy(x, y, rx, ry)[name]
    table = metrics.per_class(ours(data, metric), y)
    assert (table.macro if macro else table.micro).item() == pytest.approx(want, rel=1e-6)


def test_a_set_searched_in_itself_is_pytorch_metric_learning_s(data, calculator):
    _, _, x, y, *_ = data
    names = {
        "precision_at_1": "recall_at_1",
        "mean_average_precision_at_r": "map_at_r",
        "r_precision": "r_precision",
    }
    theirs = calculator(include=tuple(names), k="max_bin_count").get_accuracy(x, y)
    for drop in ("self", "first"):  # without copies the same
        found = metrics.retrieval_metrics(x, y, drop=drop)
        for name, own in names.items():
            assert found[own] == pytest.approx(theirs[name], rel=1e-6), name


def test_their_average_precision_at_k_is_over_all_positives(data, calculator):
    x, y, rx, ry, _, hits, _ = data
    name, count = "mean_average_precision", hits.sum(1)
    want = calculator(include=(name,), k=5).get_accuracy(x, y, rx, ry)[name]
    over_all = ours(data, partial(metrics.average_precision_at_k, k=5)) * count.clamp(max=5) / count
    assert over_all.nanmean().item() == pytest.approx(want, rel=1e-6)


def test_their_ties_fall_as_the_search_returns_them(calculator):
    # All rows equal: any order is as good, and theirs scores the one it got.
    x, y = torch.ones(40, 4), torch.arange(40) % 4
    theirs = calculator(include=("precision_at_1",), k=1).get_accuracy(x, y)["precision_at_1"]
    assert theirs > 0 == metrics.retrieval_metrics(x, y)["recall_at_1"]


def test_neighbors_are_faiss_s(data):
    faiss = pytest.importorskip("faiss")
    from mimetric.core.neighbors import nearest_neighbors

    x, _, rx, *_ = (part.float() if part.is_floating_point() else part for part in data)
    index = faiss.IndexFlatIP(x.shape[1])
    index.add(rx.numpy())
    similarities, indices = index.search(x.numpy(), 10)
    found = nearest_neighbors(x, rx, 10, similarity="dot")
    assert found.indices.tolist() == indices.tolist()
    np.testing.assert_allclose(found.similarities, similarities, rtol=1e-5)
