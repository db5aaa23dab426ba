from __future__ import annotations

from collections.abc import Callable
from math import exp, log

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mimetric.core.errors import InputError
from mimetric.losses.mixed import mixed_contrastive_loss, mixed_multi_similarity_loss, rows_to_mix

LOSSES = [mixed_contrastive_loss, mixed_multi_similarity_loss]


def test_hard_shares_give_the_clean_loss() -> None:
    # A positive at 0.7 and a negative at 0.8, with 18, 75 and 0.77.
    sim, shares = torch.tensor([[0.7, 0.8]], dtype=torch.float64), torch.tensor([[1.0, 0.0]])
    expected = log(1 + exp(-18 * (0.7 - 0.77))) / 18 + log(1 + exp(75 * (0.8 - 0.77))) / 75
    assert expected == pytest.approx(0.115209, abs=1e-6)
    assert mixed_multi_similarity_loss(sim, shares).item() == pytest.approx(expected)


def test_one_mixed_example_at_the_base() -> None:
    got = mixed_multi_similarity_loss(torch.tensor([[0.77]], dtype=torch.float64), 0.4).item()
    assert got == pytest.approx(log(1.4) / 18 + log(1.6) / 75)  # 0.0249596
    assert mixed_contrastive_loss(torch.tensor([[0.6]]), 0.3).item() == pytest.approx(-0.11)


@pytest.mark.parametrize("share", [0.4, 0.5, 0.9])
def test_a_lone_example_is_pulled_below_a_threshold(share: float) -> None:
    at = 0.77 + log(share / (1 - share)) / 93  # 0.765640 at 0.4, the base itself at 0.5
    for sim, pulled in ((at - 1e-4, True), (at + 1e-4, False)):
        s = torch.tensor([[sim]], dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(mixed_multi_similarity_loss(s, share), s)
        assert (slope.item() < 0) == pulled


def test_all_of_the_class_has_no_other_side_and_a_finite_slope() -> None:
    for share, sign in ((1.0, -1), (0.0, 1)):
        s = torch.tensor([[0.2, 0.9]], dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(mixed_multi_similarity_loss(s, share), s)
        assert (sign * slope > 0).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients(loss: Callable[..., Tensor]) -> None:
    random = torch.Generator().manual_seed(0)
    sim = torch.rand(3, 4, generator=random, dtype=torch.float64, requires_grad=True)
    shares = torch.rand(3, 4, generator=random, dtype=torch.float64)
    assert torch.autograd.gradcheck(loss, (sim, shares))
    assert loss(sim[:0], shares[:0]) == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_shares_out_of_range_are_errors(loss: Callable[..., Tensor]) -> None:
    with pytest.raises(InputError, match=r"shares must lie in \[0, 1\], got 1.5 to 1.5$"):
        loss(torch.zeros(2, 3), 1.5)
    with pytest.raises(InputError, match=r"shares must broadcast to similarities \(2, 3\), got \(2,\)$"):
        loss(torch.zeros(2, 3), [0.5, 0.5])
    with pytest.raises(InputError, match=r"similarities must be \(n, k\) floating point, got \(3,\)"):
        loss(torch.zeros(3), 0.5)


def test_rows_to_mix_are_positives_and_the_hardest_negatives() -> None:
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 5, generator=random), torch.arange(30) % 4
    y[:3] = -1
    y[3] = 9  # no other row of its class
    found = rows_to_mix(x, y, 3)
    assert found.anchors.tolist() == list(range(4, 30))
    unit = normalize(x)
    for anchor, positives, negatives in zip(*(part.tolist() for part in found)):
        assert all(y[p] == y[anchor] and p != anchor for p in positives)
        others = [j for j in range(30) if y[j] not in (-1, y[anchor])]
        assert negatives == sorted(others, key=lambda j: -float(unit[anchor] @ unit[j]))[:3]


def test_few_negatives_come_again_and_none_give_no_anchor() -> None:
    x = torch.eye(3)
    assert rows_to_mix(x, [0, 0, 1], 3).negatives.tolist() == [[2, 2, 2], [2, 2, 2]]
    assert rows_to_mix(x, [0, 0, 0]).anchors.numel() == 0
    assert rows_to_mix(x, [0, 1, -1]).positives.shape == (0, 3)
    with pytest.raises(InputError, match=r"^rows_to_mix: count must be > 0, got 0$"):
        rows_to_mix(x, [0, 0, 1], 0)
