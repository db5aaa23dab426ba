"""Labelled data by name: `glyphs`, `npz:PATH`, `folder:PATH`, `products.csv`, `cub200:PATH`, ...  Numpy only; no torch.

A name may end in options: `folder:pets:size=96,bad=skip`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mimetric.core.errors import InputError, did_you_mean
from mimetric.data.arrays import as_data, read_npz
from mimetric.data.folders import read_folder
from mimetric.data.images import IMAGE_FORMATS, read_image
from mimetric.data.labelled import IMAGE_SIDE, LabelledData, Reading, Source, labelled
from mimetric.data.lists import COLUMNS, read_list
from mimetric.data.splits import TEST, TRAIN
from mimetric.data.standard import STANDARD, read_standard
from mimetric.data.tables import SUFFIXES

__all__ = ["IMAGE_FORMATS", "IMAGE_SIDE", "LabelledData", "as_data", "load_data", "read_image"]


def load_data(spec: str, *, seed: int = 0) -> LabelledData:
    """Load labelled data and split them.

    - `glyphs`: the embedded characters, tested on unseen scripts (:mod:`mimetric.data.glyphs`);
    - `names`: the embedded texts, names in 300 languages (:mod:`mimetric.data.names`; needs babel);
    - `digits`: scikit-learn's 1,797 handwritten digits, 8 x 8, split within classes;
    - `npz:PATH`: an npz file with `x` and `y`, and where it is split also `split` (0 train,
      1 validation, 2 test) or `evaluation` (true for the rows of test classes); or with `x_train`,
      `y_train`, `x_test` and `y_test`.  `class_names` may name the classes 0, 1, ...  `x` is (n, h, w),
      (n, h, w, c) or (n, c, h, w) images, (n, d) vectors, or n strings; `y` integers, or strings.  Rows with
      label -1 are unlabelled and left out;
    - `folder:PATH`: a folder with one folder of images, or of UTF-8 text files (.txt), for each class;
    - `list:PATH`: a CSV, TSV, JSON lines or Parquet file with a column `path`, `text` or `vector` and a column `label`,
      and if you like `split`, `query`, `gallery`, `group` and `id` (:func:`mimetric.data.lists.read_list`);
    - `cub200:PATH`, `cars196:PATH`, `sop:PATH`, `inshop:PATH`, `omniglot:PATH`: the standard sets as published, in the
      folder that their archive makes or the one around it (:mod:`mimetric.data.standard`).

    A path alone is enough where it ends in .npz or as lists do.  Options follow behind a colon:

    - `size=64`: the side of pictures; each is cut to its middle square and scaled, gray where all are gray, with white
      behind transparency;
    - `length=256`: code points that are kept of a text;
    - `bad=stop` or `bad=skip`: leave out, and count, rows that cannot be read;
    - `by=class`, `by=rows`, `by=group` or `by=2/5`, fold 2 of 5 over the classes: a split in place of the data's own;
    - `label=NAME` and so on: the column of a list, where it has another name; `root=FOLDER`: where its paths begin;
    - `counts=any`: take a part of a standard set for what it is.

    What comes without a split is split by :func:`mimetric.data.splits.automatic`, or by its groups; missing validation
    rows are held out of the training rows (:func:`mimetric.data.splits.official`).

    Args:
        spec: one of the above.
        seed: of what is drawn for the split.  The data themselves do not depend on it.

    Raises:
        InputError: in one line, whatever is wrong with the name, the files or the split.

    >>> data = load_data("digits")
    >>> data.x.shape, data.x.dtype, data.split.kind
    ((1797, 1, 8, 8), dtype('uint8'), 'stratified')
    >>> load_data("digits:by=2/5").split.kind
    'class-fold'
    """
    kind, path, options = _parsed(spec)
    try:
        source = _SOURCES[kind]
        reading = _reading(options, source.takes)
        return labelled(spec, source.read(Path(path).expanduser(), options), reading, seed=seed)
    except InputError as error:
        raise InputError(f"{spec}: {error}") from None
    except ModuleNotFoundError as error:
        extra = "text" if error.name == "babel" else "app"
        raise InputError(f"{spec}: needs {error.name}: pip install 'mimetric[{extra}]'") from error
    except OSError as error:
        raise InputError(f"{spec}: cannot be read: {error.strerror or error}") from error


_OPTIONS = re.compile(r"\w+=[^,]*(,\w+=[^,]*)*")  # behind the last colon


def _parsed(spec: str) -> tuple[str, str, dict[str, str]]:
    """The kind of source as in _SOURCES, its path, and its options."""
    rest, words = spec, ""
    head, colon, tail = spec.rpartition(":")
    if colon and _OPTIONS.fullmatch(tail):
        rest, words = head, tail
    pairs = [word.split("=", 1) for word in words.split(",") if word]
    options = dict(pairs)
    if len(options) < len(pairs):
        raise InputError(f"{spec}: an option is given twice; leave one out")
    kind, colon, path = rest.partition(":")
    name = f"{kind}:PATH" if colon else kind
    if name in _SOURCES and (path or not colon):
        return name, path, options
    suffix = Path(rest).suffix.lower()
    if suffix == ".npz" and not path:
        return "npz:PATH", rest, options
    if suffix in SUFFIXES and not path:
        return "list:PATH", rest, options
    if kind in STANDARD:
        raise InputError(f"{spec}: where is it? get {STANDARD[kind].get}, and name its folder by {kind}:PATH")
    raise InputError(f"unknown data {spec!r}; {did_you_mean(name, _SOURCES)}")


def _reading(options: Mapping[str, str], takes: tuple[str, ...]) -> Reading:
    """The options that all sources share, checked with all others."""
    for name in options:
        if name not in takes:
            raise InputError(f"unknown option {name}; {did_you_mean(name, takes)}")
    for name, words in (("bad", ("stop", "skip")), ("counts", ("published", "any"))):
        if options.get(name, words[0]) not in words:
            raise InputError(f"{name}: must be {' or '.join(words)}, got {options[name]!r}")
    numbers = {}
    for name in ("size", "length"):
        if name in options:
            if not options[name].isdecimal() or int(options[name]) < 1:
                raise InputError(f"{name}: must be a whole number from 1, got {options[name]!r}")
            numbers[name] = int(options[name])
    return Reading(**numbers, skip=_skips(options), by=options.get("by"))


def _skips(options: Mapping[str, str]) -> bool:
    return options.get("bad") == "skip"


def _glyphs(_: Path, __: Mapping[str, str]) -> Source:
    from mimetric.data.glyphs import load_glyphs

    glyphs = load_glyphs()
    part = np.where(glyphs.unseen[glyphs.y], TEST, TRAIN)
    return Source(glyphs.x, glyphs.y, part, class_names=glyphs.class_names)


def _names(_: Path, __: Mapping[str, str]) -> Source:
    from mimetric.data.names import load_names

    names = load_names()
    part = np.where(names.unseen[names.y], TEST, TRAIN)
    return Source(names.texts, names.y, part, class_names=names.class_names)


def _digits(_: Path, __: Mapping[str, str]) -> Source:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return Source(pixels[:, None], digits.target.astype(np.int64))


def _npz(path: Path, _: Mapping[str, str]) -> Source:
    return read_npz(path)


def _folder(path: Path, options: Mapping[str, str]) -> Source:
    return read_folder(path, skip=_skips(options))


def _list(path: Path, options: Mapping[str, str]) -> Source:
    chosen = {name: column for name, column in options.items() if name in COLUMNS}
    root = Path(options["root"]).expanduser() if "root" in options else None
    return read_list(path, chosen, root=root, skip=_skips(options))


def _standard(name: str) -> Callable[[Path, Mapping[str, str]], Source]:
    return lambda path, options: read_standard(name, path, counted=options.get("counts") != "any")


@dataclass(frozen=True)
class _Kind:
    read: Callable[[Path, Mapping[str, str]], Source]
    takes: tuple[str, ...] = ("by",)  # options


_SOURCES = {
    "glyphs": _Kind(_glyphs),
    "names": _Kind(_names, ("length", "by")),
    "digits": _Kind(_digits),
    "npz:PATH": _Kind(_npz, ("length", "by")),
    "folder:PATH": _Kind(_folder, ("size", "length", "bad", "by")),
    "list:PATH": _Kind(_list, (*COLUMNS, "root", "size", "length", "bad", "by")),
    **{f"{name}:PATH": _Kind(_standard(name), ("size", "bad", "by", "counts")) for name in STANDARD},
}
