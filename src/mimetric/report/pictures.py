"""Pictures of data rows as text that a page can hold."""

from __future__ import annotations

import base64
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LARGEST = 96  # pixels of a side; larger pictures are made smaller
TINY = 48  # pixels of a side up to which a picture is shown with hard edges

_BROKEN = (  # what numpy, zipfile and pillow raise over a file of damaged or other content
    OSError, EOFError, ValueError, TypeError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI; a tiny one looks better with hard edges."""

    uri: str
    tiny: bool


def read_pictures(path: Path) -> dict[int, Picture]:
    """The pictures of ``pictures.npz`` by row.

    Args:
        path: file with `row` (r,) integers and `image` (r, h, w) or (r, h, w, 3) uint8.

    Returns:
        Row -> picture; nothing where the file is absent or broken: a report must not fail over it.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            rows, images = stored["row"].tolist(), stored["image"]
        return {row: _picture(image) for row, image in zip(rows, images, strict=True)}
    except _BROKEN:
        return {}


def _picture(pixels: NDArray[np.uint8]) -> Picture:
    image = Image.fromarray(pixels)
    tiny = max(image.size) <= TINY
    image.thumbnail((LARGEST, LARGEST))
    file = io.BytesIO()
    kind = "png" if tiny else "jpeg"  # a photograph of 96 pixels takes 3 kB so, 20 kB without loss
    image.save(file, kind, optimize=True)
    return Picture(f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}", tiny)
