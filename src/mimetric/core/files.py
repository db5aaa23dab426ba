"""Files that are whole or absent: written under another name, forced to disk, then renamed; and so is the folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .errors import InputError


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path`, replacing what was there; after a crash it is the old or the new file.

    Files written one after the other reach the disk in that order.  A process that is killed while it writes leaves
    a file ``.NAME.*.tmp``: see :func:`remove_others`.

    Raises:
        OSError: as when the disk is full; what was there still is.

    >>> folder = Path(tempfile.mkdtemp())
    >>> write_whole(folder / "a.txt", b"whole")
    >>> [file.name for file in folder.iterdir()]
    ['a.txt']
    """
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """The same for what is written in parts: a file that takes the place of another once it is whole and on disk."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # a temporary file is private to its owner
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def remove_others(folder: Path, kinds: Sequence[str], kept: Sequence[str]) -> None:
    """Delete files of some kinds, such as ``weights-*``, but those to be kept, and what killed writes left of such.

    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("a-1", "a-2", ".a-3.xy.tmp", "b-1"):
    ...     write_whole(folder / name, b"")
    >>> remove_others(folder, ["a-*"], kept=["a-2"])
    >>> sorted(file.name for file in folder.iterdir())
    ['a-2', 'b-1']
    """
    for kind in kinds:
        for file in (*folder.glob(kind), *folder.glob(f".{kind}.*.tmp")):
            if file.name not in kept:
                file.unlink(missing_ok=True)


def writable_folder(folder: Path, option: str = "out") -> Path:
    """The folder, made if absent and tried with a file, so that a long run does not end in an error.

    Raises:
        InputError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{option}: cannot write to {folder} ({reason}); name another folder") from None
    return folder


def _sync(folder: Path) -> None:
    """Force the names in a folder to disk, where the system can."""
    with suppress(OSError):  # Windows opens no folders, and some network file systems sync none
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
