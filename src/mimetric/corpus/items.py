"""Embeddings with names: the rows of a corpus, or queries, from inputs, from data or from a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.corpus.embed import encoded, takes_of
from mimetric.data.embeddings import EmbeddedSet, read_embeddings
from mimetric.data.inputs import batches, data_rows, open_input
from mimetric.data.labelled import LabelledData
from mimetric.data.splits import TEST
from mimetric.data.streams import Row, vector
from mimetric.model import Model


class Items(NamedTuple):
    """Rows with names."""

    embeddings: NDArray[Any]  # (n, d)
    ids: NDArray[np.str_]  # (n,)
    labels: NDArray[np.str_]  # (n,) empty where unlabelled
    shown: NDArray[np.str_]  # (n,) what people see; empty where that is the id

    def some(self, rows: NDArray[Any]) -> Items:
        return Items(*(column[rows] for column in self))


def joined(parts: Sequence[Items]) -> Items:
    """Those of all, in their order.

    Raises:
        InputError: embeddings of several widths.
    """
    widths = sorted({part.embeddings.shape[1] for part in parts})
    if len(widths) > 1:
        raise InputError(f"queries must have one width, got {' and '.join(map(str, widths))}")
    return Items(*(np.concatenate(columns) for columns in zip(*parts)))


def embedded_rows(model: Model, rows: Iterable[Row]) -> Items:
    """What a model makes of inputs.

    Raises:
        InputError: an input that cannot be read, an id twice, or none at all.
    """
    done = [encoded(model, batch) for batch in batches(rows, takes_of(model))]
    kept = [row for _, batch in done for row in batch.rows]
    if not kept:
        raise InputError("inputs: they are empty")
    names = ([row.id for row in kept], [row.label for row in kept], [row.item for row in kept])
    embeddings = np.concatenate([embeddings for embeddings, _ in done])
    return Items(embeddings, *(np.array(column, np.str_) for column in names))


def searched_rows(model: Model, data: LabelledData) -> Items:
    """What a model makes of the rows that queries are searched among: the gallery, else all test rows."""
    split = data.split
    return embedded_rows(model, data_rows(data, split.test if split.gallery is None else split.gallery))


def holds_embeddings(path: Path) -> bool:
    """Whether a file has a column or an array of that name; False of one that cannot be read."""
    try:
        if path.suffix.lower() == ".npz":
            with ZipFile(path) as file:
                return "embeddings.npy" in file.namelist()
        if path.suffix.lower() == ".parquet":
            from pyarrow import ArrowException, parquet  # type: ignore[import-untyped]

            try:
                return "embeddings" in parquet.read_schema(path).names
            except ArrowException:
                return False
    except (OSError, BadZipFile):
        pass
    return False


def items_in(path: Path) -> Items:
    """The rows of a file of embeddings: its gallery where it marks one, else its test rows, else all.

    Raises:
        InputError: as :func:`mimetric.data.embeddings.read_embeddings`, or an id twice.
    """
    held = read_embeddings(path, needed=("embeddings",))
    ids = (
        np.array([f"{path.as_posix()}:{row}" for row in range(len(held.embeddings))], np.str_)
        if held.ids is None
        else held.ids.astype(np.str_)
    )
    check_ids(str(path), ids)
    shown = np.full(len(ids), "") if held.items is None else held.items.astype(np.str_)
    rows = np.require(held.embeddings, requirements="W")  # of Parquet they are Arrow's, which torch warns of
    found = Items(rows, ids, _labels(held), shown)
    marks = held.gallery
    if held.split is not None:
        marks = (held.split == TEST) & (True if marks is None else marks)
    return found if marks is None else found.some(marks)


def check_ids(where: str, ids: NDArray[np.str_]) -> None:
    """Refuse a name of two rows."""
    order = np.argsort(ids, kind="stable")
    twice = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    if len(twice):
        first, again = sorted(order[twice[0] : twice[0] + 2].tolist())
        raise InputError(
            f"{where}: ids must differ: {str(ids[first])!r} is that of rows {first} and {again}; give each row one of "
            "its own"
        )


def _labels(held: EmbeddedSet) -> NDArray[np.str_]:
    names = (
        held.labels.astype(np.str_)
        if held.class_names is None
        else np.array(held.class_names, np.str_)[held.labels]
    )
    return np.where(held.labels == -1, "", names)


def queries_of(model: Model, words: Sequence[str], data: Callable[[], LabelledData]) -> Items:
    """What a model makes of queries.

    Args:
        model: as trained.
        words: files or folders, as :func:`mimetric.data.inputs.open_input` takes them, or a file of embeddings, which
            are taken as they are; numbers of test rows, from 0; for a model of texts any text that is no file; for a
            model of vectors numbers as in "[0.5, -1]".
        data: the run's own, asked for where a row of them is meant.

    Raises:
        InputError: whatever is wrong with one of them.
    """
    return joined([_query(model, word, data) for word in words])


def _query(model: Model, word: str, data: Callable[[], LabelledData]) -> Items:
    path, takes = Path(word).expanduser(), takes_of(model)
    if holds_embeddings(path):
        return items_in(path)
    if path.exists():
        return embedded_rows(model, open_input(word, takes).rows())
    if takes.kind == "texts":
        return embedded_rows(model, [Row(word, word, f"query {word!r}", item=word)])
    if word.isdecimal():
        test = data().split.test
        if int(word) >= len(test):
            raise InputError(f"query: {data().name} has test rows 0..{len(test) - 1}, got {word}")
        return embedded_rows(model, data_rows(data(), test[[int(word)]]))
    if takes.kind == "vectors" and "," in word:
        return embedded_rows(model, [Row(word, vector(word), f"query {word}")])
    try:
        return embedded_rows(model, open_input(word, takes).rows())
    except InputError as error:
        raise InputError(
            f"query: {error}; name a file, or the number of a test row of the run's data"
        ) from None
