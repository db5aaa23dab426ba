"""Value and gradient beside pytorch-metric-learning, where both compute the same thing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mimetric import losses
from mimetric.losses import Pairing
from mimetric.mining import MultiSimilarityMining

peer = pytest.importorskip("pytorch_metric_learning.losses", reason="the extra `peers` is not installed")
from pytorch_metric_learning import distances, miners, reducers  # noqa: E402

_cosine = distances.CosineSimilarity()
_mined = peer.MultiSimilarityLoss(alpha=2, beta=40, base=0.5)
_miner = miners.MultiSimilarityMiner(0.1)


def _peer_mined(x, y):
    # Their loss alone keeps the negatives of an anchor whose positives are all mined away; ours does not.
    a, p, b, n = _miner(x, y)
    both = torch.tensor(sorted(set(a.tolist()) & set(b.tolist())), dtype=torch.int64)
    first, second = torch.isin(a, both), torch.isin(b, both)
    assume(not first.sum() == second.sum() == 1)  # one pair of each kind costs 0 there
    return _mined(x, y, (a[first], p[first], b[second], n[second]))


_every_anchor = peer.TripletMarginLoss(margin=0.1, distance=_cosine, reducer=reducers.MeanReducer())
_batch_hard = miners.BatchHardMiner(distance=_cosine)
_triplets = peer.TripletMarginLoss(margin=0.1, distance=_cosine)
_semi_hard = miners.TripletMarginMiner(margin=0.1, type_of_triplets="semihard", distance=_cosine)
_nca = Pairing(similarity="negative_squared_euclidean")


COUNTERPARTS = {
    "contrastive": (losses.contrastive_loss, peer.ContrastiveLoss(1, 0.5, distance=_cosine)),
    "multi-similarity": (losses.multi_similarity_loss, peer.MultiSimilarityLoss(2, 50, 0.5)),
    "multi-similarity, mined": (
        losses.MultiSimilarityLoss(beta=40, pairing=Pairing(mining=MultiSimilarityMining(0.1))),
        _peer_mined,
    ),
    "supcon": (losses.supcon_loss, peer.SupConLoss(temperature=0.1)),
    "nt-xent": (losses.nt_xent_loss, peer.NTXentLoss(temperature=0.1)),  # theirs averages over pairs
    "snca": (losses.snca_loss, peer.NCALoss(softmax_scale=20, distance=_cosine)),
    "nca": (
        losses.SNCALoss(temperature=1.0, pairing=_nca),
        peer.NCALoss(distance=distances.LpDistance(normalize_embeddings=False, power=2)),
    ),
    "triplet-margin": (losses.triplet_margin_loss, _triplets),
    "batch-hard-triplet": (
        losses.batch_hard_triplet_loss,
        lambda x, y: _every_anchor(x, y, _batch_hard(x, y)),
    ),
    "semi-hard-triplet": (losses.semi_hard_triplet_loss, lambda x, y: _triplets(x, y, _semi_hard(x, y))),
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
    assert value.item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-9)
    if expected.requires_grad:
        value.backward()
        expected.backward()
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-8)


def test_normalized_softmax():
    theirs = peer.NormalizedSoftmaxLoss(7, 6, temperature=0.05).double()
    x = torch.randn(20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.arange(20) % 7
    value = losses.normalized_softmax_loss(x, y, theirs.W.T)  # they keep a column per class
    assert value.item() == pytest.approx(theirs(x, y).item(), rel=1e-6)
