"""Labelled data by name: `glyphs`, `digits`, `npz:PATH`, `folder:PATH`.  Numpy only; no torch.

A source hands over images or vectors, labels, and the split if it has one; :func:`_labelled` numbers
the classes and splits what came without a split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError, did_you_mean
from mimetric.data.splits import TEST, TRAIN, Split, automatic, official

IMAGE_SIDE = 64  # of the pictures of a folder
IMAGE_FORMATS = {
    ".bmp": "BMP", ".gif": "GIF", ".jpeg": "JPEG", ".jpg": "JPEG", ".pgm": "PPM", ".png": "PNG",
    ".ppm": "PPM", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP",
}  # fmt: skip


@dataclass(frozen=True)
class LabelledData:
    """Samples with class ids and a split.

    Every class 0..len(class_names)-1 has at least one row.
    """

    name: str  # as asked for: "glyphs", "npz:PATH", ...
    x: NDArray[Any]  # images (n, c, h, w), uint8 or (of a file with floats) float32; vectors (n, d), float32
    y: NDArray[np.int64]  # (n,)
    class_names: tuple[str, ...]
    split: Split
    note: str  # one line for people: how it was split, and what was left out


def load_data(spec: str, *, seed: int = 0) -> LabelledData:
    """Load labelled data and split them.

    - `glyphs`: the embedded characters, tested on unseen scripts (:mod:`mimetric.data.glyphs`);
    - `digits`: scikit-learn's 1,797 handwritten digits, 8 x 8, split within classes;
    - `npz:PATH`: an npz file with `x` and `y`, and where it is split also `split` (0 train,
      1 validation, 2 test) or `evaluation` (true for the rows of test classes); or with `x_train`,
      `y_train`, `x_test` and `y_test`.  `class_names` may name the classes 0, 1, ...  `x` is (n, h, w),
      (n, h, w, c) or (n, c, h, w) images, or (n, d) vectors; `y` integers, or strings.  Rows with
      label -1 are unlabelled and left out.
    - `folder:PATH`: a folder with one folder of images for each class; each image is cut to its
      middle square and scaled to 64 x 64, gray where all are gray, with white behind transparency.

    What comes without a split is split by :func:`mimetric.data.splits.automatic`; missing validation
    rows are held out of the training rows (:func:`mimetric.data.splits.official`).

    Args:
        spec: one of the above.
        seed: of what is drawn for the split.  The data themselves do not depend on it.

    Raises:
        InputError: in one line, whatever is wrong with the name, the files or the split.

    >>> data = load_data("digits")
    >>> data.x.shape, data.x.dtype, data.split.kind
    ((1797, 1, 8, 8), dtype('uint8'), 'stratified')
    """
    kind, colon, path = spec.partition(":")
    name = f"{kind}:PATH" if colon else kind
    if name not in _SOURCES or (colon and not path):
        raise InputError(f"unknown data {spec!r}; {did_you_mean(name, _SOURCES)}")
    try:
        return _labelled(spec, _SOURCES[name](Path(path).expanduser()), seed)
    except InputError as error:
        raise InputError(f"{spec}: {error}") from None
    except ModuleNotFoundError as error:
        raise InputError(f"{spec}: needs {error.name}: pip install 'mimetric[app]'") from error
    except OSError as error:
        raise InputError(f"{spec}: cannot be read: {error.strerror or error}") from error


@dataclass(frozen=True)
class _Source:
    x: NDArray[Any]
    labels: NDArray[Any]  # (n,) int64 or strings
    part: NDArray[Any] | None = None  # (n,) as in :func:`official`
    class_names: Sequence[str] | None = None  # of the labels 0, 1, ...
    left_out: tuple[str, ...] = ()


def _labelled(spec: str, source: _Source, seed: int) -> LabelledData:
    x, labels, part, left_out = source.x, source.labels, source.part, source.left_out
    known = labels != -1 if labels.dtype.kind == "i" else np.ones(len(labels), bool)
    if not known.all():
        x, labels, part = x[known], labels[known], None if part is None else part[known]
        left_out = (*left_out, f"rows with label -1 left out as unlabelled: {(~known).sum():,}")
    classes, y = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise InputError("; ".join((f"needs at least 2 classes, got {len(classes)}", *left_out)))
    names = classes if source.class_names is None else [source.class_names[label] for label in classes]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise InputError(
            f"class_names must differ, {twice[0]!r} names two classes; give each a name of its own"
        )
    y = y.astype(np.int64)
    split = automatic(y, seed=seed) if part is None else official(y, part, seed=seed)
    note = "; ".join((split.describe(y), *left_out))
    return LabelledData(spec, x, y, tuple(str(name) for name in names), split, note)


def _glyphs(_: Path) -> _Source:
    from mimetric.data.glyphs import load_glyphs

    glyphs = load_glyphs()
    part = np.where(glyphs.unseen[glyphs.y], TEST, TRAIN)
    return _Source(glyphs.x, glyphs.y, part, glyphs.class_names)


def _digits(_: Path) -> _Source:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return _Source(pixels[:, None], digits.target.astype(np.int64))


def _npz(path: Path) -> _Source:
    arrays = _arrays(path)
    if "x" in arrays and "y" in arrays:
        x = _samples("x", arrays["x"])
        labels = _labels("y", arrays["y"], len(x))
        return _Source(x, labels, _part(arrays, labels), _names(arrays, labels))
    if not {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys():
        held = ", ".join(arrays) or "none of these"
        raise InputError(f"must hold x and y, or x_train, y_train, x_test and y_test; it holds {held}")
    train, test = (_samples(name, arrays[name]) for name in ("x_train", "x_test"))
    y_train, y_test = (
        _labels(name, arrays[name], len(x)) for name, x in (("y_train", train), ("y_test", test))
    )
    kinds = [(x.shape[1:], str(x.dtype), y.dtype.kind) for x, y in ((train, y_train), (test, y_test))]
    if kinds[0] != kinds[1]:
        raise InputError(f"train and test must be alike in x and y, got {kinds[0]} and {kinds[1]}")
    labels = np.concatenate((y_train, y_test))
    part = np.repeat((TRAIN, TEST), (len(train), len(test)))
    return _Source(np.concatenate((train, test)), labels, part, _names(arrays, labels))


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


def _samples(name: str, x: NDArray[Any]) -> NDArray[Any]:
    """Images as (n, c, h, w), uint8 where the numbers allow it, else float32; vectors as float32."""
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


def _labels(name: str, y: NDArray[Any], count: int) -> NDArray[Any]:
    if y.shape != (count,):
        raise InputError(f"{name} must have shape ({count},), one class for each row of x, got {y.shape}")
    if y.dtype.kind in "biu":
        return y.astype(np.int64)
    if y.dtype.kind == "S":
        return np.char.decode(y, "utf-8", "replace")
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


def _names(arrays: dict[str, NDArray[Any]], labels: NDArray[Any]) -> Sequence[str] | None:
    if "class_names" not in arrays or labels.dtype.kind != "i":
        return None
    names = arrays["class_names"]
    if names.ndim != 1 or labels.max() >= len(names) or labels.min() < -1:
        raise InputError(
            f"class_names must name the labels 0 to {labels.max()} in order, got shape {names.shape} "
            f"for labels from {labels.min()}"
        )
    return [str(name) for name in names]


def _folder(root: Path) -> _Source:
    folders = [entry for entry in _visible(root) if entry.is_dir()]
    if not folders:
        raise InputError("no class folders; put the images of each class in a folder of its own")
    inside = [entry for folder in folders for entry in _visible(folder)]
    images = [file for file in inside if file.suffix.lower() in IMAGE_FORMATS]
    counts = Counter(file.parent for file in images)
    for folder in folders:
        if not counts[folder]:
            raise InputError(f"{folder.name} holds no images; known are {', '.join(IMAGE_FORMATS)}")

    x = np.empty((len(images), 3, IMAGE_SIDE, IMAGE_SIDE), np.uint8)
    gray = True
    with ThreadPoolExecutor() as pool:  # decoders leave the interpreter lock
        for i, (pixels, is_gray) in enumerate(pool.map(read_image, images)):
            x[i] = pixels
            gray = gray and is_gray
    other = [entry for entry in _visible(root) if entry not in counts]
    other += [entry for entry in inside if entry.suffix.lower() not in IMAGE_FORMATS]
    labels = np.repeat(np.arange(len(folders)), [counts[folder] for folder in folders])
    return _Source(
        x[:, :1].copy() if gray else x, labels, None, [f.name for f in folders], _left_out(root, other)
    )


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _left_out(root: Path, files: list[Path]) -> tuple[str, ...]:
    if not files:
        return ()
    named = ", ".join(str(file.relative_to(root)) for file in files[:3])
    more = f" and {len(files) - 3:,} more" if len(files) > 3 else ""
    return (f"left out, as no images in class folders: {named}{more}",)


def read_image(
    file: Path, height: int = IMAGE_SIDE, width: int = IMAGE_SIDE
) -> tuple[NDArray[np.uint8], bool]:
    """The middle of a picture, cut to that shape and scaled, (3, height, width), and whether it is gray.

    Raises:
        InputError: the file is no picture, or one with more than 8 bits a pixel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(file, formats=sorted(set(IMAGE_FORMATS.values()))) as opened:
            opened.draft(None, (2 * width, 2 * height))  # JPEG: decode no larger than needed
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith(("I", "F")):
                raise InputError(f"{file} has more than 8 bits a pixel; convert it, scaled as you need it")
            gray = image.mode in ("1", "L", "LA")
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = image.convert("RGB")
    except InputError:
        raise
    except Exception:  # decoders raise anything on damaged files
        raise InputError(f"{file} cannot be decoded as an image; replace or remove it") from None
    image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    return np.asarray(image).transpose(2, 0, 1), gray


_SOURCES: dict[str, Callable[[Path], _Source]] = {
    "glyphs": _glyphs, "digits": _digits, "npz:PATH": _npz, "folder:PATH": _folder,
}  # fmt: skip
