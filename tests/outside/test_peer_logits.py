"""Losses on logits beside torch's own, where options make both compute the same, and beside the papers' other forms."""

from __future__ import annotations

from functools import partial
from math import log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mimetric import losses

_FACTORS = [0.5, 1.0, 2.0, 0.0, 3.0]


def one_hot(logits, labels):
    return F.one_hot(labels, logits.shape[1]).to(logits)


def absolute(logits, labels):
    """The mean over rows of their absolute errors."""
    return F.l1_loss(logits.softmax(1), one_hot(logits, labels), reduction="sum") / len(labels)


def weighted(logits, labels):
    # Their mean is over the sum of factors, ours over rows.
    factors = torch.tensor(_FACTORS, dtype=logits.dtype)
    return F.cross_entropy(logits, labels, factors, reduction="sum") / len(labels)


def sum_exponential(logits, labels):
    return (logits - logits.gather(1, labels[:, None])).exp().sum(1).mean() - 1


def reverse(logits, labels):
    """As published code has it: labels clipped at 1e-4 under a logarithm."""
    return -(logits.softmax(1) * one_hot(logits, labels).clamp(min=1e-4).log()).sum(1).mean()


def violations(logits, labels, margin):
    return logits - logits.gather(1, labels[:, None]) + margin * (1 - one_hot(logits, labels))


def worst_case(logits, labels, temperature=2.0, margin=0.3):
    """The maximum over label laws, at the law where it is reached."""
    d = violations(logits, labels, margin)
    p, uniform = (d / temperature).softmax(1), torch.full_like(d, 1 / d.shape[1])
    divergence = F.kl_div(uniform.log(), p, reduction="none").sum(1)
    return ((p * d).sum(1) - temperature * divergence).mean()


def published_ldr(logits, labels, temperature=10.0, margin=2.0):
    """As the authors' code writes it, without its shift by the maximum."""
    scores = F.softplus(logits)
    d = violations(scores / scores.mean(1, keepdim=True), labels, margin)
    return temperature * (d / temperature).exp().mean(1).log().mean()


def scaled(logits, labels):
    return 2 * (F.cross_entropy(logits / 2, labels) - log(logits.shape[1]))


COUNTERPARTS = {
    "focal, no power": (partial(losses.focal_loss, gamma=0.0), F.cross_entropy),
    "focal, factors": (partial(losses.focal_loss, gamma=0.0, alpha=_FACTORS), weighted),
    "poly, no term": (partial(losses.poly_loss, epsilon=0.0), F.cross_entropy),
    "poly": (losses.poly_loss, lambda x, y: F.cross_entropy(x, y) + absolute(x, y) / 2),
    "comp-sum of 0": (partial(losses.comp_sum_loss, tau=0.0), sum_exponential),
    "comp-sum of 1": (losses.comp_sum_loss, F.cross_entropy),
    "comp-sum of 2": (lambda x, y: 2 * losses.comp_sum_loss(x, y, tau=2.0), absolute),
    "generalized, q of 1": (lambda x, y: 2 * losses.generalized_cross_entropy_loss(x, y, q=1.0), absolute),
    "symmetric, forward": (partial(losses.symmetric_cross_entropy_loss, alpha=1.0, beta=0.0), F.cross_entropy),
    "symmetric, reverse": (partial(losses.symmetric_cross_entropy_loss, alpha=0.0, log_zero=log(1e-4)), reverse),
    "adversarial, no attack": (lambda x, y: losses.smooth_adversarial_comp_sum_loss(x, y, x), F.cross_entropy),
    "ldr, no margin": (partial(losses.ldr_loss, temperature=2.0, margin=0.0), scaled),
    "ldr, worst case": (partial(losses.ldr_loss, temperature=2.0, margin=0.3), worst_case),
    "ldr, published": (
        partial(losses.ldr_loss, temperature=10.0, margin=2.0, normalization="softplus"), published_ldr,
    ),
    "aldr, no steps": (
        partial(losses.aldr_loss, temperature=2.0, margin=0.3, steps=0), worst_case,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTERPARTS)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 8), scale=st.sampled_from([0.1, 1.0, 5.0]))
@settings(max_examples=12)
def test_same_value_and_gradient(name, seed, rows, scale):
    ours, theirs = COUNTERPARTS[name]
    generator = torch.Generator().manual_seed(seed)
    x = scale * torch.randn(rows, len(_FACTORS), dtype=torch.float64, generator=generator)
    y = torch.randint(len(_FACTORS), (rows,), generator=generator)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    value, expected = ours(a, y), theirs(b, y)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    value.backward()
    expected.backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-9)


def test_focal_of_two_classes_is_the_sigmoid_form():
    # Of two classes a softmax is a sigmoid of the difference, in which the paper writes the loss.
    logits = torch.randn(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.arange(9) % 2
    difference = logits[:, 1] - logits[:, 0]
    p = torch.where(y == 1, difference.sigmoid(), 1 - difference.sigmoid())
    alpha = torch.where(y == 1, 0.25, 0.75)
    costs = F.binary_cross_entropy_with_logits(difference, y.double(), reduction="none")
    expected = (alpha * (1 - p) ** 2 * costs).mean()
    torch.testing.assert_close(losses.focal_loss(logits, y, alpha=[0.75, 0.25]), expected)
