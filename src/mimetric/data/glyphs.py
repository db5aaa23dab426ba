"""The embedded data set: characters as the 12 DejaVu text faces that come with matplotlib draw them.

A class is a character.  Train on 283 Latin letters and 591 digits and symbols; test on 226 letters
of scripts never seen in training: 78 Cyrillic, 64 Armenian, 43 Georgian, 41 Greek.  Each face draws
each character under two random affine changes: 24 pictures of each class, 26,400 in all.  Among the
test pictures raw pixels (cosine) find the right character for 22% of queries.

Left out are characters that some face lacks; accented letters and all that Unicode composes of
simpler ones; modifiers, which hang on other characters; and look-alikes.  A look-alike is drawn, in
any face, like a character before it wherever it stands (cosine of the upright pictures above 0.99).
So the Greek and Cyrillic A, being the Latin A, are no test classes, and neither is the Cyrillic t, an
m in italics.

Counts and 22% as measured with matplotlib 3.11, pillow 13.0 and Unicode 14 (Python 3.11).
"""

from __future__ import annotations

import hashlib
import tempfile
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.data.cache import cache_folder

if TYPE_CHECKING:
    from PIL.Image import Image

UNSEEN_SCRIPTS = ("GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN")
_SCALE = 2  # drawn at twice the size and averaged: smooth edges
_UNCHANGED = np.eye(2, 3)


@dataclass(frozen=True)
class Drawing:
    """How characters are drawn.  Lengths are pixels of the finished picture, angles radians.

    Each change is uniform on [-value, value], around the middle of the ink, which is the middle of
    the picture.
    """

    side: int = 28
    em: int = 18  # type size: capitals are 13 high, small letters 10
    largest: int = 20  # ink that is wider or higher is scaled down to this
    variants: int = 2  # of each character in each face
    rotation: float = 0.3
    shear: float = 0.3
    stretch: float = 0.2  # logarithm of the scale, width and height on their own
    shift: float = 3.0
    alike: float = 0.99
    seed: int = 0


class Glyphs(NamedTuple):
    x: NDArray[np.uint8]  # (n, 1, side, side), ink is 255
    y: NDArray[np.int64]  # (n,), 0..c-1 in order
    class_names: tuple[str, ...]  # (c,) Unicode names
    unseen: NDArray[np.bool_]  # (c,) belongs to a script of the test


def load_glyphs(drawing: Drawing = Drawing()) -> Glyphs:
    """The set, drawn at first (4 s on one core), then read (0.1 s) from the user's cache folder.

    The folder is `mimetric` in $XDG_CACHE_HOME or ~/.cache.  A damaged file is drawn again; a folder
    that cannot be written is no error.

    Raises:
        InputError: matplotlib came without its type faces.
    """
    file = _cache_file(drawing)
    try:
        return _read(file)
    except Exception:  # absent, cut off, overwritten: whatever it is, drawing mends it
        glyphs = draw_glyphs(drawing)
    with suppress(OSError):
        _write(file, glyphs)
    return glyphs


def draw_glyphs(drawing: Drawing = Drawing()) -> Glyphs:
    """Draw the set.  The same drawing, pillow and matplotlib give the same pictures."""
    files = _face_files()
    characters = _candidates(files)
    inks = [_inks(file, characters, _SCALE * drawing.em) for file in files]
    upright = np.array([[_picture(ink, _UNCHANGED, drawing) for ink in face] for face in inks])
    kept = _distinct(upright, drawing.alike)
    changes = _changes(drawing, (len(kept), len(files), drawing.variants))
    x = [
        _picture(face[i], change, drawing)
        for i, of_faces in zip(kept, changes)
        for face, of_variants in zip(inks, of_faces)
        for change in of_variants
    ]
    names = tuple(unicodedata.name(characters[i]) for i in kept)
    return _glyphs(np.array(x)[:, None], names)


def _glyphs(x: NDArray[np.uint8], names: tuple[str, ...]) -> Glyphs:
    y = np.repeat(np.arange(len(names)), len(x) // len(names))
    return Glyphs(x, y, names, np.array([_is_unseen(name) for name in names]))


def _is_unseen(name: str) -> bool:
    return name.startswith(UNSEEN_SCRIPTS)


def _face_files() -> list[Path]:
    import matplotlib

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    files = sorted(file for file in folder.glob("DejaVu*.ttf") if "Display" not in file.name)
    if len(files) != 12:
        raise InputError(
            f"needs the 12 DejaVu text faces that matplotlib ships, found {len(files)} in {folder}; "
            "install matplotlib from PyPI or conda"
        )
    return files


def _candidates(files: list[Path]) -> list[str]:
    """Characters that every face has, those to train on first, each group by code point."""
    from matplotlib.ft2font import FT2Font  # says what a face has; pillow draws a box for the rest

    codes = set.intersection(*(set(FT2Font(str(file)).get_charmap()) for file in files))
    characters = [chr(code) for code in sorted(codes) if _is_candidate(chr(code))]
    return sorted(characters, key=lambda character: _is_unseen(unicodedata.name(character)))


def _is_candidate(character: str) -> bool:
    category, name = unicodedata.category(character), unicodedata.name(character, "")
    if not name or unicodedata.decomposition(character) or category in ("Lm", "Sk"):
        return False
    if category[0] == "L":
        return name.startswith(("LATIN", *UNSEEN_SCRIPTS))
    return category[0] in "NPS" and not _is_unseen(name)


def _inks(file: Path, characters: list[str], em: int) -> list[Image]:
    """Each character alone, cut out with a rim of one pixel."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(file), em, layout_engine=ImageFont.Layout.BASIC)
    inks = []
    for character in characters:
        page = Image.new("L", (4 * em, 4 * em))
        ImageDraw.Draw(page).text((em, em), character, fill=255, font=font)
        left, top, right, bottom = page.getbbox() or (0, 0, 0, 0)
        inks.append(page.crop((left - 1, top - 1, right + 1, bottom + 1)))
    return inks


def _picture(ink: Image, change: NDArray[np.float64], drawing: Drawing) -> NDArray[np.uint8]:
    """The ink under one change, its middle in the middle: (side, side)."""
    from PIL import Image

    side = _SCALE * drawing.side
    fit = max(1.0, (max(ink.size) - 2) / (_SCALE * drawing.largest))
    matrix = change[:, :2] * fit  # pillow maps places in the picture to places in the ink
    offset = np.array(ink.size) / 2 - matrix.sum(1) * side / 2 + change[:, 2]
    (a, b), (d, e) = matrix
    c, f = offset
    drawn = ink.transform((side, side), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR)
    return np.asarray(drawn.reduce(_SCALE))


def _changes(drawing: Drawing, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Random affine maps (*shape, 2, 3): turn, shear, stretch, shift."""
    chance = np.random.default_rng(drawing.seed).uniform(-1, 1, (*shape, 6))
    turn, shear = drawing.rotation * chance[..., 0], drawing.shear * chance[..., 1]
    width, height = np.exp(drawing.stretch * np.moveaxis(chance[..., 2:4], -1, 0))
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = np.stack(
        (cos * width, (cos * shear - sin) * height, sin * width, (sin * shear + cos) * height), -1
    )
    shift = _SCALE * drawing.shift * chance[..., 4:, None]
    return np.concatenate((matrix.reshape(*shape, 2, 2), shift), axis=-1)


def _distinct(upright: NDArray[np.uint8], alike: float) -> list[int]:
    """Which characters look like none kept before them, in any face; blank ones go.

    upright: (faces, characters, side, side).
    """
    count = upright.shape[1]
    nearest = np.zeros((count, count))
    for face in upright.reshape(len(upright), count, -1).astype(np.float64):
        length = np.sqrt(np.square(face).sum(1, keepdims=True))
        unit = face / np.maximum(length, 1)
        np.maximum(nearest, unit @ unit.T, out=nearest)
    kept: list[int] = []
    for i in np.flatnonzero(upright.any(axis=(2, 3)).all(axis=0)):
        if (nearest[i, kept] <= alike).all():
            kept.append(int(i))
    return kept


def _cache_file(drawing: Drawing) -> Path:
    made_by = (drawing, unicodedata.unidata_version, version("matplotlib"), version("pillow"))
    key = hashlib.sha256(repr(made_by).encode())
    key.update(Path(__file__).read_bytes())  # what this file draws differently is another set
    return cache_folder() / f"glyphs-{key.hexdigest()[:16]}.npz"


def _read(file: Path) -> Glyphs:
    with np.load(file) as saved:
        return _glyphs(saved["x"], tuple(saved["class_names"].tolist()))


def _write(file: Path, glyphs: Glyphs) -> None:
    """In a folder of its own first, then renamed: another reader sees a whole file or none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        whole = Path(folder, file.name)
        np.savez_compressed(whole, x=glyphs.x, class_names=np.array(glyphs.class_names))
        whole.replace(file)
