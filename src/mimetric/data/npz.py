"""The rows of an npz file a few at a time: what is held is a block of each array, however large the file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from math import prod
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.data.streams import Row

_BLOCK_BYTES = 1 << 22


class _Column(NamedTuple):
    """An array of a file, not yet read."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def blocks(self, file: ZipFile, rows: int) -> Iterator[NDArray[Any]]:
        per_row = self.dtype.itemsize * prod(self.shape[1:])
        with file.open(f"{self.name}.npy") as handle:
            _header(self.name, handle)
            for start in range(0, self.shape[0], rows):
                count = min(rows, self.shape[0] - start)
                content = handle.read(count * per_row)
                yield np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])
            handle.read()  # to the end, where the checksum is compared


def npz_rows(path: Path) -> Iterator[Row]:
    """The rows of `x` (n, ...), with `y` (n,), `ids` (n,) and names of the classes where the file has them.

    Raises:
        InputError: no x, a damaged file, or arrays of other lengths or types.
    """
    try:
        with ZipFile(path) as file:
            columns = _columns(file)
            count, shape = columns["x"].shape[0], columns["x"].shape[1:]
            rows = max(1, _BLOCK_BYTES // max(1, columns["x"].dtype.itemsize * prod(shape)))
            classes = [one for block in _texts(file, columns, "class_names", 1 << 16) for one in block]
            labels, ids = (_texts(file, columns, name, rows) for name in ("y", "ids"))
            start, stem = 0, path.as_posix()
            for x, y, names in zip_longest(columns["x"].blocks(file, rows), labels, ids):
                for row in range(len(x)):
                    name = f"{stem}:{start + row}" if names is None else names[row]
                    label = "" if y is None else _class(y[row], classes)
                    yield _row(x[row], name, f"{path}: row {start + row}", label)
                start += len(x)
            if not count:
                raise InputError("x has no rows")
    except (BadZipFile, EOFError, NotImplementedError, ValueError, ZlibError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("is no npz file, or a damaged one; write it by numpy.savez") from None


def _columns(file: ZipFile) -> dict[str, _Column]:
    held = [name.removesuffix(".npy") for name in file.namelist()]
    if "x" not in held:
        if "embeddings" in held:
            raise InputError("holds embeddings already; search it by --corpus, or name it as a query")
        raise InputError(f"must hold x, an array of rows; it holds {', '.join(held[:6]) or 'nothing'}")
    columns: dict[str, _Column] = {}
    for name in (name for name in ("x", "y", "ids", "class_names") if name in held):
        with file.open(f"{name}.npy") as handle:
            columns[name] = _Column(name, *_header(name, handle))
    x = columns["x"]
    if not x.shape or x.dtype.kind not in "buifU" or (len(x.shape) == 1) != (x.dtype.kind == "U"):
        raise InputError(f"x must hold rows of numbers, or texts, got {x.dtype} {x.shape}")
    for name in ("y", "ids"):
        if name in columns and columns[name].shape != x.shape[:1]:
            raise InputError(f"{name} must have one entry for each of {x.shape[0]} rows of x")
        if name in columns and columns[name].dtype.kind not in "biuU":
            raise InputError(f"{name} must hold integers or strings, got {columns[name].dtype}")
    return columns


def _header(name: str, handle: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(handle)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(handle)
    if dtype.hasobject:
        raise InputError(f"{name} holds Python objects; save a plain array")
    if by_columns and len(shape) > 1:
        raise InputError(f"{name} lies column by column; save it as numpy.ascontiguousarray({name})")
    return shape, dtype


def _texts(file: ZipFile, columns: dict[str, _Column], name: str, rows: int) -> Iterator[list[str]]:
    """An array of integers or strings as strings; nothing where the file has none."""
    if name in columns:
        for block in columns[name].blocks(file, rows):
            yield (block if block.dtype.kind == "U" else block.astype(np.int64)).astype(str).tolist()


def _class(label: str, names: list[str]) -> str:
    if label == "-1":
        return ""
    return names[int(label)] if label.isdecimal() and int(label) < len(names) else label


def _row(x: NDArray[Any], name: str, place: str, label: str) -> Row:
    if x.ndim:
        return Row(name, x, place, label)
    text = str(x)
    return Row(name, text, place, label, text, fault="" if text.strip() else "text is empty")
