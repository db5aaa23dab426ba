"""What a loaded set is: rows as one array, whatever they were, with class ids and a split.

Readers of files hand over a :class:`Source`; :func:`labelled` decodes pictures, turns texts into numbers, numbers the
classes and splits what came without a split.  Numpy only; no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.data.splits import Split, automatic, class_disjoint, class_folds, grouped, official, stratified
from mimetric.data.texts import code_points

IMAGE_SIDE = 64  # of decoded pictures, unless told
TEXT_LENGTH = 256  # code points that are kept of a text, unless told

Strings = NDArray[np.object_]  # (n,) str


@dataclass(frozen=True)
class LabelledData:
    """Samples with class ids and a split.

    Every class 0..len(class_names)-1 has at least one row.

    `x` is an array whatever the rows were: ``x[rows]`` are samples in memory.  Of pictures it lies in a file that
    is mapped into memory, so that a set may be larger than that.  `items` are the rows as people see them.
    """

    name: str  # as asked for: "glyphs", "npz:PATH", ...
    x: NDArray[
        Any
    ]  # (n, ...): images (c, h, w), uint8 or float32; vectors (d,), float32; texts (length,), int32
    y: NDArray[np.int64]  # (n,)
    class_names: tuple[str, ...]
    split: Split
    note: str  # one line for people: how it was split, and what was left out
    items: Strings | None = None  # (n,) the texts, or the paths of the pictures in their folder
    ids: NDArray[Any] | None = None  # (n,) names of the rows, where the data have such
    folder: Path | None = None  # of the pictures

    @property
    def kind(self) -> Literal["images", "vectors", "texts"]:
        """What a row is; texts are code points, 0 behind their end."""
        if self.x.dtype == np.int32:
            return "texts"
        return "images" if self.x.ndim == 4 else "vectors"


@dataclass(frozen=True)
class Pictures:
    """Files of pictures, not yet decoded."""

    folder: Path
    names: Strings  # paths in the folder, with /
    places: Strings | None = None  # where a list names each, such as "line 7"

    def kept(self, rows: NDArray[np.bool_]) -> Pictures:
        return Pictures(self.folder, self.names[rows], None if self.places is None else self.places[rows])


@dataclass(frozen=True)
class Source:
    """What a file or a folder holds, checked row by row but neither decoded nor split."""

    samples: NDArray[Any] | Pictures  # images, vectors as in LabelledData.x, or texts (n,) as objects
    labels: NDArray[Any]  # (n,) int64 or strings; -1 is unlabelled
    part: NDArray[Any] | None = None  # (n,) as in :func:`official`
    query: NDArray[np.bool_] | None = None  # (n,) test rows that are searched among the other test rows
    groups: NDArray[Any] | None = None  # (n,) rows of one group stay together, where rows are split
    ids: NDArray[Any] | None = None  # (n,)
    class_names: Sequence[str] | None = None  # of the labels 0, 1, ...
    left_out: tuple[str, ...] = ()

    def kept(self, rows: NDArray[np.bool_], left_out: str) -> Source:
        """These rows alone; the note says what became of the others."""
        if rows.all():
            return self
        part, query, groups, ids = (
            None if column is None else column[rows]
            for column in (self.part, self.query, self.groups, self.ids)
        )
        samples = self.samples.kept(rows) if isinstance(self.samples, Pictures) else self.samples[rows]
        return Source(
            samples, self.labels[rows], part, query, groups, ids, self.class_names, (*self.left_out, left_out)
        )


@dataclass(frozen=True)
class Reading:
    """How a source is read, where there is a choice."""

    size: int = IMAGE_SIDE  # side of decoded pictures
    length: int = TEXT_LENGTH  # of texts, in code points
    skip: bool = False  # leave out rows that cannot be read, and say so; else stop at the first
    by: str | None = None  # "class", "rows", "group" or "2/5", in place of the split that the data have


def labelled(name: str, source: Source, reading: Reading = Reading(), *, seed: int = 0) -> LabelledData:
    """Rows as one array, numbered classes and a split.

    Raises:
        InputError: fewer than two classes, names that are not one for each, nothing to split, or pictures that cannot
            be read.
    """
    if source.labels.dtype.kind == "i":
        known = source.labels != -1
        source = source.kept(known, f"rows with label -1 left out as unlabelled: {(~known).sum():,}")
    x: NDArray[Any]
    samples, items, folder = source.samples, None, None
    if isinstance(samples, Pictures):
        from mimetric.data.cache import decoded

        found = decoded(samples, reading.size, skip=reading.skip)
        source = source.kept(found.good, f"pictures left out as unreadable: {found.reasons()}")
        x, items, folder = found.x, samples.names[found.good], samples.folder
        x.flags.writeable = False  # so that mimetric.data.stored may read the file in its place
    elif samples.dtype.kind == "O":
        items, x = samples, code_points(samples, reading.length)
        if cut := sum(len(text) > reading.length for text in samples):
            left_out = (*source.left_out, f"texts cut to {reading.length} code points: {cut:,}")
            source = replace(source, left_out=left_out)
    else:
        x = samples
    y, class_names = _numbered(source)
    split = _split(y, source, reading.by, seed)
    note = "; ".join((split.describe(y), *source.left_out))
    return LabelledData(name, x, y, class_names, split, note, items, source.ids, folder)


def _numbered(source: Source) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    classes, y = np.unique(source.labels, return_inverse=True)
    if len(classes) < 2:
        raise InputError("; ".join((f"needs at least 2 classes, got {len(classes)}", *source.left_out)))
    names = classes if source.class_names is None else [source.class_names[label] for label in classes]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise InputError(
            f"class_names must differ, {twice[0]!r} names two classes; give each a name of its own"
        )
    return y.astype(np.int64), tuple(str(name) for name in names)


def _split(y: NDArray[np.int64], source: Source, by: str | None, seed: int) -> Split:
    fold, of, count = (by or "").partition("/")
    if of:
        if not (fold.isdecimal() and count.isdecimal() and 1 <= int(fold) <= int(count)):
            raise InputError(f"by: a fold must be 1/5 to 5/5, or of another number, got {by}")
        return class_folds(y, int(count), seed=seed)[int(fold) - 1]
    if by == "class":
        return class_disjoint(y, seed=seed)
    if by == "rows":
        return stratified(y, seed=seed)
    if by == "group":
        if source.groups is None:
            raise InputError(
                "by: the data have no groups; give a list a column group, or split by class or rows"
            )
        return grouped(y, source.groups, seed=seed)
    if by is not None:
        raise InputError(f"by: must be class, rows, group or a fold such as 1/5, got {by}")
    if source.part is not None:
        return official(y, source.part, query=source.query, seed=seed)
    if source.groups is not None:
        return grouped(y, source.groups, seed=seed)
    return automatic(y, seed=seed)
