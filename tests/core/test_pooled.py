"""A log-sum over all negative pairs, and order statistics by counting, beside sorted lists."""

from __future__ import annotations

from math import inf

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mimetric.core import pooled
from mimetric.core.exponentials import LogSumExp
from mimetric.core.pairing import Pairing
from mimetric.core.pairs import pair_sums
from mimetric.core.pooled import Within, negative_order, pooled_logsumexp
from mimetric.core.reduce import Near
from strategies import batches

SHEET = [-0.9, -0.1, 0.0, 0.05, 0.1, 0.15, 0.2, 0.95]


def described(x, y, block=None, similarity="cosine"):
    return pair_sums(
        "here", x, y, push=LogSumExp(1.0), sides=lambda near, far: (far, far),  # noqa: ARG005
        pairing=Pairing(block=block, similarity=similarity),
    )  # fmt: skip


def sorted_negatives(x, y):
    unit = F.normalize(x)
    first, second = torch.triu_indices(len(x), len(x), 1)
    apart = (y[first] != y[second]) | (y[first] == -1)
    return (unit @ unit.T)[first, second][apart].sort().values


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [7, 60, 300])  # digits of 8 bits, and of 16
@pytest.mark.parametrize("block", [None, 11])
def test_places_in_order(dtype, n, block):
    x = torch.randn(n, 4, dtype=dtype, generator=torch.Generator().manual_seed(n))
    y = torch.arange(n) % 3
    values = sorted_negatives(x, y)
    shares = (0.0, 0.25, 0.5, 0.75, 0.999)
    expected = torch.stack([values[int(share * len(values))] for share in shares])
    torch.testing.assert_close(negative_order(described(x, y, block), shares), expected, atol=5e-7, rtol=0)


@given(batch=batches())
def test_places_in_order_of_odd_batches(batch):
    x, y = batch
    values = sorted_negatives(x, y)
    found = negative_order(described(x, y), (0.25, 0.75))
    if len(values):
        expected = torch.stack([values[int(share * len(values))] for share in (0.25, 0.75)])
        torch.testing.assert_close(found, expected, atol=1e-15, rtol=0)


def test_numbers_below_and_far_above_zero():
    # Dot products of many sizes and both signs: the order of floating point numbers is that of their bits.
    x = torch.tensor([[1e-30], [-3e-20], [2e-3], [-1.0], [7e5], [-8e12]])
    products = (x @ x.T)[*torch.triu_indices(6, 6, 1)].sort().values
    found = negative_order(
        described(x, torch.arange(6), similarity="dot"), [k / 15 + 0.01 for k in range(15)]
    )
    assert torch.equal(found, products)


def test_the_filter_of_the_sheet():
    # Q1 = 0 and Q3 = .2: r = 1.5 keeps -.1 to .2, six values; r = 0 keeps from quartile to quartile.
    sim = torch.tensor([SHEET], dtype=torch.float64)
    near = Near(sim[:, :0], torch.zeros(1, 0, dtype=torch.bool))
    for low, high, kept in ((-0.3, 0.5, SHEET[1:7]), (0.0, 0.2, SHEET[2:7]), (-inf, inf, SHEET)):
        expected = torch.tensor(kept, dtype=torch.float64).logsumexp(0)
        assert Within(LogSumExp(1.0), low, high).far(sim, near).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("block", [None, 3])
@given(batch=batches(), whisker=st.sampled_from([0.0, 1.5, inf]))
def test_equals_the_plain_sum(block, batch, whisker):
    x, y = batch
    values = sorted_negatives(x, y)
    if whisker < inf and len(values):
        q1, q3 = (values[int(share * len(values))] for share in (0.25, 0.75))
        reach = whisker * (q3 - q1) + 2e-15
        values = values[(values >= q1 - reach) & (values <= q3 + reach)]
    found = pooled_logsumexp("here", x, y, scale=8.0, whisker=whisker, pairing=Pairing(block=block))
    assert found.item() == pytest.approx((8 * values).logsumexp(0).item() if len(values) else -inf)


@pytest.mark.parametrize("whisker", [0.5, inf])
def test_first_and_second_derivatives(whisker):
    x = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = torch.tensor([0, 0, 1, 1, 2, 2, 3, -1])

    def pool(x):
        return pooled_logsumexp("here", x, y, scale=4.0, whisker=whisker, pairing=Pairing(block=3))

    assert torch.autograd.gradcheck(pool, x)
    assert torch.autograd.gradgradcheck(pool, x)


def test_without_negatives_there_is_no_gradient():
    x = torch.ones(3, 2, requires_grad=True)
    value = pooled_logsumexp("here", x, [1, 1, 1], scale=4.0, whisker=1.5)
    value.backward()
    assert value == -inf
    assert not x.grad.any()


def test_equal_similarities_stay_together():
    # All negatives alike, up to rounding: the box has no width, and holds them all.
    x = F.normalize(torch.randn(40, 5, generator=torch.Generator().manual_seed(0)))
    x = torch.cat((x, -x)) * 7
    same = torch.cat((torch.eye(40), torch.eye(40)))
    found = pooled_logsumexp("here", torch.cat((0 * x + x.mean(), same), 1), torch.arange(80), scale=1.0)
    assert torch.isfinite(found)
    simplex = torch.eye(50) - 1 / 50
    value = pooled_logsumexp("here", simplex, torch.arange(50), scale=1.0, whisker=0.0)
    assert value.item() == pytest.approx(torch.tensor(50 * 49 / 2).log().item() - 1 / 49, rel=1e-5)


def test_nan_shows():
    x = torch.ones(3, 2)
    x[0, 0] = torch.nan
    for whisker in (0.5, inf):
        assert pooled_logsumexp("here", x, [0, 1, 2], scale=1.0, whisker=whisker).isnan()


def test_blocks_are_made_one_at_a_time(monkeypatch):
    seen = []
    made = pooled.blocks
    monkeypatch.setattr(pooled, "blocks", lambda *a: (seen.append(b.sim.shape) or b for b in made(*a)))
    negative_order(described(torch.randn(20, 3), torch.arange(20), block=6), (0.5,))
    assert set(seen) == {(6, 20), (2, 20)}
