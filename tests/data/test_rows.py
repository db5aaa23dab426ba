from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image

from mimetric.core.errors import InputError
from mimetric.data.arrays import samples_of
from mimetric.data.images import read_image
from mimetric.data.rows import like_training, picture
from mimetric.data.texts import code_points

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (4, 6, 6), dtype=np.uint8)
COLOR = RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1))
def test_texts_become_the_code_points_of_training_data(texts):
    found = like_training(texts, (9,), "int32")
    assert (found.shape, found.dtype) == ((len(texts), 9), np.dtype(np.int32))
    short = code_points(texts, 9)
    assert_array_equal(found[:, : short.shape[1]], short)
    assert not found[:, short.shape[1] :].any()
    assert_array_equal(like_training(np.array(texts, object), (9,), "int32"), found)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float64, bool])
def test_numbers_come_in_the_type_trained_on(kind):
    rows = RNG.integers(0, 2, (3, 5)).astype(kind)
    for dtype in ("float32", "uint8"):
        found = like_training(rows, (5,), dtype)
        assert found.dtype == dtype
        assert_array_equal(found, rows)


@pytest.mark.parametrize(
    "rows",
    [GRAY, GRAY[..., None], GRAY[:, None], torch.from_numpy(GRAY), list(GRAY), GRAY.astype(float)],
    ids=["(n, h, w)", "(n, h, w, c)", "(n, c, h, w)", "tensor", "list", "whole floats"],
)
def test_pictures_in_any_layout_are_those_of_training_data(rows):
    found = like_training(rows, (1, 6, 6), "uint8")
    assert_array_equal(found, samples_of("x", GRAY))
    assert found.dtype == np.uint8


def test_bfloat16():
    x = torch.tensor([[0.5, -2.0]], dtype=torch.bfloat16, requires_grad=True)
    assert_array_equal(like_training(x, (2,), "float32"), np.array([[0.5, -2.0]], np.float32))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    color = Image.fromarray(COLOR)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees
    color.save(tmp_path / "color.png")
    color.save(tmp_path / "turned.png", exif=turned)
    Image.fromarray(GRAY[0]).save(tmp_path / "gray.png")
    color.convert("RGBA").save(tmp_path / "clear.png")
    return {file.stem: file for file in tmp_path.iterdir()}


def test_a_picture_is_what_training_decodes_whether_path_or_image(files):
    for file in files.values():
        pixels, _ = read_image(file, 4, 4)
        assert_array_equal(picture(file, (3, 4, 4)), pixels)
        with Image.open(file) as image:
            assert_array_equal(picture(image, (3, 4, 4)), pixels)


def test_color_becomes_gray_as_pillow_makes_it(files):
    with Image.open(files["color"]) as image:
        gray = np.asarray(image.convert("L"), np.int64)
    found = picture(files["color"], (1, 6, 6))[0].astype(np.int64)
    assert abs(found - gray).max() <= 1  # pillow cuts where we round
    assert_array_equal(picture(files["gray"], (1, 6, 6))[0], GRAY[0])
    assert_array_equal(picture(Image.fromarray(GRAY[0]).convert("CMYK"), (1, 6, 6))[0], GRAY[0])


def test_many_pictures_keep_their_order(files):
    names = [str(files[name]) for name in ("gray", "color", "gray")]
    found = like_training(names, (3, 6, 6), "uint8")
    assert_array_equal(found, [picture(name, (3, 6, 6)) for name in names])


@pytest.mark.parametrize(
    ("inputs", "shape", "dtype", "message"),
    [
        (["a"], (3,), "float32", "numbers of type float32, as those trained on, got texts"),
        (["a"], (3, 4), "int32", r"rows of shape \(3, 4\), .* got texts"),
        (["a", 1], (3,), "int32", "texts all alike, one is a int"),
        (["nowhere.png"], (3, 4, 4), "uint8", "nowhere.png: no such file"),
        (["a.png"], (2, 4, 4), "uint8", "1 or 3 channels, those trained on had 2"),
        ([Path("a"), 3], (1, 4, 4), "uint8", "no such file|a path or a PIL image, got int"),
        (np.zeros((2, 3)), (4,), "float32", r"rows of shape \(4,\), as those trained on, got \(3,\)"),
        (
            np.full((1, 4), 0.5),
            (4,),
            "uint8",
            "must be uint8, as those trained on, got float64 with other values",
        ),
        (np.full((1, 4), 300), (4,), "uint8", "got int64 with other values"),
        (np.full((1, 4), 1j), (4,), "float32", "must hold numbers, got complex128"),
        ([[1.0], [1.0, 2.0]], (1,), "float32", "must have one shape"),
    ],
)
def test_what_does_not_fit_is_told(inputs, shape, dtype, message):
    with pytest.raises(InputError, match=message):
        like_training(inputs, shape, dtype)
