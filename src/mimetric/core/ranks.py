"""The rank of every positive of every query, exact, by counting, in blocks of queries and panels of references.

A rank needs no sorted row: it is one more than the number of references in front.  The similarities of a block
of queries with their own positives come first; then a panel of similarities after the other is made, what lies in
front of each positive is counted while the panel is near the cores, and the next one takes its place.

A positive's rank is its place among the query's positives plus the number of negatives in front of it.
Negatives of exactly its similarity are tied with it; the rule says how many of them come first: none
(``optimistic``), all (``pessimistic``) or half (``mean``).  Positives of equal similarity take one place
after the other in any order: a query with copies of itself in its own class has them at ranks 1, 2, 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import (
    as_tensor,
    check_choice,
    check_finite,
    check_labels,
    check_positive,
    check_references,
    check_relation,
    check_rows,
    check_shared_labels,
)
from .errors import InputError
from .relevance import Given, Lists, Relevance, Relevant, SameKey, SharedLabels
from .search import (
    MOST_ROWS,
    TIES,
    TILE_ROWS,
    Search,
    Ties,
    blocks_of,
    in_front_,
    leave_out_,
)
from .similarity import SIMILARITIES, Similarity

Drop = Literal["self", "first"]

# Fewer queries in a block where their positives would take more than this many numbers.
_POSITIVE_ELEMENTS = 1 << 21
# A panel's sorting is shared by its columns, but each positive is looked up in every panel.
_COLUMNS_PER_POSITIVE = 16


@dataclass(frozen=True)
class Ranks:
    """The positives of k queries, nearest first.

    Every metric of retrieval is a few lines over these: a rank past the last positive is infinite, so it
    is within no cut-off and its reciprocal is 0.
    """

    rank: Tensor  # (k, p) float64 from 1, ascending; inf past a query's last positive; p >= 1
    relevant: Tensor  # (k,) int64 how many positives each query has
    query: Tensor  # (k,) int64 which row of the embeddings each query is
    gain: Tensor | None = None  # (k, p) float64 how relevant each is; None: all alike, 1
    ideal: Tensor | None = None  # (k, p) float64 a query's largest gains, descending; None: all 1


def rank_blocks(
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
) -> Iterator[Ranks]:
    """The ranks of the positives of all queries, a block of queries at a time, in an order of its own.

    The references of a query are ranked from the most similar on.  Its positives are those of its label.
    Label -1 means unlabelled: such a query has no positive and such a reference is a negative of all.
    Half-precision input is searched in float32; float64 stays.  On a CPU the same rows give the same
    similarity wherever they stand, so duplicates tie and the numbers do not depend on the block.

    Args:
        embeddings: (q, d) floating point, finite.  A list or an array will do.
        labels: (q,) integer class ids; or (q, L) bool, which of L labels a row has: rows that share one are
            positives.
        references: (m, d) what to search; None is the embeddings themselves, each query left out of its
            own references.
        reference_labels: (m,) or (m, L) theirs.
        related: (q, m) in place of all labels (which may be None): bool, which references are a query's positives;
            or floating point >= 0, how relevant each is, 0 for a negative.
        ids: (q,) integer, what each row is of: a reference with the id of a query is left out for it, neither
            positive nor negative.
        reference_ids: (m,) the same of the references.
        groups: (q,) integer, such as the camera of each row: a reference that would be a positive and is of the
            query's own group is left out, neither positive nor negative; without its group it stays a negative.
        reference_groups: (m,) the same of the references.
        similarity: by which references are nearer.
        ties: how many negatives of exactly a positive's similarity come before it: half of them, none, all.
            Positives that tie with each other and differ in gain come best first (optimistic), worst first
            (pessimistic), or each with the mean of their gains (mean).
        drop: which row is left out where there are no references: the query itself, by its index, or as
            many published evaluations do ``first``, the most similar row, whichever it is (of several the
            lowest index).  Then a copy of the query may be left out in its place, and the query counts
            as its own positive.
        depth: only the ranks of this many nearest positives; 1 is all that Recall@K needs.
        block: queries at a time; None chooses by memory.  It changes no number.
        dtype: of the products, such as torch.float64 to check float32; None is that of the rows, float32 at least.

    Returns:
        An iterator over :class:`Ranks`; memory is O(block * m).
    Raises:
        InputError: shapes disagree, labels are not integers or bool, a value is not finite, a gain is negative,
            depth or block is below 1, or an unknown word.

    >>> x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    >>> (ranks,) = rank_blocks(x, [0, 1, 0, 1])
    >>> ranks.rank.tolist()
    [[2.0], [3.0], [3.0], [2.0]]
    """
    where = "rank_blocks"
    embeddings = check_rows(where, "embeddings", embeddings)
    if related is not None:
        labels, reference_labels = (
            _no_labels(embeddings),
            None if references is None else _no_labels(references),
        )
    labels = check_shared_labels(where, "labels", labels, embeddings)
    references, others = check_references(where, embeddings, labels, references, reference_labels)
    check_options(where, similarity, ties, depth, block)
    check_choice(where, "drop", drop, ("self", "first"))
    check_finite(where, "embeddings", embeddings)
    if references is not None:
        check_finite(where, "references", references)
    lists = (
        lists_of(labels, others) if related is None else Given(_check_related(where, related, labels, others))
    )
    own = references is None
    relevance = Relevance(
        lists,
        check_keys(where, "ids", ids, reference_ids, labels, others, own),
        check_keys(where, "groups", groups, reference_groups, labels, others, own),
    )
    search = Search(similarity, embeddings, references, dtype)
    return _blocks(search, relevance, ties, drop if own else None, depth, block)


def _no_labels(rows: Any) -> Tensor:
    return torch.zeros(len(rows), dtype=torch.int64)


def check_options(where: str, similarity: str, ties: str, depth: int | None, block: int | None) -> None:
    """What all searches for ranks are asked."""
    check_choice(where, "similarity", similarity, SIMILARITIES)
    check_choice(where, "ties", ties, TIES)
    check_positive(where, depth=1 if depth is None else depth, block=1 if block is None else block)


def check_keys(
    where: str, name: str, keys: Any, reference_keys: Any, labels: Tensor, reference_labels: Tensor, own: bool
) -> tuple[Tensor, Tensor] | None:
    """Integer keys of queries and references, both or neither; a set searched in itself has one of them."""
    if keys is None and reference_keys is None:
        return None
    if own and reference_keys is not None:
        raise InputError(f"{where}: reference_{name} came without references; give {name} alone")
    if keys is None or (reference_keys is None and not own):
        raise InputError(f"{where}: give {name} and reference_{name} both or neither")
    mine = check_labels(where, name, keys, labels)
    return mine, mine if own else check_labels(where, f"reference_{name}", reference_keys, reference_labels)


def _check_related(where: str, related: Any, labels: Tensor, reference_labels: Tensor) -> Tensor:
    """A relation (q, m), bool or gains."""
    tensor = as_tensor(where, "related", related).to(labels.device)
    check_relation(where, "related", tensor, (len(labels), len(reference_labels)))
    return tensor


def lists_of(labels: Tensor, reference_labels: Tensor) -> Lists:
    """The relation of class ids (q,) and (m,), or of shared labels (q, L) and (m, L)."""
    if labels.ndim == 2:
        return SharedLabels(labels, reference_labels)
    return SameKey.of_classes(labels, reference_labels)


def rows_at_a_time(longest: int, num_references: int) -> int:
    """Queries in a block, whole tiles: many, but few enough that their positives take little memory."""
    rows = max(_POSITIVE_ELEMENTS // max(1, num_references), isqrt(_POSITIVE_ELEMENTS // longest))
    rows = min(rows, _POSITIVE_ELEMENTS // (12 * longest), MOST_ROWS)
    return max(1, rows // TILE_ROWS) * TILE_ROWS


def _blocks(
    search: Search, relevance: Relevance, ties: Ties, drop: Drop | None, depth: int | None, block: int | None
) -> Iterator[Ranks]:
    lists = relevance.lists
    for query in blocks_of(
        lists.order, block or min(lists.rows, rows_at_a_time(lists.longest, search.width))
    ):
        rows, found = search.rows(query), relevance.of(query)
        if drop is not None:
            left_out = query[:, None] if drop == "self" else search.nearest(rows)[: len(query)]
            found = found.without(left_out)
        near, relevant = similarities_of_positives(search, rows, found)
        best, gain, ideal = _nearest_first(near, found.gain, relevant, ties)
        best = best[:, :depth].contiguous()
        rank = ranks_of(best, relevant, negatives_in_front(search, rows, best, found.hidden, ties))
        yield Ranks(rank, relevant, query, *(x if x is None else x[:, :depth] for x in (gain, ideal)))


def similarities_of_positives(search: Search, rows: Tensor, found: Relevant) -> tuple[Tensor, Tensor]:
    """(k, p) similarities, -inf where there is no positive, and (k,) how many there are."""
    near = search.similarities(rows, found.columns)[: len(found.slot)].gather(1, found.slot)
    return near.masked_fill_(~found.positive, -torch.inf), found.positive.sum(1)


def _nearest_first(
    near: Tensor, gain: Tensor | None, relevant: Tensor, ties: Ties
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Positives (k, p) in order, with their gains and the largest gains; p is the most of any query, or 1."""
    width = max(1, int(relevant.max()))
    if gain is None:
        return near.sort(dim=1, descending=True).values[:, :width], None, None
    gain = gain.masked_fill(near == -torch.inf, 0)
    ideal = gain.sort(dim=1, descending=True).values
    gain, order = gain.sort(dim=1, descending=ties == "optimistic", stable=True)
    best, order = near.gather(1, order).sort(dim=1, descending=True, stable=True)
    gain = gain.gather(1, order)
    if ties == "mean":
        gain = _mean_of_equals(gain, best)
    return best[:, :width], gain[:, :width], ideal[:, :width]


def _mean_of_equals(gain: Tensor, best: Tensor) -> Tensor:
    """Gains (k, p), averaged over runs of equal similarities."""
    run = F.pad(best[:, 1:] != best[:, :-1], (1, 0)).cumsum(1)
    total = torch.zeros_like(gain).scatter_add_(1, run, gain)
    count = torch.zeros_like(gain).scatter_add_(1, run, torch.ones_like(gain))
    return (total / count.clamp(min=1)).gather(1, run)


def negatives_in_front(search: Search, rows: Tensor, best: Tensor, hidden: Tensor, ties: Ties) -> Tensor:
    """(k, p) float64, how many references that are not hidden (k, h) lie in front of each of best (k, p).

    Counts of parts of the references add up.
    """
    total = torch.zeros_like(best, dtype=torch.float64)
    for start, panel in search.panels(rows, at_least=_COLUMNS_PER_POSITIVE * best.shape[1]):
        negatives = panel[: len(best)]
        leave_out_(negatives, hidden - start)
        total += in_front_(negatives, best, ties)
    return total


def ranks_of(best: Tensor, relevant: Tensor, in_front: Tensor) -> Tensor:
    """(k, p) place among the positives plus negatives in front."""
    place = torch.arange(1, best.shape[1] + 1, device=best.device)
    return (in_front + place).masked_fill_(place > relevant[:, None], torch.inf)
