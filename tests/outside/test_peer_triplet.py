"""Triplets, lifted structure and histogram beside pytorch-metric-learning, where both compute the same thing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mimetric import losses
from mimetric.losses import Pairing

peer = pytest.importorskip("pytorch_metric_learning.losses", reason="the extra `peers` is not installed")
from pytorch_metric_learning import distances, miners, reducers  # noqa: E402

_cosine = distances.CosineSimilarity()
_euclidean = distances.LpDistance(normalize_embeddings=False)
_every = reducers.MeanReducer()
_soft = peer.TripletMarginLoss(margin=0, smooth_loss=True, distance=_euclidean, reducer=_every)
_soft_apart = peer.TripletMarginLoss(margin=0.5, smooth_loss=True, distance=_cosine, reducer=_every)
_hardest = miners.BatchHardMiner(distance=_euclidean)
_softmax = peer.NTXentLoss(temperature=0.1)  # of one positive and one negative an anchor
_easy_semi = miners.BatchEasyHardMiner("easy", "semihard", distance=_cosine)
_easy_hard = miners.BatchEasyHardMiner("easy", "hard", distance=_cosine)
_easy_all = miners.BatchEasyHardMiner("easy", "all", distance=_cosine)


def _lifted(x, y):
    return losses.lifted_structure_loss(F.normalize(x), y)


def _angular(x, y):
    return peer.AngularLoss(alpha=40)(F.normalize(x), y)  # its negatives keep the length they come with


def _histogram(bins):
    def loss(x, y):
        place = (F.normalize(x) @ F.normalize(x).T + 1) * bins / 2
        apart = (place - place.round()).abs() > 1e-3  # it finds the bin in float32
        assume((apart | torch.eye(len(x), dtype=torch.bool)).all())
        return peer.HistogramLoss(n_bins=bins)(x, y)

    return loss


def _easy(miner):
    def loss(x, y):
        chosen = miner(x, y)
        assume(len(chosen[0]) > 1)  # the only anchor costs 0 there
        return _softmax(x, y, chosen)

    return loss


COUNTERPARTS = {
    "swap-triplet": (
        losses.swap_triplet_loss,
        peer.TripletMarginLoss(margin=0.1, swap=True, distance=_cosine),
    ),
    "swap-triplet, euclidean": (
        losses.SwapTripletLoss(margin=0.5, pairing=Pairing(similarity="negative_euclidean")),
        peer.TripletMarginLoss(margin=0.5, swap=True, distance=_euclidean),
    ),
    "soft-triplet": (losses.soft_triplet_loss, _soft),
    "soft-triplet, cosine": (
        losses.SoftTripletLoss(margin=0.5, pairing=Pairing(similarity="cosine")),
        _soft_apart,
    ),
    "soft-batch-hard-triplet": (
        losses.soft_batch_hard_triplet_loss,
        lambda x, y: _soft(x, y, _hardest(x, y)),
    ),
    "easy-positive-triplet": (
        losses.easy_positive_triplet_loss,
        _easy(_easy_semi),
    ),
    "easy-positive-triplet, hard": (
        losses.EasyPositiveTripletLoss(negatives="hard"),
        _easy(_easy_hard),
    ),
    "easy-positive-triplet, all": (
        losses.EasyPositiveTripletLoss(negatives="all"),
        _easy(_easy_all),
    ),
    "angular": (losses.angular_loss, _angular),
    "lifted-structure": (_lifted, peer.LiftedStructureLoss()),
    "histogram": (losses.histogram_loss, _histogram(100)),
    "histogram, coarse": (losses.HistogramLoss(bins=8), _histogram(8)),
}


@pytest.mark.parametrize("name", COUNTERPARTS)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 5), each=st.integers(2, 4))
@settings(max_examples=15)
def test_same_value_and_gradient(name, seed, classes, each):
    # At least two rows a class: where an anchor has no positive the peer's means leave it out.
    ours, theirs = COUNTERPARTS[name]
    y = torch.arange(classes).repeat_interleave(each)
    x = torch.randn(len(y), 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    value, expected = ours(a, y), theirs(b, y)
    looser = 100 if name.startswith("histogram") else 1  # it places similarities in float32
    assert value.item() == pytest.approx(expected.item(), rel=looser * 1e-6, abs=1e-9)
    if expected.requires_grad:
        value.backward()
        expected.backward()
        torch.testing.assert_close(a.grad, b.grad, rtol=looser * 1e-5, atol=looser * 1e-8)


def test_distance_weighted_triplet(monkeypatch):
    # Theirs draws; ours is the mean over draws, with the chances that theirs draws with.
    x = torch.randn(12, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.arange(12) % 3
    chances = []

    def caught(*_, weights, **__):
        chances.append(weights)
        return torch.zeros(3, 0, dtype=torch.int64).unbind()

    monkeypatch.setattr(miners.distance_weighted_miner.lmu, "get_random_triplet_indices", caught)
    miners.DistanceWeightedMiner()(x, y)
    unit = F.normalize(x)
    sim = unit @ unit.T
    over = sim[:, None] - sim[:, :, None] + 0.5  # (i, p, j)
    same = y[:, None] == y
    positive = same & ~torch.eye(12, dtype=torch.bool)
    weights = chances[0][:, None] * positive[:, :, None] * (over > 0)
    expected = (weights * over).sum() / weights.sum()
    value = losses.distance_weighted_triplet_loss(x, y, margin=0.5)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
