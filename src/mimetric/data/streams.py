"""Lists and lines of text row by row, of any number: nothing of a file is held but the rows at hand.

:mod:`mimetric.data.lists` reads what is trained on: whole, labelled and split.  Here is what a trained encoder meets:
samples with names, and labels where they have some.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.data.cache import leaves
from mimetric.data.columns import SAMPLES, columns_of
from mimetric.data.parquet import array_of, is_list

_OTHERS = ("label", "id")
COLUMNS = (*SAMPLES, *_OTHERS)
_BLOCK = 256  # rows of a Parquet file taken at once


class Row(NamedTuple):
    """One input."""

    id: str
    sample: Path | str | NDArray[Any]  # a picture, a text, or numbers
    place: str = ""  # in words, where the sample does not say it
    label: str = ""  # empty where it is unlabelled
    item: str = ""  # what people see, where that is not the id
    part: int = -1  # of data that are split: 0 train, 1 validation, 2 test, 3 query, 4 gallery
    fault: str = ""  # why it cannot be read


class _Cells(NamedTuple):
    """A row of a list: where it is, its cells by our names, and what is wrong with it."""

    place: str
    cells: Mapping[str, Any]
    fault: str = ""


_Choice = Callable[[Sequence[str]], Mapping[str, str]]  # of the names in a file: ours -> its


def list_rows(path: Path, chosen: Mapping[str, str] = {}, root: Path | None = None) -> Iterator[Row]:
    """The rows of a CSV, TSV, JSON lines or Parquet file with one of the columns path, text and vector.

    Args:
        path: of the file; text is UTF-8.
        chosen: names in the file for some of ``COLUMNS``; those of label and id may be missing.
        root: the folder that paths are in; None is that of the list.

    Raises:
        InputError: no such columns, or a damaged file.  A row with a fault is given, with it.
    """

    def choose(held: Sequence[str]) -> Mapping[str, str]:
        return columns_of(held, chosen, _OTHERS, "--columns path=NAME")

    for place, cells, fault in LISTS[path.suffix.lower()](path, choose):
        where = f"{path}: {place}"
        try:
            if fault:
                raise InputError(fault)
            yield _row(cells, where, root or path.parent, f"{path.as_posix()}:{place.split()[-1]}")
        except InputError as error:
            yield Row("", "", where, fault=str(error))


def _row(cells: Mapping[str, Any], place: str, root: Path, name: str) -> Row:
    [kind] = [kind for kind in SAMPLES if kind in cells]
    value = cells[kind]
    for text in (cell for cell in cells.values() if isinstance(cell, str)):
        if _BROKEN.search(text):
            raise InputError("is not UTF-8")
    if kind != "vector" and (not isinstance(value, str) or not value.strip()):
        raise InputError(f"{kind} must be a text, got {value!r}")
    sample: Path | str | NDArray[Any] = value
    if kind == "path":
        if leaves(value):
            raise InputError(f"path {value!r} leaves the folder {root}; name its folder by --root")
        sample, name = root / value, value
    elif kind == "vector":
        sample = vector(value)
    given = cells.get("id", name)
    if given is None or not str(given).strip():
        raise InputError(f"id must be a name, got {given!r}")
    item = value if kind == "text" else ""
    return Row(str(given), sample, place, _label(cells.get("label")), item)


_BROKEN = re.compile("[\ud800-\udfff]")  # halves of characters, which no text holds


def _label(value: Any) -> str:
    if isinstance(value, float) and not value.is_integer():
        raise InputError(f"label must be an integer or a string, got {value}")
    if isinstance(value, list | dict):
        raise InputError(f"label must be an integer or a string, got {value!r}")
    text = "" if value is None else str(int(value) if isinstance(value, float | bool) else value).strip()
    return "" if text == "-1" else text


def vector(value: Any) -> NDArray[np.float32]:
    """Numbers of a list or an array, or between blanks or commas.

    Raises:
        InputError: something else, or numbers that are not finite.

    >>> vector("[0.5, 2]").tolist()
    [0.5, 2.0]
    """
    if isinstance(value, str):
        value = value.strip().strip("[]()").replace(",", " ").replace(";", " ").split()
    try:
        with np.errstate(over="ignore"):
            found = np.asarray(value, np.float64).astype(np.float32)
    except (ValueError, TypeError):
        found = np.zeros(0, np.float32)
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise InputError("vector must hold finite numbers between blanks or commas")
    return found


def _csv(path: Path, choose: _Choice) -> Iterator[_Cells]:
    with _text(path) as lines:
        table = csv.reader(lines, delimiter="," if path.suffix.lower() == ".csv" else "\t", strict=True)
        try:
            header = next(table, [])
            found = {ours: header.index(name) for ours, name in choose(header).items()}
            for fields in filter(None, table):  # an empty line is no row
                place = f"line {table.line_num}"
                if len(fields) == len(header):
                    yield _Cells(place, {ours: fields[index] for ours, index in found.items()})
                else:
                    yield _Cells(place, {}, f"{len(fields)} fields, the header has {len(header)}")
        except csv.Error as error:
            raise InputError(f"line {table.line_num}: {error}; correct the quotes") from None


def _json(path: Path, choose: _Choice) -> Iterator[_Cells]:
    found: Mapping[str, str] = {}
    with _text(path) as lines:
        for place, line in _numbered(lines):
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                value, fault = None, f"is no JSON ({error})"
            else:
                fault = "" if isinstance(value, dict) else "is no JSON object; write one for each row"
            if fault:
                yield _Cells(place, {}, fault)
                continue
            found = found or choose(list(value))
            lacking = next((name for name in found.values() if name not in value), None)
            cells = {ours: value.get(name) for ours, name in found.items()}
            yield _Cells(place, cells, "" if lacking is None else f"has no {lacking}")


def _parquet(path: Path, choose: _Choice) -> Iterator[_Cells]:
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise InputError("needs pyarrow: pip install 'mimetric[app]'; or give a CSV file") from None
    number = 0
    with path.open("rb") as handle:
        try:
            file = parquet.ParquetFile(handle)
            found = choose(file.schema_arrow.names)
            for batch in file.iter_batches(_BLOCK, columns=list(dict.fromkeys(found.values()))):
                columns = {ours: _cells(ours, batch.column(name)) for ours, name in found.items()}
                for row in range(batch.num_rows):
                    yield _Cells(f"row {number}", {ours: cells[row] for ours, cells in columns.items()})
                    number += 1
        except (ArrowException, OSError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"is no Parquet file, or a damaged one ({reason}); write it again") from None


def _cells(name: str, column: Any) -> Sequence[Any] | NDArray[Any]:
    """Vectors of one length as an array, all else as objects."""
    from pyarrow import chunked_array

    if is_list(column):
        try:
            return array_of(name, chunked_array([column]))
        except InputError:
            pass  # a row without one, or of another length: each is looked at
    cells: list[Any] = column.to_pylist()
    return cells


LISTS: dict[str, Callable[[Path, _Choice], Iterator[_Cells]]] = {
    ".csv": _csv, ".tsv": _csv, ".jsonl": _json, ".ndjson": _json, ".parquet": _parquet,
}  # fmt: skip


def line_rows(path: Path) -> Iterator[Row]:
    """A text a line; blank lines are none."""
    with _text(path) as lines:
        for place, line in _numbered(lines):
            text, where = line.strip(), f"{path}: {place}"
            fault = "is not UTF-8" if _BROKEN.search(text) else ""
            yield Row(f"{path.as_posix()}:{place.split()[-1]}", text, where, item=text, fault=fault)


def _numbered(lines: IO[str]) -> Iterator[tuple[str, str]]:
    return ((f"line {number}", line) for number, line in enumerate(lines, 1) if line.strip())


def _text(path: Path) -> IO[str]:
    with path.open("rb") as handle:
        start = handle.read(2)
    if not start:
        raise InputError("is empty")
    if start in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError("is not UTF-8; save it as UTF-8")
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
