from __future__ import annotations

from functools import partial
from math import isnan, log2, nan

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_metrics_r as loops
import reference_ranks as reference
from mimetric.core.errors import InputError
from mimetric.core.ranks import rank_blocks
from mimetric.metrics import (
    StreamingRetrieval,
    average_precision,
    average_precision_at_k,
    cmc,
    map_at_r,
    ndcg,
    per_query,
    precision_at_k,
    r_precision,
    recall_at_k,
    reciprocal_rank,
    retrieval_metrics,
)
from strategies import batches, compared

# The sheet's tiny set: cosines .8 (0-1), 0 (0-2), -.6 (0-3), .6 (1-2), 0 (1-3), .8 (2-3).
TINY = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]], dtype=torch.float64)

METRICS = {
    "recall_at_1": lambda ranks: recall_at_k(ranks, 1),
    "recall_at_3": lambda ranks: recall_at_k(ranks, 3),
    "reciprocal_rank": reciprocal_rank,
    "r_precision": r_precision,
    "map_at_r": map_at_r,
    "precision_at_1": partial(precision_at_k, k=1),
    "precision_at_4": partial(precision_at_k, k=4),
    "average_precision": average_precision,
    "average_precision_at_3": partial(average_precision_at_k, k=3),
    "ndcg": ndcg,
    "ndcg_at_3": partial(ndcg, k=3),
}
PLAIN = {
    "recall_at_1": lambda ranks: reference.recall_at_k(ranks, 1),
    "recall_at_3": lambda ranks: reference.recall_at_k(ranks, 3),
    "reciprocal_rank": reference.reciprocal_rank,
    "r_precision": reference.r_precision,
    "map_at_r": reference.map_at_r,
    "precision_at_1": lambda ranks: loops.precision_at_k(ranks, 1),
    "precision_at_4": lambda ranks: loops.precision_at_k(ranks, 4),
    "average_precision": loops.average_precision,
    "average_precision_at_3": lambda ranks: loops.average_precision_at_k(ranks, 3),
    "ndcg": lambda ranks: loops.ndcg(ranks, [1] * len(ranks), [1] * len(ranks)),
    "ndcg_at_3": lambda ranks: loops.ndcg(ranks, [1] * len(ranks), [1] * len(ranks), 3),
}


def assert_equals_plain_loops(*search, **options):
    # Dot products of these coordinates are exact in float64, and so are ties.
    ranks = reference.ranks(*(t.tolist() for t in search), similarity="dot", **options)
    found = per_query(METRICS, *search, similarity="dot", **options)
    for name, plain in PLAIN.items():
        assert found[name].tolist() == pytest.approx([plain(r) for r in ranks], nan_ok=True, rel=1e-12), name


@given(batches(), st.sampled_from(["mean", "optimistic", "pessimistic"]), st.sampled_from(["self", "first"]))
def test_equals_plain_loops(batch, ties, drop):
    assert_equals_plain_loops(*batch, ties=ties, drop=drop)


@given(compared())
def test_with_references_equals_plain_loops(search):
    assert_equals_plain_loops(*search)


@given(compared(), st.sampled_from(["mean", "optimistic", "pessimistic"]), st.integers(0, 99))
def test_graded_relevance_equals_plain_loops(search, ties, seed):
    x, _, rx, _ = search
    gains = torch.randint(4, (len(x), len(rx)), generator=torch.Generator().manual_seed(seed)).double()
    found = per_query(
        {"ndcg": ndcg, "at_2": partial(ndcg, k=2)}, x, None, rx, related=gains, similarity="dot", ties=ties
    )
    rows = loops.ranked(
        x.tolist(), rx.tolist(), lambda i, j: gains[i, j].item(), lambda *_: False, "dot", ties
    )
    for k, name in ((torch.inf, "ndcg"), (2, "at_2")):
        want = [
            loops.ndcg([r for r, _ in row], [g for _, g in row], gains[i][gains[i] > 0].tolist(), k)
            for i, row in enumerate(rows)
        ]
        assert found[name].tolist() == pytest.approx(want, nan_ok=True)


@given(batches())
def test_a_set_searched_in_itself_finds_itself(batch):
    x, y = batch
    found = per_query(METRICS, x, y, x, y, similarity="negative_squared_euclidean", ties="optimistic")
    torch.testing.assert_close(found["recall_at_1"], torch.where(y < 0, nan, 1.0).double(), equal_nan=True)


@pytest.mark.parametrize("similarity", ["cosine", "negative_squared_euclidean", "negative_euclidean"])
def test_golden_recall(similarity):
    # y = 0011: each row's nearest is its class mate.  y = 0101: mates are 2nd (rows 0, 3) or 3rd (rows 1, 2).
    # Both from the sheet of the unifying mutual-information paper.
    together = retrieval_metrics(TINY, [0, 0, 1, 1], similarity=similarity)
    assert together == {"recall_at_1": 1.0, "map_at_r": 1.0, "r_precision": 1.0}
    apart = retrieval_metrics(TINY, [0, 1, 0, 1], k=(1, 2, 3), similarity=similarity)
    assert [apart[f"recall_at_{k}"] for k in (1, 2, 3)] == [0.0, 0.5, 1.0]


def test_golden_map_at_r():
    # A query at 1 on a line, positives at .9, .7, .6, negatives at .8 and .1: ranks 1, 3, 4 and R = 3.
    # Hits within 3 places: precision 1/1 at place 1 and 2/3 at place 3, so MAP@R = (1 + 2/3) / 3 = 5/9;
    # R-precision 2/3.
    line = torch.tensor([[0.9], [0.8], [0.7], [0.6], [0.1]])
    found = retrieval_metrics(torch.ones(1, 1), [1], line, [1, 0, 1, 1, 0], similarity="dot")
    assert found == pytest.approx({"recall_at_1": 1.0, "map_at_r": 5 / 9, "r_precision": 2 / 3})


def test_golden_ndcg():
    # Nearest first, gains 1, 0, 3: DCG = 1 / log2(2) + 3 / log2(4) = 2.5; the best order 3, 1, 0: 3 + 1 / log2(3).
    line, gains = torch.tensor([[3.0], [2.0], [1.0]]), torch.tensor([[1.0, 0.0, 3.0]])
    metrics = {"all": ndcg, "at_2": partial(ndcg, k=2)}
    found = per_query(metrics, torch.ones(1, 1), None, line, related=gains, similarity="dot")
    best = 3 + 1 / log2(3)
    assert [value.item() for value in found.values()] == pytest.approx([2.5 / best, 1 / best])


def test_golden_average_precision():
    # Ranks 1, 3, 4 as above: (1/1 + 2/3 + 3/4) / 3 = 29/36; over two places (1/1) / 2; precision at 3 is 2/3.
    line = torch.tensor([[0.9], [0.8], [0.7], [0.6], [0.1]])
    metrics = {
        "ap": average_precision,
        "ap_at_2": partial(average_precision_at_k, k=2),
        "p_at_3": partial(precision_at_k, k=3),
        "p_at_10": partial(precision_at_k, k=10),  # of ten places five are filled, three with positives
    }
    found = per_query(metrics, torch.ones(1, 1), [1], line, [1, 0, 1, 1, 0], similarity="dot")
    assert [value.item() for value in found.values()] == pytest.approx([29 / 36, 1 / 2, 2 / 3, 0.3])


@given(compared())
def test_cmc_is_recall_at_every_k(search):
    metrics = {"cmc": partial(cmc, k=3)} | {f"{k}": partial(recall_at_k, k=k) for k in (1, 2, 3)}
    found = per_query(metrics, *search)
    torch.testing.assert_close(
        found["cmc"], torch.stack([found[k] for k in "123"], dim=1), equal_nan=True, rtol=0, atol=0
    )


@given(compared(), st.integers(1, 4))
def test_a_stream_of_any_batches_is_one_call(search, size):
    x, y, rx, ry = search
    ids, reference_ids = torch.arange(len(x)) % 3, torch.arange(len(rx)) % 5
    whole = per_query(METRICS, *search, ids=ids, reference_ids=reference_ids)
    streams = [StreamingRetrieval(METRICS, rx, ry, reference_ids=reference_ids) for _ in range(2)]
    for at, start in enumerate(range(0, len(x), size)):
        part = slice(start, start + size)
        streams[at % 2].update(x[part], y[part], ids=ids[part])
    streams[0].merge(streams[1])
    means = {name: value.nanmean().item() for name, value in whole.items()}
    assert streams[0].compute() == pytest.approx(means, nan_ok=True)


def test_a_stream_that_saw_nothing():
    assert isnan(StreamingRetrieval({"mrr": reciprocal_rank}, torch.ones(1, 1), [0]).compute()["mrr"])
    with pytest.raises(InputError, match="references must be floating point"):
        StreamingRetrieval({"mrr": reciprocal_rank}, [[1, 2]], [0])


def test_identities_seen_by_two_cameras():
    # Person re-identification: what the query's own camera saw of the same person is no answer and no mistake.
    torch.manual_seed(0)
    person, camera = torch.randint(9, (80,)), torch.randint(3, (80,))
    x = torch.randn(9, 6)[person] + torch.randn(3, 6)[camera] + torch.randn(80, 6)
    query, gallery = slice(0, 20), slice(20, 80)
    found = per_query(
        METRICS, x[query], person[query], x[gallery], person[gallery],
        groups=camera[query], reference_groups=camera[gallery],
    )  # fmt: skip
    for i in range(20):
        keep = ~((person[gallery] == person[i]) & (camera[gallery] == camera[i]))
        alone = per_query(METRICS, x[i : i + 1], person[i : i + 1], x[gallery][keep], person[gallery][keep])
        for name, value in alone.items():
            assert found[name][i].item() == pytest.approx(value.item(), nan_ok=True), name


def test_the_rule_of_many_publications_flatters_copies():
    # Two copies in different classes, each with a far mate.  By index, the copy of the other class comes first:
    # all miss.  Where the first is dropped whichever it is, row 2 loses its copy, row 0, and finds itself.
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, -1.0]])
    y = [0, 0, 1, 1]
    recall = {drop: per_query(METRICS, x, y, drop=drop)["recall_at_1"].tolist() for drop in ("self", "first")}
    assert recall == {"self": [0, 0, 0, 0], "first": [0, 0, 1, 0]}


def test_collapsed_embeddings_earn_nothing():
    found = retrieval_metrics(torch.ones(40, 4), torch.arange(40) % 10)
    assert found == {"recall_at_1": 0.0, "map_at_r": 0.0, "r_precision": 0.0}


def test_copies_in_one_class_find_each_other():
    found = retrieval_metrics(torch.eye(5).repeat(4, 1), torch.arange(20) % 5)
    assert found == {"recall_at_1": 1.0, "map_at_r": 1.0, "r_precision": 1.0}


def test_queries_without_positives_are_left_out_of_the_mean():
    assert retrieval_metrics(TINY, [0, 0, 1, 2])["recall_at_1"] == 1.0
    assert all(isnan(value) for value in retrieval_metrics(TINY, [0, 1, 2, 3]).values())
    assert all(isnan(value) for value in retrieval_metrics(TINY[:0], TINY[:0, 0].long()).values())


def test_depth_one_is_enough_for_recall():
    x, y = torch.randn(90, 8), torch.randint(10, (90,))
    shallow, deep = (per_query(METRICS, x, y, depth=depth)["recall_at_3"] for depth in (1, None))
    torch.testing.assert_close(shallow, deep, equal_nan=True)


@pytest.fixture
def clustered():
    torch.manual_seed(0)
    y = torch.randint(40, (300,))
    return torch.randn(40, 16)[y] + torch.randn(300, 16), y


def test_agrees_with_a_search_of_scikit_learn(clustered):
    neighbors = pytest.importorskip("sklearn.neighbors")
    x, y = clustered
    search = neighbors.NearestNeighbors(metric="cosine", algorithm="brute").fit(x)
    nearest = search.kneighbors(n_neighbors=10, return_distance=False)  # without the row itself
    hits = y.numpy()[nearest] == y.numpy()[:, None]
    has_positive = np.bincount(y)[y] > 1
    found = retrieval_metrics(x, y, k=(1, 5, 10))
    for k in (1, 5, 10):
        assert found[f"recall_at_{k}"] == pytest.approx(hits[has_positive, :k].any(1).mean())


def test_mean_reciprocal_rank_agrees_with_torch_sort(clustered):
    x, y = clustered
    distances = torch.cdist(x.double(), x.double()).fill_diagonal_(torch.inf)
    hit = y[distances.argsort(dim=1)[:, :-1]] == y[:, None]
    first = hit.double().argmax(1).add(1)[hit.any(1)]
    found = per_query(METRICS, x.double(), y, similarity="negative_euclidean")["reciprocal_rank"]
    torch.testing.assert_close(found.nanmean(), (1 / first.double()).mean())


def test_metrics_of_your_own(clustered):
    x, y = clustered
    found = per_query({"worst": lambda ranks: ranks.rank.masked_fill(ranks.rank.isinf(), 0).amax(1)}, x, y)
    assert found["worst"].max() == max(
        float(ranks.rank[ranks.rank.isfinite()].max()) for ranks in rank_blocks(x, y)
    )


@pytest.mark.parametrize("k", [(0,), (1, -5)])
def test_says_which_k_is_wrong(k):
    with pytest.raises(InputError, match=r"^retrieval_metrics: k\[\d\] must be > 0"):
        retrieval_metrics(TINY, [0, 0, 1, 1], k=k)


def test_refuses_nan_and_float_labels():
    with pytest.raises(InputError, match="embeddings must be finite"):
        retrieval_metrics(TINY * nan, [0, 0, 1, 1])
    with pytest.raises(InputError, match="labels must be integers, got float32"):
        retrieval_metrics(TINY, [0.0, 0.0, 1.0, 1.0])
