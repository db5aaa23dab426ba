"""The weighted likelihood of a ranking, its closed-form gradient, and places that are not there."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mimetric.core.plackett_luce import plackett_luce


def loops(scores, order, weights):
    """One row, lists of floats: place by place, a softmax over what is left."""
    total = 0.0
    for place, item in enumerate(order):
        left = [scores[i] for i in order[place:]]
        top = max(left)
        total += weights[place] * (top + math.log(sum(math.exp(s - top) for s in left)) - scores[item])
    return total


@st.composite
def rankings(draw):
    n, c = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    torch.manual_seed(draw(st.integers(0, 999)))
    spread = draw(st.sampled_from([0.0, 1.0, 30.0]))
    order = torch.stack([torch.randperm(c) for _ in range(n)])
    weights = torch.rand(n, c, dtype=torch.float64) * (torch.rand(n, c) > 0.3)
    return torch.randn(n, c, dtype=torch.float64) * spread, order, weights


@settings(max_examples=12)
@given(rankings())
def test_equals_plain_loops(ranking):
    scores, order, weights = ranking
    want = [loops(*row) for row in zip(scores.tolist(), order.tolist(), weights.tolist())]
    assert plackett_luce(scores, order, weights).tolist() == pytest.approx(want, rel=1e-12, abs=1e-12)


@settings(max_examples=6)
@given(rankings())
def test_gradient_equals_autograd_of_the_formula(ranking):
    scores, order, weights = ranking
    ours, plain = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    plackett_luce(ours, order, weights).sum().backward()
    ranked = plain.gather(1, order)
    left = torch.stack([ranked[:, k:].logsumexp(1) for k in range(ranked.shape[1])], 1)
    (weights * (left - ranked)).sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.grad.sum(1), torch.zeros(len(scores), dtype=torch.float64))


def test_golden_gradient():
    # Order (1, 0, 2), teacher weights softmax(2, 1, 0) in that order; numbers from the closed form of the paper on
    # Plackett-Luce distillation (arXiv:2506.12542, appendix A).
    scores = torch.tensor([[0.3, -0.2, 0.5]], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64).softmax(0)[[1, 0, 2]]
    loss = plackett_luce(scores, torch.tensor([[1, 0, 2]]), weights)
    loss.sum().backward()
    assert loss.item() == pytest.approx(0.907725, abs=1e-6)
    assert scores.grad[0].tolist() == pytest.approx([-0.279232, -0.192239, 0.471472], abs=1e-6)


def test_first_and_second_derivatives():
    torch.manual_seed(0)
    scores = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 4, dtype=torch.float64).requires_grad_()
    order = torch.tensor([[2, 0, 3, 1], [0, 1, 2, 3]])
    valid = torch.tensor([[True, False, True, True], [True, True, False, False]])
    assert torch.autograd.gradcheck(lambda s, w: plackett_luce(s, order, w, valid), (scores, weights))
    assert torch.autograd.gradgradcheck(lambda s: plackett_luce(s, order, weights.detach(), valid), scores)


def test_one_weight_is_cross_entropy():
    scores = torch.randn(5, 7, dtype=torch.float64)
    order = scores.argsort(1)
    first = torch.eye(7, dtype=torch.float64)[0]
    want = F.cross_entropy(scores, order[:, 0], reduction="none")
    torch.testing.assert_close(plackett_luce(scores, order, first), want)


def test_places_that_are_not_there_are_as_if_left_out():
    scores = torch.tensor([[0.3, -0.2, 0.5, 9.0]], dtype=torch.float64, requires_grad=True)
    order = torch.tensor([[2, 3, 0, 1]])
    valid = torch.tensor([[True, False, True, True]])
    got = plackett_luce(scores, order, valid=valid)
    want = plackett_luce(scores[:, :3], torch.tensor([[2, 0, 1]]))
    torch.testing.assert_close(got, want)
    (gradient,) = torch.autograd.grad(got.sum(), scores)
    assert gradient[0, 3] == 0
    torch.testing.assert_close(gradient[:, :3], torch.autograd.grad(want.sum(), scores)[0][:, :3])


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (1, 1)])
def test_nothing_to_rank(shape):
    scores = torch.randn(shape, requires_grad=True)
    loss = plackett_luce(scores, torch.zeros(shape, dtype=torch.long))
    loss.sum().backward()
    assert loss.tolist() == [0.0] * shape[0]
    assert scores.grad.abs().sum() == 0
    none = plackett_luce(scores, torch.zeros(shape, dtype=torch.long), valid=torch.zeros(shape).bool())
    assert none.tolist() == [0.0] * shape[0]


def test_huge_half_and_nan():
    huge = torch.tensor([[1e30, -1e30, 0.0]], requires_grad=True)
    loss = plackett_luce(huge, torch.tensor([[0, 2, 1]]))
    loss.sum().backward()
    assert loss.item() == 0
    assert huge.grad.isfinite().all()
    half = torch.randn(2, 50, dtype=torch.float16)
    order = half.argsort(1)
    assert plackett_luce(half, order).dtype == torch.float32
    torch.testing.assert_close(plackett_luce(half, order), plackett_luce(half.float(), order))
    assert plackett_luce(torch.tensor([[0.0, torch.nan]]), torch.tensor([[0, 1]])).isnan().all()
