"""Losses: each a function, and the same with its options bound as a module.

``loss(embeddings, labels, ...)`` is a scalar; ``loss.sides(...)`` its tightness and contrast.
"""

from ..core.pairs import Pairing, pair_weights
from .contrast import SupConLoss, supcon_loss
from .pair import ContrastiveLoss, MultiSimilarityLoss, contrastive_loss, multi_similarity_loss
from .proxy import (
    CrossEntropyLoss,
    NormalizedSoftmaxLoss,
    SPCELoss,
    cross_entropy_loss,
    normalized_softmax_loss,
    spce_loss,
)
from .triplet import TripletMarginLoss, triplet_margin_loss

__all__ = [
    "ContrastiveLoss",
    "CrossEntropyLoss",
    "MultiSimilarityLoss",
    "NormalizedSoftmaxLoss",
    "Pairing",
    "SPCELoss",
    "SupConLoss",
    "TripletMarginLoss",
    "contrastive_loss",
    "cross_entropy_loss",
    "multi_similarity_loss",
    "normalized_softmax_loss",
    "pair_weights",
    "spce_loss",
    "supcon_loss",
    "triplet_margin_loss",
]
