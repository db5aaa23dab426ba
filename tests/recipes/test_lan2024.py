from __future__ import annotations

from collections.abc import Callable
from math import exp, log
from typing import Any

import pytest
import torch

from mimetric.core.errors import InputError
from mimetric.losses.bad_pairs import BadPairMining
from mimetric.recipes.lan2024 import Options, pair_losses, remembered, view

Small = Callable[[str], dict[str, Any]]


def test_a_pair_costs_the_mean_of_its_views() -> None:
    assert pair_losses(torch.eye(2).repeat(2, 1)).tolist() == pytest.approx(
        [log(1 + 2 * exp(-5))] * 2, rel=1e-4
    )
    assert pair_losses(torch.ones(4, 2)).tolist() == pytest.approx([log(3)] * 2)


def test_a_view_scales_channels_and_shifts_all_alike() -> None:
    torch.manual_seed(0)
    x = torch.arange(1.0, 13).repeat(5, 3, 1)
    seen = view(x, jitter=0.0, shift=2)
    for series in seen:
        scale = series.sum(1, keepdim=True) / x[0].sum(1, keepdim=True)
        steps = series / scale
        torch.testing.assert_close(steps, steps[:1].expand(3, -1))
        shifts = [shift for shift in range(-2, 3) if torch.allclose(steps[0], x[0, 0].roll(shift))]
        assert len(shifts) == 1


def test_what_is_remembered_is_told_by_kind() -> None:
    mining = BadPairMining(6, warmup=1, noisy=1.0, faulty=1.0)
    mining.start_epoch()
    mining(torch.tensor([2.0, 2.0, 2.0, 2.1, 0.0, 4.0]), torch.arange(6))
    mining.start_epoch()
    found = remembered(mining, torch.tensor([0, 0, 0, 1, 1, 2]))
    assert found["loss_normal"] == pytest.approx(2)
    assert found["loss_noisy"] == pytest.approx(1.05)
    assert found["auc_noisy"] == 0.5  # one below all others, one above
    assert found["auc_faulty"] == found["flagged_faulty"] == found["spared_normal"] == 1
    assert found["flagged_noisy"] == 0.5


def test_losses_tell_kinds_of_pairs(small: Small) -> None:
    found = {name: metric["mean"] for name, metric in small("lan2024")["measured"].items()}
    assert found["loss_noisy"] < found["loss_normal"] < found["loss_faulty"]
    assert all(found[name] > 0.3 for name in found if name.startswith("linear"))  # ten classes


@pytest.mark.parametrize("name", ["epochs", "rows"])
def test_a_size_below_one_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=rf"^lan2024: {name} must be > 0, got 0$"):
        Options(**{name: 0})
