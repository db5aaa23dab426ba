"""Embeddings from a file, npz or Parquet, whoever wrote them.  Numpy alone; Parquet needs pyarrow.

Nothing in a file can run code when it is read: pickled arrays are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError, did_you_mean
from mimetric.data.parquet import array_of, is_text, read_table
from mimetric.data.splits import TEST

COLUMNS = ("embeddings", "labels", "ids", "items", "split", "query", "gallery", "logits")
Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class EmbeddedSet:
    """What a file holds, checked; optional columns that it has not are None."""

    embeddings: NDArray[Any]  # (n, d) floating point, finite
    labels: NDArray[
        np.int64
    ]  # (n,) integers as they were, or the places of strings in class_names; -1 unlabelled
    class_names: tuple[str, ...] | None  # of labels that were strings, sorted
    ids: NDArray[Any] | None  # (n,) integers or strings
    items: NDArray[Any] | None  # (n,) strings, what people see of the rows
    split: NDArray[np.int64] | None  # (n,) 0 train, 1 validation, 2 test
    query: NDArray[np.bool_] | None  # (n,) with gallery: both or neither, and no row is both
    gallery: NDArray[np.bool_] | None
    logits: NDArray[Any] | None  # (n, C) of a classifier over classes 0..C-1


def read_embeddings(path: Path, *, needed: Sequence[str] = ("embeddings", "labels")) -> EmbeddedSet:
    """Read a file of embeddings and check every row of it.

    Columns of a Parquet file, or arrays of an npz file:

    - `embeddings` (n, d) numbers; in Parquet a list in each row, of any list type;
    - `labels` (n,) integers (-1 is unlabelled) or strings (the empty one is);
    - `ids` (n,), optional: names of the rows, integers or strings;
    - `items` (n,), optional: what people see of the rows, such as their texts;
    - `split` (n,), optional: 0 train, 1 validation, 2 test; the test is what is evaluated;
    - `query` and `gallery` (n,) bool, optional: queries are searched among the gallery.  No row is both; rows that
      are neither are left out; of one column alone the other is the rest.  Without them the set is searched
      in itself.
    - `logits` (n, C), optional: of a classifier whose column c is for the integer label c.

    Other columns are not read.

    Args:
        path: .npz or .parquet.
        needed: columns without which it is an error; without labels all rows are unlabelled.

    Raises:
        InputError: in one line with file, column and row, whatever is wrong.
    """
    readers = {".npz": _npz, ".parquet": _parquet}
    path = path.expanduser()
    reader = readers.get(path.suffix.lower())
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if reader is None:
        raise InputError(
            f"{path}: embeddings are read from .npz or .parquet files, got {path.suffix or 'no suffix'}"
        )
    try:
        return _checked(reader(path, needed))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except MemoryError:
        raise InputError(f"{path}: is damaged, or larger than memory; write it again, or in parts") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def _npz(path: Path, needed: Sequence[str]) -> Columns:
    damaged = "is no npz file, or a damaged one; write it by numpy.savez"
    try:
        file = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, BadZipFile):
        raise InputError(damaged) from None
    if isinstance(file, np.ndarray):
        raise InputError("is an npy file, one array alone; write embeddings and labels by numpy.savez")
    columns = {}
    with file:
        _check_names(file.files, needed)
        for name in (name for name in COLUMNS if name in file.files):
            try:
                columns[name] = file[name]
            except (ValueError, EOFError, BadZipFile, NotImplementedError, ZlibError):
                raise InputError(f"{name} holds Python objects or is damaged; save a plain array") from None
    return columns


def _parquet(path: Path, needed: Sequence[str]) -> Columns:
    def wanted(held: list[str]) -> list[str]:
        _check_names(held, needed)
        return [name for name in COLUMNS if name in held]

    table = read_table(path, wanted)
    arrays = {name: array_of(name, table.column(name)) for name in table.column_names}
    return {name: array.astype(str) if is_text(array) else array for name, array in arrays.items()}


def _check_names(held: list[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in held]
    if not missing:
        return
    if "x" in held or "x_train" in held:
        raise InputError(
            f"holds a data set ({', '.join(held[:6])}) and no embeddings; evaluate a run on it by --data npz:PATH"
        )
    near = next((hint for word in held if (hint := did_you_mean(word, missing)).startswith("did")), "")
    raise InputError(
        f"must hold {' and '.join(needed)}, has no {' and no '.join(missing)}; it holds "
        f"{', '.join(held[:6]) or 'nothing'}" + (f"; {near}" if near else "")
    )


def _checked(columns: Columns) -> EmbeddedSet:
    embeddings = _numbers("embeddings", columns["embeddings"])
    n = len(embeddings)
    labels, class_names = _labels(columns.get("labels", np.full(n, -1)), n)
    ids, items, logits = (columns.get(name) for name in ("ids", "items", "logits"))
    for name in ("ids", "items"):
        if name in columns:
            _check_length(name, columns[name], n)
    if logits is not None:
        logits = _logits(logits, labels, class_names)
    query, gallery = _marks(columns, n)
    return EmbeddedSet(
        embeddings, labels, class_names, ids, items, _split(columns, n), query, gallery, logits
    )


def _numbers(name: str, x: NDArray[Any]) -> NDArray[Any]:
    """A finite matrix of float16, float32 or float64; integers become float32."""
    if x.dtype.kind not in "iuf":
        raise InputError(f"{name} must hold numbers, got {x.dtype}")
    if x.ndim != 2 or 0 in x.shape:
        raise InputError(f"{name} must have shape (rows, width), both at least 1, got {x.shape}")
    x = x.astype(f"f{min(x.itemsize, 8)}" if x.dtype.kind == "f" else np.float32, copy=False)  # native bytes
    bad = np.flatnonzero(~np.isfinite(x).all(1))
    if len(bad):
        raise InputError(
            f"{name} must be finite: row {bad[0]} is the first of {len(bad):,} with nan or infinity; "
            "leave them out, or find what made them"
        )
    return x


def _labels(labels: NDArray[Any], n: int) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    _check_length("labels", labels, n)
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    if labels.dtype.kind == "U":
        names, index = np.unique(labels, return_inverse=True)
        unlabelled = int(len(names) > 0 and names[0] == "")  # the first of all, in order
        return index.astype(np.int64) - unlabelled, tuple(names[unlabelled:].tolist())
    if labels.dtype.kind not in "biu":
        raise InputError(
            f"labels must hold integers or strings, got {labels.dtype}: a class is a name, not a quantity; "
            "convert whole numbers by astype(int)"
        )
    wrong = np.flatnonzero((labels < -1) | (labels > np.iinfo(np.int64).max))
    if len(wrong):
        raise InputError(
            f"labels must be class ids from 0, or -1 for unlabelled: row {wrong[0]} has {labels[wrong[0]]}"
        )
    return labels.astype(np.int64), None


def _logits(
    logits: NDArray[Any], labels: NDArray[np.int64], class_names: tuple[str, ...] | None
) -> NDArray[Any]:
    logits = _numbers("logits", logits)
    _check_length("logits", logits[:, 0], len(labels))
    if class_names is not None:
        raise InputError("logits need integer labels, which name their columns; number the classes from 0")
    beyond = np.flatnonzero(labels >= logits.shape[1])
    if len(beyond):
        raise InputError(
            f"labels must name a column of logits, 0 to {logits.shape[1] - 1}: row {beyond[0]} has "
            f"{labels[beyond[0]]}"
        )
    return logits


def _split(columns: Columns, n: int) -> NDArray[np.int64] | None:
    split = columns.get("split")
    if split is None:
        return None
    _check_length("split", split, n)
    wrong = np.flatnonzero(~np.isin(split, (0, 1, 2)))
    if len(wrong):
        raise InputError(
            f"split must be 0 (train), 1 (validation) or 2 (test): row {wrong[0]} has {split[wrong[0]]}"
        )
    if TEST not in split:
        raise InputError(
            "split marks no row as test (2), and the test is what is evaluated; mark some, or drop it"
        )
    return split.astype(np.int64)


def _marks(columns: Columns, n: int) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """Query and gallery; of one of them alone the other is the rest."""
    marks = {}
    for name in (name for name in ("query", "gallery") if name in columns):
        _check_length(name, columns[name], n)
        if not np.isin(columns[name], (0, 1)).all():
            raise InputError(f"{name} must hold bools, got {columns[name].dtype}")
        marks[name] = columns[name].astype(bool)
    if not marks:
        return None, None
    query = marks["query"] if "query" in marks else ~marks["gallery"]
    gallery = marks.get("gallery", ~query)
    both = np.flatnonzero(query & gallery)
    if len(both):
        raise InputError(
            f"row {both[0]} is both query and gallery and would find itself; mark it as one, or drop both columns "
            "to search the set in itself"
        )
    for name, rows in (("query", query), ("gallery", gallery)):
        if not rows.any():
            raise InputError(
                f"no row is {name}; mark some, or drop query and gallery to search the set in itself"
            )
    return query, gallery


def _check_length(name: str, values: NDArray[Any], n: int) -> None:
    if values.shape != (n,):
        raise InputError(f"{name} must have one entry for each of {n} rows of embeddings, got {values.shape}")
