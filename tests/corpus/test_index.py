"""Graphs of usearch and faiss: what they find is compared with exact search, and a damaged one is named."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mimetric.core.errors import InputError
from mimetric.corpus.index import build_graph, load_graph, measured_recall, nearest
from mimetric.corpus.search import corpus_of, read_corpus

RNG = np.random.default_rng(0)
X = RNG.standard_normal((600, 8)).astype(np.float32)
QUERIES = RNG.standard_normal((20, 8)).astype(np.float32)
NONE = np.full(20, -1)
KINDS = pytest.mark.parametrize("kind", ["usearch", "faiss"])


@pytest.fixture(autouse=True)
def installed(kind: str) -> None:
    pytest.importorskip(kind)


@pytest.fixture(scope="module")
def graphs():
    held = {}

    def graph(kind):
        if kind not in held:
            held[kind] = build_graph(X, kind)
        return held[kind]

    return graph


@KINDS
def test_nearly_all_is_found_and_scores_are_exact(graphs, kind):
    exact, found = (nearest(graph, QUERIES, X, 10, NONE) for graph in (None, graphs(kind)))
    same = (exact.indices[:, :, None] == found.indices[:, None]).any(2)
    assert same.double().mean() > 0.95
    row, column = same.nonzero(as_tuple=True)
    scores = {
        (r, i): s
        for r in range(20)
        for i, s in zip(found.indices[r].tolist(), found.similarities[r].tolist())
    }
    for r, c in zip(row.tolist(), column.tolist()):
        assert scores[r, exact.indices[r, c].item()] == pytest.approx(
            exact.similarities[r, c].item(), abs=1e-6
        )
    assert (found.similarities.diff(dim=1) <= 0).all()


@KINDS
def test_recall_is_the_share_found_by_plain_loops(graphs, kind):
    graph = graphs(kind)
    drawn = np.random.default_rng(0).permutation(600)[:256]
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    hits = 0
    for row in drawn.tolist():
        sim = unit @ unit[row]
        sim[row] = -np.inf
        want = np.argsort(-sim)[:5]
        [got] = nearest(graph, X[[row]], X, 5, np.array([row])).indices.tolist()
        hits += len(set(want.tolist()) & set(got))
    assert measured_recall(graph, X, 5) == pytest.approx(hits / 5 / 256, abs=1e-3)


@KINDS
def test_the_query_itself_is_left_out_and_all_rows_can_be_asked_for(graphs, kind):
    found = nearest(graphs(kind), X[:20], X, 3, np.arange(20))
    assert (found.indices.numpy() != np.arange(20)[:, None]).all()
    small = build_graph(X[:4], kind)
    assert sorted(nearest(small, X[:1], X[:4], 4, np.array([-1])).indices[0].tolist()) == [0, 1, 2, 3]
    assert sorted(nearest(small, X[:1], X[:4], 4, np.array([2])).indices[0].tolist()) == [-1, 0, 1, 3]
    assert measured_recall(build_graph(X[:1], kind), X[:1], 1) == 1.0


@KINDS
def test_no_queries_and_many(graphs, kind, monkeypatch):
    assert nearest(graphs(kind), X[:0], X, 3, np.zeros(0, int)).indices.shape == (0, 3)
    whole = nearest(graphs(kind), X[:20], X, 3, np.arange(20))
    monkeypatch.setattr("mimetric.corpus.index._COMPARED", 100)  # a few queries at a time
    for one, other in zip(whole, nearest(graphs(kind), X[:20], X, 3, np.arange(20))):
        np.testing.assert_allclose(one, other, atol=1e-6)


@KINDS
def test_zero_rows_and_copies(kind):
    rows = np.concatenate((np.zeros((3, 4)), np.ones((50, 4)))).astype(np.float32)
    graph = build_graph(rows, kind)
    assert measured_recall(graph, rows, 5) > 0.9
    found = nearest(graph, rows[-1:], rows, 2, np.array([-1]))
    assert found.similarities.tolist() == [pytest.approx([1, 1])]


@KINDS
def test_saved_with_its_corpus_and_read(kind, tmp_path):
    corpus = corpus_of(X).indexed(kind, k=5)
    corpus.save(tmp_path / "corpus.npz")
    again = read_corpus(tmp_path / "corpus.npz")
    assert (again.index, again.recall, again.recall_k) == (kind, corpus.recall, 5)
    for one, other in zip(corpus.search(QUERIES), again.search(QUERIES)):
        np.testing.assert_array_equal(one, other)


@KINDS
def test_damaged_graphs_are_named(graphs, kind, tmp_path):
    content = graphs(kind).content()
    for wrong in (b"", b"x" * 500, content[:100], content[: len(content) // 2]):
        with pytest.raises(
            InputError, match=f"its index of {kind} cannot be read .*; build it again"
        ) as caught:
            load_graph(kind, wrong, X)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="its index is of 600 rows of 8 numbers, and it holds 599 of 8"):
        load_graph(kind, content, X[1:])
    corpus = corpus_of(X).indexed(kind)
    file = tmp_path / "corpus.npz"
    corpus.save(file)
    damaged = bytearray(file.read_bytes())
    damaged[-3000] ^= 1  # within the graph, which is the last
    file.write_bytes(damaged)
    with pytest.raises(
        InputError, match=r"corpus\.npz: its index is damaged \(Bad CRC-32.*\); build it again"
    ):
        read_corpus(file)


@KINDS
def test_without_the_package_one_line_says_what_to_install(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch.index" if kind == "usearch" else kind, None)
    package = {"usearch": "usearch", "faiss": "faiss-cpu"}[kind]
    with pytest.raises(
        InputError, match=f"index: {kind} is not installed: pip install {package}; or search exactly"
    ):
        build_graph(X, kind)
