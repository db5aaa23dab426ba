r"""Retrieval metrics: a few lines each over the ranks of the positives (:mod:`mimetric.core.ranks`).

Each takes :class:`Ranks` and returns one value per query, nan for a query without a positive; average with
``nanmean``.  :func:`per_query` computes any of them in one pass over the blocks, :func:`retrieval_metrics`
the usual ones, averaged.  A metric is taken at the ranks that the tie rule gives, so under ``mean`` a positive
tied with one negative for the first place has rank 1.5 and is no hit at 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..core.checks import check_batch, check_positive
from ..core.ranks import Drop, Ranks, Ties, rank_blocks
from ..core.similarity import Similarity

Metric = Callable[[Ranks], Tensor]
"""From the ranks of k queries to one value each (k,)."""


def recall_at_k(ranks: Ranks, k: int) -> Tensor:
    """1 where a positive is among the first k references, else 0 (also called hit rate or CMC at k)."""
    return _where_defined(ranks, (ranks.rank[:, 0] <= k).double())


def reciprocal_rank(ranks: Ranks) -> Tensor:
    """1 over the rank of the nearest positive; its mean is MRR."""
    return _where_defined(ranks, 1 / ranks.rank[:, 0])


def r_precision(ranks: Ranks) -> Tensor:
    """The share of positives among the first R references, R being how many positives there are."""
    return _within_r(ranks).sum(1) / ranks.relevant


def map_at_r(ranks: Ranks) -> Tensor:
    r"""Average precision cut off at R, the number of positives (Musgrave et al., arXiv:2003.08505).

    .. math:: \frac1R \sum_{t:\, r_t \le R} \frac{t}{r_t}

    with :math:`r_t` the rank of the t-th nearest positive: the precision at each hit among the first R.
    """
    place = torch.arange(1, ranks.rank.shape[1] + 1, device=ranks.rank.device)
    return (_within_r(ranks) * place / ranks.rank).sum(1) / ranks.relevant


def _within_r(ranks: Ranks) -> Tensor:
    return (ranks.rank <= ranks.relevant[:, None]).double()


def _where_defined(ranks: Ranks, values: Tensor) -> Tensor:
    return values.masked_fill(ranks.relevant == 0, torch.nan)


def per_query(
    metrics: Mapping[str, Metric],
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    similarity: Similarity = "cosine",
    ties: Ties = "mean",
    drop: Drop = "self",
    depth: int | None = None,
    block: int | None = None,
) -> dict[str, Tensor]:
    """Any metrics of ranks for every query, in one pass, in O(block * m) memory.

    Args:
        metrics: name -> function of :class:`Ranks`: those of this file, or your own.
        embeddings, labels, references, reference_labels, similarity, ties, drop, depth, block: as
            :func:`mimetric.core.ranks.rank_blocks` has them.  For Recall@K alone, depth 1 is enough and fastest.

    Returns:
        name -> (q,) float64 in the order of the embeddings, nan for a query without a positive.
    Raises:
        InputError: shapes disagree, labels are not integers, a value is not finite, or an unknown word.

    >>> x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    >>> per_query({"mrr": reciprocal_rank}, x, [0, 1, 0, 1])["mrr"]
    tensor([0.5000, 0.3333, 0.3333, 0.5000], dtype=torch.float64)
    """
    embeddings, labels = check_batch("per_query", embeddings, labels)
    blocks = rank_blocks(
        embeddings, labels, references, reference_labels,
        similarity=similarity, ties=ties, drop=drop, depth=depth, block=block,
    )  # fmt: skip
    unknown = torch.full(labels.shape, torch.nan, dtype=torch.float64, device=embeddings.device)
    values = {name: unknown.clone() for name in metrics}
    for ranks in blocks:
        for name, metric in metrics.items():
            values[name][ranks.query] = metric(ranks).double()
    return values


def retrieval_metrics(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    k: Sequence[int] = (1,),
    similarity: Similarity = "cosine",
    ties: Ties = "mean",
    drop: Drop = "self",
) -> dict[str, float]:
    """Recall@K, MAP@R and R-precision, each the mean over the queries that have a positive.

    Args:
        embeddings: (q, d) floating point, finite.  A list or an array will do.
        labels: (q,) integer class ids; -1 is unlabelled.
        references: (m, d) what to search; None is the embeddings themselves without the query.
        reference_labels: (m,) their class ids.
        k: the cut-offs of recall, from 1.
        similarity, ties, drop: as :func:`mimetric.core.ranks.rank_blocks` has them.

    Returns:
        ``recall_at_1`` and so on for each k, ``map_at_r``, ``r_precision``, in [0, 1]; nan where no query
        has a positive.
    Raises:
        InputError: shapes disagree, labels are not integers, a value is not finite, a k is below 1, or an
            unknown word.

    >>> x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    >>> retrieval_metrics(x, [0, 1, 0, 1], k=(1, 2))
    {'recall_at_1': 0.0, 'recall_at_2': 0.5, 'map_at_r': 0.0, 'r_precision': 0.0}
    """
    check_positive("retrieval_metrics", **{f"k[{at}]": cutoff for at, cutoff in enumerate(k)})
    metrics: dict[str, Metric] = {f"recall_at_{cutoff}": partial(recall_at_k, k=cutoff) for cutoff in k}
    metrics |= {"map_at_r": map_at_r, "r_precision": r_precision}
    values = per_query(
        metrics, embeddings, labels, references, reference_labels,
        similarity=similarity, ties=ties, drop=drop,
    )  # fmt: skip
    return {name: value.nanmean().item() for name, value in values.items()}
