"""What other libraries have of the losses in `objectives`, set to compute the same.

PML is pytorch-metric-learning, ST sentence-transformers, OML open-metric-learning, torch the same as one writes it
with a whole matrix.  What is not installed is left out.  OML is in no extra: its package asks for numpy below 2 and for
torchvision, which brings another build of torch; in an environment that has it, it is measured.

Each runs up to a number of rows: beyond, a step of it takes more than ten seconds on two cores, or more than 10 GiB.
A loss of class weights is made from a width and a number of classes, others from nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from math import degrees
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

try:
    from pytorch_metric_learning import distances, miners, reducers
    from pytorch_metric_learning import losses as pml
except ImportError:
    pml = None

Call = Callable[[Tensor, Tensor], Tensor]
CHUNK = 32  # rows of a chunk, where embeddings come in chunks
MODULES = {
    "PML": "pytorch_metric_learning.losses",
    "ST": "sentence_transformers.sentence_transformer.losses",
    "OML": "oml.losses.triplet",
    "torch": "torch",
}


@cache
def installed(library: str) -> bool:
    try:
        import_module(MODULES[library])
    except ImportError:
        return False
    return True


class Peer(NamedTuple):
    """The most rows it runs with, and what makes it."""

    up_to: int
    make: Callable[..., Call]


def two_views(loss: Callable[..., Tensor], *more: Any) -> Call:
    """A loss of rows beside their positives: here the same rows with their columns moved on."""
    return lambda x, _: loss(x, x.roll(1, dims=1), *more)


def mined(loss: Call, miner: Callable[[Tensor, Tensor], Any]) -> Call:
    return lambda x, y: loss(x, y, miner(x, y))


def cosine() -> Any:
    return distances.CosineSimilarity()


def triplet(**options: Any) -> Any:
    return pml.TripletMarginLoss(**{"margin": 0.1, "distance": cosine()} | options)


def euclidean() -> Any:
    return distances.LpDistance(normalize_embeddings=False)


def soft_triplet() -> Any:
    return triplet(margin=0, smooth_loss=True, distance=euclidean(), reducer=reducers.MeanReducer())


def vicreg(x: Tensor, _: Tensor) -> Tensor:
    return pml.VICRegLoss()(x, ref_emb=x.roll(1, dims=1))


def dynamic(x: Tensor, y: Tensor) -> Tensor:
    """Anew for each step: what it keeps of one step has a graph, through which the next cannot go back."""
    return pml.DynamicSoftMarginLoss(num_bins=10)(x, y, miners.BatchEasyHardMiner("all", "hard")(x, y))


def text(name: str, **options: Any) -> Any:
    """A loss of sentence-transformers, around a model that hands through what it is given."""
    from sentence_transformers.sentence_transformer import losses as found

    loss = getattr(found, name)(nn.Sequential(nn.Identity()), **options)
    return lambda y, *rows: loss([{"sentence_embedding": part} for part in rows], y)


def text_views(name: str, **options: Any) -> Call:
    loss = text(name, **options)
    return two_views(lambda x, positives: loss(None, x, positives))


def text_scored(name: str) -> Call:
    loss = text(name)
    return lambda x, y: loss(y.to(x.dtype), x, x.roll(1, dims=1))


def text_triplet(name: str, **options: Any) -> Call:
    loss = text(name, **options)
    return lambda x, y: loss(y, x)


def oml_triplet(miner: str) -> Call:
    from oml import miners as found
    from oml.losses.triplet import TripletLossWithMiner

    return TripletLossWithMiner(0.1, getattr(found, miner)())


def dense_supcon(x: Tensor, y: Tensor) -> Tensor:
    x = F.normalize(x)
    itself = torch.eye(len(x), dtype=torch.bool)
    same = (y[:, None] == y) & ~itself
    logits = (x @ x.T / 0.1).masked_fill(itself, -torch.inf)
    terms = (logits - logits.logsumexp(1, keepdim=True)).masked_fill(~same, 0)
    return -(terms.sum(1) / same.sum(1)).mean()


def dense_ranking(x: Tensor, positives: Tensor) -> Tensor:
    return F.cross_entropy(20 * F.normalize(x) @ F.normalize(positives).T, torch.arange(len(x)))


class DenseClassifier(nn.Linear):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return F.cross_entropy(super().forward(x), y)


def of_classes(name: str, up_to: int = 16384, **options: Any) -> Peer:
    return Peer(up_to, lambda d, c: getattr(pml, name)(num_classes=c, embedding_size=d, **options))


# What lists triplets lists n (k - 1) (n - k) of them; what compares pairs with pairs takes n^3.
PML = {
    "contrastive": Peer(16384, lambda: pml.ContrastiveLoss(1, 0.5, distance=cosine())),
    "multi-similarity": Peer(4096, lambda: pml.MultiSimilarityLoss(2, 50, 0.5)),
    "multi-similarity, mined": Peer(
        4096, lambda: mined(pml.MultiSimilarityLoss(2, 50, 0.5), miners.MultiSimilarityMiner(0.1))
    ),
    "supcon": Peer(4096, lambda: pml.SupConLoss(temperature=0.1)),
    "nt-xent": Peer(256, lambda: pml.NTXentLoss(temperature=0.1)),
    "snca": Peer(16384, lambda: pml.NCALoss(softmax_scale=20, distance=cosine())),
    "triplet-margin, all": Peer(1024, lambda: triplet()),
    "triplet, semi-hard": Peer(
        1024,
        lambda: mined(
            triplet(),
            miners.TripletMarginMiner(margin=0.1, type_of_triplets="semihard", distance=cosine()),
        ),
    ),
    "triplet, batch-hard": Peer(
        4096,
        lambda: mined(triplet(reducer=reducers.MeanReducer()), miners.BatchHardMiner(distance=cosine())),
    ),
    "triplet, soft batch-hard": Peer(
        4096, lambda: mined(soft_triplet(), miners.BatchHardMiner(distance=euclidean()))
    ),
    "triplet, soft": Peer(1024, lambda: soft_triplet()),
    "triplet, swapped": Peer(1024, lambda: triplet(swap=True)),
    "triplet, easy positive": Peer(
        4096,
        lambda: mined(pml.NTXentLoss(0.1), miners.BatchEasyHardMiner("easy", "semihard", distance=cosine())),
    ),
    "triplet, distance-weighted": Peer(1024, lambda: mined(triplet(), miners.DistanceWeightedMiner())),
    "margin": Peer(1024, lambda: pml.MarginLoss(margin=0.2, beta=1.2)),
    "threshold-consistent-margin": Peer(1024, lambda: pml.ThresholdConsistentMarginLoss()),
    "circle": Peer(4096, lambda: pml.CircleLoss(m=0.4, gamma=80)),
    "tuplet-margin": Peer(256, lambda: pml.TupletMarginLoss(margin=degrees(0.1))),
    "intra-pair-variance": Peer(4096, lambda: pml.IntraPairVarianceLoss()),
    "snr-contrastive": Peer(1024, lambda: pml.SignalToNoiseRatioContrastiveLoss()),
    "lifted-structure": Peer(256, lambda: pml.LiftedStructureLoss()),
    "generalized-lifted-structure": Peer(4096, lambda: pml.GeneralizedLiftedStructureLoss()),
    "n-pairs, of the first two": Peer(
        16384, lambda: pml.NPairsLoss(distance=distances.DotProductSimilarity(normalize_embeddings=False))
    ),
    "histogram": Peer(256, lambda: pml.HistogramLoss(n_bins=100)),
    "ranked-list": Peer(4096, lambda: pml.RankedListLoss(margin=0.4, Tn=10)),
    "dynamic-soft-margin": Peer(4096, lambda: dynamic),
    "fast-ap": Peer(4096, lambda: pml.FastAPLoss()),
    "smooth-ap": Peer(256, lambda: pml.SmoothAPLoss()),
    "pnp": Peer(256, lambda: pml.PNPLoss(variant="O")),
    "angular": Peer(1024, lambda: pml.AngularLoss(alpha=40)),
    "vicreg": Peer(16384, lambda: vicreg),
    "normalized-softmax": of_classes("NormalizedSoftmaxLoss"),
    "cosface": of_classes("CosFaceLoss"),
    "arcface": of_classes("ArcFaceLoss", margin=degrees(0.5)),
    "arcface, a tenth of the classes": of_classes("ArcFaceLoss", margin=degrees(0.5)),
    "arcface, a tenth, sparse gradient": of_classes("ArcFaceLoss", margin=degrees(0.5)),
    "sphereface": of_classes("SphereFaceLoss"),
    "large-margin-softmax": of_classes("LargeMarginSoftmaxLoss"),
    "subcenter-arcface": of_classes("SubCenterArcFaceLoss", margin=degrees(0.5), sub_centers=3),
    "soft-triple": of_classes("SoftTripleLoss", up_to=4096),
    "proxy-nca": of_classes("ProxyNCALoss"),
    "proxy-anchor": of_classes("ProxyAnchorLoss"),
    "p2s-grad": Peer(16384, lambda d, c: pml.P2SGradLoss(d, c)),
}
TEXT = {
    "triplet, batch-hard, Euclidean": Peer(4096, lambda: text_triplet("BatchHardTripletLoss", margin=0.1)),
    "triplet, all, Euclidean": Peer(256, lambda: text_triplet("BatchAllTripletLoss", margin=0.1)),
    "triplet, soft batch-hard": Peer(4096, lambda: text_triplet("BatchHardSoftMarginTripletLoss")),
    "multiple-negatives": Peer(16384, lambda: text_views("MultipleNegativesRankingLoss")),
    "multiple-negatives, both ways": Peer(4096, lambda: text_views("MultipleNegativesSymmetricRankingLoss")),
    "multiple-negatives, in chunks": Peer(
        4096, lambda: text_views("CachedMultipleNegativesRankingLoss", mini_batch_size=CHUNK)
    ),
    "cosent": Peer(16384, lambda: text_scored("CoSENTLoss")),
    "angle": Peer(16384, lambda: text_scored("AnglELoss")),
}
OML = {
    "triplet, batch-hard, Euclidean": Peer(16384, lambda: oml_triplet("HardTripletsMiner")),
    "triplet, all, Euclidean": Peer(256, lambda: oml_triplet("AllTripletsMiner")),
}
DENSE = {
    "supcon": Peer(16384, lambda: dense_supcon),
    "multiple-negatives": Peer(16384, lambda: two_views(dense_ranking)),
    "cross-entropy": Peer(16384, DenseClassifier),
}
PEERS: dict[str, dict[str, Peer]] = {"PML": PML, "ST": TEXT, "OML": OML, "torch": DENSE}


def peers_of(loss: str) -> dict[str, Peer]:
    """By library, of those that are installed."""
    return {library: its[loss] for library, its in PEERS.items() if loss in its and installed(library)}
