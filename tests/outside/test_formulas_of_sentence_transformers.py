"""Losses of sentence-transformers that are calls of ours, beside their formulas on whole matrices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mimetric import losses
from mimetric.losses import Pairing
from mimetric.mining import EasyHardMining

few = settings(max_examples=12)
seeds = st.integers(0, 10_000)


def batch(seed):
    """Rows of five classes, each of at least two, and how far they are from each other."""
    generator = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(14, 4, dtype=torch.float64, generator=generator)
    y = torch.cat((torch.arange(5).repeat(2), torch.randint(5, (4,), generator=generator)))
    same = (y[:, None] == y) & ~torch.eye(14, dtype=torch.bool)
    return x, y, torch.cdist(x, x), same, y[:, None] != y


@few
@given(seeds)
def test_batch_hard(seed):
    x, y, distance, same, other = batch(seed)
    farthest = torch.where(same, distance, 0).amax(1)
    nearest = torch.where(other, distance, torch.inf).amin(1)
    pairing = Pairing(similarity="negative_euclidean", reduction="anchors")
    torch.testing.assert_close(
        losses.batch_hard_triplet_loss(x, y, margin=5.0, pairing=pairing),
        (farthest - nearest + 5).clamp(min=0).mean(),
    )
    torch.testing.assert_close(
        losses.soft_batch_hard_triplet_loss(x, y, pairing=pairing), F.softplus(farthest - nearest).mean()
    )


@few
@given(seeds)
def test_batch_all(seed):
    x, y, distance, same, other = batch(seed)
    costs = (distance[:, :, None] - distance[:, None] + 5)[same[:, :, None] & other[:, None]].clamp(min=0)
    value = losses.triplet_margin_loss(x, y, margin=5.0, pairing=Pairing(similarity="negative_euclidean"))
    torch.testing.assert_close(value, costs[costs > 0].mean())


@few
@given(seeds)
def test_mega_batch_margin(seed):
    generator = torch.Generator().manual_seed(seed)
    anchors, positives = torch.randn(2, 9, 4, dtype=torch.float64, generator=generator)
    cosines = F.normalize(anchors) @ F.normalize(positives).T
    hardest = cosines.masked_fill(torch.eye(9, dtype=torch.bool), -torch.inf).amax(1)
    expected = ((0.8 - cosines.diagonal()).clamp(min=0) + (hardest - 0.3).clamp(min=0)).mean()
    ids = torch.arange(9)
    pairing = Pairing(mining=EasyHardMining("all", "hard"), reduction="anchors")
    value = losses.contrastive_loss(anchors, ids, positives, ids, positive=0.8, negative=0.3, pairing=pairing)
    torch.testing.assert_close(value, expected)
