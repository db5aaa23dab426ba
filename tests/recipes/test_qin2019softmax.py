from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mimetric.core.errors import InputError
from mimetric.recipes.qin2019softmax import CLASSES, Digits, Options, mosaics, over_pixels, share, windows

Small = Callable[[str], dict[str, Any]]


def digits() -> Digits:
    """Ten images, each filled with a number of its own."""
    return Digits(torch.arange(1.0, 11).view(10, 1, 1, 1).expand(10, 1, 8, 8), torch.arange(10))


def test_information_rises_and_lies_between_its_bounds(small: Small) -> None:
    found = {name: metric["mean"] for name, metric in small("qin2019softmax")["measured"].items()}
    assert abs(found["information_first"]) < 0.1
    assert found["information_last"] > found["information_first"] + 0.3
    assert found["rows_between_bounds"] == 1
    assert found["random_lower"] < found["random_mean"] < found["random_upper"]


def test_mosaics_say_whose_each_pixel_is() -> None:
    images, whose = mosaics(digits(), 5)
    assert images.shape == (5, 1, 24, 24)
    assert torch.equal(images[:, 0], whose + 1.0)
    assert (whose[:, :8, 8:16] == whose[:, :1, 8:9]).all()  # one digit in a cell


def test_windows_of_a_digit_and_of_background() -> None:
    images, whose = mosaics(digits(), 3)
    found = windows(images, whose)
    of_digit = found.y < CLASSES
    # Nine cells, each with windows up to one pixel off in both directions.
    assert int(of_digit.sum()) == 3 * 9 * 9
    middle = found.x[of_digit][:, 0, 2:6, 2:6]  # not yet another cell's
    assert (middle == (found.y[of_digit] + 1.0)[:, None, None]).all()
    # Of 31 places on a side 9 are at most 1 off a cell; what is 2 off, and no more, is left out.
    kept = 31**2 - (sum(_off(place) <= 2 for place in range(31)) ** 2 - 9**2)
    assert len(found.y) == 3 * kept


def _off(place: int) -> int:
    return min(abs(place - 7 - cell) for cell in (0, 8, 16))


def test_a_window_covers_the_pixels_it_lies_on() -> None:
    scores = torch.zeros(1, 31, 31)
    scores[0, 7 + 8, 7] = 1  # the window of the cell in the second row, first column
    covered = over_pixels(scores)[0]
    assert covered.sum() == 64
    assert (covered[8:16, :8] == 1).all()
    assert share(torch.eye(24), covered == 0) == 1


@pytest.mark.parametrize("name", ["steps", "draws", "mosaic_steps"])
def test_a_size_below_one_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=rf"^qin2019softmax: {name} must be > 0, got 0$"):
        Options(**{name: 0})
