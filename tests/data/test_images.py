"""Pictures to pixels: formats, depths, the right way up, on white."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mimetric.core.errors import InputError
from mimetric.data.images import read_image

COLOR = (200, 100, 50)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff", "ppm"])
def test_formats(tmp_path, suffix):
    pixels, gray = read_image(saved(tmp_path / f"a.{suffix}", Image.new("RGB", (90, 70), COLOR)), 24, 32)
    assert pixels.shape == (3, 24, 32)
    assert not gray
    assert abs(pixels.astype(int) - np.array(COLOR)[:, None, None]).max() <= 4  # JPEG and WebP are lossy


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_gray(tmp_path, mode):
    pixels, gray = read_image(saved(tmp_path / "a.png", Image.new("L", (30, 30), 255).convert(mode)), 8, 8)
    assert gray
    assert (pixels == 255).all()


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.pgm"])
def test_of_16_bits_the_upper_8_are_kept(tmp_path, name):
    # 65535 is white, 257 * 100 is what 8 bits call 100.
    values = np.full((20, 20), 257 * 100, np.uint16)
    values[:10] = 65535
    pixels, gray = read_image(saved(tmp_path / name, Image.fromarray(values)), 20, 20)
    assert gray
    assert (pixels[:, :9] == 255).all()
    assert (pixels[:, 11:] == 100).all()


def test_32_bits_have_no_scale(tmp_path):
    for mode in ("F", "I"):
        path = saved(tmp_path / f"{mode}.tiff", Image.new(mode, (9, 9)))
        with pytest.raises(InputError, match="has 32 bits a pixel; convert it, scaled as you need it"):
            read_image(path)


@pytest.mark.parametrize(
    ("orientation", "corner"), [(1, 0), (2, 1), (3, 2), (4, 3), (5, 0), (6, 1), (7, 2), (8, 3)]
)
def test_every_orientation_stands_upright(tmp_path, orientation, corner):
    # Stored with white in the upper left corner.  The standard says where row 0 and column 0 of the stored picture
    # lie: 1 top left, 2 top right, 3 bottom right, 4 bottom left, 5 left top, 6 right top, 7 right bottom, 8 left
    # bottom.  So the corner where both meet is upper left, upper right, lower right, lower left, twice.
    image = Image.new("L", (32, 32))
    image.paste(255, (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels, _ = read_image(saved(tmp_path / "a.png", image, exif=exif), 32, 32)
    corners = [pixels[0, 4, 4], pixels[0, 4, -5], pixels[0, -5, -5], pixels[0, -5, 4]]
    assert [value > 128 for value in corners] == [place == corner for place in range(4)]


def test_palette_with_transparency_lies_on_white(tmp_path):
    image = Image.new("P", (20, 20), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    pixels, _ = read_image(saved(tmp_path / "a.png", image, transparency=0), 8, 8)
    assert (pixels == 255).all()


def test_a_format_is_told_by_content_and_no_other_is_opened(tmp_path):
    pixels, _ = read_image(saved(tmp_path / "a.jpg", Image.new("RGB", (9, 9), COLOR), format="PNG"), 8, 8)
    assert pixels[:, 4, 4].tolist() == list(COLOR)
    saved(tmp_path / "a.ico", Image.new("RGB", (16, 16))).rename(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"b\.png cannot be decoded"):
        read_image(tmp_path / "b.png")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tiff"])
@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_a_picture_or_one_line(tmp_path, suffix, data):
    noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)
    whole = bytearray(saved(tmp_path / f"a.{suffix}", Image.fromarray(noise)).read_bytes())
    for _ in range(3):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    (tmp_path / f"b.{suffix}").write_bytes(bytes(whole[:cut]))
    said = ""
    try:
        assert read_image(tmp_path / f"b.{suffix}", 8, 8)[0].shape == (3, 8, 8)
    except InputError as error:
        said = str(error)
    assert "\n" not in said
