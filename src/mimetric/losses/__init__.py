"""Losses: each a function, and the same with its options bound as a module.

``loss(embeddings, labels, ...)`` is a scalar; ``loss.sides(...)`` its tightness and contrast.
"""

from ..core.pairs import Pairing, pair_weights
from .boundary import (
    IntraPairVarianceLoss,
    MarginLoss,
    ThresholdConsistentMarginLoss,
    intra_pair_variance_loss,
    margin_loss,
    threshold_consistent_margin_loss,
)
from .contrast import NTXentLoss, SNCALoss, SupConLoss, nt_xent_loss, snca_loss, supcon_loss
from .decoupled import DecoupledLoss, decoupled_loss
from .drawn_triplet import DistanceWeightedTripletLoss, distance_weighted_triplet_loss
from .lifted import HistogramLoss, LiftedStructureLoss, histogram_loss, lifted_structure_loss
from .mixing import mixed_negatives
from .multi_head import (
    AdaptiveMultiHeadLoss,
    MultiHeadProjector,
    PairTemperature,
    adaptive_multi_head_loss,
)
from .neighborhood import ICNNLoss, icnn_loss, icnn_score
from .pair import (
    ContrastiveLoss,
    MultiSimilarityLoss,
    SNRContrastiveLoss,
    SquaredContrastiveLoss,
    contrastive_loss,
    multi_similarity_loss,
    snr_contrastive_loss,
    squared_contrastive_loss,
)
from .prototype import ProtoTripletLoss, proto_triplet_loss
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
from .ranking import FastAPLoss, PNPLoss, SmoothAPLoss, fast_ap_loss, pnp_loss, smooth_ap_loss
from .regression import P2SGradLoss, p2s_grad_loss
from .reweighted import (
    FocalNTXentLoss,
    HardNegativeNTXentLoss,
    focal_nt_xent_loss,
    hard_negative_nt_xent_loss,
)
from .soft import (
    BinomialDevianceLoss,
    CircleLoss,
    GeneralizedLiftedStructureLoss,
    binomial_deviance_loss,
    circle_loss,
    generalized_lifted_structure_loss,
)
from .soft_triplet import (
    AngularLoss,
    EasyPositiveTripletLoss,
    SoftBatchHardTripletLoss,
    SoftTripletLoss,
    angular_loss,
    easy_positive_triplet_loss,
    soft_batch_hard_triplet_loss,
    soft_triplet_loss,
)
from .triplet import (
    BatchHardTripletLoss,
    CentroidTripletLoss,
    SemiHardTripletLoss,
    TripletMarginLoss,
    batch_hard_triplet_loss,
    centroid_triplet_loss,
    semi_hard_triplet_loss,
    triplet_margin_loss,
)
from .tuples import QuadrupletLoss, SwapTripletLoss, quadruplet_loss, swap_triplet_loss
from .tuplet import NPairsLoss, TupletMarginLoss, n_pairs_loss, tuplet_margin_loss
from .two_view import (
    SigmoidPairLoss,
    SymmetricNTXentLoss,
    sigmoid_pair_loss,
    symmetric_nt_xent_loss,
)
from .weighting import DynamicSoftMarginLoss, RankedListLoss, dynamic_soft_margin_loss, ranked_list_loss

__all__ = [
    "AdaptiveMultiHeadLoss",
    "AngularLoss",
    "BatchHardTripletLoss",
    "BinomialDevianceLoss",
    "CenterLoss",
    "CentroidTripletLoss",
    "CircleLoss",
    "ContrastiveLoss",
    "CrossEntropyLoss",
    "DecoupledLoss",
    "DistanceWeightedTripletLoss",
    "DynamicSoftMarginLoss",
    "EasyPositiveTripletLoss",
    "FastAPLoss",
    "FocalNTXentLoss",
    "GeneralizedLiftedStructureLoss",
    "HardNegativeNTXentLoss",
    "HistogramLoss",
    "ICNNLoss",
    "IntraPairVarianceLoss",
    "LiftedStructureLoss",
    "MarginLoss",
    "MultiHeadProjector",
    "MultiSimilarityLoss",
    "NPairsLoss",
    "NTXentLoss",
    "NormalizedSoftmaxLoss",
    "P2SGradLoss",
    "PNPLoss",
    "PairTemperature",
    "Pairing",
    "ProtoTripletLoss",
    "QuadrupletLoss",
    "RankedListLoss",
    "SNCALoss",
    "SNRContrastiveLoss",
    "SPCELoss",
    "SemiHardTripletLoss",
    "SigmoidPairLoss",
    "SmoothAPLoss",
    "SoftBatchHardTripletLoss",
    "SoftTripletLoss",
    "SquaredContrastiveLoss",
    "SupConLoss",
    "SwapTripletLoss",
    "SymmetricNTXentLoss",
    "ThresholdConsistentMarginLoss",
    "TripletMarginLoss",
    "TupletMarginLoss",
    "adaptive_multi_head_loss",
    "angular_loss",
    "batch_hard_triplet_loss",
    "binomial_deviance_loss",
    "center_loss",
    "centroid_triplet_loss",
    "circle_loss",
    "contrastive_loss",
    "cross_entropy_loss",
    "decoupled_loss",
    "distance_weighted_triplet_loss",
    "dynamic_soft_margin_loss",
    "easy_positive_triplet_loss",
    "fast_ap_loss",
    "focal_nt_xent_loss",
    "generalized_lifted_structure_loss",
    "hard_negative_nt_xent_loss",
    "histogram_loss",
    "icnn_loss",
    "icnn_score",
    "intra_pair_variance_loss",
    "lifted_structure_loss",
    "margin_loss",
    "mixed_negatives",
    "multi_similarity_loss",
    "n_pairs_loss",
    "normalized_softmax_loss",
    "nt_xent_loss",
    "p2s_grad_loss",
    "pair_weights",
    "pce_loss",
    "pnp_loss",
    "proto_triplet_loss",
    "quadruplet_loss",
    "ranked_list_loss",
    "semi_hard_triplet_loss",
    "sigmoid_pair_loss",
    "smooth_ap_loss",
    "snca_loss",
    "snr_contrastive_loss",
    "soft_batch_hard_triplet_loss",
    "soft_triplet_loss",
    "spce_loss",
    "squared_contrastive_loss",
    "supcon_loss",
    "swap_triplet_loss",
    "symmetric_nt_xent_loss",
    "threshold_consistent_margin_loss",
    "triplet_margin_loss",
    "tuplet_margin_loss",
]
