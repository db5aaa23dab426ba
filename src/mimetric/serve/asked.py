"""What a client asks for, as a row that an encoder takes; nothing of it names a file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.data.inputs import Takes
from mimetric.data.rows import like_training
from mimetric.data.streams import vector

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
PIXELS = 25_000_000  # of an uploaded picture: one that unpacks to more is refused before it is unpacked


class Asked(NamedTuple):
    """One query: just one of these."""

    image: bytes | None = None
    text: str | None = None
    numbers: str | None = None
    item: int | None = None

    @property
    def kind(self) -> str:
        """The one that is given.

        Raises:
            InputError: none is, or several.
        """
        given = [name for name, value in self._asdict().items() if value is not None]
        if len(given) != 1:
            raise InputError(f"give one of image, text, numbers or item, got {' and '.join(given) or 'none'}")
        return given[0]


_FITTING: Mapping[str, str] = {"image": "images", "text": "texts", "numbers": "vectors"}


def as_row(asked: Asked, takes: Takes) -> NDArray[Any]:
    """An uploaded picture, a text or numbers as (1, ...).

    Raises:
        InputError: another kind than the run takes, or nothing that can be read.
    """
    kind = asked.kind
    if _FITTING[kind] != takes.kind:
        wanted = next(name for name, fitting in _FITTING.items() if fitting == takes.kind)
        raise InputError(f"{kind}: this run takes {takes.kind}; give {wanted}")
    sample: Any = asked.text
    if asked.image is not None:
        sample = _picture(asked.image, takes.shape)
    elif asked.numbers is not None:
        sample = vector(asked.numbers)
        if sample.shape != takes.shape:
            raise InputError(f"numbers: this run takes {takes.shape[0]} numbers, got {len(sample)}")
    elif not (asked.text or "").strip():
        raise InputError("text: it is empty; write something")
    row = like_training(
        sample[None] if isinstance(sample, np.ndarray) else [sample], takes.shape, takes.dtype
    )
    return np.require(row, requirements=("C", "W"))


def _picture(content: bytes, shape: tuple[int, ...]) -> Any:
    """A PIL image, looked at before it is unpacked."""
    from PIL import Image

    try:
        opened = Image.open(io.BytesIO(content), formats=FORMATS)
        pixels = opened.width * opened.height
        if pixels <= PIXELS:
            opened.draft(None, (2 * shape[2], 2 * shape[1]))  # JPEG: decode no larger than needed
            opened.load()
    except Exception:  # decoders raise anything on damaged files
        raise InputError(f"image: it cannot be read as a picture; give {', '.join(FORMATS)}") from None
    if pixels > PIXELS:
        raise InputError(f"image: it has {pixels:,} pixels, at most {PIXELS:,} are taken; make it smaller")
    return opened
