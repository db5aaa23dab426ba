"""Splits that are kept with a run, under a name that says what they are."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike

from mimetric.core.errors import InputError
from mimetric.core.files import write_whole
from mimetric.data.splits import TEST, TRAIN, VALIDATION, Split


def split_hash(split: Split, labels: ArrayLike) -> str:
    """A name for which rows train, validate, test and query, with their labels: 64 hexadecimal digits, SHA-256.

    Equal where all these are equal, whatever drew them; what the rows hold is not looked at.

    >>> from mimetric.data.splits import class_disjoint
    >>> labels = [0, 0, 1, 1, 2, 2, 3, 3]
    >>> split_hash(class_disjoint(labels, test_classes=[1, 3], validation_fraction=0), labels)[:8]
    'e42afd4b'
    """
    labels, found = np.asarray(labels), hashlib.sha256()
    for name in ("train", "validation", "test", "query"):
        rows = getattr(split, name)
        if rows is None:
            continue
        found.update(f"{name} {len(rows)}\n".encode())
        found.update(rows.astype("<i8").tobytes())
        found.update("\n".join(map(str, labels[rows].tolist())).encode())
    return found.hexdigest()


def write_split(folder: Path, split: Split, labels: ArrayLike) -> Path:
    """Write a split into a folder, as `split-` and the first 16 digits of its hash; the same split is the same file.

    Raises:
        OSError: as when the disk is full.
    """
    name = split_hash(split, labels)
    packed = io.BytesIO()
    query = np.zeros(0, np.int64) if split.query is None else split.query
    np.savez_compressed(packed, kind=split.kind, part=split.part(), query=query, sha256=name)
    path = folder / f"split-{name[:16]}.npz"
    write_whole(path, packed.getvalue())
    return path


def read_split(path: Path, labels: ArrayLike) -> Split:
    """The split that :func:`write_split` wrote, of the same rows.

    Args:
        path: the file.
        labels: (n,) class ids of the rows as they are now.

    Raises:
        InputError: the file is damaged, or the labels are not those it was written for.
    """
    try:
        with np.load(path, allow_pickle=False) as saved:
            part, query, kind, name = (saved[key] for key in ("part", "query", "kind", "sha256"))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise InputError(f"{path}: is no split, or a damaged one ({error}); split the data again") from None
    labels = np.asarray(labels)
    train, validation, test = (np.flatnonzero(part == code) for code in (TRAIN, VALIDATION, TEST))
    split = Split(kind.item(), train, validation, test, query if len(query) else None)
    if part.shape != labels.shape or split_hash(split, labels) != name.item():
        raise InputError(f"{path}: was written for other labels than these; split the data again")
    return split
