"""Averages of models: the formula, what is not averaged, and what does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mimetric.core.errors import InputError
from mimetric.models.soup import model_soup

State = dict[str, Any]
finite = st.floats(-1e3, 1e3, width=32)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    for _ in range(seed + 1):
        net(torch.randn(5, 3))
    return net


@given(st.data(), st.integers(1, 4), st.integers(0, 3))
def test_equals_plain_loops(data: st.DataObject, count: int, size: int) -> None:
    rows = data.draw(st.lists(st.lists(finite, min_size=size, max_size=size), min_size=count, max_size=count))
    parts = data.draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))
    weights = [part / sum(parts) for part in parts]
    expected = [sum(c * row[i] for c, row in zip(weights, rows)) for i in range(size)]
    states = [{"w": torch.tensor(row, dtype=torch.float64)} for row in rows]
    assert model_soup(states, weights)["w"].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("weights", [None, [0.2, 0.5, 0.3], [-1.5, 2.0, 0.5]])
def test_a_soup_of_equal_models_is_the_model(dtype: torch.dtype, weights: list[float] | None) -> None:
    state = {"w": torch.randn(50, generator=torch.Generator().manual_seed(0)).to(dtype)}
    soup = model_soup([state] * 3, weights)
    assert torch.equal(soup["w"], state["w"])
    assert soup["w"].dtype == dtype
    assert soup["w"].data_ptr() != state["w"].data_ptr()


def test_a_soup_loads_into_the_network_and_is_its_midpoint() -> None:
    nets = [network(seed) for seed in range(3)]
    soup = network(3)
    soup.load_state_dict(model_soup([net.state_dict() for net in nets]))
    for name, parameter in soup.named_parameters():
        mean = torch.stack([net.get_parameter(name) for net in nets]).mean(0)
        torch.testing.assert_close(parameter.detach(), mean.detach())
    statistics = torch.stack([net.get_buffer("1.running_mean") for net in nets]).mean(0)
    torch.testing.assert_close(soup.get_buffer("1.running_mean"), statistics)
    assert [int(net.get_buffer("1.num_batches_tracked")) for net in (*nets, soup)] == [1, 2, 3, 1]


def test_a_linear_network_of_a_soup_gives_the_mean_of_what_its_models_give() -> None:
    nets = [nn.Linear(3, 2).double() for _ in range(3)]
    soup, x = nn.Linear(3, 2).double(), torch.randn(4, 3, dtype=torch.float64)
    soup.load_state_dict(model_soup([net.state_dict() for net in nets], [0.5, 0.3, 0.2]))
    torch.testing.assert_close(soup(x), 0.5 * nets[0](x) + 0.3 * nets[1](x) + 0.2 * nets[2](x))


def test_half_precision_is_summed_wide() -> None:
    # Next to 1 stands 1 + 2^-7.  The mean, 1 + 3/4 of that step, rounds up; summed in bfloat16 it is 1.
    states = [{"w": torch.tensor([value], dtype=torch.bfloat16)} for value in (1.0, *[1 + 2**-7] * 3)]
    assert sum(state["w"] for state in states) / 4 == 1
    assert model_soup(states)["w"].item() == 1 + 2**-7


def state(**tensors: Tensor) -> State:
    return tensors


ONE = torch.ones(2)


@pytest.mark.parametrize(
    ("states", "weights", "message"),
    [
        ([], None, r"^model_soup: state_dicts must be one or more, got none$"),
        ([state(a=ONE)] * 2, [1.0], r"^model_soup: weights must be 2, one for each of state_dicts, got 1$"),
        ([state(a=ONE)] * 2, [1.0, 2.0], r"sum of 1, got 3; divide them by their sum$"),
        ([state(a=ONE)] * 2, [float("nan"), 1.0], r"sum of 1, got nan"),
        ([state(a=ONE, b=ONE), state(a=ONE)], None, r"state_dicts\[1\] lacks 'b', which the first has"),
        ([state(a=ONE), state(a=ONE, b=ONE)], None, r"state_dicts\[1\] has 'b', which the first lacks"),
        (
            [state(a=ONE), state(a=torch.ones(3))],
            None,
            r"^model_soup: state_dicts\[1\]\['a'\] must be float32 \(2,\) as in the first, got float32 \(3,\)$",
        ),
        ([state(a=ONE), state(a=ONE.double())], None, r"must be float32 \(2,\) as in the first, got float64"),
        ([{"a": 3}], None, r"^model_soup: state_dicts\[0\]\['a'\] must be a tensor, got int$"),
    ],
)
def test_what_does_not_fit_is_named(states: list[State], weights: list[float] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model_soup(states, weights)
