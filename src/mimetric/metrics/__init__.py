"""What embeddings are worth: retrieval, verification, clusters, classifiers, geometry; and how sure that is."""

from __future__ import annotations

from .calibration import (
    ReliabilityCurve,
    StreamingCalibration,
    StreamingClasswiseCalibration,
    brier,
    calibration_metrics,
    classwise_ece,
    ece,
    mce,
    nll,
    reliability_curve,
    top1_brier,
)
from .classification import (
    ClassScores,
    StreamingClassification,
    accuracy,
    class_scores,
    classification_metrics,
    confusion_matrix,
    top_k_accuracy,
)
from .classwise import PerClass, per_class
from .clustering import clustering_metrics, clustering_scores, nmi
from .collapse import (
    StreamingCollapse,
    center_mismatch,
    neural_collapse,
)
from .components import Components, component_counts
from .geometry import (
    ClassScatter,
    StreamingAlignment,
    StreamingScatter,
    alignment,
    anisotropy,
    class_scatter,
    tolerance,
    uniformity,
)
from .intervals import Interval, bootstrap_interval, paired_difference
from .localization import box_iou, gt_known_localization, heat_boxes, top1_localization
from .named import metric_names
from .neighborhood import (
    hubness,
    occurrences,
    utilization,
)
from .opis import Opis, calibration_range, opis
from .pooled import pooled_retrieval_auc
from .probe import linear_probe_accuracy, nearest_mean_accuracy
from .rates import ClassRates, class_rates
from .retrieval import (
    StreamingRetrieval,
    average_precision,
    average_precision_at_k,
    cmc,
    from_ranks,
    map_at_r,
    ndcg,
    per_query,
    precision_at_k,
    r_precision,
    recall_at_k,
    reciprocal_rank,
    retrieval_metrics,
)
from .spectrum import (
    StreamingSpectrum,
    effective_rank,
    spectral_decay,
)
from .temperature import (
    apply_temperature,
    fit_temperature,
)
from .verification import (
    Roc,
    StreamingRoc,
    auc,
    eer,
    fnmr_at_fmr,
    pair_roc,
    roc_curve,
    tar_at_far,
    threshold_at_fmr,
    verification_metrics,
)

__all__ = [
    "ClassRates",
    "ClassScatter",
    "ClassScores",
    "Components",
    "Interval",
    "Opis",
    "PerClass",
    "ReliabilityCurve",
    "Roc",
    "StreamingAlignment",
    "StreamingCalibration",
    "StreamingClassification",
    "StreamingClasswiseCalibration",
    "StreamingCollapse",
    "StreamingRetrieval",
    "StreamingRoc",
    "StreamingScatter",
    "StreamingSpectrum",
    "accuracy",
    "alignment",
    "anisotropy",
    "apply_temperature",
    "auc",
    "average_precision",
    "average_precision_at_k",
    "bootstrap_interval",
    "box_iou",
    "brier",
    "calibration_metrics",
    "calibration_range",
    "center_mismatch",
    "class_rates",
    "class_scatter",
    "class_scores",
    "classification_metrics",
    "classwise_ece",
    "clustering_metrics",
    "clustering_scores",
    "cmc",
    "component_counts",
    "confusion_matrix",
    "ece",
    "eer",
    "effective_rank",
    "fit_temperature",
    "fnmr_at_fmr",
    "from_ranks",
    "gt_known_localization",
    "heat_boxes",
    "hubness",
    "linear_probe_accuracy",
    "map_at_r",
    "mce",
    "metric_names",
    "ndcg",
    "nearest_mean_accuracy",
    "neural_collapse",
    "nll",
    "nmi",
    "occurrences",
    "opis",
    "pair_roc",
    "paired_difference",
    "per_class",
    "per_query",
    "pooled_retrieval_auc",
    "precision_at_k",
    "r_precision",
    "recall_at_k",
    "reciprocal_rank",
    "reliability_curve",
    "retrieval_metrics",
    "roc_curve",
    "spectral_decay",
    "tar_at_far",
    "threshold_at_fmr",
    "tolerance",
    "top1_brier",
    "top1_localization",
    "top_k_accuracy",
    "uniformity",
    "utilization",
    "verification_metrics",
]
