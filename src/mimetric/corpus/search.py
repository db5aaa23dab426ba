"""A corpus of embeddings in memory and in a file: what is nearest to queries, exactly or by an index.

In a few lines::

    model = mm.load("runs/train")
    corpus = read_corpus("photos.npz")
    scores, rows = corpus.search(model.encode(["query.png"]), k=5)
    corpus.items.ids[rows[0]]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimetric.core.checks import check_finite, check_positive, check_rows
from mimetric.core.errors import InputError
from mimetric.core.files import writable_folder
from mimetric.core.neighbors import Neighbors
from mimetric.core.similarity import full_precision
from mimetric.corpus.index import Graph, Kind, build_graph, load_graph, measured_recall, nearest
from mimetric.corpus.items import Items, check_ids, items_in
from mimetric.data.written import write_embeddings

_INDEX, _GRAPH = "index", "graph"  # arrays of a file that has one


@dataclass(frozen=True)
class Corpus:
    """Rows that are searched, exactly where there is no graph."""

    name: str
    items: Items
    graph: Graph | None = None
    recall: float | None = None  # of the graph, measured against exact search when it was built ...
    recall_k: int | None = None  # ... for so many neighbors

    @property
    def index(self) -> str:
        return "exact" if self.graph is None else self.graph.kind

    def indexed(self, kind: Kind, k: int = 10) -> Corpus:
        """The same rows with another index, its recall at k measured.

        Raises:
            InputError: its package is not installed.
        """
        if kind == "exact":
            return replace(self, graph=None, recall=None, recall_k=None)
        rows = self.items.embeddings
        graph, k = build_graph(rows, kind), min(k, len(rows))
        return replace(self, graph=graph, recall=measured_recall(graph, rows, k), recall_k=k)

    def search(self, queries: Any, k: int = 10, *, ids: Sequence[str] = ()) -> Neighbors:
        """The k nearest rows of each query by cosine, nearest first.

        Args:
            queries: (q, d).
            k: how many; all rows where there are fewer.
            ids: (q,) names of the queries; the row of that name is the query itself and left out.  None are given: none
                is.

        Returns:
            Similarities (q, k) and rows (q, k); -inf and -1 where fewer are left.
        Raises:
            InputError: queries of another width, or k below 1.
        """
        check_positive("search", k=k)
        rows, given = self.items.embeddings, check_rows("search", "queries", queries)
        check_finite("search", "queries", given)
        if given.shape[1] != rows.shape[1]:
            raise InputError(
                f"search: queries must be rows of {rows.shape[1]} numbers, as {self.name} has, got {given.shape[1]}; "
                "embed both by the same run"
            )
        asked = full_precision(given.detach()).cpu().numpy()
        hidden = self.rows_named(ids) if len(ids) else np.full(len(asked), -1)
        return nearest(self.graph, asked, rows, min(k, len(rows)), hidden)

    def rows_named(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """The row that has each name, -1 for none."""
        wanted = set(ids)
        rows = {name: row for row, name in enumerate(self.items.ids.tolist()) if name in wanted}
        return np.array([rows.get(name, -1) for name in ids], np.int64)

    def save(self, path: Path) -> None:
        """Write the rows and their index as .npz: a file of embeddings like any other, with two arrays more.

        Raises:
            InputError: another suffix, or a place that cannot be written to.
        """
        path = path.expanduser()
        check_saved(path)
        items = self.items
        arrays: dict[str, NDArray[Any]] = {"embeddings": items.embeddings, "ids": items.ids}
        arrays |= {"labels": items.labels} if (items.labels != "").any() else {}
        arrays |= {"items": items.shown} if (items.shown != "").any() else {}
        if self.graph is not None:
            about = {"kind": self.graph.kind, "recall": self.recall, "recall_k": self.recall_k}
            arrays |= {
                _INDEX: np.array([json.dumps(about)]),
                _GRAPH: np.frombuffer(self.graph.content(), np.uint8),
            }
        try:
            write_embeddings(path, list(arrays), lambda name: iter([arrays[name]]))
        except OSError as error:
            raise InputError(f"save: cannot write {path} ({error.strerror}); name another file") from None


def corpus_of(
    embeddings: Any,
    ids: Sequence[Any] | None = None,
    labels: Sequence[Any] | None = None,
    *,
    name: str = "corpus",
) -> Corpus:
    """Rows in memory as a corpus.

    Args:
        embeddings: (n, d) floating point, finite; a tensor or an array.
        ids: (n,) names, each its own; None is their numbers.
        labels: (n,) integers, -1 unlabelled, or strings, the empty one too; None is none.
        name: what to call it.

    Raises:
        InputError: shapes that do not fit, a value that is not finite, or an id twice.

    >>> corpus = corpus_of([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], ids=["a", "b", "c"])
    >>> scores, rows = corpus.search([[0.0, 2.0]], k=2)
    >>> corpus.items.ids[rows[0]].tolist()
    ['c', 'b']
    """
    rows = check_rows("corpus_of", "embeddings", embeddings)
    check_finite("corpus_of", "embeddings", rows)
    given = {
        "ids": np.arange(len(rows)) if ids is None else ids,
        "labels": [""] * len(rows) if labels is None else labels,
    }
    columns = {key: np.asarray(values).astype(np.str_) for key, values in given.items()}
    for key, values in columns.items():
        if values.shape != (len(rows),):
            raise InputError(
                f"corpus_of: {key} must have shape ({len(rows)},), one for each row, got {values.shape}"
            )
    check_ids("corpus_of", columns["ids"])
    known = np.where(columns["labels"] == "-1", "", columns["labels"])
    shown = np.full(len(rows), "", np.str_)
    return Corpus(name, Items(full_precision(rows.detach()).cpu().numpy(), columns["ids"], known, shown))


def read_corpus(path: str | Path) -> Corpus:
    """The rows of a file of embeddings, .npz or .parquet, with the index that :meth:`Corpus.save` left in it.

    Of a file that marks rows as gallery those are searched, else as test those, else all.

    Nothing is unpickled.  What a file says is checked, and damage to npz is found by checksums; the graph of
    an approximate index is read by its library, in C++, which promises nothing for a file that was made to do harm:
    of people you do not trust take embeddings without an index.

    Raises:
        InputError: in one line with the file, whatever is wrong.
    """
    path = Path(path).expanduser()
    items = items_in(path)
    if path.suffix.lower() != ".npz":
        return Corpus(str(path), items)
    try:
        with np.load(path, allow_pickle=False) as file:
            if _INDEX not in file.files:
                return Corpus(str(path), items)
            about, content = json.loads(str(file[_INDEX].item())), file[_GRAPH].tobytes()
        kind, recall, k = str(about["kind"]), float(about["recall"]), int(about["recall_k"])
    except Exception as error:  # a damaged archive raises one of many
        raise InputError(f"{path}: its index is damaged ({error!s:.80}); build it again") from None
    try:
        return Corpus(str(path), items, load_graph(kind, content, items.embeddings), recall, k)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def check_saved(path: Path) -> None:
    """Refuse a file that an index cannot be saved to, before work begins."""
    if path.suffix.lower() != ".npz" or path.is_dir():
        raise InputError(f"save: an index is saved as .npz, got {path}; name another file")
    writable_folder(path.parent, "save")
