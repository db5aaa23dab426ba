from __future__ import annotations

from collections.abc import Callable
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mimetric.core.errors import InputError
from mimetric.recipes.sheikholeslami2025 import ARMS, Options, Quick, measure

CLINC = Path(__file__).parents[2].parent / "shared" / "data" / "clinc150" / "clinc150.npz"
Small = Callable[[str], dict[str, Any]]


def cost(name: str, scores: torch.Tensor) -> float:
    """Of a batch with given scores: queries whose coordinates are their scores, passages along the axes."""
    ids = torch.arange(len(scores))
    return float(ARMS[name](scores, ids, torch.eye(len(scores), dtype=scores.dtype), ids))


def test_the_contrastive_loss_is_blind_to_constants() -> None:
    scores = torch.tensor([[1.0, 0.2], [0.5, 0.4]], dtype=torch.float64)
    moved = scores + torch.tensor([[0.0], [3.0]])
    assert cost("cl_dot", scores) == pytest.approx((log(1 + exp(-0.8)) + log(1 + exp(0.1))) / 2)
    assert cost("cl_dot", scores) == pytest.approx(0.557749, abs=1e-6)
    assert cost("cl_dot", moved) == pytest.approx(0.557749, abs=1e-6)
    assert cost("mw_dot", scores) == pytest.approx(0.546928, abs=1e-6)
    assert cost("mw_dot", moved) == pytest.approx(0.933585, abs=1e-6)
    assert cost("mw_dot", scores + 7) == pytest.approx(0.546928, abs=1e-6)  # one constant for all
    assert cost("both_dot", scores) == pytest.approx(0.557749 + 0.546928, abs=2e-6)


def test_a_passage_of_the_same_class_is_no_negative() -> None:
    rows, ids = torch.randn(2, 4, 8), torch.tensor([0, 1, 1, 2])
    alone = torch.arange(4)
    for arm in ("mw_cosine", "mw_dot"):
        assert ARMS[arm](rows[0], ids, rows[1], ids) != ARMS[arm](rows[0], alone, rows[1], alone)


def test_every_arm_is_measured(small: Small) -> None:
    found = {name: metric["mean"] for name, metric in small("sheikholeslami2025")["measured"].items()}
    for arm in ARMS:
        assert all(0 < found[f"{number}_{arm}"] < 1 for number in ("auc", "mrr", "ndcg"))


@pytest.mark.skipif(not CLINC.exists(), reason="clinc150 is not in ../shared/data")
def test_on_questions(tmp_path: Path) -> None:
    with np.load(CLINC) as packed:
        texts, y = np.array(packed["text"].tobytes().decode().split("\n")), packed["y"]
    some = (y >= 0) & (y < 90)
    np.savez(tmp_path / "clinc.npz", x=texts[some][::20], y=y[some][::20].astype(int))
    found = measure(Quick(data=f"npz:{tmp_path / 'clinc.npz'}:by=class"), 0)
    assert all(0 < found[f"mrr_{arm}"] < 1 for arm in ARMS)


@pytest.mark.parametrize("name", ["steps", "classes"])
def test_a_size_below_one_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=rf"^sheikholeslami2025: {name} must be > 0, got 0$"):
        Options(**{name: 0})
