"""Inputs that people have at hand as rows like those that an encoder was trained on.  Numpy only; no torch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.data.arrays import samples_of
from mimetric.data.images import read_image
from mimetric.data.texts import code_points

_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, as pillow weighs them (ITU-R 601-2)


def like_training(inputs: Any, shape: tuple[int, ...], dtype: str | None = None) -> NDArray[Any]:
    """Rows (n, ...) of a shape and a type.

    Args:
        inputs: n >= 1 texts; pictures as paths or PIL images; or an array or a tensor of rows, of pictures in any
            layout that :func:`mimetric.data.arrays.as_data` takes.
        shape: of a row of the training data: (c, h, w), (length,) or (d,).
        dtype: "uint8", "int32", "float32", ...; None where it is not known.

    Raises:
        InputError: inputs of another kind, shape or type, or that cannot be read.

    >>> like_training(["né"], (4,), "int32").tolist()
    [[110, 233, 0, 0]]
    """
    first = next(iter(inputs)) if getattr(inputs, "ndim", 1) == 1 else None  # of a list, or a column
    if isinstance(first, str | Path) or hasattr(first, "getexif"):
        rows = _pictures(inputs, shape) if len(shape) == 3 else _texts(inputs, shape)
        if dtype not in (None, rows.dtype.name):
            kind = "pictures" if rows.ndim == 4 else "texts"
            raise InputError(
                f"inputs must be numbers of type {dtype}, as those trained on, got {kind}; give an array"
            )
        return rows
    return _typed(_array(inputs, shape), dtype)


def picture(source: Any, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The middle of a picture, a path or a PIL image, as (c, h, w): gray where c is 1.

    Raises:
        InputError: no picture, one that cannot be decoded, or c is neither 1 nor 3.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise InputError(f"pictures have 1 or 3 channels, those trained on had {channels}; give an array")
    pixels, _ = read_image(_file(source), height, width)
    if channels == 1:
        pixels = np.round(np.tensordot(_LUMA, pixels, 1)).astype(np.uint8)[None]
    return pixels


def _pictures(inputs: Sequence[Any], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    if len(inputs) == 1:
        return picture(next(iter(inputs)), shape)[None]
    with ThreadPoolExecutor() as pool:  # pillow holds no lock while it decodes and scales
        return np.stack(list(pool.map(lambda one: picture(one, shape), inputs)))


def _texts(inputs: Sequence[Any], shape: tuple[int, ...]) -> NDArray[np.int32]:
    if len(shape) != 1:
        raise InputError(f"inputs must be rows of shape {shape}, as those trained on, got texts")
    other = next((one for one in inputs if not isinstance(one, str)), None)
    if other is not None:
        raise InputError(f"inputs must be texts all alike, one is a {type(other).__name__}")
    found = code_points(list(inputs), shape[0])
    return np.pad(found, ((0, 0), (0, shape[0] - found.shape[1])))


def _file(source: Any) -> Any:
    """What read_image opens: a path, or the file that a PIL image would be."""
    if isinstance(source, str | Path):
        return Path(source).expanduser()
    if not hasattr(source, "getexif"):
        raise InputError(f"a picture must be a path or a PIL image, got {type(source).__name__}")
    from PIL import ImageOps

    image, file = ImageOps.exif_transpose(source), io.BytesIO()
    kept = image.mode in ("1", "L", "LA", "P", "RGB", "RGBA") or image.mode.startswith("I")
    (image if kept else image.convert("RGB")).save(file, "PNG", compress_level=1)
    return file


def _array(inputs: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    if hasattr(inputs, "detach"):  # a tensor, on whatever device; numpy knows no bfloat16
        inputs = inputs.detach().cpu()
        inputs = inputs.float() if inputs.is_floating_point() else inputs
    try:
        rows = np.asarray(inputs)
    except ValueError:
        raise InputError("inputs must have one shape; give rows of one length") from None
    if rows.shape[1:] != shape:
        rows = samples_of("inputs", rows)  # another layout of pictures
    if rows.shape[1:] != shape:
        raise InputError(f"inputs must have rows of shape {shape}, as those trained on, got {rows.shape[1:]}")
    return rows


def _typed(rows: NDArray[Any], dtype: str | None) -> NDArray[Any]:
    """In the type trained on; what it cannot hold is refused, but for digits of a fraction."""
    if rows.dtype.kind not in "buif":
        raise InputError(f"inputs must hold numbers, got {rows.dtype}")
    if dtype is None:
        return rows.astype(np.float32) if rows.dtype.kind == "f" else rows
    found = rows.astype(dtype)
    if found.dtype.kind != "f" and not np.array_equal(found, rows):
        raise InputError(
            f"inputs must be {dtype}, as those trained on, got {rows.dtype} with other values; scale them back, "
            "as by (255 * x).round()"
        )
    return found
