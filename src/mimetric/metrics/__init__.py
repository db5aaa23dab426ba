"""What embeddings are worth: retrieval by exact ranks, clustering."""

from __future__ import annotations

from .clustering import nmi
from .retrieval import (
    map_at_r,
    per_query,
    r_precision,
    recall_at_k,
    reciprocal_rank,
    retrieval_metrics,
)

__all__ = [
    "map_at_r",
    "nmi",
    "per_query",
    "r_precision",
    "recall_at_k",
    "reciprocal_rank",
    "retrieval_metrics",
]
