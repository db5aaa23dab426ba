"""What is measured of embeddings when a run is looked at: retrieval, clusters, information."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mimetric.estimators import label_entropy
from mimetric.metrics.clustering import nmi
from mimetric.metrics.retrieval import retrieval_metrics
from mimetric.views import drawn_rows, information

Measured = dict[str, Any]  # numbers, or None where there is nothing to measure

RETRIEVAL = ("recall_at_1", "map_at_r", "r_precision")
INFORMATION = ("information_discriminative", "information_generative", "entropy", "conditional_entropy")
INFORMATION_ROWS = 1024  # bounds what a look costs: 0.12 s of one core at width 64


def looked_at(embeddings: Tensor, labels: Tensor) -> Measured:
    """Retrieval, and both views of the information of unit rows: cosine is what retrieval sees."""
    if not len(labels):
        return dict.fromkeys((*RETRIEVAL, *INFORMATION))
    labels = labels.to(embeddings.device)
    found = information(F.normalize(embeddings, dim=1), labels, max_rows=INFORMATION_ROWS)
    views = (found.discriminative, found.generative, found.entropy, found.conditional_entropy)
    measured = retrieval_metrics(embeddings, labels, k=(1,)) | dict(zip(INFORMATION, views))
    return {name: value if math.isfinite(value) else None for name, value in measured.items()}


def judged(embeddings: Tensor, labels: Tensor, seed: int) -> Measured:
    """The same and the clusters: what a model is judged by."""
    return looked_at(embeddings, labels) | {"nmi": nmi(embeddings, labels, seed=seed)}


def ceiling(labels: Tensor) -> dict[str, float] | None:
    """The rows whose information is measured, and the most it can be: their H(Y) in nats."""
    if not len(labels):
        return None
    drawn = labels[drawn_rows(labels, INFORMATION_ROWS)]
    return {
        "rows": len(drawn),
        "classes": len(torch.unique(drawn)),
        "label_entropy": label_entropy(drawn).item(),
    }
