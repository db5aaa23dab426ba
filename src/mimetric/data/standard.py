"""The standard sets of image retrieval in the layouts their publishers ship, with the official class-disjoint splits.

Nothing is downloaded: where a set is missing, the error says what to get and where to put it.  What is read is counted
and compared with what was published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.data.labelled import Pictures, Source
from mimetric.data.splits import TEST, TRAIN


class Listed(NamedTuple):
    """One picture, as the publisher lists it."""

    path: str
    label: str | int
    part: int
    query: bool = False
    group: str = ""


@dataclass(frozen=True)
class Published:
    """A standard set: how it is read, what it must hold, and where it comes from."""

    folder: str  # that the archive makes
    needs: tuple[str, ...]  # files or folders in it, by any of which it is known
    get: str  # what to get, and from where
    read: Callable[[Path], Iterator[Listed]]
    counts: dict[str, tuple[int, int]]  # part -> pictures and classes
    names: Callable[[Path], Sequence[str]] | None = None  # of the labels 1, 2, ...


def read_standard(name: str, root: Path, *, counted: bool = True) -> Source:
    """A standard set from its folder, or from the folder that its archive was unpacked in.

    Args:
        name: one of ``STANDARD``.
        root: where it is.
        counted: compare with the published counts; False takes a part of the set for what it is.

    Raises:
        InputError: in one line, what is missing and what to get.
    """
    kind = STANDARD[name]
    places = (
        place for place in (root, root / kind.folder) if any((place / one).exists() for one in kind.needs)
    )
    found = next(places, None)
    if found is None:
        raise InputError(
            f"no {' or '.join(kind.needs)} in {root} or in its folder {kind.folder}; get {kind.get}, unpack it, "
            f"and name its folder by {name}:PATH"
        )
    listed = list(kind.read(found))
    if not listed:
        raise InputError(f"{found} lists no pictures; get {kind.get} again")
    part = np.array([one.part for one in listed], np.int8)
    query = np.array([one.query for one in listed], bool)
    labels = np.array([one.label for one in listed])
    if counted:
        _check_counts(kind, part, query, labels)
    names = None if kind.names is None else ["", *kind.names(found)]
    if names is not None and not 1 <= labels.min() <= labels.max() < len(names):
        raise InputError(
            f"has names for {len(names) - 1} classes and labels {labels.min()} to {labels.max()}; get {kind.get} again"
        )
    groups = np.array([one.group for one in listed])
    paths = np.array([one.path for one in listed], object)
    return Source(
        Pictures(found, paths), labels, part, query if query.any() else None,
        groups if groups.any() else None, class_names=names,
    )  # fmt: skip


def _check_counts(
    kind: Published, part: NDArray[np.int8], query: NDArray[np.bool_], labels: NDArray[Any]
) -> None:
    rows = {
        "train": part == TRAIN, "test": part == TEST, "query": query, "gallery": (part == TEST) & ~query,
    }  # fmt: skip
    for name, published in kind.counts.items():
        counts = int(rows[name].sum()), len(np.unique(labels[rows[name]]))
        if counts != published:
            raise InputError(
                f"{name} must have {published[0]:,} pictures of {published[1]:,} classes as published, has "
                f"{counts[0]:,} of {counts[1]:,}; get {kind.get} again, or take what is there by counts=any"
            )


def _lines(file: Path, fields: int, skipped: int = 0) -> Iterator[list[str]]:
    """Fields between blanks of each line behind those skipped; the last field may hold blanks."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; unpack the archive again") from None
    except UnicodeDecodeError:
        raise InputError(f"{file}: is not UTF-8; unpack the archive again") from None
    for at, line in enumerate(lines[skipped:], skipped + 1):
        found = line.split(maxsplit=fields - 1)
        if len(found) == fields:
            yield found
        elif found:
            raise InputError(
                f"{file}: line {at}: must have {fields} fields, has {len(found)}; unpack the archive again"
            )


def _number(file: Path, word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise InputError(f"{file}: {word!r} must be a number; unpack the archive again") from None


def _cub200(root: Path) -> Iterator[Listed]:
    """The first 100 classes train, the other 100 test."""
    file = root / "image_class_labels.txt"
    labels = dict(_lines(file, 2))
    for number, path in _lines(root / "images.txt", 2):
        if number not in labels:
            raise InputError(f"{file}: has no picture {number}; unpack the archive again")
        label = _number(file, labels[number])
        yield Listed(f"images/{path.strip()}", label, TRAIN if label <= 100 else TEST)


def _cub200_names(root: Path) -> list[str]:
    return [name for _, name in _lines(root / "classes.txt", 2)]


def _cars196(root: Path) -> Iterator[Listed]:
    """The first 98 classes train, the other 98 test, whatever the annotations call train and test."""
    whole = [("cars_annos.mat", "", "relative_im_path")]
    halves = [
        ("devkit/cars_train_annos.mat", "cars_train/", "fname"),
        ("cars_test_annos_withlabels.mat", "cars_test/", "fname"),
    ]
    for file, folder, field in whole if (root / "cars_annos.mat").exists() else halves:
        annotations = _matlab(root / file, "annotations")
        try:
            paths, labels = annotations[field], annotations["class"]
        except (ValueError, KeyError, IndexError):
            raise InputError(
                f"{root / file}: annotations must have {field} and class; get it again"
            ) from None
        for path, label in zip(paths, labels):
            yield Listed(f"{folder}{path}", int(label), TRAIN if label <= 98 else TEST)


def _cars196_names(root: Path) -> list[str]:
    whole = root / "cars_annos.mat"
    return [
        str(name)
        for name in _matlab(whole if whole.exists() else root / "devkit/cars_meta.mat", "class_names")
    ]


def _matlab(file: Path, name: str) -> NDArray[Any]:
    from scipy.io import loadmat

    if not file.exists():
        raise InputError(f"{file}: no such file; get {_CARS}")
    try:
        return np.atleast_1d(loadmat(file, squeeze_me=True)[name])
    except Exception:  # damaged files raise anything
        raise InputError(f"{file}: is no MATLAB file with {name}, or a damaged one; get it again") from None


def _sop(root: Path) -> Iterator[Listed]:
    for name, part in (("Ebay_train.txt", TRAIN), ("Ebay_test.txt", TEST)):
        for _, label, _, path in _lines(root / name, 4, skipped=1):
            yield Listed(path.strip(), _number(root / name, label), part)


def _inshop(root: Path) -> Iterator[Listed]:
    """Queries are searched among the gallery; the archive of the pictures is unpacked beside or in Img."""
    file = root / "Eval" / "list_eval_partition.txt"
    folder = "Img/" if (root / "Img" / "img").is_dir() else ""
    for path, label, status in _lines(file, 3, skipped=2):
        status = status.strip()
        if status not in ("train", "query", "gallery"):
            raise InputError(f"{file}: {path} must be train, query or gallery, is {status!r}; get it again")
        yield Listed(f"{folder}{path}", label, TRAIN if status == "train" else TEST, status == "query")


def _omniglot(root: Path) -> Iterator[Listed]:
    """The background alphabets train, the others test; rows of one drawer are a group."""
    for name, part in (("images_background", TRAIN), ("images_evaluation", TEST)):
        if not (root / name).is_dir():
            raise InputError(f"{root / name}: no such folder; get {_OMNIGLOT}")
        for file in sorted((root / name).glob("*/character*/*.png")):
            if file.name.startswith("."):
                continue
            character = file.parent
            path = file.relative_to(root).as_posix()
            drawer = file.stem.rpartition("_")[2]
            yield Listed(path, f"{character.parent.name}/{character.name}", part, group=drawer)


_CARS = (
    "car_ims.tgz and cars_annos.mat of Cars-196 (ai.stanford.edu/~jkrause/cars/car_dataset.html), or cars_train, "
    "cars_test, devkit and cars_test_annos_withlabels.mat of it, into one folder"
)
_OMNIGLOT = "images_background.zip and images_evaluation.zip (github.com/brendenlake/omniglot, python), into one folder"

STANDARD = {
    "cub200": Published(
        "CUB_200_2011", ("images.txt",),
        "CUB_200_2011.tgz (www.vision.caltech.edu/datasets/cub_200_2011)",
        _cub200, {"train": (5864, 100), "test": (5924, 100)}, _cub200_names,
    ),
    "cars196": Published(
        "cars196", ("cars_annos.mat", "devkit"), _CARS,
        _cars196, {"train": (8054, 98), "test": (8131, 98)}, _cars196_names,
    ),
    "sop": Published(
        "Stanford_Online_Products", ("Ebay_train.txt",),
        "Stanford_Online_Products.zip (cvgl.stanford.edu/projects/lifted_struct)",
        _sop, {"train": (59551, 11318), "test": (60502, 11316)},
    ),
    "inshop": Published(
        "In-shop Clothes Retrieval Benchmark", ("Eval/list_eval_partition.txt",),
        "list_eval_partition.txt into Eval, and img.zip, of the In-shop Clothes Retrieval Benchmark "
        "(mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html)",
        _inshop, {"train": (25882, 3997), "query": (14218, 3985), "gallery": (12612, 3985)},
    ),
    "omniglot": Published(
        "python", ("images_background",), _OMNIGLOT,
        _omniglot, {"train": (19280, 964), "test": (13180, 659)},
    ),
}  # fmt: skip
