from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from mimetric.core.errors import InputError
from mimetric.losses.mixed import rows_to_mix
from mimetric.metrics import utilization
from mimetric.recipes.venkataramanan2022 import BASES, MODES, Options, Unit, mixtures

Small = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4), Unit())


def test_mixed_embeddings_have_mixed_similarities(net: nn.Sequential) -> None:
    x, y = torch.rand(20, 6), torch.arange(20) % 4
    torch.manual_seed(1)
    anchors, mixed, share = mixtures(net, x, y, "embedding")
    torch.manual_seed(1)
    torch.distributions.Beta(2.0, 2.0).sample()  # the share comes first
    z = net(x)
    rows = rows_to_mix(z, y, 3)
    sim = z @ z.T
    wanted = [
        share * sim[anchors[:, None], rows.positives],
        (1 - share) * sim[anchors[:, None], rows.negatives],
    ]
    torch.testing.assert_close((z[anchors, None] * mixed).sum(2), sum(wanted))
    assert (mixed.norm(dim=2) < 1).all()


@pytest.mark.parametrize("mode", ["input", "feature"])
def test_what_is_mixed_earlier_has_length_1(net: nn.Sequential, mode: str) -> None:
    _, mixed, _ = mixtures(net, torch.rand(20, 6), torch.arange(20) % 4, mode)
    torch.testing.assert_close(mixed.norm(dim=2), torch.ones(20, 3))


@pytest.mark.parametrize("mode", MODES)
def test_equal_rows_mix_to_themselves(net: nn.Sequential, mode: str) -> None:
    x = torch.rand(1, 6).expand(6, 6)
    _, mixed, _ = mixtures(net, x, torch.arange(6) % 2, mode)
    torch.testing.assert_close(mixed, net(x)[:, None].expand(6, 3, 4))


def test_more_references_never_raise_utilization() -> None:
    queries, rows = torch.tensor([[1.0, 0.0], [0.0, 0.5]]), torch.zeros(1, 2)
    assert utilization(queries, rows).mean() == 0.625
    assert utilization(queries, torch.cat([rows, torch.rand(5, 2)])).mean() <= 0.625
    assert utilization(queries, queries).mean() == 0


def test_every_arm_is_measured(small: Small) -> None:
    found = {name: metric["mean"] for name, metric in small("venkataramanan2022")["measured"].items()}
    for name in [f"{base}{mode}" for base in BASES for mode in ("", *(f"_{mode}" for mode in MODES))]:
        assert found[f"recall_{name}"] > 0.5
        assert found[f"utilization_mixed_{name}"] < found[f"utilization_{name}"]


@pytest.mark.parametrize("name", ["epochs", "starts", "rows"])
def test_a_size_below_one_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=rf"^venkataramanan2022: {name} must be > 0, got 0$"):
        Options(**{name: 0})
