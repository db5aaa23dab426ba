"""Pictures from files to pixels, with pillow: one, or many in a process that does nothing else.

``python -m mimetric.data.images`` is that process; :mod:`mimetric.data.cache` starts it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.data.labelled import IMAGE_SIDE

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_FORMATS = {
    ".bmp": "BMP", ".gif": "GIF", ".jpeg": "JPEG", ".jpg": "JPEG", ".pgm": "PPM", ".png": "PNG",
    ".ppm": "PPM", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP",
}  # fmt: skip


def read_image(
    file: Path, height: int = IMAGE_SIDE, width: int = IMAGE_SIDE
) -> tuple[NDArray[np.uint8], bool]:
    """The middle of a picture, cut to that shape and scaled, (3, height, width), and whether it is gray.

    It stands upright as its EXIF orientation says, on white where it is transparent.  Of 16 bits the upper 8 are
    kept.

    Raises:
        InputError: the file is no picture, or one with 32 bits a pixel and channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(file, formats=sorted(set(IMAGE_FORMATS.values()))) as opened:
            opened.draft(None, (2 * width, 2 * height))  # JPEG: decode no larger than needed
            image = _of_bytes(ImageOps.exif_transpose(opened), opened.format, file)
            gray = image.mode in ("1", "L", "LA")
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = image.convert("RGB")
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except Exception:  # decoders raise anything on damaged files
        raise InputError(f"{file} cannot be decoded as an image; replace or remove it") from None
    image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    return np.asarray(image).transpose(2, 0, 1), gray


def _of_bytes(image: Image, kind: str | None, file: Path) -> Image:
    """A picture of at most 8 bits a channel; of those with 16, pillow reads some as 32."""
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    if image.mode == "F" or (image.mode == "I" and kind not in ("PNG", "PPM")):
        raise InputError(f"{file} has 32 bits a pixel; convert it, scaled as you need it")
    return Image.fromarray((np.asarray(image) // 257).astype(np.uint8))


class Job(NamedTuple):
    """Pictures to be decoded into rows of a file of bytes."""

    target: str
    offset: int  # of row 0 in the file
    side: int
    skip: bool  # go on behind a picture that cannot be read
    files: list[tuple[int, str]]  # row and path


class Faults(NamedTuple):
    """What was found among pictures decoded."""

    gray: bool  # all of them
    reasons: dict[int, str]  # row -> why it cannot be read; what its row in the file holds has no meaning


def decode(job: Job) -> Iterator[Faults]:
    """Decode pictures into their rows, (3, side, side) each; one Faults after every few."""
    size = 3 * job.side**2
    with open(job.target, "r+b") as target:
        for start in range(0, len(job.files), 32):
            found = Faults(True, {})
            for row, path in job.files[start : start + 32]:
                try:
                    pixels, gray = read_image(Path(path), job.side, job.side)
                except InputError as error:
                    found.reasons[row] = str(error)
                    if not job.skip:
                        break
                    continue
                target.seek(job.offset + row * size)
                target.write(pixels.tobytes())
                found = Faults(found.gray and gray, found.reasons)
            yield found
            if found.reasons and not job.skip:
                return


def together(found: Iterable[Faults]) -> Faults:
    """Those of all parts."""
    gray, reasons = True, {}
    for one in found:
        gray = gray and one.gray
        reasons.update(one.reasons)
    return Faults(gray, reasons)


def read_faults(line: str) -> Faults:
    """What the process prints."""
    gray, reasons = json.loads(line)
    return Faults(gray, {int(row): reason for row, reason in reasons.items()})


def main() -> None:
    """Decode the job on stdin; one line for every few pictures, so that it ends with the process that reads them."""
    for found in decode(Job(*json.load(sys.stdin))):
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
