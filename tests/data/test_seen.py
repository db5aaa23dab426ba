from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mimetric.core.errors import InputError
from mimetric.data.labelled import LabelledData
from mimetric.data.seen import load_seen, load_unseen


@pytest.fixture
def spec(tmp_path: Path) -> str:
    """Vectors of 20 classes, split by class unless told."""
    file = tmp_path / "vectors.npz"
    np.savez(file, x=np.random.default_rng(0).normal(size=(200, 3)), y=np.arange(200) % 20)
    return f"npz:{file}"


def test_each_takes_what_the_other_refuses(spec: str) -> None:
    by_rows, by_class = load_seen(f"{spec}:by=rows", "vectors"), load_unseen(f"{spec}:by=class", "vectors")
    assert set(by_rows.y[by_rows.split.test]) <= set(by_rows.y[by_rows.split.train])
    assert not set(by_class.y[by_class.split.test]) & set(by_class.y[by_class.split.train])
    with pytest.raises(
        InputError, match=r"by=class: must hold vectors of test classes trained on, as npz:PATH does$"
    ):
        load_seen(f"{spec}:by=class", "vectors")
    with pytest.raises(
        InputError, match=r"by=rows: must hold vectors of test classes unseen in training, as npz"
    ):
        load_unseen(f"{spec}:by=rows", "vectors")


@pytest.mark.parametrize("load", [load_seen, load_unseen])
def test_another_kind_is_an_error(spec: str, load: Callable[[str], LabelledData]) -> None:
    with pytest.raises(
        InputError, match=r"npz: must hold images of test classes .*, as (digits|glyphs) does$"
    ):
        load(spec)


@pytest.mark.parametrize("load", [load_seen, load_unseen])
def test_images_too_small_are_an_error(tmp_path: Path, load: Callable[..., LabelledData]) -> None:
    file, by = tmp_path / "small.npz", "rows" if load is load_seen else "class"
    np.savez(file, x=np.zeros((80, 5, 3)), y=np.arange(80) % 10)
    assert len(load(f"npz:{file}:by={by}", side=3).y) == 80
    with pytest.raises(InputError, match=f"by={by}: images must be at least 4 x 4, got 5 x 3; enlarge them$"):
        load(f"npz:{file}:by={by}", side=4)
