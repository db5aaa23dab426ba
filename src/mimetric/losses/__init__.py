"""Losses: each a function, and the same with its options bound as a module.

``loss(embeddings, labels, ...)`` is a scalar; ``loss.sides(...)`` its tightness and contrast.
"""

from ..core.pairs import Pairing, pair_weights
from .contrast import NTXentLoss, SNCALoss, SupConLoss, nt_xent_loss, snca_loss, supcon_loss
from .pair import (
    ContrastiveLoss,
    MultiSimilarityLoss,
    SquaredContrastiveLoss,
    contrastive_loss,
    multi_similarity_loss,
    squared_contrastive_loss,
)
from .proxy import (
    CenterLoss,
    CrossEntropyLoss,
    NormalizedSoftmaxLoss,
    SPCELoss,
    center_loss,
    cross_entropy_loss,
    normalized_softmax_loss,
    pce_loss,
    spce_loss,
)
from .triplet import (
    BatchHardTripletLoss,
    SemiHardTripletLoss,
    TripletMarginLoss,
    batch_hard_triplet_loss,
    semi_hard_triplet_loss,
    triplet_margin_loss,
)

__all__ = [
    "BatchHardTripletLoss",
    "CenterLoss",
    "ContrastiveLoss",
    "CrossEntropyLoss",
    "MultiSimilarityLoss",
    "NTXentLoss",
    "NormalizedSoftmaxLoss",
    "Pairing",
    "SNCALoss",
    "SPCELoss",
    "SemiHardTripletLoss",
    "SquaredContrastiveLoss",
    "SupConLoss",
    "TripletMarginLoss",
    "batch_hard_triplet_loss",
    "center_loss",
    "contrastive_loss",
    "cross_entropy_loss",
    "multi_similarity_loss",
    "normalized_softmax_loss",
    "nt_xent_loss",
    "pair_weights",
    "pce_loss",
    "semi_hard_triplet_loss",
    "snca_loss",
    "spce_loss",
    "squared_contrastive_loss",
    "supcon_loss",
    "triplet_margin_loss",
]
