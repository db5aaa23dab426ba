"""Adaptive multi-head contrast: the sheet's exact checks, plain loops, blocks."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mimetric import losses
from mimetric.core.errors import InputError
from mimetric.losses.multi_head import temperature_penalty

S = torch.tensor(
    [[[0.8, 0.1], [0.2, 0.6]], [[0.5, 0.4], [-0.1, 0.9]]], dtype=torch.float64
)  # head, row, column
ADAPTED = torch.tensor([[0.2, 1.0], [0.5, 0.5]], dtype=torch.float64)  # head, row


def of_similarities(temperatures, **options):
    """The loss of the similarities S: unit rows in three dimensions against the first two unit vectors."""
    rest = (1 - S.square().sum(2, keepdim=True)).sqrt()
    references = torch.eye(2, 3, dtype=torch.float64).expand(2, 2, 3)
    heads, ids = torch.cat((S, rest), 2), torch.arange(2)
    return losses.adaptive_multi_head_loss(
        heads, ids, references, ids, temperatures=temperatures, **options
    ).item()


def constant(positive, negative=0.5):
    def temperatures(x, y):  # noqa: ARG001
        size = (len(x), x.shape[1], 1)
        return tuple(torch.as_tensor(t, dtype=x.dtype).expand(size) for t in (positive, negative))

    return temperatures


def test_penalty():  # check 1
    found = [temperature_penalty(torch.tensor(t, dtype=torch.float64), 128).item() for t in (0.1, 1, 2 / 128)]
    assert found == pytest.approx([-137.365446, 1, -202.168517])
    found = [temperature_penalty(torch.tensor(t, dtype=torch.float64), 2).item() for t in (0.5, 1)]
    assert found == pytest.approx([1.306853, 1], abs=1e-6)


def test_penalty_is_the_normal_likelihood():  # check 2
    value = -0.7 / 0.2 + temperature_penalty(torch.tensor(0.2, dtype=torch.float64), 8).item()
    assert value == pytest.approx(-4.937752)
    assert value == pytest.approx(0.3 / 0.2 + 4 * log(0.2))


@pytest.mark.parametrize(
    ("positive", "plain", "penalized"), [(0.5, 0.329146, 0.459832), (ADAPTED[..., None], 0.336332, 0.511439)]
)
def test_heads_of_given_similarities(positive, plain, penalized):  # checks 3 and 4
    assert of_similarities(constant(positive), beta=0.0) == pytest.approx(plain, abs=1e-6)
    # The sheet's penalty is that of width 2; these rows have width 3.
    t = torch.as_tensor(positive, dtype=torch.float64)
    two, three = (temperature_penalty(t, width).mean().item() for width in (2, 3))
    assert plain + 0.1 * two == pytest.approx(penalized, abs=2e-6)
    found = of_similarities(constant(positive), beta=0.1, regularize="positives")
    assert found == pytest.approx(plain + 0.1 * three, abs=1e-6)
    of_negatives = temperature_penalty(torch.tensor(0.5), 3).item()
    both = of_similarities(constant(positive), beta=0.1)
    assert both == pytest.approx(found + 0.1 * of_negatives, abs=1e-6)


def drawn(seed, n, heads=1, width=4):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(heads, n, width, dtype=torch.float64, generator=generator)
    labels = torch.tensor([0, 0, 1, 1, 1, 2, -1, -1, 0, 2][:n])
    return x, labels


def adaptive(width=4):
    torch.manual_seed(0)
    return losses.PairTemperature(width, hidden=8, low=0.05).double()


@given(seed=st.integers(0, 10**6), n=st.integers(1, 10), references=st.booleans())
@settings(max_examples=20, deadline=None)
def test_one_head_of_one_temperature_is_nt_xent(seed, n, references):  # check 5
    x, y = drawn(seed, n)
    others = drawn(seed + 1, 5) if references else (None, None)
    found = losses.adaptive_multi_head_loss(x, y, *others, temperatures=constant(0.1, 0.1), beta=0.0)
    expected = losses.nt_xent_loss(x[0], y, None if others[0] is None else others[0][0], others[1])
    torch.testing.assert_close(found, expected)


def test_temperature_without_an_opinion_is_in_the_middle():  # check 5
    temperature = losses.PairTemperature(4)
    for parameter in temperature.second.parameters():
        torch.nn.init.zeros_(parameter)
    for found in temperature(torch.randn(2, 3, 4), torch.randn(2, 5, 4)):
        torch.testing.assert_close(found, torch.full((2, 3, 5), 1.000005))


def test_pair_temperature_is_its_formula():
    temperature = adaptive()
    x, y = drawn(0, 3, heads=2)[0], drawn(1, 5, heads=2)[0]
    phi = temperature.second(temperature.first(x[:, :, None] * y[:, None]).relu())
    expected = (0.05 + 1.95 * phi.sigmoid()).unbind(-1)
    torch.testing.assert_close(temperature(x, y), expected)


def test_free_of_the_order_of_heads_and_views():  # checks 5 and 6
    x, _ = drawn(0, 10, heads=3)
    ids, temperature = torch.arange(5).repeat(2), adaptive()
    value = losses.adaptive_multi_head_loss(x, ids, temperatures=temperature)
    for other in (x.flip(0), x.roll(5, 1)):
        torch.testing.assert_close(
            losses.adaptive_multi_head_loss(other, ids, temperatures=temperature), value
        )


@pytest.mark.parametrize("top_k", [None, 2])
@pytest.mark.parametrize("own", [True, False])
def test_equals_plain_loops(top_k, own):
    x, y = drawn(0, 10, heads=2)
    rx, ry = (x, y) if own else drawn(1, 6, heads=2)
    temperature = adaptive()
    unit, others = F.normalize(x, dim=2), F.normalize(rx, dim=2)
    of_positives, of_negatives = (t.tolist() for t in temperature(unit, others))
    sim, total = (unit @ others.mT).tolist(), 0.0

    def penalty(t):
        return 2 * log(t) + 1 / t  # width 4

    for c in range(2):
        for i in range(10):
            there = [j for j in range(len(ry)) if not (own and i == j)]
            near = [j for j in there if ry[j] == y[i] != -1]
            far = sorted(set(there) - set(near), key=lambda j: -sim[c][i][j])[:top_k]
            rest = sum(exp(sim[c][i][j] / of_negatives[c][i][j]) for j in far)
            for j in near:
                z = exp(sim[c][i][j] / of_positives[c][i][j])
                total += (-log(z / (z + rest)) + 0.1 * penalty(of_positives[c][i][j])) / len(near) / 20
            if near and far:
                total += 0.1 * sum(penalty(of_negatives[c][i][j]) for j in far) / len(far) / 20
    against = () if own else (rx, ry)
    value = losses.adaptive_multi_head_loss(x, y, *against, temperatures=temperature, top_k=top_k)
    assert value.item() == pytest.approx(total)


def test_blocks_change_neither_value_nor_gradient():
    x, y = drawn(0, 10, heads=3)
    found = []
    for block in (None, 1, 4):
        leaf, temperature = x.clone().requires_grad_(), adaptive()
        value = losses.adaptive_multi_head_loss(leaf, y, temperatures=temperature, block=block)
        value.backward()
        found.append((value.detach(), leaf.grad, [p.grad for p in temperature.parameters()]))
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])


def test_gradcheck():
    x, y = drawn(0, 6, heads=2)
    temperature = adaptive()

    def loss(x):
        return losses.adaptive_multi_head_loss(x, y, temperatures=temperature, block=4)

    assert torch.autograd.gradcheck(loss, x.requires_grad_())


def test_without_a_penalty_the_temperature_of_positives_falls_to_its_bound():  # check 7
    x, ids = F.normalize(drawn(0, 4)[0] * 0.1 + 1, dim=2), torch.arange(2).repeat(2)  # all alike: s > 0
    temperature = adaptive()
    optimizer = torch.optim.Adam(temperature.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        near = temperature(x, x)[0]
        (-(x @ x.mT) / near).mean().backward()  # the positive term alone
        optimizer.step()
    assert near.max() < 0.1
    value = losses.adaptive_multi_head_loss(x, ids, temperatures=temperature)
    value.backward()
    assert all(p.grad.abs().sum() > 0 for p in temperature.parameters())


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [5, 5, 5, 5], [-1] * 4, [0, 0, 1, -1]])
def test_finite_without_positives_or_negatives(labels):
    x = drawn(0, 4, heads=2)[0].requires_grad_()
    value = losses.adaptive_multi_head_loss(x, labels, temperatures=adaptive(), top_k=1)
    value.backward()
    assert value.isfinite()
    assert x.grad.isfinite().all()
    if len(set(labels)) == 4 or labels[0] == -1:
        assert value == 0


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_compare_costs_nothing(n):
    x = torch.ones(2, n, 4, requires_grad=True)
    value = losses.adaptive_multi_head_loss(x, torch.zeros(n, dtype=torch.int64), temperatures=constant(0.5))
    value.backward()
    assert value == 0
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_module():
    torch.manual_seed(0)
    loss = losses.AdaptiveMultiHeadLoss(6, heads=4, hidden=8, out=5, low=0.05, beta=0.2, top_k=3)
    x, y = torch.randn(10, 6), torch.arange(10) % 3
    heads = loss.projector(x)
    assert heads.shape == (4, 10, 5)
    expected = losses.adaptive_multi_head_loss(heads, y, temperatures=loss.temperature, beta=0.2, top_k=3)
    torch.testing.assert_close(loss(x, y), expected)
    against = losses.adaptive_multi_head_loss(
        heads, y, heads[:, :4], y[:4], temperatures=loss.temperature, beta=0.2, top_k=3
    )
    torch.testing.assert_close(loss(x, y, x[:4], y[:4]), against)
    loss(x, y).backward()
    assert all(p.grad is not None for p in loss.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": -1.0}, "beta must be >= 0, got -1.0"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"block": 0}, "block must be at least 1, got 0"),
        ({"regularize": "none"}, "regularize must be one of both, positives"),
        ({"references": torch.ones(1, 3, 4), "reference_labels": [0, 1, 2]}, "references must have 2 heads as heads"),
        ({"references": torch.ones(3, 4), "reference_labels": [0, 1, 2]}, "references must be floating point of"),
    ],
)  # fmt: skip
def test_names_what_is_wrong(options, message):
    with pytest.raises(InputError, match=message):
        losses.adaptive_multi_head_loss(
            torch.ones(2, 4, 4), [0, 0, 1, 1], temperatures=constant(0.5), **options
        )


def test_bounds_that_are_none():
    with pytest.raises(InputError, match=r"low and high must be 0 < low < high, got 2\.0 and 1\.0"):
        losses.PairTemperature(4, low=2.0, high=1.0)
