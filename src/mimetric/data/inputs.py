"""What the inputs of a command are: files, folders or names of data, opened as streams of rows, and encoded in batches.

Rows come one by one, pictures are decoded ahead by threads (pillow holds no lock while it decodes and scales), and
what is held at a time is a few batches, however many rows there are.  Numpy only; no torch.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.data.images import IMAGE_FORMATS
from mimetric.data.labelled import LabelledData
from mimetric.data.npz import npz_rows
from mimetric.data.rows import like_training
from mimetric.data.sources import load_data
from mimetric.data.streams import LISTS, Row, line_rows, list_rows

TEXT = ".txt"
_EMBEDDED = ("digits", "glyphs", "names")  # data that are no files
_QUERY, _GALLERY = 3, 4  # parts, beside those of a split
_AHEAD = 2  # batches prepared while one is encoded


class Takes(NamedTuple):
    """What an encoder takes: rows of a shape and a type, as its training data had."""

    shape: tuple[int, ...]
    dtype: str | None = None  # None where it is not known

    @property
    def kind(self) -> str:
        """Of a row: "images", "texts" or "vectors"."""
        if len(self.shape) == 3:
            return "images"
        return "texts" if self.dtype == "int32" else "vectors"


class Opened(NamedTuple):
    """An input that is there."""

    state: tuple[Any, ...]  # another one where the input is another, or has changed
    rows: Callable[[], Iterator[Row]]


class Batch(NamedTuple):
    """Rows ready for the encoder."""

    x: NDArray[Any]  # (n, ...)
    rows: list[Row]  # n
    read: int  # inputs that were read for it: n, and those left out
    faults: list[str]  # of those


def open_input(name: str, takes: Takes, columns: Mapping[str, str] = {}, root: Path | None = None) -> Opened:
    """One input as a stream of rows.

    - a picture;
    - a folder, with all in it: pictures, or texts (.txt, one a file) for an encoder of texts; what lies in a folder
      of it has that folder's name as label;
    - a list, .csv, .tsv, .jsonl, .ndjson or .parquet (:func:`mimetric.data.streams.list_rows`);
    - .npz with `x` and, if you like, `y` and `ids` (:func:`mimetric.data.npz.npz_rows`);
    - .txt, a text a line;
    - data by name, as :func:`mimetric.data.sources.load_data` takes them (``digits``, ``folder:PATH``, ...): with their
      labels and their split.

    Args:
        name: one of these.
        takes: what the encoder takes.
        columns: names in lists for some of path, text, vector, label and id.
        root: the folder that paths in lists are in; None is that of the list.

    Raises:
        InputError: nothing there, or nothing that is known.  What is wrong inside is raised as rows are read.
    """
    path = Path(name).expanduser()
    suffix = path.suffix.lower()
    if path.is_dir():
        return _folder(path, (TEXT,) if takes.kind == "texts" else tuple(IMAGE_FORMATS))
    if not path.exists():
        if is_data(name):
            data = load_data(name)
            return Opened((name, data.note, _digest(data)), lambda: data_rows(data))
        raise InputError(f"{name}: no such file or folder")
    if suffix in IMAGE_FORMATS:
        return Opened(_state(path), lambda: iter([Row(path.as_posix(), path)]))
    readers: dict[str, Callable[[], Iterator[Row]]] = {
        **dict.fromkeys(LISTS, lambda: list_rows(path, columns, root)),
        ".npz": lambda: npz_rows(path),
        TEXT: lambda: line_rows(path),
    }
    if suffix not in readers:
        known = ", ".join((*readers, *IMAGE_FORMATS))
        raise InputError(f"{name}: inputs are folders or {known} files, got {suffix or 'no suffix'}")
    return Opened(_state(path), lambda: _naming(path, readers[suffix]()))


def is_data(name: str) -> bool:
    """Whether a name that is no path is one of data, as ``digits`` and ``folder:PATH`` are."""
    return ":" in name or name in _EMBEDDED


def _naming(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    """Errors name the file."""
    try:
        yield from rows
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def _state(path: Path) -> tuple[Any, ...]:
    try:
        found = path.stat()
    except OSError:  # such as a link to nothing: its row says so
        return (path.as_posix(), -1, -1)
    return (path.as_posix(), found.st_size, found.st_mtime_ns)


def _digest(data: LabelledData) -> str:
    found = hashlib.sha256(data.y.tobytes())
    for start in range(0, len(data.x), 4096):
        found.update(np.ascontiguousarray(data.x[start : start + 4096]).data)
    return found.hexdigest()


def _folder(root: Path, suffixes: tuple[str, ...]) -> Opened:
    state = hashlib.sha256()
    for file in _files(root, suffixes):
        state.update(repr(_state(file)).encode())
    return Opened((root.as_posix(), state.hexdigest()), lambda: _folder_rows(root, suffixes))


def _folder_rows(root: Path, suffixes: tuple[str, ...]) -> Iterator[Row]:
    file = None
    for file in _files(root, suffixes):
        inside = file.relative_to(root).parts
        label = inside[0] if len(inside) > 1 else ""
        if suffixes != (TEXT,):
            yield Row(file.as_posix(), file, label=label)
            continue
        try:
            text = file.read_text(encoding="utf-8-sig").strip()
            fault = "" if text else "is empty"
        except (UnicodeDecodeError, OSError) as error:
            text, fault = "", getattr(error, "strerror", None) or "is not UTF-8"
        yield Row(file.as_posix(), text, str(file), label, text, fault=fault)
    if file is None:
        raise InputError(
            f"{root}: holds no files of a kind that the run takes; known are {', '.join(suffixes)}"
        )


def _files(folder: Path, suffixes: tuple[str, ...], above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Files in a folder and those in it, by name; hidden ones and links that lead back up are left out."""
    here = folder.resolve()
    if here in above:
        return
    try:
        entries = sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}") from None
    for entry in (folder / name for name in entries if not name.startswith(".")):
        if entry.is_dir():
            yield from _files(entry, suffixes, (*above, here))
        elif entry.suffix.lower() in suffixes:
            yield entry


def data_rows(data: LabelledData, rows: NDArray[np.int64] | None = None) -> Iterator[Row]:
    """Some rows of data at hand, or all, with their class names and their part of the split."""
    part, split = data.split.part().astype(int), data.split
    if split.query is not None and split.gallery is not None:
        part[split.query], part[split.gallery] = _QUERY, _GALLERY
    names = data.ids if data.ids is not None or data.kind == "texts" else data.items
    for row in range(len(data.x)) if rows is None else rows.tolist():
        name = f"{data.name}:{row}" if names is None else str(names[row])
        texts = data.items if data.kind == "texts" else None
        sample, item = (data.x[row], "") if texts is None else (texts[row], texts[row])
        yield Row(
            name, sample, f"{data.name}: row {row}", data.class_names[data.y[row]], item, int(part[row])
        )


def batches(
    rows: Iterable[Row],
    takes: Takes,
    *,
    batch_size: int = 256,
    skip: bool = False,
    seen: Iterable[str] = (),
) -> Iterator[Batch]:
    """Rows as the encoder takes them, every so many that are read, in their order.

    Args:
        rows: of :func:`open_input`.
        takes: what the encoder takes.
        batch_size: rows that are read for a batch.
        skip: leave out rows with a fault, in place of an error at the first.
        seen: ids of rows before these.

    Raises:
        InputError: a row that cannot be read, or whose id was there before: file and row, and why.
    """
    rows, known, pool = iter(rows), _Ids(seen), ThreadPoolExecutor()
    ahead: deque[tuple[list[Row], list[_Job]]] = deque()
    try:
        while read := [known.checked(row) for row in islice(rows, batch_size)]:
            ahead.append((read, _jobs(pool, read, takes)))
            if len(ahead) > _AHEAD:
                yield _batch(*ahead.popleft(), skip)
        yield from (_batch(*one, skip) for one in ahead)
    finally:
        pool.shutdown(cancel_futures=True)


class _Job(NamedTuple):
    """Rows that are prepared together."""

    rows: list[Row]
    done: Future[list[NDArray[Any] | str]]


def _jobs(pool: ThreadPoolExecutor, rows: Sequence[Row], takes: Takes) -> list[_Job]:
    """Each picture alone; numbers and texts together."""
    good = [row for row in rows if not row.fault]
    alone = [[row] for row in good if isinstance(row.sample, Path)]
    others = [row for row in good if not isinstance(row.sample, Path)]
    groups = [*alone, others] if others else alone
    return [_Job(group, pool.submit(_prepared, group, takes)) for group in groups]


def _prepared(rows: Sequence[Row], takes: Takes) -> list[NDArray[Any] | str]:
    """Each row as the encoder takes it, or what is wrong with it."""
    samples = [row.sample for row in rows]
    try:
        if isinstance(samples[0], Path) and takes.kind != "images":
            raise InputError(f"{samples[0]} is a picture, and the run takes {takes.kind}")
        x = like_training(samples, takes.shape, takes.dtype)
    except InputError as error:
        return [str(error)] if len(rows) == 1 else list(chain(*(_prepared([row], takes) for row in rows)))
    if x.dtype.kind != "f":
        return list(x)
    finite = np.isfinite(x).reshape(len(x), -1).all(1)
    return [one if good else "must hold finite numbers" for one, good in zip(x, finite)]


def _batch(read: list[Row], jobs: Sequence[_Job], skip: bool) -> Batch:
    found: dict[int, NDArray[Any] | str] = {id(row): row.fault for row in read if row.fault}
    for job in jobs:
        found |= zip(map(id, job.rows), job.done.result())
    faults = [
        ": ".join(filter(None, (row.place, fault)))
        for row in read
        if isinstance(fault := found[id(row)], str)
    ]
    if faults and not skip:
        correct = "" if "; " in faults[0] else "; correct it"
        raise InputError(f"{faults[0]}{correct}, or leave such rows out by --bad=skip")
    good = [(row, x) for row in read if not isinstance(x := found[id(row)], str)]
    x = np.stack([x for _, x in good]) if good else np.empty(0)
    return Batch(x, [row for row, _ in good], len(read), faults)


class _Ids:
    """Names that were there, by 64 bits of a hash: 8 bytes for each, and one in 10^5 sets of 10^7 has a false alarm."""

    def __init__(self, seen: Iterable[str]) -> None:
        self._old, self._new = np.empty(0, np.uint64), set[int]()
        for name in seen:
            self._add(name)

    def checked(self, row: Row) -> Row:
        """The row, with a fault if its id was there before."""
        if row.fault or self._add(row.id):
            return row
        place = row.place or str(row.sample)
        fault = f"id {row.id!r} was there before, and ids must differ; name each input once"
        return row._replace(fault=fault, place=place)

    def _add(self, name: str) -> bool:
        """Whether it is new."""
        key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
        place = int(np.searchsorted(self._old, np.uint64(key)))
        if key in self._new or (place < len(self._old) and int(self._old[place]) == key):
            return False
        self._new.add(key)
        if len(self._new) > 1 << 16:
            new = np.fromiter(self._new, np.uint64, len(self._new))
            self._old, self._new = np.sort(np.concatenate((self._old, new)), kind="stable"), set()
        return True
