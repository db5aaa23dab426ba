"""Which pairs the miners of pytorch-metric-learning keep, where ours keep the same."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimetric.losses import Pairing, contrastive_loss
from mimetric.mining import AngularMining, HDCMining, TripletMarginMining

miners = pytest.importorskip("pytorch_metric_learning.miners", reason="the extra `peers` is not installed")
from pytorch_metric_learning.distances import CosineSimilarity  # noqa: E402

MININGS = {
    "triplet margin, all": (
        TripletMarginMining(0.2),
        miners.TripletMarginMiner(0.2, "all", distance=CosineSimilarity()),
    ),
    "triplet margin, hard": (
        TripletMarginMining(0.2, "hard"),
        miners.TripletMarginMiner(0.2, "hard", distance=CosineSimilarity()),
    ),
    "triplet margin, semi-hard": (
        TripletMarginMining(0.2, "semi-hard"),
        miners.TripletMarginMiner(0.2, "semihard", distance=CosineSimilarity()),
    ),
    "triplet margin, easy": (
        TripletMarginMining(0.2, "easy"),
        miners.TripletMarginMiner(0.2, "easy", distance=CosineSimilarity()),
    ),
    "angular": (AngularMining(25), miners.AngularMiner(25)),
}


def kept(x, y, mining):
    """Which pairs stay: those whose similarity moves a loss that all pairs cost."""
    unit = torch.nn.functional.normalize(x)
    found = []
    for i in range(len(x)):
        anchor = unit[i : i + 1].clone()
        references = unit.clone().requires_grad_()
        ids = torch.arange(len(x))
        pairing = Pairing(
            ids=ids[i : i + 1], reference_ids=ids, mining=mining, similarity="dot", reduction="sum"
        )
        contrastive_loss(
            anchor, y[i : i + 1], references, y, positive=3.0, negative=-3.0, pairing=pairing
        ).backward()
        found += [(i, j) for j in (references.grad.norm(dim=1) > 0).nonzero()[:, 0].tolist()]
    return found


@pytest.mark.parametrize("name", MININGS)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 4), each=st.integers(2, 4))
@settings(max_examples=10)
def test_the_same_pairs(name, seed, classes, each):
    ours, theirs = MININGS[name]
    y = torch.arange(classes).repeat_interleave(each)
    x = torch.randn(len(y), 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    a, p, n = theirs(torch.nn.functional.normalize(x), y)  # theirs takes angles between rows as they are
    expected = sorted({*zip(a.tolist(), p.tolist()), *zip(a.tolist(), n.tolist())})
    assert kept(x, y, ours) == expected


@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.2, 0.5, 0.9]))
@settings(max_examples=10)
def test_hdc_of_one_anchor(seed, share):
    # Theirs ranks the pairs of all anchors together.
    generator = torch.Generator().manual_seed(seed)
    x, references = (
        torch.randn(1, 5, dtype=torch.float64, generator=generator),
        torch.randn(9, 5, generator=generator),
    )
    y, labels = torch.tensor([0]), torch.arange(9) % 2
    _, p, _, n = miners.HDCMiner(share, distance=CosineSimilarity())(x, y, references.double(), labels)
    unit = torch.nn.functional.normalize(references.double()).requires_grad_()
    pairing = Pairing(mining=HDCMining(share), similarity="dot", reduction="sum")
    contrastive_loss(
        torch.nn.functional.normalize(x), y, unit, labels, positive=3.0, negative=-3.0, pairing=pairing
    ).backward()
    assert (unit.grad.norm(dim=1) > 0).nonzero()[:, 0].tolist() == sorted([*p.tolist(), *n.tolist()])
