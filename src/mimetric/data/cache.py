"""Pictures decoded once: an array in a file that is mapped into memory, from where rows are read at memory speed.

The file lies in the user's cache folder, under a name made from the folder of the pictures, their names, sizes and
times, and how they are decoded: whatever changes, they are decoded again.  It is whole or absent.  The folder may be
deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.core.files import write_whole
from mimetric.data import images
from mimetric.data.images import Faults, Job
from mimetric.data.labelled import Pictures

PER_PROCESS = 256  # pictures, below which a process costs more than it saves
_BLOCK = 1 << 24  # bytes copied at once
_KEPT = 4  # arrays of one folder and size: before and after it changed, or by several lists


@dataclass(frozen=True)
class Decoded:
    """Pictures as an array, and those that could not be read."""

    x: NDArray[np.uint8]  # (good pictures, 1 or 3, side, side)
    good: NDArray[np.bool_]  # (pictures,)
    faults: dict[int, str]  # row -> why it cannot be read

    def reasons(self) -> str:
        """How many, and the first few."""
        return _few(list(self.faults.values()))


def cache_folder() -> Path:
    """`mimetric` in $XDG_CACHE_HOME or ~/.cache; not made here."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "mimetric")


def decoded(pictures: Pictures, side: int, *, skip: bool = False, processes: int | None = None) -> Decoded:
    """The middle squares of pictures, scaled to `side`; of one channel where all are gray.

    Decoded at the first call, by as many processes as there are cores; then mapped from a file.  Two processes that
    ask for the same do the work once.  What a killed one left behind is removed by the next.

    Args:
        pictures: files of a folder.
        side: of the result, in pixels.
        skip: leave out what cannot be read, in place of an error.
        processes: that decode; None is one for each core, fewer where there are few pictures.

    Raises:
        InputError: in one line, the first picture that cannot be read, a name that leaves the folder, or a disk
            without room.
    """
    stamps, missing = _stamps(pictures)
    if missing and not skip:
        raise _unreadable(pictures, missing)
    if processes is None:
        processes = min(_cores(), len(stamps) // PER_PROCESS)
    with _folder() as folder:
        place = _hashed([str(pictures.folder.resolve()), side])
        file = folder / f"{place}-{_hashed([stamps, _version()])}.npy"
        with _alone(folder / f"{place}.lock"):
            if not file.exists():
                _forget(folder, place)
                _write(file, pictures, side, missing, skip, max(1, processes))
            os.utime(file)
            faults = images.read_faults(file.with_suffix(".json").read_text()).reasons
            x = np.load(file, mmap_mode="c")  # copy on write: the file stays as it is
    if faults and not skip:
        raise _unreadable(pictures, faults)
    return Decoded(x, _without(faults, len(stamps)), faults)


def _stamps(pictures: Pictures) -> tuple[list[tuple[str, int, int]], dict[int, str]]:
    """Name, size and time of each file; why some have none."""
    stamps, missing, root = [], {}, str(pictures.folder)
    for row, name in enumerate(pictures.names):
        size = time = -1
        if leaves(name):
            missing[row] = f"{name} leaves the folder {root}; move the file into it"
        else:
            try:
                found = os.stat(f"{root}/{name}")
                size, time = found.st_size, found.st_mtime_ns
            except (OSError, ValueError) as error:  # a loop of links, or a zero byte in the name
                missing[row] = f"{name}: {getattr(error, 'strerror', None) or error}; correct the name"
        stamps.append((name, size, time))
    return stamps, missing


def leaves(name: str) -> bool:
    """Whether a path in a folder leads out of it, by its words; a symbolic link is followed wherever it leads.

    >>> leaves("a/../b.png"), leaves("../b.png"), leaves("/b.png")
    (False, True, True)
    """
    if ".." not in name and not os.path.isabs(name):
        return False
    return os.path.isabs(name) or os.path.normpath(name).split(os.sep)[0] == ".."


def _write(
    file: Path, pictures: Pictures, side: int, missing: dict[int, str], skip: bool, processes: int
) -> None:
    """Decode into a file beside, keep what can be read, and rename."""
    _check_room(file.parent, len(pictures.names) * 3 * side**2)
    rough, kept = (_temporary(file) for _ in range(2))
    try:
        found = _decode(_jobs(rough, pictures, side, missing, skip, processes))
        if found.reasons and not skip:
            raise _unreadable(pictures, found.reasons)
        faults = found.reasons | missing
        if len(faults) == len(pictures.names):
            raise InputError(f"none of {len(faults):,} pictures can be read: {_few(list(faults.values()))}")
        if found.gray or faults:
            _copy(rough, kept, _without(faults, len(pictures.names)), channels=1 if found.gray else 3)
        else:
            rough.replace(kept)
        with kept.open("rb+") as handle:
            os.fsync(handle.fileno())
        write_whole(file.with_suffix(".json"), json.dumps((found.gray, faults)).encode())
        kept.replace(file)  # the last: where it is, all is
    finally:
        for left in (rough, kept):
            left.unlink(missing_ok=True)


def _jobs(
    target: Path, pictures: Pictures, side: int, missing: dict[int, str], skip: bool, processes: int
) -> list[Job]:
    """Every so many pictures for each process, and the file they are written to, of its full size."""
    shape = (len(pictures.names), 3, side, side)
    pixels: Any = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shape)
    files = [
        (row, f"{pictures.folder}/{name}") for row, name in enumerate(pictures.names) if row not in missing
    ]
    return [
        Job(str(target), pixels.offset, side, skip, files[first::processes]) for first in range(processes)
    ]


def _decode(jobs: Sequence[Job]) -> Faults:
    """Here, where there is one job, else each in a process of its own, which runs nothing of the caller's."""
    if len(jobs) == 1:
        return images.together(images.decode(jobs[0]))
    command, pipe = [sys.executable, "-m", images.__name__], subprocess.PIPE
    running = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in jobs]
    found = Faults(True, {})
    with ThreadPoolExecutor(len(jobs)) as pool:
        try:
            for done in as_completed([pool.submit(_done, *pair) for pair in zip(running, jobs)]):
                found = images.together((found, done.result()))
                if found.reasons and not jobs[0].skip:
                    break
        finally:
            for process in running:
                process.kill()
    return found


def _done(process: subprocess.Popen[str], job: Job) -> Faults:
    said, complaint = process.communicate(json.dumps(job))
    if process.returncode:
        last = (complaint.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(f"a process that decodes pictures ended with code {process.returncode}: {last}")
    return images.together(map(images.read_faults, said.splitlines()))


def _copy(rough: Path, kept: Path, good: NDArray[np.bool_], channels: int) -> None:
    source: Any = np.load(rough, mmap_mode="r")
    shape = (int(good.sum()), channels, *source.shape[2:])
    with kept.open("wb") as target:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(target, header)
        per_row = channels * source.shape[2] * source.shape[3]
        rows = np.flatnonzero(good)
        for start in range(0, len(rows), max(1, _BLOCK // per_row)):
            block = rows[start : start + max(1, _BLOCK // per_row)]
            target.write(source[block, :channels].tobytes())


def _unreadable(pictures: Pictures, faults: dict[int, str]) -> InputError:
    row = min(faults)
    place = "" if pictures.places is None else f"{pictures.places[row]}: "
    more = f"; {len(faults):,} such were found" if len(faults) > 1 else ""
    return InputError(f"{place}{faults[row]}, or leave such out by bad=skip{more}")


def _without(faults: dict[int, str], count: int) -> NDArray[np.bool_]:
    good = np.ones(count, bool)
    good[list(faults)] = False
    return good


def _forget(folder: Path, place: str) -> None:
    """What killed processes left, and arrays of the same pictures but those used last."""
    arrays = sorted(folder.glob(f"{place}-*.npy"), key=lambda file: file.stat().st_mtime)
    old = [file.with_suffix(suffix) for file in arrays[: 1 - _KEPT] for suffix in (".npy", ".json")]
    for file in (*folder.glob(f".{place}-*"), *old):
        file.unlink(missing_ok=True)


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"decoded pictures need {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free; make room, "
            "take a smaller size, or name another folder by XDG_CACHE_HOME"
        )


@contextmanager
def _folder() -> Iterator[Path]:
    """The cache; where it cannot be written, a folder that is gone afterwards (what is mapped stays until closed)."""
    folder = cache_folder() / "pictures"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        with tempfile.TemporaryDirectory(prefix="mimetric-", ignore_cleanup_errors=True) as other:
            yield Path(other)
        return
    yield folder


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process at a time; the lock of a killed one is free."""
    from filelock import FileLock

    with FileLock(lock):
        yield


def _temporary(file: Path) -> Path:
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.stem}.", suffix=".tmp")
    os.close(handle)
    return Path(name)


def _version() -> list[str]:
    """What decodes: another pillow, or another way to read a picture, makes another array."""
    from PIL import __version__

    return [__version__, hashlib.sha256(Path(images.__file__).read_bytes()).hexdigest()]


def _hashed(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _cores() -> int:
    """Those this process may use, where the system tells."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _few(words: Sequence[str]) -> str:
    more = f" and {len(words) - 3:,} more" if len(words) > 3 else ""
    return ", ".join(words[:3]) + more
