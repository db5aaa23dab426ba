from __future__ import annotations

from math import exp, inf, log, pi, sqrt

import pytest
import torch
from torch import Tensor

from mimetric.core.errors import InputError
from mimetric.core.pairing import Pairing
from mimetric.losses import nt_xent_loss
from mimetric.losses.bad_pairs import BadPairMining

# Mean 1.11, standard deviation 0.6847627: thresholds at two of them are -0.2595 and 2.4795.
LOSSES = torch.tensor([0.1, *[1.0] * 8, 3.0], dtype=torch.float64)
ROWS = torch.arange(10)


def after_one_epoch(losses: Tensor = LOSSES, **options: object) -> BadPairMining:
    mining = BadPairMining(len(losses), warmup=1, **({"faulty": 2.0} | options))  # type: ignore[arg-type]
    mining.start_epoch()
    assert torch.equal(mining(losses, torch.arange(len(losses))), losses)
    mining.start_epoch()
    return mining


def test_the_sheet_s_pairs() -> None:
    mining = after_one_epoch()
    assert mining.faulty.tolist() == [False] * 9 + [True]
    assert not mining.noisy.any()
    now = LOSSES.clone()
    assert (mining(now, ROWS) / now)[-1].item() == pytest.approx(0.0129162, abs=1e-7)
    at_mean = torch.tensor([1.11], dtype=torch.float64)
    assert (mining(at_mean, [9]) / at_mean).item() == pytest.approx(0.5825993, abs=1e-7)


def test_a_density_is_no_share() -> None:
    losses = LOSSES / 10  # spread 0.068: a density above 1 near the mean
    near = torch.tensor([0.111], dtype=torch.float64)
    dense, relative = (
        after_one_epoch(losses, weight=weight)(near, [9]) / near for weight in ("density", "relative")
    )
    assert dense.item() == pytest.approx(5.825993, abs=1e-6)
    assert relative.item() == pytest.approx(1)


def test_weights_are_those_of_plain_loops() -> None:
    losses = torch.rand(12, 4, dtype=torch.float64).square() * 3  # four epochs
    mining = BadPairMining(12, warmup=2, noisy=0.7, faulty=1.2)
    for epoch in range(4):
        mining.start_epoch()
        got = (
            torch.cat([mining(losses[part, epoch], part) for part in torch.randperm(12).split(5)])
            .sort()
            .values
        )
        expected = losses[:, epoch].tolist()
        if epoch >= 2:
            means = [sum(row[:epoch]) / epoch for row in losses.tolist()]
            mu = sum(means) / 12
            sigma = sqrt(sum((m - mu) ** 2 for m in means) / 12)
            for i, m in enumerate(means):
                if m <= mu - 0.7 * sigma or m >= mu + 1.2 * sigma:
                    expected[i] *= exp(-((expected[i] - mu) ** 2) / (2 * sigma**2)) / (sigma * sqrt(2 * pi))
        assert got.tolist() == pytest.approx(sorted(expected))


def test_nothing_flagged_leaves_losses_as_they_are() -> None:
    for mining in (
        after_one_epoch(noisy=inf, faulty=inf),
        after_one_epoch(torch.ones(10), noisy=0.0),  # no spread, no outlier
        BadPairMining(10, warmup=0),  # nothing remembered yet
    ):
        mining.start_epoch()
        assert torch.equal(mining(LOSSES, ROWS), LOSSES)


def test_a_gradient_is_the_weight() -> None:
    mining, losses = after_one_epoch(weight="relative"), LOSSES.clone().requires_grad_()
    mining(losses, ROWS).sum().backward()
    weight = exp(-(((3 - 1.11) / 0.6847627) ** 2) / 2)
    assert losses.grad is not None
    assert losses.grad.tolist() == pytest.approx([1.0] * 9 + [weight], rel=1e-6)


def test_this_epoch_moves_no_flag_and_the_next_start_does() -> None:
    mining = after_one_epoch()
    mining(torch.full((10,), 50.0).index_fill(0, torch.tensor([9]), 0.0), ROWS)
    assert mining.faulty.tolist() == [False] * 9 + [True]
    mining.start_epoch()
    assert mining.noisy.tolist() == [False] * 9 + [True]


def test_pairs_without_a_loss_are_left_out() -> None:
    mining = BadPairMining(11, warmup=0, faulty=2.0)
    mining.start_epoch()
    mining(LOSSES, ROWS)
    mining.start_epoch()
    assert mining.mean_losses[10].isnan()
    assert mining.faulty.tolist() == [False] * 9 + [True, False]


def test_a_saved_state_weighs_alike() -> None:
    mining, other = after_one_epoch(), BadPairMining(10, warmup=1, faulty=2.0)
    other.load_state_dict(mining.state_dict())
    assert torch.equal(mining(LOSSES, ROWS), other(LOSSES, ROWS))


def test_nt_xent_of_single_pairs() -> None:
    # Each of four views has two negatives: at right angles, or where all rows are one.
    for second, expected in ((torch.eye(2), log(1 + 2 * exp(-5))), (torch.ones(2, 2), log(3))):
        z = second.repeat(2, 1).double()
        cost = nt_xent_loss(z, [0, 1, 0, 1], temperature=0.2, pairing=Pairing(reduction="none"))
        assert cost.tolist() == pytest.approx([expected] * 4)


@pytest.mark.parametrize("losses", [torch.tensor(1.0), torch.ones(3)])
def test_a_loss_that_is_not_one_for_each_pair_is_an_error(losses: Tensor) -> None:
    with pytest.raises(InputError, match=r"^BadPairMining: losses must be \(n,\) with integer rows"):
        BadPairMining(10, warmup=1)(losses, [0, 1])


def test_options_out_of_range_are_errors() -> None:
    with pytest.raises(InputError, match=r"^BadPairMining: num_pairs must be at least 1, got 0$"):
        BadPairMining(0, warmup=1)
    with pytest.raises(InputError, match="faulty"):
        BadPairMining(1, warmup=1, faulty=-1.0)
