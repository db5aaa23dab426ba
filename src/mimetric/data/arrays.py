"""Arrays as labelled data: of an npz file, or in memory, whosever they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.data.labelled import LabelledData, Reading, Source, labelled
from mimetric.data.splits import TEST, TRAIN


def as_data(
    x: Any,
    y: Any = None,
    *,
    split: Any = None,
    query: Any = None,
    groups: Any = None,
    ids: Any = None,
    class_names: Sequence[str] | None = None,
    by: str | None = None,
    name: str = "data",
    seed: int = 0,
) -> LabelledData:
    """Labelled data of what is in memory: arrays, tensors, frames, sparse matrices, lists of texts, or a torch Dataset.

    Args:
        x: (n, h, w), (n, h, w, c) or (n, c, h, w) images, (n, d) vectors, n texts; anything that numpy takes for an
            array of these, or that has `toarray`; or a Dataset of (sample, label) pairs, which is read once, whole.
        y: (n,) integers, -1 unlabelled, or strings; None where x is a Dataset.
        split: (n,) 0 train, 1 validation, 2 test; None splits by class or within classes.
        query: (n,) bool, of the test rows: searched among the other test rows.
        groups: (n,) rows of one group stay in one part, where there is no `split`.
        ids: (n,) names of the rows.
        class_names: of the labels 0, 1, ...
        by: "class", "rows", "group", or a fold of the classes such as "1/5", in place of `split`.
        name: what to call the data.
        seed: of what is drawn for the split.

    Raises:
        InputError: shapes that do not fit, values that are not finite, or nothing to split.

    >>> data = as_data(["to be", "or not", "to do", "or so"] * 9, ["to", "or"] * 18)
    >>> data.kind, data.x.shape, data.class_names
    ('texts', (36, 6), ('or', 'to'))
    """
    if y is None:
        x, y = _pairs(x)
    try:
        samples = samples_of("x", _array(x))
        labels = labels_of("y", _array(y), len(samples))
        columns = {"split": split, "query": query, "groups": groups, "ids": ids}
        given = {key: None if column is None else _array(column) for key, column in columns.items()}
        for key, column in given.items():
            if column is not None and column.shape != labels.shape:
                raise InputError(
                    f"{key} must have shape {labels.shape}, one entry for each row of x, got {column.shape}"
                )
        if class_names is not None:
            class_names = _names(np.asarray(class_names, str), labels)
        part, query, groups, ids = given.values()
        source = Source(samples, labels, part, query, groups, ids, class_names)
        return labelled(name, source, Reading(by=by), seed=seed)
    except InputError as error:
        raise InputError(f"as_data: {error}") from None


def _pairs(dataset: Any) -> tuple[list[Any], list[Any]]:
    """Samples and labels of a Dataset, of the kind with a length or of the kind that is iterated."""
    try:
        pairs = [dataset[i] for i in range(len(dataset))] if hasattr(dataset, "__len__") else list(dataset)
        if not all(isinstance(pair, tuple | list) and len(pair) > 1 for pair in pairs):
            raise TypeError("some are no pairs")
        samples, labels = zip(*((pair[0], pair[1]) for pair in pairs), strict=True)
    except (TypeError, IndexError, KeyError, ValueError) as error:
        raise InputError(
            f"as_data: without y, x must be a Dataset of (sample, label) pairs ({error}); give y"
        ) from None
    rows = [sample if isinstance(sample, str) else _array(sample) for sample in samples]
    other = next((i for i, row in enumerate(rows) if np.shape(row) != np.shape(rows[0])), None)
    if other is not None:
        raise InputError(
            f"as_data: samples must have one shape, sample 0 has {np.shape(rows[0])}, sample {other} has "
            f"{np.shape(rows[other])}; resize them in the Dataset"
        )
    return rows, [label.item() if hasattr(label, "item") else label for label in labels]


def _array(values: Any) -> NDArray[Any]:
    if hasattr(values, "detach"):  # a tensor, on whatever device
        values = values.detach().cpu()
    if hasattr(values, "toarray"):  # a sparse matrix
        values = values.toarray()
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cannot be taken for an array ({reason}); give rows of one shape") from None


def read_npz(path: Path) -> Source:
    """What the arrays of an npz file say: see :func:`mimetric.data.sources.load_data`."""
    arrays = _arrays(path)
    if "x" in arrays and "y" in arrays:
        x = samples_of("x", arrays["x"])
        labels = labels_of("y", arrays["y"], len(x))
        return Source(x, labels, _part(arrays, labels), class_names=_names(arrays.get("class_names"), labels))
    if not {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys():
        held = ", ".join(arrays) or "none of these"
        raise InputError(f"must hold x and y, or x_train, y_train, x_test and y_test; it holds {held}")
    train, test = (samples_of(name, arrays[name]) for name in ("x_train", "x_test"))
    y_train, y_test = (
        labels_of(name, arrays[name], len(x)) for name, x in (("y_train", train), ("y_test", test))
    )
    kinds = [(x.shape[1:], str(x.dtype), y.dtype.kind) for x, y in ((train, y_train), (test, y_test))]
    if kinds[0] != kinds[1]:
        raise InputError(f"train and test must be alike in x and y, got {kinds[0]} and {kinds[1]}")
    labels = np.concatenate((y_train, y_test))
    part = np.repeat((TRAIN, TEST), (len(train), len(test)))
    names = _names(arrays.get("class_names"), labels)
    return Source(np.concatenate((train, test)), labels, part, class_names=names)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Those arrays of the file that have a meaning here."""
    meant = ("x", "y", "split", "evaluation", "class_names", "x_train", "y_train", "x_test", "y_test")
    try:
        file = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, BadZipFile):
        raise InputError("is no npz file, or a damaged one; write it by numpy.savez") from None
    if isinstance(file, np.ndarray):
        raise InputError("is an npy file, one array alone; write x and y into an npz file by numpy.savez")
    arrays = {}
    with file:
        for name in (name for name in meant if name in file.files):
            try:
                arrays[name] = file[name]
            except (ValueError, EOFError, BadZipFile, NotImplementedError, ZlibError):
                raise InputError(f"{name} holds Python objects or is damaged; save a plain array") from None
    return arrays


def samples_of(name: str, x: NDArray[Any]) -> NDArray[Any]:
    """Images as (n, c, h, w), uint8 where the numbers allow it, else float32; vectors as float32; texts as objects."""
    if x.ndim == 1 and (x.dtype.kind == "U" or all(isinstance(one, str) for one in x)) and len(x):
        return x.astype(object)
    if x.dtype.kind not in "buif":
        raise InputError(f"{name} must hold numbers, got {x.dtype}")
    if x.ndim not in (2, 3, 4) or 0 in x.shape:
        raise InputError(
            f"{name} must be (n, h, w), (n, h, w, c) or (n, c, h, w) images or (n, d) vectors, got {x.shape}"
        )
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[3] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
        x = np.moveaxis(x, 3, 1)
    if x.ndim == 4 and x.dtype.kind == "b":
        x = x * np.uint8(255)
    if x.ndim == 4 and x.dtype.kind in "iu" and x.min() >= 0 and x.max() <= 255:
        return np.ascontiguousarray(x, np.uint8)
    with np.errstate(over="ignore"):  # too large for float32: found below
        x = np.ascontiguousarray(x, np.float32)
    bad = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(1))
    if len(bad):
        raise InputError(
            f"{name} must be finite: row {bad[0]} is the first of {len(bad):,} with NaN or infinity; "
            "fill or drop them"
        )
    return x


def labels_of(name: str, y: NDArray[Any], count: int) -> NDArray[Any]:
    """Labels (n,) as int64 or strings."""
    if y.shape != (count,):
        raise InputError(f"{name} must have shape ({count},), one class for each row of x, got {y.shape}")
    if y.dtype.kind in "biu":
        return y.astype(np.int64)
    if y.dtype.kind == "S":
        return np.char.decode(y, "utf-8", "replace")
    if y.dtype.kind == "O" and all(isinstance(one, str) for one in y):
        return y.astype(str)
    if y.dtype.kind != "U":
        raise InputError(
            f"{name} must hold integers or strings, got {y.dtype}: a class is a name, not a quantity; "
            "convert whole numbers by astype(int)"
        )
    return y


def _part(arrays: dict[str, NDArray[Any]], labels: NDArray[Any]) -> NDArray[Any] | None:
    """The split the file holds, if any."""
    name = next((name for name in ("split", "evaluation") if name in arrays), None)
    if name is None:
        return None
    part = arrays[name]
    if part.shape != labels.shape:
        raise InputError(
            f"{name} must have shape {labels.shape}, one entry for each row of x, got {part.shape}"
        )
    if name == "split":
        return part
    if not np.isin(part, (0, 1)).all():
        raise InputError(f"evaluation must hold bools, got {part.dtype}")
    unseen = part.astype(bool)
    both = np.intersect1d(labels[unseen], labels[~unseen])
    if len(both):
        raise InputError(f"evaluation must be the same in all rows of a class; class {both[0]} has both")
    return np.where(unseen, TEST, TRAIN)


def _names(names: NDArray[Any] | None, labels: NDArray[Any]) -> Sequence[str] | None:
    if names is None or labels.dtype.kind != "i":
        return None
    if names.ndim != 1 or labels.max() >= len(names) or labels.min() < -1:
        raise InputError(
            f"class_names must name the labels 0 to {labels.max()} in order, got shape {names.shape} "
            f"for labels from {labels.min()}"
        )
    return cast(list[str], names.astype(str).tolist())
