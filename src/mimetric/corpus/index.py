"""The nearest rows of a corpus by cosine: exact, or by a graph of usearch or faiss, which must be installed.

A graph proposes rows, and what it proposes is compared again with the rows themselves: scores and their order are
exact, and what an approximate search can do wrong is to miss a row.  :func:`measured_recall` counts how often it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch  # before any of the two: faiss that is loaded behind usearch alone ends the process
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.core.neighbors import Neighbors, nearest_neighbors

Kind = Literal["exact", "usearch", "faiss"]
KINDS: tuple[Kind, ...] = ("exact", "usearch", "faiss")
SAMPLE = 256  # rows searched by both, to measure the recall
_ADDED = 1 << 16  # rows added at once
_COMPARED = 1 << 22  # numbers of proposed rows compared at once
_TIE = 1e-6  # rows as near as the last that was wanted, to rounding, are as good
_LINKS = 16  # of a row in the graph
_BUILD, _SEARCH = 128, 128  # candidates looked at where a row is added, where one is searched


class Graph(Protocol):
    """An approximate index of unit rows (n, d)."""

    kind: str
    rows: int
    width: int

    def add(self, rows: NDArray[np.float32]) -> None:
        """More rows, behind those that are there."""

    def nearest(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """(q, k) rows in any order, -1 where there are fewer."""

    def content(self) -> bytes:
        """What :func:`load_graph` reads."""


class _Usearch:
    kind = "usearch"

    def __init__(self, width: int, content: bytes | None = None) -> None:
        # float16: half the memory, and a score that matters is computed again.
        self._index = _module("usearch", "usearch.index").Index(
            ndim=width,
            metric="ip",
            dtype="f16",
            connectivity=_LINKS,
            expansion_add=_BUILD,
            expansion_search=_SEARCH,
        )
        if content is not None:
            self._index.load(content)
        self.rows, self.width = len(self._index), self._index.ndim

    def add(self, rows: NDArray[np.float32]) -> None:
        self._index.add(np.arange(self.rows, self.rows + len(rows)), rows)
        self.rows += len(rows)

    def nearest(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        self._index.expansion_search = max(_SEARCH, 2 * k)
        found = self._index.search(
            np.concatenate((queries, queries[:1])), k
        )  # of one alone it gives another type
        there = np.arange(found.keys.shape[1]) < found.counts[:, None]
        return np.where(there, found.keys.astype(np.int64), -1)[:-1]

    def content(self) -> bytes:
        return bytes(self._index.save())


class _Faiss:
    kind = "faiss"

    def __init__(self, width: int, content: bytes | None = None) -> None:
        self._faiss = _module("faiss", "faiss")
        if content is None:
            self._index = self._faiss.index_factory(
                width, f"HNSW{_LINKS},SQfp16", self._faiss.METRIC_INNER_PRODUCT
            )
            self._index.hnsw.efConstruction = _BUILD
        else:
            self._index = self._faiss.deserialize_index(np.frombuffer(content, np.uint8))
            if not hasattr(self._index, "hnsw"):
                raise ValueError("it is of another type")
        self.rows, self.width = self._index.ntotal, self._index.d

    def add(self, rows: NDArray[np.float32]) -> None:
        self._index.add(rows)
        self.rows = self._index.ntotal

    def nearest(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        self._index.hnsw.efSearch = max(_SEARCH, 2 * k)
        return cast("NDArray[np.int64]", self._index.search(queries, k)[1])

    def content(self) -> bytes:
        return cast(bytes, self._faiss.serialize_index(self._index).tobytes())


_GRAPHS: dict[str, type[_Usearch] | type[_Faiss]] = {"usearch": _Usearch, "faiss": _Faiss}
_PACKAGES = {"usearch": "usearch", "faiss": "faiss-cpu"}


def _module(kind: str, name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise InputError(
            f"index: {kind} is not installed: pip install {_PACKAGES[kind]}; or search exactly, by --index exact"
        ) from None


def build_graph(embeddings: NDArray[Any], kind: str) -> Graph:
    """A graph of all rows (n, d), by cosine.

    Raises:
        InputError: the package is not installed.
    """
    graph = _GRAPHS[kind](embeddings.shape[1])
    for rows in _unit_blocks(embeddings):
        graph.add(rows)
    return graph


def load_graph(kind: str, content: bytes, embeddings: NDArray[Any]) -> Graph:
    """The graph that :meth:`Graph.content` gave, of these rows (n, d).

    Raises:
        InputError: the package is not installed, or the content is damaged or of other rows.
    """
    if kind not in _GRAPHS:
        raise InputError(f"its index is of kind {kind!r}, and known are {', '.join(_GRAPHS)}; build it again")
    try:
        graph = _GRAPHS[kind](embeddings.shape[1], content)
    except InputError:
        raise
    except Exception as error:  # both raise what they like of damaged content
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"its index of {kind} cannot be read ({reason:.80}); build it again") from None
    if (graph.rows, graph.width) != embeddings.shape:
        raise InputError(
            f"its index is of {graph.rows:,} rows of {graph.width} numbers, and it holds {len(embeddings):,} of "
            f"{embeddings.shape[1]}; build it again"
        )
    return graph


def nearest(
    graph: Graph | None, queries: NDArray[Any], embeddings: NDArray[Any], k: int, hidden: NDArray[np.int64]
) -> Neighbors:
    """The k nearest rows of the corpus by cosine; of the graph's proposals, or exact without one.

    Args:
        graph: of these embeddings, or None.
        queries: (q, d).
        embeddings: (n, d).
        k: how many; there are no more than n.
        hidden: (q,) a row that is left out for each query, -1 for none.

    Returns:
        Similarities (q, k) and rows (q, k), nearest first, -inf and -1 where there are fewer.
    """
    if graph is None:
        own = np.where(hidden < 0, len(embeddings) + np.arange(len(queries)), hidden)
        return nearest_neighbors(queries, embeddings, k, ids=own, reference_ids=np.arange(len(embeddings)))
    wanted = min(k + 1, len(embeddings))  # one of them may be hidden
    size = max(1, _COMPARED // (wanted * embeddings.shape[1]))
    parts = [(np.empty((0, wanted), np.float32), np.empty((0, wanted), np.int64))]
    for number, rows in enumerate(_unit_blocks(queries, size)):
        mine = hidden[number * size : (number + 1) * size]
        parts.append(_compared(rows, graph.nearest(rows, wanted), embeddings, mine))
    scores, found = (np.concatenate(each)[:, :k] for each in zip(*parts))
    return Neighbors(torch.from_numpy(scores), torch.from_numpy(found))


def _compared(
    queries: NDArray[np.float32],
    proposed: NDArray[np.int64],
    embeddings: NDArray[Any],
    hidden: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cosines of unit queries (q, d) with the rows (q, k) proposed to each, and these rows, nearest first."""
    there = (proposed >= 0) & (proposed < len(embeddings)) & (proposed != hidden[:, None])
    rows = np.sort(np.where(there, proposed, -1), axis=1)  # of equally near ones the lowest first
    [near] = _unit_blocks(embeddings[rows.ravel()], rows.size)
    scores = np.einsum("qd,qkd->qk", queries, near.reshape(*rows.shape, -1))
    scores[rows < 0] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def measured_recall(graph: Graph, embeddings: NDArray[Any], k: int, *, seed: int = 0) -> float:
    """The share of the k nearest rows that the graph finds, over up to 256 rows of the corpus drawn as queries.

    A row that is as near as the last of the exact ones, to 1e-6, counts as found: copies may take each other's place.
    """
    drawn = np.random.default_rng(seed).permutation(len(embeddings))[:SAMPLE]
    queries = embeddings[drawn]
    exact, found = (nearest(one, queries, embeddings, k, drawn) for one in (None, graph))
    last = torch.where(exact.indices >= 0, exact.similarities, torch.inf).amin(1, keepdim=True)
    there = (exact.indices >= 0).sum()
    return float((found.similarities >= last - _TIE).sum() / there) if there else 1.0


def _unit_blocks(rows: NDArray[Any], size: int = _ADDED) -> Iterator[NDArray[np.float32]]:
    """Rows of length 1, some at a time; rows of length 0 stay."""
    for start in range(0, len(rows), size):
        block = rows[start : start + size].astype(np.float32)
        length = np.linalg.norm(block, axis=1, keepdims=True)
        yield np.ascontiguousarray(block / np.where(length == 0, 1, length))
