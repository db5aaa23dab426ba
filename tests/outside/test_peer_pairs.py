"""More losses on pairs: value and gradient beside pytorch-metric-learning, where both compute the same thing."""

from __future__ import annotations

from math import degrees

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mimetric import losses

peer = pytest.importorskip("pytorch_metric_learning.losses", reason="the extra `peers` is not installed")
from pytorch_metric_learning import distances  # noqa: E402

_dot = distances.DotProductSimilarity(normalize_embeddings=False)  # their default is a cosine


def lifted(x, y):
    return losses.generalized_lifted_structure_loss(F.normalize(x), y)


def snr(x, y):
    return losses.snr_contrastive_loss(F.normalize(x), y, mean_weight=0.0)


def n_pairs(x, y):
    # Theirs takes the first pair of each class, its other rows not at all.
    first = [(y == c).nonzero()[:2, 0] for c in y.unique()]
    a, p = torch.stack(first).T
    return losses.n_pairs_loss(x[a], y[a], x[p], y[p], norm_weight=0.0)


COUNTERPARTS = {
    "snr-contrastive": (snr, peer.SignalToNoiseRatioContrastiveLoss()),
    "margin": (losses.margin_loss, peer.MarginLoss(margin=0.2, beta=1.2)),
    "threshold-consistent-margin": (
        losses.threshold_consistent_margin_loss,
        peer.ThresholdConsistentMarginLoss(),
    ),
    "intra-pair-variance": (losses.intra_pair_variance_loss, peer.IntraPairVarianceLoss()),
    "circle": (losses.circle_loss, peer.CircleLoss()),
    "circle, of faces": (losses.CircleLoss(margin=0.25, scale=256), peer.CircleLoss(m=0.25, gamma=256)),
    "generalized-lifted-structure": (lifted, peer.GeneralizedLiftedStructureLoss()),
    "n-pairs": (n_pairs, peer.NPairsLoss(distance=_dot)),
    "tuplet-margin": (losses.tuplet_margin_loss, peer.TupletMarginLoss(margin=degrees(0.1))),
}
shapes = {"seed": st.integers(0, 10**6), "classes": st.integers(2, 5), "each": st.integers(2, 4)}


def batch(seed, classes, each):
    # At least two rows a class: where an anchor has no positive the peer's means leave it out.
    y = torch.arange(classes).repeat_interleave(each)
    return torch.randn(len(y), 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), y


def assert_same(ours, theirs, x, y):
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    value, expected = ours(a, y), theirs(b, y)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-9)
    if expected.requires_grad:
        value.backward()
        expected.backward()
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", COUNTERPARTS)
@given(**shapes)
@settings(max_examples=15)
def test_same_value_and_gradient(name, seed, classes, each):
    assert_same(*COUNTERPARTS[name], *batch(seed, classes, each))


@given(**shapes, nu=st.floats(0, 1))
@settings(max_examples=15)
def test_boundaries_of_classes_learn_the_same(seed, classes, each, nu):
    # With so wide a margin every anchor has a hinge that costs: where none has, theirs still counts nu.
    ours = losses.MarginLoss(classes, margin=1.0, nu=nu).double()
    theirs = peer.MarginLoss(margin=1.0, nu=nu, learn_beta=True, num_classes=classes).double()
    with torch.no_grad():
        ours.boundary += torch.linspace(-0.1, 0.1, classes)
        theirs.beta.copy_(ours.boundary)
    assert_same(ours, theirs, *batch(seed, classes, each))
    torch.testing.assert_close(ours.boundary.grad, theirs.beta.grad)


@given(**shapes)
@settings(max_examples=10)
def test_the_same_margin_loss_beside_references(seed, classes, each):
    x, y = batch(seed, classes, each)
    bank = torch.randn(9, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
    of_bank = torch.arange(9) % classes
    assert_same(
        lambda x, y: losses.margin_loss(x, y, bank, of_bank),
        lambda x, y: peer.MarginLoss()(x, y, ref_emb=bank, ref_labels=of_bank),
        x,
        y,
    )
