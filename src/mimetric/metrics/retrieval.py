r"""Retrieval metrics: a few lines each over the ranks of the positives (:mod:`mimetric.core.ranks`).

Each takes :class:`Ranks` and returns one value per query, nan for a query without a positive; average with
``nanmean``, or over classes with :func:`mimetric.metrics.per_class`.  :func:`per_query` computes any of them in one
pass over the blocks, :func:`retrieval_metrics` the usual ones, averaged, :class:`StreamingRetrieval` batch by batch.

Every metric is taken at the ranks that the tie rule gives, none is averaged over the orders of tied references: under
``mean`` a positive tied with one negative for the first place has rank 1.5 and is no hit at 1.  Below,
:math:`r_t` is the rank of the t-th nearest positive and R how many positives there are.  With positives found to
some depth only, metrics at k are right for k up to that depth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..core.checks import check_positive, check_rows
from ..core.ranks import Drop, Ranks, rank_blocks
from ..core.search import Ties
from ..core.similarity import Similarity
from .streaming import Streaming

Metric = Callable[[Ranks], Tensor]
"""From the ranks of k queries to one value each (k,), or one row each."""


def recall_at_k(ranks: Ranks, k: int) -> Tensor:
    """1 where a positive is among the first k references, else 0 (also called hit rate, or CMC at k)."""
    return _where_defined(ranks, (ranks.rank[:, 0] <= k).double())


def cmc(ranks: Ranks, k: int) -> Tensor:
    """Cumulative matching: :func:`recall_at_k` at 1, 2, ... k, a row (k,) per query; their mean is the curve."""
    cutoffs = torch.arange(1, k + 1, device=ranks.rank.device)
    return (ranks.rank[:, :1] <= cutoffs).double().masked_fill(ranks.relevant[:, None] == 0, torch.nan)


def precision_at_k(ranks: Ranks, k: int) -> Tensor:
    """The share of positives among the first k references; places that no reference fills are no hits."""
    return _where_defined(ranks, _within(ranks, k).sum(1) / k)


def reciprocal_rank(ranks: Ranks) -> Tensor:
    """1 over the rank of the nearest positive; its mean is MRR."""
    return _where_defined(ranks, 1 / ranks.rank[:, 0])


def r_precision(ranks: Ranks) -> Tensor:
    """The share of positives among the first R references, R being how many positives there are."""
    return _within(ranks, ranks.relevant[:, None]).sum(1) / ranks.relevant


def map_at_r(ranks: Ranks) -> Tensor:
    r"""Average precision cut off at R, the number of positives (Musgrave et al., arXiv:2003.08505).

    .. math:: \frac1R \sum_{t:\, r_t \le R} \frac{t}{r_t}

    The precision at each hit among the first R.
    """
    return _precisions(ranks, ranks.relevant[:, None]).sum(1) / ranks.relevant


def average_precision(ranks: Ranks) -> Tensor:
    r"""The mean over positives of the precision where each stands; its mean over queries is mAP.

    .. math:: \frac1R \sum_t \frac{t}{r_t}

    No area under an interpolated curve: that of the older protocols of person and image search is larger.
    """
    return _precisions(ranks, torch.inf).sum(1) / ranks.relevant


def average_precision_at_k(ranks: Ranks, k: int) -> Tensor:
    r"""Average precision cut off at k places, 1 where they hold all the positives they can.

    .. math:: \frac{1}{\min(R, k)} \sum_{t:\, r_t \le k} \frac{t}{r_t}
    """
    return _precisions(ranks, k).sum(1) / ranks.relevant.clamp(max=k)


def ndcg(ranks: Ranks, k: int | None = None) -> Tensor:
    r"""Normalized discounted cumulative gain, of graded relevance :math:`g_t` or, without, of :math:`g_t = 1`.

    .. math:: \frac{\sum_{t:\, r_t \le k} g_t / \log_2(1 + r_t)}{\sum_{t \le k} g^*_t / \log_2(1 + t)}

    with :math:`g^*` the gains in descending order.  Gains are ``related`` of :func:`per_query`, floating point; for
    the exponential form give ``2 ** relevance - 1``.  Under ties ``mean`` positives that tie with each other share
    their mean gain, which is the average over their orders; one that ties with negatives stands at its mean rank.

    Reference: Jarvelin and Kekalainen, ACM TOIS 20(4), 2002.
    """
    rank = ranks.rank
    if k is not None:
        rank = rank.masked_fill(rank > k, torch.inf)
    place = torch.arange(1, rank.shape[1] + 1, device=rank.device, dtype=rank.dtype)
    last = ranks.relevant[:, None] if k is None else ranks.relevant[:, None].clamp(max=k)
    found = (1 if ranks.gain is None else ranks.gain) / (1 + rank).log2()
    best = (1 if ranks.ideal is None else ranks.ideal) / (1 + place).log2()
    return found.sum(1) / torch.where(place <= last, best, 0).sum(1)


def _within(ranks: Ranks, k: Tensor | float) -> Tensor:
    """1 for each positive (q, p) among the first k."""
    return (ranks.rank <= k).double().masked_fill(ranks.rank.isinf(), 0)


def _precisions(ranks: Ranks, k: Tensor | float) -> Tensor:
    """The precision at the place of each positive (q, p) among the first k, 0 for others."""
    place = torch.arange(1, ranks.rank.shape[1] + 1, device=ranks.rank.device)
    return _within(ranks, k) * place / ranks.rank


def _where_defined(ranks: Ranks, values: Tensor) -> Tensor:
    return values.masked_fill(ranks.relevant == 0, torch.nan)


def per_query(
    metrics: Mapping[str, Metric],
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    related: Any = None,
    ids: Any = None,
    reference_ids: Any = None,
    groups: Any = None,
    reference_groups: Any = None,
    similarity: Similarity = "cosine",
    ties: Ties = "mean",
    drop: Drop = "self",
    depth: int | None = None,
    block: int | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """Any metrics of ranks for every query, in one pass, in O(block * m) memory.

    Args:
        metrics: name -> function of :class:`Ranks`: those of this file, or your own.
        embeddings, labels, references, reference_labels: what is searched for, and in.
        related, ids, reference_ids, groups, reference_groups: who is whose positive and who is left out, where class
            ids do not say it.
        similarity, ties, drop, depth, block, dtype: with all the above as
            :func:`mimetric.core.ranks.rank_blocks` has them.  For Recall@K alone, depth 1 is enough and fastest.

    Returns:
        name -> (q,) float64 in the order of the embeddings, nan for a query without a positive.
    Raises:
        InputError: shapes disagree, labels are not integers, a value is not finite, or an unknown word.

    >>> x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    >>> per_query({"mrr": reciprocal_rank}, x, [0, 1, 0, 1])["mrr"]
    tensor([0.5000, 0.3333, 0.3333, 0.5000], dtype=torch.float64)

    A query by camera 0, its identity seen by cameras 0 and 1, a stranger in between:

    >>> found = per_query(
    ...     {"cmc": partial(cmc, k=2)}, [[1.0]], [7], [[0.9], [0.8], [0.7]], [7, 1, 7],
    ...     groups=[0], reference_groups=[0, 0, 1], similarity="dot")
    >>> found["cmc"]
    tensor([[0., 1.]], dtype=torch.float64)
    """
    embeddings = check_rows("per_query", "embeddings", embeddings)
    blocks = rank_blocks(
        embeddings, labels, references, reference_labels,
        related=related, ids=ids, reference_ids=reference_ids, groups=groups, reference_groups=reference_groups,
        similarity=similarity, ties=ties, drop=drop, depth=depth, block=block, dtype=dtype,
    )  # fmt: skip
    return from_ranks(metrics, blocks, len(embeddings))


def from_ranks(metrics: Mapping[str, Metric], blocks: Iterable[Ranks], num_queries: int) -> dict[str, Tensor]:
    """What :func:`per_query` returns, from blocks of ranks found otherwise, such as
    :func:`mimetric.core.shards.sharded_rank_blocks`.

    >>> blocks = rank_blocks([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], [0, 0, 1])
    >>> from_ranks({"mrr": reciprocal_rank}, blocks, 3)["mrr"]
    tensor([1., 1., nan], dtype=torch.float64)
    """
    values: dict[str, Tensor] = {}
    for ranks in blocks:
        for name, metric in metrics.items():
            value = metric(ranks).double()
            if name not in values:
                values[name] = value.new_full((num_queries, *value.shape[1:]), torch.nan)
            values[name][ranks.query] = value
    return values or {name: torch.empty(0, dtype=torch.float64) for name in metrics}


def retrieval_metrics(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    k: Sequence[int] = (1,),
    related: Any = None,
    ids: Any = None,
    reference_ids: Any = None,
    groups: Any = None,
    reference_groups: Any = None,
    similarity: Similarity = "cosine",
    ties: Ties = "mean",
    drop: Drop = "self",
) -> dict[str, float]:
    """Recall@K, MAP@R and R-precision, each the mean over the queries that have a positive.

    Args:
        embeddings: (q, d) floating point, finite.  A list or an array will do.
        labels: (q,) integer class ids, -1 is unlabelled; or (q, L) bool, which of L labels a row has.
        references: (m, d) what to search; None is the embeddings themselves without the query.
        reference_labels: (m,) or (m, L) theirs.
        k: the cut-offs of recall, from 1.
        related, ids, reference_ids, groups, reference_groups, similarity, ties, drop: as
            :func:`mimetric.core.ranks.rank_blocks` has them.

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
        related=related, ids=ids, reference_ids=reference_ids, groups=groups, reference_groups=reference_groups,
        similarity=similarity, ties=ties, drop=drop,
    )  # fmt: skip
    return {name: value.nanmean().item() for name, value in values.items()}


class StreamingRetrieval(Streaming):
    """Means of retrieval metrics over queries that arrive in batches, against references that stay.

    The numbers are those of :func:`per_query` on all queries at once, averaged.  Each update looks the references
    over anew: give batches of some hundred queries where there are many references.

    Args:
        metrics: name -> function of :class:`Ranks`, one value per query.
        references: (m, d) what to search.
        reference_labels: (m,) integer class ids, or (m, L) bool.
        reference_ids, reference_groups: (m,) integers, where a batch comes with ``ids`` or ``groups``.
        similarity, ties: as :func:`mimetric.core.ranks.rank_blocks` has them.

    >>> stream = StreamingRetrieval({"mrr": reciprocal_rank}, [[1.0, 0.0], [0.0, 1.0]], [0, 1])
    >>> stream.update([[0.9, 0.1]], [0])
    >>> stream.update([[0.6, 0.4], [1.0, 1.0]], [1, 5])
    >>> stream.compute()
    {'mrr': 0.75}
    """

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        references: Any,
        reference_labels: Any,
        *,
        reference_ids: Any = None,
        reference_groups: Any = None,
        similarity: Similarity = "cosine",
        ties: Ties = "mean",
    ) -> None:
        self._metrics = dict(metrics)
        self._references = check_rows("StreamingRetrieval", "references", references)
        self._search = partial(
            per_query,
            self._metrics,
            references=self._references,
            reference_labels=reference_labels,
            reference_ids=reference_ids,
            reference_groups=reference_groups,
            similarity=similarity,
            ties=ties,
        )
        zeros = torch.zeros(len(self._metrics), dtype=torch.float64, device=self._references.device)
        super().__init__(sums=zeros, counts=zeros.clone())

    def update(self, embeddings: Any, labels: Any, *, ids: Any = None, groups: Any = None) -> None:
        """Search for a batch: embeddings (q, d), labels (q,) or (q, L), ids and groups (q,).

        Raises:
            InputError: as :func:`per_query`.
        """
        values = torch.stack(list(self._search(embeddings, labels, ids=ids, groups=groups).values()))
        values = values.to(self._references.device)
        self.totals["sums"] += values.nansum(1)
        self.totals["counts"] += (~values.isnan()).sum(1)

    def compute(self) -> dict[str, float]:
        """name -> mean over the queries so far that have a positive; nan where none has."""
        means = self.totals["sums"] / self.totals["counts"]
        return dict(zip(self._metrics, means.tolist()))
