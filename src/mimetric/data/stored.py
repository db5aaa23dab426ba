"""Rows that stay where they are, on disk, and are read a batch at a time: data larger than memory.

A source is an array that is mapped into memory, such as pictures decoded once or ``numpy.load(file, mmap_mode="r")``,
or anything with a length whose items are rows, such as a torch Dataset of files.  Processes read ahead where asked
(:func:`read_ahead`); what goes wrong in one is told in a line, and nobody waits for a dead one.
"""

from __future__ import annotations

import mmap
import os
import signal
import weakref
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mimetric.core.digests import digest
from mimetric.core.errors import InputError

_PART = 512  # rows read at once where all are


class Read(NamedTuple):
    """A batch as it was read."""

    x: Tensor  # (k, ...)
    good: Tensor  # (n,) bool: which k of the n rows asked for these are
    faults: dict[int, str]  # row of the source -> why it is not among them


class DeadWorkerError(InputError):
    """A process that read rows has ended; what was learned from rows before is whole."""


class StoredRows:
    """Rows of a source, read when they are asked for: ``rows[batch]`` is a tensor in memory.

    Args:
        source: a mapped array (n, ...), or what has a length and gives row i as ``source[i]``: an array or a tensor, or
            a tuple that begins with one.  Floating point comes as float32.  An array that is mapped read-only (mode
            "r") is read from its file: what is read through a map, up to 2 MB around a row, stays resident.
        places: (m,) which of its rows these are, in order; None is all.
        skip: leave rows that cannot be read, or are not finite, out of their batch; else such a row is an error.

    Attributes:
        shape, dtype, device: of all rows, (m, ...), as they are read.

    Raises:
        InputError: the source is empty, or its first row cannot be read.

    >>> class Files(Dataset):
    ...     def __len__(self):
    ...         return 10
    ...
    ...     def __getitem__(self, row):
    ...         return torch.full((2,), float(row)), "label"
    >>> rows = StoredRows(Files(), places=[7, 8, 9])
    >>> rows.shape, rows[torch.tensor([2, 0])][:, 0]
    ((3, 2), tensor([9., 7.]))
    """

    def __init__(self, source: Any, places: Any = None, *, skip: bool = False) -> None:
        if not len(source):
            raise InputError("StoredRows: source must hold at least one row, got none")
        self.source, self.skip = source, skip
        self._places = torch.arange(len(source)) if places is None else torch.as_tensor(places)
        self._file = _file_of(source)
        if self._file is not None:
            weakref.finalize(self, os.close, self._file.number)
        first = self._row(int(self._places[0]) if len(self._places) else 0)
        if isinstance(first, str):
            raise InputError(
                f"StoredRows: the first row cannot be read ({first}); mend it, or begin with another"
            )
        self.shape, self.dtype, self.device = (len(self._places), *first.shape), first.dtype, first.device

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return len(self._places)

    def __reduce__(self) -> tuple[Any, ...]:
        """Where another process is not a copy of this one, it opens the file again: an array would be sent whole."""
        return _rebuilt, (self.source if self._file is None else self._file, self._places, self.skip)

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """The rows (k, ...) at those places, as :meth:`read`."""
        return self.read(torch.arange(len(self))[rows] if isinstance(rows, slice) else rows.cpu()).x

    def chosen(self, rows: Tensor) -> StoredRows:
        """Some of the rows, by places (k,) or bool (m,); nothing is read."""
        return StoredRows(self.source, self._places[rows.cpu()], skip=self.skip)

    def parts(self) -> Iterator[Tensor]:
        """All rows in order, some at a time."""
        return (self[start : start + _PART] for start in range(0, max(1, len(self)), _PART))

    @cached_property
    def digest(self) -> str:
        """A hash of what an array's rows hold, which reads them all; of other sources, of their number and shape."""
        found = sha256(f"{self.dtype}{self.shape}".encode())
        if isinstance(self.source, np.ndarray):
            for part in self.parts():
                found.update(digest(part).encode())
        return found.hexdigest()

    def read(self, rows: Tensor) -> Read:
        """The rows at places (n,), and which of them could be read.

        Raises:
            InputError: one could not, unless such are left out.
        """
        places = self._places[rows]
        x, faults = self._array(places) if isinstance(self.source, np.ndarray) else self._items(places)
        if x.is_floating_point():
            finite = torch.isfinite(x).flatten(1).all(1)
            faults = dict.fromkeys((~finite).nonzero()[:, 0].tolist(), "its values are not finite") | faults
        if not faults:
            return Read(x, torch.ones(len(x), dtype=torch.bool), {})
        told = {int(places[row]): reason for row, reason in sorted(faults.items())}
        if not self.skip:
            place, reason = next(iter(told.items()))
            raise InputError(
                f"row {place} cannot be read: {reason}; mend it, or leave such out by StoredRows(..., skip=True)"
            )
        good = torch.ones(len(x), dtype=torch.bool)
        good[list(faults)] = False
        return Read(x[good], good, told)

    def _array(self, places: Tensor) -> tuple[Tensor, dict[int, str]]:
        found = self.source[places.numpy()] if self._file is None else self._file.read(places.tolist())
        return _as_float32(torch.from_numpy(np.asarray(found))), {}

    def _items(self, places: Tensor) -> tuple[Tensor, dict[int, str]]:
        """Rows one by one, with anything in the place of those that cannot be read."""
        x, faults = torch.zeros(len(places), *self.shape[1:], dtype=self.dtype), {}
        for at, place in enumerate(places.tolist()):
            row = self._row(place)
            if isinstance(row, str):
                faults[at] = row
            elif (row.shape, row.dtype) != (x.shape[1:], x.dtype):
                faults[at] = (
                    f"it must be {self.dtype} {tuple(self.shape[1:])} as the first, got {row.dtype} {tuple(row.shape)}"
                )
            else:
                x[at] = row
        return x, faults

    def _row(self, place: int) -> Tensor | str:
        """A row, or why it cannot be read."""
        try:
            item = self.source[place]
            row = item[0] if isinstance(item, tuple | list) else item
            return _as_float32(torch.as_tensor(np.array(row) if isinstance(row, np.ndarray) else row))
        except Exception as error:  # readers of files raise anything on damaged ones
            return " ".join(f"{type(error).__name__}: {error}".split())


def read_ahead(
    rows: StoredRows, batches: Iterable[Tensor], *, workers: int = 0, pin: bool = False, seed: int = 0
) -> Generator[Read]:
    """The rows of one batch after another.

    Args:
        rows: what is read.
        batches: places (n,) of the rows of each; with workers they are asked for ahead of time.
        workers: processes that read, two batches ahead each; 0 reads here, when the batch is wanted.
        pin: into memory that an accelerator copies from while it computes.
        seed: of what sources draw in those processes.

    Raises:
        InputError: a row cannot be read, also in another process.
        DeadWorkerError: a process has ended; raise it by :func:`deaths_named` around the loop.

    >>> rows = StoredRows(np.arange(12.0).reshape(6, 2))
    >>> [found.x[:, 0].tolist() for found in read_ahead(rows, torch.tensor([[0, 5], [1, 2]]))]
    [[0.0, 10.0], [2.0, 4.0]]
    """
    loader = DataLoader(
        _Told(rows), batch_size=None, sampler=(batch.tolist() for batch in batches),
        num_workers=workers, pin_memory=pin, generator=torch.Generator().manual_seed(seed), worker_init_fn=_obedient,
    )  # fmt: skip
    reading = iter(loader)
    try:
        for found in reading:
            if isinstance(found, str):
                raise InputError(found)
            yield found
    except (EOFError, ConnectionError, FileNotFoundError):  # where it ended while it handed a batch over
        raise _dead(workers, "it hands over nothing more") from None
    finally:
        if workers:  # or torch tells of a dead one again and again, at the end of any other process
            reading._shutdown_workers()  # type: ignore[attr-defined]


@contextmanager
def deaths_named(workers: int) -> Iterator[None]:
    """Say in one line that a reading process has ended; torch tells of it wherever this process is at that moment."""
    try:
        yield
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        if not reason.startswith("DataLoader worker"):
            raise
        raise _dead(workers, reason) from None


def stored(x: Any) -> StoredRows | None:
    """Rows that are better left where they are, a mapped array or a torch Dataset; None for what lies in memory."""
    if isinstance(x, StoredRows):
        return x
    return StoredRows(x) if isinstance(x, Dataset) or _mapped(x) is not None else None


def digest_of(x: Tensor | StoredRows, *rest: Tensor) -> str:
    """A hash of rows in memory or on disk, and of tensors, as :func:`~mimetric.core.digests.digest` makes them."""
    if isinstance(x, Tensor):
        return digest(x, *rest)
    return sha256(f"{x.digest} {digest(*rest)}".encode()).hexdigest()


class _Told(Dataset[Any]):
    """Batches for a loader.  An error comes as its words: torch would put a traceback around one that is raised."""

    def __init__(self, rows: StoredRows) -> None:
        self._rows = rows

    def __getitem__(self, batch: list[int]) -> Read | str:
        try:
            return self._rows.read(torch.tensor(batch))
        except InputError as error:
            return str(error)


def _dead(workers: int, reason: str) -> DeadWorkerError:
    return DeadWorkerError(
        f"workers: a process that reads rows has ended ({reason.rstrip('. ')}), often for want of memory; take fewer "
        f"workers than {workers}, or smaller batches"
    )


def _obedient(_: int) -> None:
    """A reading process ends when it is told to; Ctrl-C is for the process that trains, which tells it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _as_float32(x: Tensor) -> Tensor:
    return x.float() if x.is_floating_point() else x


def _mapped(array: Any) -> Any:
    """The array of a whole mapped file that an array is, or is a view of; None where there is none."""
    while isinstance(array, np.ndarray):
        if isinstance(array.base, mmap.mmap):
            return array
        array = array.base
    return None


def _file_of(array: Any) -> _File | None:
    """The file that an array is mapped from, if it can be read in its place and is still what the array is."""
    whole = _mapped(array)
    name = getattr(whole, "filename", None)
    if name is None or array.flags.writeable or not array.flags.c_contiguous or not hasattr(os, "preadv"):
        return None
    try:
        number = os.open(name, os.O_RDONLY)
    except OSError:  # removed since
        return None
    offset = whole.offset + array.ctypes.data - whole.ctypes.data
    file = _File(number, str(name), offset, array.dtype.str, array.shape)
    if np.array_equal(file.read([0, len(array) - 1]), array[[0, -1]], equal_nan=array.dtype.kind == "f"):
        return file
    os.close(number)  # replaced by another
    return None


class _File(NamedTuple):
    """Where a mapped array lies."""

    number: int  # as the system counts open files
    name: str
    offset: int
    dtype: str
    shape: tuple[int, ...]

    def read(self, rows: list[int]) -> NDArray[Any]:
        found: NDArray[Any] = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for row, space in zip(rows, found):
            at = self.offset + row * space.nbytes
            if os.preadv(self.number, [space], at) != space.nbytes:
                raise InputError(
                    f"{self.name} ends before row {row}: it was cut since it was opened; restore it"
                )
        return found


def _rebuilt(source: Any, places: Tensor, skip: bool) -> StoredRows:
    if isinstance(source, _File):
        source = np.memmap(source.name, source.dtype, "r", source.offset, source.shape)
    return StoredRows(source, places, skip=skip)
