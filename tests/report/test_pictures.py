from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mimetric.report.pictures import LARGEST, Picture, read_pictures


def stored(folder: Path, **arrays: Any) -> Path:
    path = folder / "pictures.npz"
    np.savez(path, **arrays)
    return path


def opened(picture: Picture) -> Image.Image:
    head, _, data = picture.uri.partition(",")
    assert head == f"data:image/{'png' if picture.tiny else 'jpeg'};base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize("shape", [(2, 8, 6), (2, 8, 6, 3)])
def test_small_pictures_keep_every_pixel(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    pictures = read_pictures(stored(tmp_path, row=np.array([4, 9]), image=image))
    assert list(pictures) == [4, 9]
    assert pictures[9].tiny
    np.testing.assert_array_equal(np.asarray(opened(pictures[9])), image[1])


def test_large_pictures_are_made_smaller_in_their_shape(tmp_path: Path) -> None:
    picture = read_pictures(stored(tmp_path, row=np.array([0]), image=np.zeros((1, 400, 200, 3), np.uint8)))[
        0
    ]
    assert opened(picture).size == (LARGEST // 2, LARGEST)
    assert not picture.tiny


@pytest.mark.parametrize(
    "arrays",
    [
        {"row": np.array([0])},
        {"row": np.array([0, 1]), "image": np.zeros((1, 4, 4), np.uint8)},
        {"row": np.array([0]), "image": np.zeros((1, 4, 4, 7), np.uint8)},
        {"row": np.array([0]), "image": np.zeros((1, 0, 4), np.uint8)},
        {"row": np.array([0]), "image": np.zeros((1, 4, 4), np.complex128)},
        {"row": np.array([0]), "image": np.array([object()])},
        {"row": np.array(0), "image": np.zeros((1, 4, 4), np.uint8)},
        {"row": np.array([[0]]), "image": np.zeros((1, 4, 4), np.uint8)},
    ],
)
def test_a_file_of_another_form_gives_no_pictures(tmp_path: Path, arrays: dict[str, Any]) -> None:
    assert read_pictures(stored(tmp_path, **arrays)) == {}


def test_an_absent_or_broken_file_gives_no_pictures(tmp_path: Path) -> None:
    assert read_pictures(tmp_path / "pictures.npz") == {}
    path = stored(tmp_path, row=np.arange(9), image=np.arange(9 * 64, dtype=np.uint8).reshape(9, 8, 8))
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 0xFF
    for content in (b"", b"PK", whole[: len(whole) // 2], bytes(broken)):
        path.write_bytes(content)
        assert read_pictures(path) == {}
