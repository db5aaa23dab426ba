"""Metrics by name, measured together: all that are read off the same ranks, pairs or clusters share one pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from ..core.classes import UNLABELLED
from ..core.errors import InputError, did_you_mean
from .calibration import brier, ece, mce, nll
from .classification import accuracy, class_scores, top_k_accuracy
from .clustering import clustering_metrics
from .collapse import neural_collapse
from .geometry import alignment, anisotropy, tolerance, uniformity
from .neighborhood import hubness
from .opis import opis
from .retrieval import (
    Metric,
    average_precision,
    average_precision_at_k,
    map_at_r,
    ndcg,
    per_query,
    precision_at_k,
    r_precision,
    recall_at_k,
    reciprocal_rank,
)
from .spectrum import effective_rank, spectral_decay
from .verification import auc, eer, fnmr_at_fmr, pair_roc, tar_at_far, threshold_at_fmr

DEFAULT = ("recall_at_1", "recall_at_10", "map_at_r", "r_precision", "nmi", "auc", "opis")

Value = Tensor | float
"""One number per query (q,), nan where undefined; or one of the whole set."""


@dataclass(frozen=True)
class Given:
    """What metrics are measured on: queries, what they are searched in, and options."""

    embeddings: Tensor  # (q, d)
    labels: Tensor  # (q,)
    references: Tensor | None = None  # (m, d); None is the queries themselves
    reference_labels: Tensor | None = None
    logits: Tensor | None = None  # (q, C)
    target_fmr: float = 1e-3
    seed: int = 0

    def everything(self) -> tuple[Tensor, Tensor]:
        """Queries and references as one set, for metrics that know no queries."""
        if self.references is None or self.reference_labels is None:
            return self.embeddings, self.labels
        rows = torch.cat((self.embeddings, self.references))
        return rows, torch.cat((self.labels, self.reference_labels))


_OF_RANKS: dict[str, Metric] = {
    "map": average_precision, "map_at_r": map_at_r, "mrr": reciprocal_rank, "ndcg": ndcg, "r_precision": r_precision,
}  # fmt: skip
_OF_RANKS_AT: dict[str, Callable[..., Tensor]] = {
    "recall_at_K": recall_at_k, "precision_at_K": precision_at_k, "map_at_K": average_precision_at_k,
    "ndcg_at_K": ndcg,
}  # fmt: skip
_NEAREST_ALONE = re.compile(r"mrr|recall_at_\d+")  # read off the nearest positive


def _of_pairs(given: Given) -> dict[str, float]:
    roc = pair_roc(given.embeddings, given.labels, given.references, given.reference_labels)
    at_target = (tar_at_far, fnmr_at_fmr, threshold_at_fmr)
    return {"auc": auc(roc), "eer": eer(roc)} | {
        metric.__name__: metric(roc, given.target_fmr) for metric in at_target
    }


def _of_opis(given: Given) -> dict[str, float]:
    found = opis(*given.everything())
    return {"opis": found.opis, "epsilon_opis": found.epsilon_opis}


def _of_collapse(given: Given) -> dict[str, float]:
    rows, labels = given.everything()
    known = labels != UNLABELLED
    from_zero = torch.searchsorted(torch.unique(labels[known]), labels)
    return neural_collapse(rows, from_zero.where(known, UNLABELLED))


# Names that are computed together, of pairs or of queries and references as one set.
_TOGETHER: dict[tuple[str, ...], Callable[[Given], dict[str, float]]] = {
    ("auc", "eer", "tar_at_far", "fnmr_at_fmr", "threshold_at_fmr"): _of_pairs,
    (
        "nmi", "ami", "ari", "v_measure", "homogeneity", "completeness",
        "pairwise_f1", "pairwise_precision", "pairwise_recall",
    ): lambda given: clustering_metrics(*given.everything(), seed=given.seed),
    ("opis", "epsilon_opis"): _of_opis,
    ("nc1", "nc2_norms", "nc2_angles"): _of_collapse,
}  # fmt: skip
_OF_CLASSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"alignment": alignment, "tolerance": tolerance}
_OF_ROWS: dict[str, Callable[[Tensor], Tensor]] = {
    "uniformity": uniformity, "anisotropy": anisotropy, "effective_rank": effective_rank,
    "spectral_decay": spectral_decay, "hubness": hubness,
}  # fmt: skip
_OF_LOGITS: dict[str, Callable[[Tensor, Tensor], Value]] = {
    "accuracy": accuracy,
    "balanced_accuracy": lambda logits, y: class_scores(logits, y).recall.nanmean().item(),
    "macro_f1": lambda logits, y: class_scores(logits, y).f1.nanmean().item(),
    "ece": lambda logits, y: ece(logits.softmax(1), y).item(),
    "mce": lambda logits, y: mce(logits.softmax(1), y).item(),
    "brier": lambda logits, y: brier(logits.softmax(1), y),
    "nll": lambda logits, y: nll(logits.softmax(1), y),
}  # fmt: skip
_OF_LOGITS_AT: dict[str, Callable[..., Tensor]] = {"top_K_accuracy": top_k_accuracy}


def metric_names() -> tuple[str, ...]:
    """All names, K standing for any number from 1."""
    together = chain.from_iterable(_TOGETHER)
    return (
        *_OF_RANKS_AT, *_OF_RANKS, *together, *_OF_CLASSES, *_OF_ROWS, *_OF_LOGITS, *_OF_LOGITS_AT
    )  # fmt: skip


def check_names(where: str, names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once.

    Raises:
        InputError: none, or one that there is not; says the nearest that there is.

    >>> check_names("evaluate", ["recall_at_5", "nmi"])
    ('recall_at_5', 'nmi')
    """
    names = tuple(dict.fromkeys(names))
    if not names:
        raise InputError(f"{where}: no metrics; choose from {', '.join(metric_names())}")
    known = metric_names()
    for name in names:
        pattern, k = _pattern(name)
        if pattern not in known or (k is None and "K" in pattern):
            nearest = did_you_mean(pattern, known)
            right = nearest.replace("K", str(k or 1)) if nearest.startswith("did") else nearest
            raise InputError(f"{where}: unknown metric {name!r}; {right}")
    return names


def measure(where: str, names: Iterable[str], given: Given) -> dict[str, Value]:
    """The metrics of these names, in their order.

    Args:
        where: opens the message of an error.
        names: of :func:`metric_names`, such as ``recall_at_5``.
        given: what they are measured on.  Metrics that know no queries are of queries and references as one set.

    Raises:
        InputError: an unknown name, one that needs logits without any, or as the metric itself.

    >>> x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    >>> found = measure("here", ["mrr", "auc"], Given(x, torch.tensor([0, 0, 1, 1])))
    >>> found["mrr"].tolist(), found["auc"]
    ([1.0, 1.0, 1.0, 1.0], 1.0)
    """
    names = check_names(where, names)
    found = _from_logits(where, names, given) | _from_ranks(names, given)  # first what is cheap to refuse
    for family, compute in _TOGETHER.items():
        if not set(names).isdisjoint(family):
            found |= compute(given)
    rows, labels = given.everything()
    found |= {name: _OF_CLASSES[name](rows, labels).item() for name in names if name in _OF_CLASSES}
    found |= {name: _OF_ROWS[name](rows).item() for name in names if name in _OF_ROWS}
    return {name: found[name] for name in names}


def needs_logits(name: str) -> bool:
    """Whether a metric of this name says what a classifier does, not what a search does."""
    return _pattern(name)[0] in (*_OF_LOGITS, *_OF_LOGITS_AT)


def _from_ranks(names: tuple[str, ...], given: Given) -> dict[str, Value]:
    metrics = _chosen(names, _OF_RANKS, _OF_RANKS_AT)
    if not metrics:
        return {}
    nearest_alone = all(_NEAREST_ALONE.fullmatch(name) for name in metrics)
    return {**per_query(
        metrics, given.embeddings, given.labels, given.references, given.reference_labels,
        depth=1 if nearest_alone else None,
    )}  # fmt: skip


def _from_logits(where: str, names: tuple[str, ...], given: Given) -> dict[str, Value]:
    metrics = _chosen(names, _OF_LOGITS, _OF_LOGITS_AT)
    if metrics and given.logits is None:
        raise InputError(
            f"{where}: {next(iter(metrics))} needs logits of a classifier; give them, or leave it out"
        )
    return {name: metric(given.logits, given.labels) for name, metric in metrics.items()}


def _chosen(
    names: tuple[str, ...], plain: Mapping[str, Callable[..., Any]], at: Mapping[str, Callable[..., Tensor]]
) -> dict[str, Callable[..., Any]]:
    """Those of the names that the tables have, the number of a name bound as k."""
    found: dict[str, Callable[..., Any]] = {}
    for name in names:
        pattern, k = _pattern(name)
        if pattern in plain:
            found[name] = plain[pattern]
        elif pattern in at:
            found[name] = partial(at[pattern], k=k)
    return found


def _pattern(name: str) -> tuple[str, int | None]:
    """The name with K in place of its number, and the number.

    >>> _pattern("recall_at_10"), _pattern("top_5_accuracy"), _pattern("nmi"), _pattern("recall_at_0")
    (('recall_at_K', 10), ('top_K_accuracy', 5), ('nmi', None), ('recall_at_0', None))
    """
    number = re.search(r"(?<=_)[1-9]\d{0,8}(?=_|$)", name)
    if number is None:
        return name, None
    return f"{name[: number.start()]}K{name[number.end() :]}", int(number[0])
