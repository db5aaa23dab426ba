from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mimetric.core.errors import InputError
from mimetric.data.seen import load_seen
from mimetric.recipes import zhao2025
from mimetric.recipes.zhao2025 import ARMS, MODES, Options, Quick, measure

Small = Callable[[str], dict[str, Any]]


def test_every_arm_is_measured(small: Small) -> None:
    found = {name: metric["mean"] for name, metric in small("zhao2025")["measured"].items()}
    assert len(ARMS) == 9
    for arm in ARMS:
        assert 0.1 < found[f"map_{arm}"] < 1
        assert 0.1 < found[f"map_soup_{arm}"] < 1
    assert found["least_gain_of_soup"] <= found["map_soup"] - found["map_ingredients"]
    for mode in MODES:
        assert 0 < found[f"parents_{mode}_before"] < found[f"mixed_{mode}_before"] < 1


def test_on_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_seen("digits")
    vectors = data.x.reshape(len(data.x), -1)[::4].astype(np.float32)
    np.savez(tmp_path / "vectors.npz", x=vectors, y=data.y[::4])
    monkeypatch.setattr(zhao2025, "ARMS", {arm: ARMS[arm] for arm in ("0_none", "0.5_pair")})
    found = measure(Quick(data=f"npz:{tmp_path / 'vectors.npz'}:by=rows", kind="vectors"), 0)
    assert 0.1 < found["map_0.5_pair"] < 1


@pytest.mark.slow
def test_a_soup_finds_more_than_its_ingredients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zhao2025, "ARMS", {arm: ARMS[arm] for arm in ("0_none", "0.5_pair")})
    for seed in range(2):
        found = measure(Options(epochs=10), seed)
        assert found["least_gain_of_soup"] >= 0
        assert all(found[f"mixed_{mode}_after"] > found[f"parents_{mode}_after"] for mode in MODES)


def test_too_few_rows_to_mine_from_are_an_error() -> None:
    with pytest.raises(InputError, match=r"^zhao2025: each class must leave 100 training rows of others;"):
        measure(Quick(rows=60), 0)


@pytest.mark.parametrize("name", ["rows", "epochs"])
def test_a_size_below_one_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=rf"^zhao2025: {name} must be > 0, got 0$"):
        Options(**{name: 0})
