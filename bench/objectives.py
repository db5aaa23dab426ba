"""What the contests measure of ours: losses by name, and a step of one or of its peer."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimetric import losses
from mimetric.losses import Pairing
from mimetric.mining import MultiSimilarityMining
from mimetric.train.cached import embed_in_chunks
from peers import CHUNK, Call, peers_of, two_views
from timing import floor

_EUCLIDEAN = Pairing(similarity="negative_euclidean", reduction="anchors")


def scored(loss: Callable[..., Tensor]) -> Call:
    """A loss of pairs of rows and their scores."""
    return lambda x, y: loss(x, x.roll(1, dims=1), y.to(x.dtype))


def in_chunks(x: Tensor, positives: Tensor) -> Tensor:
    whole = (embed_in_chunks(nn.Identity(), rows, CHUNK) for rows in (x, positives))
    return losses.multiple_negatives_ranking_loss(*whole)


def first_two(x: Tensor, y: Tensor) -> Tensor:
    """N-pairs as the peer has it: the first two rows of each class alone.  The floor is that of all rows."""
    first = torch.searchsorted(y, y.unique())
    return losses.n_pairs_loss(x[first], y[first], x[first + 1], y[first + 1], norm_weight=0.0)


PAIRS: dict[str, Call] = {
    "contrastive": losses.contrastive_loss,
    "squared-contrastive": losses.squared_contrastive_loss,
    "multi-similarity": losses.multi_similarity_loss,
    "multi-similarity, mined": losses.MultiSimilarityLoss(pairing=Pairing(mining=MultiSimilarityMining())),
    "supcon": losses.supcon_loss,
    "nt-xent": losses.nt_xent_loss,
    "snca": losses.snca_loss,
    "triplet-margin, all": losses.triplet_margin_loss,
    "triplet, semi-hard": losses.semi_hard_triplet_loss,
    "triplet, batch-hard": losses.batch_hard_triplet_loss,
    "triplet, batch-hard, Euclidean": losses.BatchHardTripletLoss(pairing=_EUCLIDEAN),
    "triplet, all, Euclidean": losses.TripletMarginLoss(pairing=Pairing(similarity="negative_euclidean")),
    "triplet, soft batch-hard": losses.soft_batch_hard_triplet_loss,
    "triplet, soft": losses.soft_triplet_loss,
    "triplet, swapped": losses.swap_triplet_loss,
    "triplet, easy positive": losses.easy_positive_triplet_loss,
    "triplet, distance-weighted": losses.distance_weighted_triplet_loss,
    "margin": losses.margin_loss,
    "threshold-consistent-margin": losses.threshold_consistent_margin_loss,
    "circle": losses.circle_loss,
    "tuplet-margin": losses.tuplet_margin_loss,
    "intra-pair-variance": losses.intra_pair_variance_loss,
    "snr-contrastive": losses.SNRContrastiveLoss(mean_weight=0.0),
    "lifted-structure": losses.lifted_structure_loss,
    "generalized-lifted-structure": losses.generalized_lifted_structure_loss,
    "n-pairs, of the first two": first_two,
    "histogram": losses.histogram_loss,
    "ranked-list": losses.RankedListLoss(weighting="differentiated"),
    "dynamic-soft-margin": losses.DynamicSoftMarginLoss(num_bins=11),
    "fast-ap": losses.fast_ap_loss,
    "smooth-ap": losses.smooth_ap_loss,
    "pnp": losses.pnp_loss,
    "angular": losses.angular_loss,
    "decoupled": losses.decoupled_loss,
    "focal-nt-xent": losses.focal_nt_xent_loss,
    "multiple-negatives": two_views(losses.multiple_negatives_ranking_loss),
    "multiple-negatives, both ways": two_views(losses.MultipleNegativesRankingLoss(direction="both")),
    "multiple-negatives, in chunks": two_views(in_chunks),
    "vicreg": lambda x, y: losses.vicreg_loss(x, y, x.roll(1, dims=1), y),
    "cosent": scored(losses.cosent_loss),
    "angle": scored(losses.angle_loss),
}
CLASSES: dict[str, Callable[[int, int], nn.Module]] = {
    "cross-entropy": losses.CrossEntropyLoss,
    "center": losses.CenterLoss,
    "normalized-softmax": losses.NormalizedSoftmaxLoss,
    "cosface": losses.CosFaceLoss,
    "arcface": losses.ArcFaceLoss,
    "arcface, a tenth of the classes": lambda d, c: losses.SampledClasses(
        losses.ArcFaceLoss(d, c), share=0.1
    ),
    "arcface, a tenth, sparse gradient": lambda d, c: losses.SampledClasses(
        losses.ArcFaceLoss(d, c), share=0.1, sparse=True
    ),
    "sphereface": losses.SphereFaceLoss,
    "large-margin-softmax": losses.LargeMarginSoftmaxLoss,
    "subcenter-arcface": losses.SubcenterArcFaceLoss,
    "soft-triple": lambda d, c: losses.SoftTripleLoss(d, c, tau=0.0),
    "proxy-nca": lambda d, c: losses.ProxyNCALoss(d, c, denominator="all"),
    "proxy-anchor": losses.ProxyAnchorLoss,
    "p2s-grad": losses.P2SGradLoss,
}


def step(who: str, *, loss: str, n: int, d: int, classes: int) -> Callable[[], None]:
    """Forward and backward of a loss on n unit rows: by "floor", "mimetric" or the library of a peer.

    The floor is the products of rows with rows, or with class weights.
    """
    if who == "floor":
        return floor(n, classes if loss in CLASSES else n, d)
    torch.manual_seed(0)
    x = F.normalize(torch.randn(n, d))
    y = torch.arange(n) * classes // n if classes < n else torch.randint(classes, (n,))
    called: Call
    if who != "mimetric":
        called = peers_of(loss)[who].make(*([d, classes] if loss in CLASSES else []))
    else:
        called = CLASSES[loss](d, classes) if loss in CLASSES else PAIRS[loss]
    learned = list(called.parameters()) if isinstance(called, nn.Module) else []

    def run() -> None:
        for parameter in learned:
            parameter.grad = None
        called(x.detach().requires_grad_(), y).backward()

    return run
