from __future__ import annotations

from math import inf

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_metrics_r as reference
from mimetric.core import neighbors as engine
from mimetric.core import search as searching
from mimetric.core.errors import InputError
from mimetric.core.neighbors import Neighbors, merge_neighbors, nearest_neighbors
from strategies import batches, compared

# On the strategy's binary fractions these are exact, and so are ties.
EXACT = ("dot", "negative_squared_euclidean")


def assert_finds(found, want):
    assert found.indices.tolist() == [[j for _, j in row] for row in want]
    assert found.similarities.tolist() == [[pytest.approx(s, abs=1e-9) for s, _ in row] for row in want]


@given(compared(), st.integers(1, 9), st.sampled_from([None, 1, 40]))
def test_equals_plain_loops(search, k, block):
    x, _, rx, _ = search
    found = nearest_neighbors(x, rx, k, similarity="dot", block=block)
    assert_finds(found, reference.nearest(x.tolist(), rx.tolist(), k, lambda *_: False))


@given(batches(), st.integers(1, 9))
def test_a_set_searched_in_itself_leaves_each_row_out(batch, k):
    x, _ = batch
    want = reference.nearest(x.tolist(), x.tolist(), k, lambda i, j: i == j)
    assert_finds(nearest_neighbors(x, k=k, similarity="dot"), want)


@given(compared(), st.integers(1, 9), st.integers(1, 3))
def test_ids_leave_out_the_same_item(search, k, items):
    x, _, rx, _ = search
    ids, other_ids = torch.arange(len(x)) % items, torch.arange(len(rx)) % (items + 1)
    found = nearest_neighbors(x, rx, k, similarity="dot", ids=ids, reference_ids=other_ids)
    left_out = lambda i, j: i % items == j % (items + 1)  # noqa: E731
    assert_finds(found, reference.nearest(x.tolist(), rx.tolist(), k, left_out))


@pytest.mark.parametrize("similarity", ["cosine", "dot", "negative_squared_euclidean", "negative_euclidean"])
@pytest.mark.parametrize("k", [1, 7, 200, 700])
def test_many_panels_give_what_sorting_gives(monkeypatch, similarity, k):
    # 600 rows, each a copy of one of 300, in panels of 96 columns with 24 left over.
    monkeypatch.setattr(searching, "_PANEL_ELEMENTS", 1)
    monkeypatch.setattr(engine, "_COLUMNS_PER_NEIGHBOR", 1)
    monkeypatch.setattr(engine, "_WAITING", 5000)
    torch.manual_seed(0)
    x = (torch.randint(-40, 40, (300, 4)) / 16).double()[torch.randint(300, (600,))]
    found = nearest_neighbors(x[:70], x, k, similarity=similarity)
    unit = torch.nn.functional.normalize(x) if similarity == "cosine" else x
    if similarity in ("cosine", "dot"):
        sim = unit[:70] @ unit.T
    else:
        apart = (x[:70, None] - x).square().sum(2)
        sim = -apart.sqrt() if similarity == "negative_euclidean" else -apart
    want = sim.sort(dim=1, descending=True).values[:, :k]
    shown = min(k, 600)
    torch.testing.assert_close(found.similarities[:, :shown], want, rtol=0, atol=1e-7)
    assert (found.indices[:, shown:] == -1).all()
    rows = [row[:shown] for row in found.indices.tolist()]
    assert all(len(set(row)) == shown for row in rows)
    if similarity == "negative_euclidean":  # squares that differ in their last digit have one root
        return
    for row, values in zip(rows, found.similarities.tolist()):
        assert all(a < b or s > t for a, b, s, t in zip(row, row[1:], values, values[1:]))


def test_collapsed_rows_are_found_in_order():
    found = nearest_neighbors(torch.ones(300, 4), k=5)
    assert found.indices[:2].tolist() == [[1, 2, 3, 4, 5], [0, 2, 3, 4, 5]]
    assert found.indices[200].tolist() == [0, 1, 2, 3, 4]


@given(compared(max_size=12), st.integers(1, 6), st.integers(1, 5), st.sampled_from(EXACT))
def test_parts_of_the_references_merge_to_the_whole(search, k, size, similarity):
    x, _, rx, _ = search
    whole = nearest_neighbors(x, rx, k, similarity=similarity)
    starts = range(0, max(1, len(rx)), size)
    parts = [nearest_neighbors(x, rx[at : at + size], k, similarity=similarity, first=at) for at in starts]
    for order in (parts, parts[::-1]):
        merged = merge_neighbors(order)
        torch.testing.assert_close(merged.similarities, whole.similarities)
        if similarity == "dot":  # distances from another mean tie no more
            assert merged.indices.tolist() == whole.indices.tolist()


def test_merging_may_find_fewer_or_more():
    part = Neighbors(torch.tensor([[3.0, 1.0]]), torch.tensor([[7, 2]]))
    other = Neighbors(torch.tensor([[3.0, -inf]]), torch.tensor([[4, -1]]))
    assert merge_neighbors([part, other], 1).indices.tolist() == [[4]]
    assert merge_neighbors([part, other], 5).indices.tolist() == [[4, 7, 2, -1, -1]]


def test_no_references_and_no_queries():
    found = nearest_neighbors(torch.ones(2, 3), torch.ones(0, 3), 2)
    assert found.indices.tolist() == [[-1, -1]] * 2
    assert found.similarities.tolist() == [[-inf, -inf]] * 2
    assert nearest_neighbors(torch.ones(0, 3), k=2).indices.shape == (0, 2)
    assert nearest_neighbors(torch.ones(1, 3)).indices.tolist() == [[-1]]
    assert nearest_neighbors(torch.ones(1, 3), similarity="negative_euclidean").similarities.tolist() == [
        [-inf]
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_searched_in_float32(dtype):
    x = torch.randn(60, 8).to(dtype)
    found = nearest_neighbors(x, k=3)
    assert found.similarities.dtype == torch.float32
    assert found.indices.tolist() == nearest_neighbors(x.float(), k=3).indices.tolist()
    assert nearest_neighbors(x, k=3, dtype=torch.float64).similarities.dtype == torch.float64


def test_agrees_with_scikit_learn():
    neighbors = pytest.importorskip("sklearn.neighbors")
    torch.manual_seed(0)
    x = torch.randn(700, 16, dtype=torch.float64)
    distances, indices = neighbors.NearestNeighbors(algorithm="brute").fit(x).kneighbors(x[:90], 12)
    found = nearest_neighbors(x[:90], x, 12, similarity="negative_euclidean")
    assert found.indices.tolist() == indices.tolist()
    torch.testing.assert_close(-found.similarities, torch.from_numpy(distances), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be > 0"),
        ({"block": 0}, "block must be > 0"),
        ({"similarity": "cosin"}, "similarity must be one of"),
        ({"references": torch.ones(3, 2)}, "references must have 3 columns"),
        ({"references": torch.full((1, 3), inf)}, "references must be finite"),
        ({"queries": torch.full((1, 3), inf)}, "queries must be finite"),
        ({"ids": [0]}, r"ids must have shape \(2,\)"),
        ({"reference_ids": [0, 1]}, "reference_ids came without references"),
    ],
)
def test_says_what_is_wrong(options, message):
    with pytest.raises(InputError, match=f"^nearest_neighbors: .*{message}"):
        nearest_neighbors(**({"queries": torch.ones(2, 3)} | options))


@pytest.mark.parametrize("sizes", [(), (2, 3)])
def test_says_what_does_not_merge(sizes):
    with pytest.raises(InputError, match=r"^merge_neighbors: parts must be searches for the same queries"):
        merge_neighbors([nearest_neighbors(torch.ones(n, 2)) for n in sizes])
