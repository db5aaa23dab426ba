"""Tables of text or Parquet as columns, with the place of each row in its file and what is wrong with it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.data.parquet import array_of, is_list, read_table

Column = Sequence[Any] | NDArray[Any]
Choice = Callable[[Sequence[str]], Mapping[str, str]]  # of the names in a file: ours -> its


@dataclass
class Rows:
    """The columns of a list, and what is wrong with which row; a row with a fault is named or left out."""

    columns: dict[str, Column]
    count: int
    place: Callable[[int], str]  # of a row in the file, in words
    faults: dict[int, str] = field(default_factory=dict)

    def wrong(self, row: int, what: str) -> None:
        self.faults.setdefault(row, f"{self.place(row)}: {what}")

    def each(self, name: str) -> Iterator[tuple[int, Any]]:
        """Rows without a fault so far, and their values."""
        return ((row, value) for row, value in enumerate(self.columns[name]) if row not in self.faults)


def read_rows(path: Path, choose: Choice, *, skip: bool = False) -> Rows:
    """The columns of a file that `choose` names when it is told which there are.

    Args:
        path: one of ``SUFFIXES``; text is UTF-8.
        choose: our name -> the name in the file.
        skip: take lines that are not UTF-8 for rows with a fault, in place of an error.

    Raises:
        InputError: a file that is empty or damaged, or as `choose`.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(_READERS)
        raise InputError(f"lists are read from {known} files, got {path.suffix or 'no suffix'}; convert it")
    return reader(path, choose, skip)


def _csv(path: Path, choose: Choice, skip: bool) -> Rows:
    text = io.StringIO(_text(path, skip), newline="")
    comma = "," if path.suffix.lower() == ".csv" else "\t"
    table = csv.reader(text, delimiter=comma, strict=True)
    header = _next_line(table) or []
    found = {ours: header.index(name) for ours, name in choose(header).items()}
    columns: dict[str, list[str]] = {ours: [] for ours in found}
    ends: list[int] = []
    faults: dict[int, str] = {}
    while (fields := _next_line(table)) is not None:
        if not fields:
            continue  # an empty line
        if len(fields) != len(header):
            faults[len(ends)] = f"line {table.line_num}: {len(fields)} fields, the header has {len(header)}"
            fields = [""] * len(header)
        for ours, index in found.items():
            columns[ours].append(fields[index])
        ends.append(table.line_num)
    return _checked_text(Rows(dict(columns), len(ends), lambda row: f"line {ends[row]}", faults))


def _next_line(table: Any) -> list[str] | None:
    """The fields of a reader's next line, None at the end."""
    try:
        return next(table, None)
    except csv.Error as error:
        raise InputError(f"line {table.line_num}: {error}; correct the quotes") from None


def _json(path: Path, choose: Choice, skip: bool) -> Rows:
    lines = [(at, line) for at, line in enumerate(_text(path, skip).split("\n"), 1) if line.strip()]
    objects: list[dict[str, Any]] = []
    faults: dict[int, str] = {}
    for row, (at, line) in enumerate(lines):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            value, faults[row] = {}, f"line {at}: is no JSON ({error})"
        if not isinstance(value, dict):
            value, faults[row] = {}, f"line {at}: is no JSON object; write one for each row"
        objects.append(value)
    held = list(dict.fromkeys(name for one in objects for name in one))
    if not held and faults:
        raise InputError(faults[min(faults)])
    found = choose(held)
    for row, one in enumerate(objects):
        lacking = next((name for name in found.values() if name not in one), None)
        if lacking is not None:
            faults.setdefault(row, f"line {lines[row][0]}: has no {lacking}")
    columns: dict[str, Column] = {ours: [one.get(name) for one in objects] for ours, name in found.items()}
    return _checked_text(Rows(columns, len(objects), lambda row: f"line {lines[row][0]}", faults))


def _parquet(path: Path, choose: Choice, _: bool) -> Rows:
    chosen: Mapping[str, str] = {}

    def wanted(held: list[str]) -> list[str]:
        nonlocal chosen
        chosen = choose(held)
        return list(dict.fromkeys(chosen.values()))

    table = read_table(path, wanted)
    columns: dict[str, Column] = {}
    for ours, name in chosen.items():
        column = table.column(name)
        columns[ours] = array_of(name, column) if is_list(column) else column.to_pylist()
    return Rows(columns, table.num_rows, lambda row: f"row {row}")


def _text(path: Path, skip: bool) -> str:
    content = path.read_bytes()
    if not content.strip():
        raise InputError("is empty")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        if content[:2] in (b"\xff\xfe", b"\xfe\xff") or not skip:
            raise InputError(f"line {line}: is not UTF-8; save the list as UTF-8") from None
    return content.decode("utf-8-sig", "surrogateescape")


_BROKEN = re.compile("[\ud800-\udfff]")  # halves of characters, which no text holds


def _checked_text(rows: Rows) -> Rows:
    for name in rows.columns:
        for row, value in rows.each(name):
            if isinstance(value, str) and _BROKEN.search(value):
                rows.wrong(row, "is not UTF-8")
    return rows


_READERS: dict[str, Callable[[Path, Choice, bool], Rows]] = {
    ".csv": _csv, ".tsv": _csv, ".txt": _csv, ".jsonl": _json, ".ndjson": _json, ".parquet": _parquet,
}  # fmt: skip
SUFFIXES = tuple(_READERS)
