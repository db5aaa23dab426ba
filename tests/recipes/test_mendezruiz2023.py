from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mimetric.core.errors import InputError
from mimetric.losses import icnn_loss, proto_triplet_loss, prototypical_loss
from mimetric.recipes.mendezruiz2023 import ARMS, TASKS, Options, accuracy, cost, drawn, score

Small = Callable[[str], dict[str, Any]]


def test_an_episode_has_different_rows_of_different_classes() -> None:
    y = torch.arange(60) % 12
    for episode in drawn(y, 10, 5, 7, seed=0):
        assert len(torch.unique(episode)) == 50
        assert (y[episode] == y[episode][:, :1]).all()
        assert len(torch.unique(y[episode][:, 0])) == 10


def test_accuracy_is_that_of_the_nearest_mean() -> None:
    # Means of two shots 1 and 11; queries 0, 7 and 12, 5: of each class the second is nearer to the other mean.
    z = torch.tensor([[[0.0], [2.0], [0.0], [7.0]], [[10.0], [12.0], [12.0], [5.0]]])
    assert accuracy(z[None], 2) == 0.5
    assert accuracy(torch.stack((z, z)), 2) == 0.5
    assert score(torch.tensor([[[0.0], [1.0], [2.0]], [[10.0], [11.0], [12.0]]])) == pytest.approx(
        0.932323, abs=1e-5
    )


def test_terms_are_averaged() -> None:
    z = torch.randn(10, 10, 4, generator=torch.Generator().manual_seed(0))
    y = torch.arange(10).repeat_interleave(5)
    parts = z[:, 5:].flatten(0, 1), y, z[:, :5].flatten(0, 1), y
    ce, triplet = prototypical_loss(*parts), proto_triplet_loss(*parts)
    icnn = icnn_loss(torch.cat((parts[2], parts[0])), y.repeat(2), neighbors=10)
    for arm, expected in (("ce", ce), ("triplet", (ce + triplet) / 2), ("icnn", (ce + icnn) / 2)):
        torch.testing.assert_close(cost(z, ARMS[arm]), expected)


def test_every_arm_is_measured(small: Small) -> None:
    found = {name: metric["mean"] for name, metric in small("mendezruiz2023")["measured"].items()}
    for arm in ARMS:
        for task, (ways, _) in TASKS.items():
            assert 1 / ways < found[f"{task}_{arm}"] < 1
        assert 0 < found[f"score_{arm}"] < 1


@pytest.mark.parametrize("name", ["episodes", "tests"])
def test_a_size_below_one_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=rf"^mendezruiz2023: {name} must be > 0, got 0$"):
        Options(**{name: 0})
