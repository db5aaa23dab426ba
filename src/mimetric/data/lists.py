"""Lists of samples: CSV, TSV, JSON lines or Parquet with a column of paths, texts or vectors and one of labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.data.cache import leaves
from mimetric.data.columns import SAMPLES, columns_of
from mimetric.data.labelled import Pictures, Source
from mimetric.data.splits import TEST, TRAIN, VALIDATION
from mimetric.data.tables import Rows, read_rows

_OTHERS = ("label", "split", "query", "gallery", "group", "id")
COLUMNS = (*SAMPLES, *_OTHERS)
_QUERY, _GALLERY = 3, 4
_MARKS = (("query", _QUERY), ("gallery", _GALLERY))
_PARTS = {
    "train": TRAIN, "validation": VALIDATION, "test": TEST, "query": _QUERY, "gallery": _GALLERY,
    "0": TRAIN, "1": VALIDATION, "2": TEST, "val": VALIDATION, "valid": VALIDATION, "dev": VALIDATION,
}  # fmt: skip
_BOOLS = {"true": 1, "false": 0, "1": 1, "0": 0, "yes": 1, "no": 0, "": 0}


def read_list(
    path: Path, chosen: Mapping[str, str] = {}, *, root: Path | None = None, skip: bool = False
) -> Source:
    """Read a list and check every row of it.

    Columns, by the names they have unless `chosen` names others:

    - one of `path` (of a picture, relative to `root`), `text`, or `vector` (numbers between blanks or commas; in JSON
      and Parquet a list);
    - `label`: integers, -1 unlabelled, or strings;
    - `split`, optional: train, validation or test (or 0, 1, 2), or query and gallery, which are test rows;
    - `query` and `gallery`, optional: true or false; rows that are either are test rows, of one column alone the
      other is the rest of the test; test rows that are neither are left out;
    - `group`, optional: rows of one group stay in one part; `id`, optional: names of the rows, each its own.

    Other columns are not read.

    Args:
        path: .csv, .tsv, .txt (tabs between columns), .jsonl, .ndjson or .parquet; text is UTF-8.
        chosen: names in the file for some of the above.
        root: the folder that paths are in; None is that of the list.
        skip: leave out rows with a fault and say how many, in place of an error.

    Raises:
        InputError: no such columns, or a row with a fault: the message names it.
    """
    rows = read_rows(path, lambda held: _columns_of(held, chosen), skip=skip)
    if not rows.count:
        raise InputError("holds no rows; give at least 2 classes")
    kind = next(name for name in SAMPLES if name in rows.columns)
    labels = _labels(rows)
    samples = _samples(rows, kind, root or path.parent)
    part, query, left = _part(rows)
    ids = _ids(rows)
    groups = np.array([str(one) for one in rows.columns["group"]]) if "group" in rows.columns else None
    if rows.faults and not skip:
        first = min(rows.faults)
        more = f"; {len(rows.faults):,} rows have faults" if len(rows.faults) > 1 else ""
        raise InputError(f"{rows.faults[first]}; correct it, or leave such rows out by bad=skip{more}")
    good = np.ones(rows.count, bool)
    good[list(rows.faults)] = False
    if not good.any():
        raise InputError(f"no row can be read; {rows.faults[0]}")
    source = Source(samples, labels, part, query, groups, ids)
    shown = ", ".join(rows.faults[row] for row in sorted(rows.faults)[:3])
    source = source.kept(good, f"rows left out, {len(rows.faults):,} with faults: {shown}")
    source = source.kept(
        ~left[good], f"test rows that are neither query nor gallery left out: {left[good].sum():,}"
    )
    return _labels_as_numbers(source)


def _columns_of(held: Sequence[str], chosen: Mapping[str, str]) -> dict[str, str]:
    found = columns_of(held, chosen, _OTHERS, "path=, text= or vector=")
    if "label" not in found:
        raise InputError(f"needs a column label; it has {', '.join(held[:8])}; name it by label=")
    return found


def _labels(rows: Rows) -> NDArray[Any]:
    labels = np.full(rows.count, "", object)
    for row, label in rows.each("label"):
        if isinstance(label, float) and not label.is_integer():
            rows.wrong(row, f"label must be an integer or a string, got {label}")
        elif label is None or isinstance(label, list | dict) or not str(label).strip():
            rows.wrong(row, f"label must be an integer or a string, got {label!r}")
        else:
            labels[row] = str(int(label) if isinstance(label, float) else label).strip()
    return labels


_INTEGER = re.compile(r"-1|0|[1-9]\d{0,17}")


def _labels_as_numbers(source: Source) -> Source:
    """Labels that are all integers, as such."""
    labels = source.labels
    whole = all(map(_INTEGER.fullmatch, labels))
    return replace(source, labels=labels.astype(np.int64) if whole else labels.astype(str))


def _samples(rows: Rows, kind: str, root: Path) -> NDArray[Any] | Pictures:
    if kind == "vector":
        return _vectors(rows)
    values = np.full(rows.count, "", object)
    for row, value in rows.each(kind):
        if not isinstance(value, str) or not value.strip():
            rows.wrong(row, f"{kind} must be a text, got {value!r}")
        elif kind == "path" and leaves(value):
            rows.wrong(row, f"path {value!r} leaves the folder {root}")
        else:
            values[row] = value
    if kind == "text":
        return values
    return Pictures(root, values, np.array([rows.place(row) for row in range(rows.count)], object))


def _vectors(rows: Rows) -> NDArray[np.float32]:
    column = rows.columns["vector"]
    if isinstance(column, np.ndarray) and column.ndim == 2:
        if column.dtype.kind not in "biuf":
            raise InputError(f"vector must hold numbers, got {column.dtype}")
        with np.errstate(over="ignore"):
            numbers = column.astype(np.float32)
        for row in np.flatnonzero(~np.isfinite(numbers).all(1)).tolist():
            rows.wrong(row, "vector must hold finite numbers")
        return numbers
    found: dict[int, NDArray[np.float32]] = {}
    for row, value in rows.each("vector"):
        if isinstance(value, str):
            value = value.strip().strip("[]()").replace(",", " ").replace(";", " ").split()
        try:
            with np.errstate(over="ignore"):
                vector = np.array(value, np.float64).astype(np.float32)
        except (ValueError, TypeError):
            vector = np.zeros(0, np.float32)
        if vector.ndim != 1 or not len(vector) or not np.isfinite(vector).all():
            rows.wrong(row, "vector must hold finite numbers between blanks or commas")
        else:
            found[row] = vector
    width = len(next(iter(found.values()))) if found else 1
    vectors = np.zeros((rows.count, width), np.float32)
    for row, vector in found.items():
        if len(vector) != width:
            rows.wrong(row, f"vector must have {width} numbers, as the first has, got {len(vector)}")
        else:
            vectors[row] = vector
    return vectors


def _part(rows: Rows) -> tuple[NDArray[np.int8] | None, NDArray[np.bool_] | None, NDArray[np.bool_]]:
    """The parts, the queries, and test rows that are neither query nor gallery; None where the list says nothing."""
    none = np.zeros(rows.count, np.int8)
    code = _words(rows, "split", _PARTS)
    query, gallery = (_marks(rows, code, name, meant) for name, meant in _MARKS)
    if query is None and gallery is None:
        return code, None, none > 0
    if code is None and (query is None or gallery is None):
        raise InputError("a column query or gallery alone needs a column split; add it, or the other one")
    marked = (none > 0 if query is None else query) | (none > 0 if gallery is None else gallery)
    part = np.where(marked, TEST, none) if code is None else np.minimum(code, TEST)
    for row in np.flatnonzero(marked & (part != TEST)).tolist():
        rows.wrong(row, "is query or gallery, and its split is not test; correct one")
    test = part == TEST
    if query is None:
        query = test & ~marked
    if gallery is None:
        gallery = test & ~query
    for row in np.flatnonzero(query & gallery).tolist():
        rows.wrong(row, "is both query and gallery and would find itself; mark it as one")
    return part.astype(np.int8), query, test & ~query & ~gallery


def _marks(rows: Rows, code: NDArray[np.int8] | None, name: str, meant: int) -> NDArray[np.bool_] | None:
    """Rows that are query, or gallery, by a column of that name or by their split; None where no row can be."""
    column = _words(rows, name, _BOOLS)
    found: NDArray[np.bool_] | None = None if column is None else column == 1
    if code is not None and (code == meant).any():
        found = (code == meant) if found is None else found | (code == meant)
    return found


def _words(rows: Rows, name: str, meaning: Mapping[str, int]) -> NDArray[np.int8] | None:
    """What each word of a column means; None without the column."""
    if name not in rows.columns:
        return None
    found = np.zeros(rows.count, np.int8)
    for row, value in rows.each(name):
        word = "" if value is None else str(value).strip().lower()
        if word in meaning:
            found[row] = meaning[word]
        else:
            rows.wrong(row, f"{name} must be one of {', '.join(filter(None, meaning))}, got {value!r}")
    return found


def _ids(rows: Rows) -> NDArray[Any] | None:
    if "id" not in rows.columns:
        return None
    first: dict[str, int] = {}
    for row, value in rows.each("id"):
        before = first.setdefault(str(value), row)
        if before != row:
            rows.wrong(row, f"id {value!r} again, first at {rows.place(before)}; ids must differ")
    return np.array([str(value) for value in rows.columns["id"]])
