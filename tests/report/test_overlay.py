from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mimetric.report.overlay import draw_overlays


def drawn(path: Path, *panels) -> np.ndarray:
    draw_overlays([panels], path)
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(float)


def middle(pixels: np.ndarray) -> np.ndarray:
    """A column through the middle of the only panel."""
    return pixels[:, pixels.shape[1] // 2]


def test_red_speaks_for_it_and_blue_against_it(tmp_path: Path) -> None:
    heat = np.array([[1.0, 1.0], [0.0, 0.0], [-1.0, -1.0]])
    column = middle(drawn(tmp_path / "a.png", ("title", np.zeros((30, 30)), heat)))
    redness = column[:, 0] - column[:, 2]
    warm, cold = redness.argmax(), redness.argmin()
    assert warm < cold
    assert redness[warm] > 60
    assert redness[cold] < -60


@pytest.mark.parametrize("image", [np.full((20, 30), 0.5), np.full((20, 30, 3), 0.5)])
def test_heat_of_zero_leaves_the_picture_gray(tmp_path: Path, image: np.ndarray) -> None:
    pixels = drawn(tmp_path / "a.png", ("", image, np.zeros((2, 2))))
    assert np.ptp(pixels, axis=2).max() == 0


def test_rows_of_other_lengths_and_a_plain_picture_in_color(tmp_path: Path) -> None:
    green = np.zeros((5, 5, 3))
    green[..., 1] = 1
    gray = np.zeros((5, 5))
    draw_overlays([[("one", green, None), ("two", gray, None)], [("three", gray, None)]], tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width == 2 * 180
        colors = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert (colors == (0, 255, 0)).all(1).sum() > 1000
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
