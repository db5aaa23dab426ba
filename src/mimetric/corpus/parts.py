"""Embeddings on their way to a file: parts of some thousand rows beside it, each whole, from which work goes on."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.core.files import write_whole
from mimetric.data.splits import TEST
from mimetric.data.written import write_embeddings

_INTEGER = re.compile(r"0|[1-9]\d{0,17}")
_QUERY, _GALLERY = 3, 4  # parts, beside those of a split: see Row.part
_SHOWN = 3  # faults in words; the others are counted


class Parts:
    """The parts of one file.

    Attributes:
        rows: that are embedded.
        read: inputs that were read for them; as many are passed over to go on.
        left_out: of these.
        faults: the first few, in words.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self.rows = self.read = self.left_out = 0
        self.faults: list[str] = []
        while self._file(self._count).exists():
            self._counted(self._load(self._count))

    def add(self, columns: Mapping[str, NDArray[Any]], read: int, faults: list[str]) -> None:
        """Write one part, whole: embeddings, ids, labels, items and part, of inputs that were read."""
        told = {
            "read": np.array(read),
            "left_out": np.array(len(faults)),
            "faults": _strings(faults[:_SHOWN]),
        }
        content = io.BytesIO()
        np.savez(content, **columns, **told)  # type: ignore[arg-type]  # its stub takes a flag among them
        write_whole(self._file(self._count), content.getvalue())
        self._counted({**columns, **told})

    def column(self, name: str) -> Iterator[NDArray[Any]]:
        """A column of every part."""
        return (self._load(number)[name] for number in range(self._count))

    def assemble(self, out: Path) -> list[str]:
        """Write the file; return its columns.

        Labels are there if some row has one, as integers if all can be; items if there are some; split, query and
        gallery if all rows have a part.
        """
        given = {name for column in self.column("labels") for name in np.unique(column).tolist()} - {""}
        whole = all(map(_INTEGER.fullmatch, given))
        parts = {int(part) for column in self.column("part") for part in np.unique(column)}
        columns = ["embeddings", "ids"]
        columns += ["labels"] if given else []
        columns += ["items"] if any((column != "").any() for column in self.column("items")) else []
        columns += ["split"] if -1 not in parts and max(parts) >= TEST else []
        columns += ["query", "gallery"] if "split" in columns and max(parts) > TEST else []

        def cells(name: str) -> Iterator[NDArray[Any]]:
            if name == "labels" and whole:
                return (np.where(one == "", "-1", one).astype(np.int64) for one in self.column(name))
            if name == "split":
                return (np.minimum(one, TEST) for one in self.column("part"))
            if name in ("query", "gallery"):
                return (one == (_QUERY if name == "query" else _GALLERY) for one in self.column("part"))
            return self.column(name)

        write_embeddings(out, columns, cells)
        return columns

    def _file(self, number: int) -> Path:
        return self._folder / f"part-{number:06}.npz"

    def _load(self, number: int) -> Any:
        return np.load(self._file(number), allow_pickle=False)

    def _counted(self, part: Mapping[str, NDArray[Any]]) -> None:
        self._count += 1
        self.rows += len(part["ids"])
        self.read += int(part["read"])
        self.left_out += int(part["left_out"])
        self.faults = [*self.faults, *map(str, part["faults"])][:_SHOWN]


@contextmanager
def parts_of(out: Path, begun: Any) -> Iterator[Parts]:
    """The parts of a file; those of other inputs, or of another model, are gone.

    When all went well the parts go; on an error they stay if there are some.

    Args:
        out: the file to be.
        begun: JSON values that tell one piece of work from another.

    Raises:
        InputError: another process writes the same file.
    """
    from filelock import FileLock, Timeout

    folder = out.with_name(f".{out.name}.parts")
    folder.mkdir(exist_ok=True)
    lock = FileLock(f"{folder}.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"out: another process writes {out}; wait, or name another file") from None
    parts = None
    try:
        told = folder / "begun.json"
        content = json.dumps(begun).encode()
        if not told.exists() or told.read_bytes() != content:
            shutil.rmtree(folder)
            folder.mkdir()
            write_whole(told, content)
        parts = Parts(folder)
        yield parts
        shutil.rmtree(folder)
    finally:
        if parts is None or not parts.read:
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        Path(f"{folder}.lock").unlink(missing_ok=True)


def _strings(values: list[str]) -> NDArray[np.str_]:
    return np.array(values, np.str_)
