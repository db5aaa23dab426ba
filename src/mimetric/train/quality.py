"""What is measured of embeddings when a run is looked at: retrieval, clusters, information."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
INFORMATION = (
    "information_discriminative", "information_generative", "information_kernel_lower", "information_kernel_upper",
    "information_gaussian", "entropy", "conditional_entropy",
)  # fmt: skip
INFORMATION_ROWS = 1024  # bounds what a look costs: 0.2 s of one core at width 64


def looked_at(embeddings: Tensor, labels: Tensor, query: Tensor | None = None) -> Measured:
    """Retrieval: each row among all others, or the queries (n,) bool among the rows that are none."""
    if not len(labels):
        return dict.fromkeys(RETRIEVAL)
    labels = labels.to(embeddings.device)
    if query is None:
        return _finite(retrieval_metrics(embeddings, labels, k=(1,)))
    query = query.to(embeddings.device)
    gallery = embeddings[~query], labels[~query]
    return _finite(retrieval_metrics(embeddings[query], labels[query], *gallery, k=(1,)))


def informed(embeddings: Tensor, labels: Tensor) -> Measured:
    """The information of unit rows, as cosine is what retrieval sees, and why it cannot be trusted."""
    if not len(labels):
        return dict.fromkeys(INFORMATION) | {"information_warnings": []}
    found = information(F.normalize(embeddings, dim=1), labels, max_rows=INFORMATION_ROWS)
    numbers = {name: getattr(found, name.removeprefix("information_")) for name in INFORMATION}
    return _finite(numbers) | {"information_warnings": list(found.warnings)}


def judged(embeddings: Tensor, labels: Tensor, seed: int, query: Tensor | None = None) -> Measured:
    """Both and the clusters: what a model is judged by."""
    clusters = {"nmi": nmi(embeddings, labels, seed=seed)}
    return looked_at(embeddings, labels, query) | informed(embeddings, labels) | clusters


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


def _finite(numbers: Mapping[str, float]) -> Measured:
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}
