from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from mimetric.core.errors import InputError
from mimetric.losses import novel_class_weights
from mimetric.recipes.pereira2021 import ARMS, Options, judged, measure

Small = Callable[[str], dict[str, Any]]


def test_new_classes_compete_alone_and_with_old_ones() -> None:
    # Old classes 0 and 1, new 2 and 3.  The first row of class 2 is nearer to the old class 0.
    old, new = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, -1.0]])
    z = torch.tensor([[3.0, 0.1], [-1.0, 0.5], [2.0, 1.0], [0.1, 5.0], [0.0, -1.0], [0.1, 0.2]])
    found = judged(z, torch.tensor([0, 1, 2, 2, 3, 3]), old, new, "x")
    assert found == pytest.approx(
        {"disjoint_x": 3 / 4, "joint_x": 4 / 6, "joint_new_x": 2 / 4, "joint_old_x": 1.0}
    )


def test_a_cosine_classifier_of_means_is_the_nearest_mean() -> None:
    random = torch.Generator().manual_seed(0)
    support, z = torch.randn(12, 5, generator=random), torch.randn(50, 5, generator=random)
    _, weight = novel_class_weights(support, torch.arange(12) % 3)
    assert torch.equal((z @ weight.T).argmax(1), torch.cdist(normalize(z), weight).argmin(1))


def test_every_arm_is_measured(small: Small) -> None:
    found = {name: metric["mean"] for name, metric in small("pereira2021")["measured"].items()}
    for arm in ARMS:
        assert 0.25 < found[f"disjoint_{arm}"] <= 1  # four classes
        parts = found[f"joint_old_{arm}"], found[f"joint_new_{arm}"]
        assert min(parts) <= found[f"joint_{arm}"] <= max(parts)
        assert found[f"joint_new_{arm}"] <= found[f"disjoint_{arm}"]


def test_too_few_classes_are_an_error(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "two.npz",
        x=np.zeros((40, 4, 4), np.uint8),
        y=np.arange(40) % 2,
        split=np.arange(40) // 20 * 2,
    )
    with pytest.raises(InputError, match="pereira2021: data must hold at least 4 classes, got 2"):
        measure(Options(data=f"npz:{tmp_path / 'two.npz'}"), 0)


@pytest.mark.parametrize("name", ["rows", "steps", "splits"])
def test_a_size_below_one_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=rf"^pereira2021: {name} must be > 0, got 0$"):
        Options(**{name: 0})
