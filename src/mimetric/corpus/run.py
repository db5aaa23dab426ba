"""Search by what a run trained: its queries, a corpus, and what is near enough."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mimetric.core.checks import check_positive
from mimetric.core.errors import InputError
from mimetric.core.neighbors import Neighbors
from mimetric.corpus.embed import on_device, takes_of
from mimetric.corpus.index import Kind
from mimetric.corpus.items import Items, embedded_rows, holds_embeddings, queries_of, searched_rows
from mimetric.corpus.search import Corpus, check_saved, read_corpus
from mimetric.data.inputs import is_data, open_input
from mimetric.data.labelled import LabelledData
from mimetric.data.sources import load_data
from mimetric.model import Model, load


@dataclass(frozen=True)
class Found:
    """Queries, and what is nearest to them."""

    queries: Items
    corpus: Corpus
    nearest: Neighbors
    threshold: float | None = None
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """JSON values, as ``mimetric search --json`` prints them."""
        corpus = self.corpus
        return {
            "queries": [
                _said(self.queries, query) | {"neighbors": list(self._neighbors(query))}
                for query in range(len(self.queries.ids))
            ],
            "corpus": {"name": corpus.name, "rows": len(corpus.items.ids)},
            "index": {"kind": corpus.index, "recall": corpus.recall, "recall_k": corpus.recall_k},
            "threshold": self.threshold,
            "notes": list(self.notes),
        }

    def _neighbors(self, query: int) -> Iterator[dict[str, Any]]:
        scores, rows = (part[query].tolist() for part in self.nearest)
        for rank, (score, row) in enumerate(zip(scores, rows), 1):
            if row >= 0:
                accepted = {} if self.threshold is None else {"accepted": score >= self.threshold}
                yield {"rank": rank, "score": score, **_said(self.corpus.items, row), **accepted}


def _said(items: Items, row: int) -> dict[str, Any]:
    return {
        "id": str(items.ids[row]), "label": str(items.labels[row]) or None, "item": str(items.shown[row]) or None
    }  # fmt: skip


def search_run(
    run: Path,
    queries: Sequence[str],
    *,
    k: int = 10,
    corpus: str | None = None,
    index: Kind | None = None,
    save: Path | None = None,
    threshold: float | None = None,
    device: str = "auto",
) -> Found:
    """Search by what a run trained.

    Args:
        run: folder of a run, of a checkpoint, or that :meth:`mimetric.model.Model.save` wrote.
        queries: what :func:`mimetric.corpus.items.queries_of` takes; none, to build and save an index alone.
        k: neighbors of each.
        corpus: a file of embeddings; inputs, as :func:`mimetric.data.inputs.open_input` takes them, which are embedded
            now; or data by name, of which the gallery or the test rows are searched.  None is the run's own data.
        index: None is that of the corpus file, else exact.
        save: .npz to write rows and index to.
        threshold: cosine from which a neighbor is accepted.
        device: where the encoder runs.

    Raises:
        InputError: in one line, whatever is wrong.
    """
    check_positive("search", k=k)
    if not queries and save is None:
        raise InputError("name at least one query, or a file for the index by --save")
    if save is not None:
        save = save.expanduser()
        check_saved(save)
        if corpus is not None and save.resolve() == Path(corpus).expanduser().resolve():
            raise InputError(f"save: {save} is the corpus itself; name another file")
    model = on_device(load(run), device)
    own = cache(lambda: _data_of(model.settings.get("data")))
    asked = queries_of(model, queries, own) if queries else None
    searched = _corpus(model, corpus, own)
    if index is not None and (index == "exact" or index != searched.index):
        searched = searched.indexed(index, k)
    if asked is None:
        asked = searched.items.some(np.arange(0))
    found = searched.search(asked.embeddings, k, ids=asked.ids.tolist())
    if save is not None:
        searched.save(save)
    return Found(asked, searched, found, threshold, tuple(_notes(asked, searched, k)))


def threshold_of(text: str) -> float:
    """A cosine: a number, or what `threshold_at_fmr` is in a file that ``mimetric evaluate --json`` printed.

    Raises:
        InputError: neither of them.

    >>> threshold_of("0.62")
    0.62
    """
    try:
        value: Any = float(text)
    except ValueError:
        value = _in_evaluation(Path(text).expanduser())
    if not (isinstance(value, int | float) and math.isfinite(value)):
        raise InputError(
            f"threshold: {text} names none that accepts a pair; try a higher --target-fmr, or a number"
        )
    return float(value)


def _in_evaluation(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())["metrics"]["threshold_at_fmr"]["mean"]
    except OSError:
        raise InputError(f"threshold: must be a number or a file, got {path}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"threshold: {path} holds no threshold_at_fmr of one run; write it by mimetric evaluate RUN --metrics "
            "threshold_at_fmr --target-fmr 0.001 --json"
        ) from None


def _data_of(spec: Any) -> LabelledData:
    if not isinstance(spec, str):
        raise InputError("the run does not say what it was trained on; name a corpus by --corpus")
    return load_data(spec)


def _corpus(model: Model, name: str | None, own: Callable[[], LabelledData]) -> Corpus:
    if name is None:
        return Corpus(own().name, searched_rows(model, own()))
    path = Path(name).expanduser()
    if not path.exists() and is_data(name):
        return Corpus(name, searched_rows(model, load_data(name)))
    if holds_embeddings(path):
        return read_corpus(path)
    return Corpus(name, embedded_rows(model, open_input(name, takes_of(model)).rows()))


def _notes(queries: Items, corpus: Corpus, k: int) -> Iterator[str]:
    count = len(corpus.items.ids)
    if k > count:
        yield f"the corpus has {count:,} rows, fewer than the {k:,} neighbors that were asked for"
    itself = int((corpus.rows_named(queries.ids.tolist()) >= 0).sum())
    if itself:
        yield f"queries that are in the corpus, by their id, and left out of their own neighbors: {itself:,}"
