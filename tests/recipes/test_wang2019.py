from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import exp, log
from typing import Any

import numpy as np
import pytest
import torch

from mimetric.core.errors import InputError
from mimetric.core.pairing import Pairing
from mimetric.core.pairs import pair_weights
from mimetric.losses import multi_similarity_loss
from mimetric.recipes.wang2019 import ARMS, MINED, TABLE, Options, agreement, looked_at

Small = Callable[[str], dict[str, Any]]
# The sheet's similarities and labels, alpha 2, beta 50, base 0.5.
SIM = torch.tensor(
    [[1, 0.8, 0.6, 0.2], [0.8, 1, 0.3, 0.4], [0.6, 0.3, 1, 0.7], [0.2, 0.4, 0.7, 1]], dtype=torch.float64
)
LABELS = [0, 0, 1, 1]


def test_weights_of_multi_similarity_look_at_positives_by_its_mining_alone() -> None:
    assert looked_at(multi_similarity_loss) == "SN"
    assert looked_at(multi_similarity_loss, MINED) == "SNP"


def test_weights_of_multi_similarity_are_its_paper_s() -> None:
    """A self term and a relative term, w = 1 / (e^(beta (base - s_j)) + sum over k of e^(beta (s_k - s_j)))."""
    weights = pair_weights(multi_similarity_loss, SIM, LABELS)
    for i, row in enumerate(SIM.tolist()):
        for j, s in enumerate(row):
            if i == j:
                continue
            same = LABELS[i] == LABELS[j]
            scale = -2.0 if same else 50.0
            others = [row[k] for k in range(4) if k != i and (LABELS[k] == LABELS[i]) == same]
            w = 1 / (exp(scale * (0.5 - s)) + sum(exp(scale * (k - s)) for k in others))
            assert weights[i, j].item() == pytest.approx(-w if same else w, rel=1e-9)
        assert weights[i].clamp(min=0).sum() < 1
        assert weights[i].clamp(max=0).sum() > -1


def test_mining_of_the_sheet_keeps_no_pair_and_pushes_none() -> None:
    # The positives 0.8 and 0.7 are more similar than every negative by 0.1.
    assert not pair_weights(multi_similarity_loss, SIM, LABELS, mining=MINED).any()


def test_one_pair_of_each_is_binomial_deviance_and_its_limit_the_hardest_pair() -> None:
    row, others, pairing = (
        torch.tensor([[0.3, 0.6]]).double(),
        torch.eye(2).double(),
        Pairing(similarity="dot"),
    )
    cost = partial(multi_similarity_loss, row, [0], others, [0, 1], pairing=pairing)
    expected = log(1 + exp(-2 * (0.3 - 0.5))) / 2 + log(1 + exp(50 * (0.6 - 0.5))) / 50
    assert cost().item() == pytest.approx(expected)
    assert cost(alpha=1e4, beta=1e4).item() == pytest.approx((0.5 - 0.3) + (0.6 - 0.5), abs=1e-3)


@pytest.mark.parametrize("name", TABLE)
def test_weights_held_constant_give_the_gradient(name: str) -> None:
    random = torch.Generator().manual_seed(0)
    z = torch.randn(24, 6, generator=random, dtype=torch.float64)
    assert agreement(TABLE[name][0], z, np.arange(24) % 4) == pytest.approx(1, abs=1e-9)


def test_every_arm_is_measured(small: Small) -> None:
    found = {name: metric["mean"] for name, metric in small("wang2019")["measured"].items()}
    assert all(0 < found[f"recall_{arm}"] < 1 for arm in ARMS)
    assert found["table_agrees"] == 1
    assert found["gradient_agrees"] > 0.999


@pytest.mark.parametrize("name", ["steps", "unseen"])
def test_a_size_below_one_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=rf"^wang2019: {name} must be > 0, got 0$"):
        Options(**{name: 0})
