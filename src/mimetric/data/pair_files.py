"""Files of triplets or pairs of a data set's rows: what mining writes and training reads.  Numpy only; no torch.

Columns of a file of triplets, one a line; of others there may be any:

- `anchor`, `positive`, `negative`: rows of the data set; the first two of one class, the third of another.

Of a file of pairs:

- `anchor`, `other`: rows; `label`: 1 if they are of one class, else 0.

A row is called by its id where the data have ids, else by its path where they are pictures of different paths, else by
its number, from 0, in the data as they are loaded.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.core.files import write_whole
from mimetric.data.labelled import LabelledData
from mimetric.data.tables import Rows, read_rows

TRIPLET, PAIR = ("anchor", "positive", "negative"), ("anchor", "other", "label")
WRITTEN = (".jsonl", ".csv", ".parquet")


def row_names(data: LabelledData) -> NDArray[Any]:
    """(n,) What each row is called in a file: integers, or strings.

    >>> from mimetric.data.arrays import as_data
    >>> row_names(as_data([[float(i)] for i in range(8)], [0, 1] * 4, ids=list("abcdefgh"))).tolist()
    ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
    """
    paths = data.items if data.kind == "images" else None
    for names in (data.ids, paths):
        if names is not None and len(set(names.tolist())) == len(names):
            return names
    return np.arange(len(data.y))


def write_pair_file(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write columns of one length as the suffix says, one of ``WRITTEN``, whole or not at all.

    Raises:
        InputError: another suffix, or a file that cannot be written.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "pairs.csv"
    >>> write_pair_file(file, {"anchor": np.array([0]), "other": np.array([1]), "label": np.array([1])})
    >>> file.read_text().splitlines()
    ['anchor,other,label', '0,1,1']
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise InputError(
            f"{path}: must be one of {', '.join(WRITTEN)}, got {path.suffix or 'no suffix'}; name another file"
        )
    try:
        write_whole(path, writer(columns))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); name another file"
        ) from None


def read_pair_file(path: Path, data: LabelledData) -> NDArray[np.int64]:
    """The training rows that stand in a line together.

    Args:
        path: .csv, .tsv, .txt (tabs between columns), .jsonl, .ndjson or .parquet, with the columns above.
        data: that the file is of.

    Returns:
        (lines, 3) of a file of triplets, (lines, 2) of one of pairs: places in ``data.split.train``.
    Raises:
        InputError: in one line with file and line: a row that the data have not, that is not for training, or of
            another class than the file says, as in a file of other data; or a file that cannot be read.
    """
    try:
        return _places_of(read_rows(path, _columns), data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def _columns(held: Sequence[str]) -> dict[str, str]:
    for columns in (TRIPLET, PAIR):
        if set(columns) <= set(held):
            return {name: name for name in columns}
    raise InputError(
        "needs columns anchor, positive and negative, or anchor, other and label; it has "
        f"{', '.join(held[:8]) or 'none'}"
    )


def _places_of(lines: Rows, data: LabelledData) -> NDArray[np.int64]:
    if not lines.count:
        raise InputError("holds no lines; mine again, with smaller margins or more ranks")
    number = {str(name): row for row, name in enumerate(row_names(data).tolist())}
    trained = np.full(len(data.y), -1, np.int64)
    trained[data.split.train] = np.arange(len(data.split.train))
    called = [name for name in lines.columns if name != "label"]
    rows, labels = np.zeros((lines.count, len(called)), np.int64), np.ones(lines.count, bool)
    for at, column in enumerate(called):
        for line, name in lines.each(column):
            row = rows[line, at] = number.get(str(name), -1)
            if row < 0:
                lines.wrong(
                    line, f"{column}: {data.name} has no row {name}; give the file that was mined in it"
                )
            elif trained[row] < 0:
                lines.wrong(line, f"{column}: row {name} is not for training; mine with --part train")
    for line, label in lines.each("label") if "label" in lines.columns else ():
        labels[line] = str(label) == "1"
        if str(label) not in ("0", "1"):
            lines.wrong(line, f"label must be 1, of one class, or 0, got {label}")
    _check_classes(lines, data, rows, labels)
    if lines.faults:
        raise InputError(lines.faults[min(lines.faults)])
    return trained[rows]


def _check_classes(
    lines: Rows, data: LabelledData, rows: NDArray[np.int64], labels: NDArray[np.bool_]
) -> None:
    """The second row of a line is of the first one's class if the label says so; a third one is of another."""
    same = data.y[rows[:, 1:]] == data.y[rows[:, :1]]
    for line in (rows[:, 0] == rows[:, 1]).nonzero()[0]:
        lines.wrong(int(line), "names a row twice; leave the line out")
    told = np.pad(labels[:, None], ((0, 0), (0, same.shape[1] - 1)))
    for line, at in zip(*(same != told).nonzero()):
        own, other = (data.class_names[data.y[row]] for row in (rows[line, 0], rows[line, at + 1]))
        named = list(lines.columns)[at + 1]
        lines.wrong(
            int(line),
            f"{named} is of class {other}, anchor of {own}; give the file that was mined in {data.name}",
        )


def _jsonl(columns: Mapping[str, NDArray[Any]]) -> bytes:
    lines = (json.dumps(dict(zip(columns, line)), ensure_ascii=False) for line in _lines(columns))
    return "".join(f"{line}\n" for line in lines).encode()


def _csv(columns: Mapping[str, NDArray[Any]]) -> bytes:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(_lines(columns))
    return text.getvalue().encode()


def _parquet(columns: Mapping[str, NDArray[Any]]) -> bytes:
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise InputError("Parquet needs pyarrow: pip install 'mimetric[app]'; or write .jsonl") from None
    file = io.BytesIO()
    parquet.write_table(pyarrow.table({name: column.tolist() for name, column in columns.items()}), file)
    return file.getvalue()


def _lines(columns: Mapping[str, NDArray[Any]]) -> Any:
    return zip(*(column.tolist() for column in columns.values()))


_WRITERS = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
