from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mimetric.core.errors import InputError
from mimetric.recipes.narayan2024 import Options, distances, placed

Small = Callable[[str], dict[str, Any]]


def test_rows_are_cut_before_they_are_placed() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 5.0], [0.0, 0.0]])
    assert placed(rows, hyperbolic=False).tolist() == [[1, 0], [0, 2], [0, 0]]
    lengths = placed(rows, hyperbolic=True).norm(dim=1)
    assert lengths.tolist() == pytest.approx([0.967948, 1.770056, 0], abs=1e-6)


def test_distances_in_the_ball_and_flat() -> None:
    x, y = torch.tensor([[0.5, 0.0]]), torch.tensor([[-0.5, 0.0]])
    assert distances(x, y, hyperbolic=True).item() == pytest.approx(2.016921, abs=1e-5)
    assert distances(x, y, hyperbolic=False).item() == 1


def test_every_arm_learns(small: Small) -> None:
    found = {name: metric["mean"] for name, metric in small("narayan2024")["measured"].items()}
    assert all(0.5 < area <= 1 for area in found.values())


@pytest.mark.parametrize("name", ["classes", "rows", "epochs"])
def test_a_size_below_one_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=rf"^narayan2024: {name} must be > 0, got 0$"):
        Options(**{name: 0})
