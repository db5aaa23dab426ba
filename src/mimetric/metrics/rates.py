"""What one threshold means for each class: false and true match rates over the pairs that involve it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.checks import as_tensor
from ..core.errors import InputError
from ..core.similarity import Similarity
from .all_pairs import AllPairs


class ClassRates(NamedTuple):
    """The rates of c classes at t thresholds."""

    classes: Tensor  # (c,) labels, ascending
    true_match_rate: Tensor  # (c, t) float64; nan for a class without a same pair
    false_match_rate: Tensor  # (c, t) float64; nan for a class without a different pair


def class_rates(
    embeddings: Any,
    labels: Any,
    thresholds: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    similarity: Similarity = "cosine",
) -> ClassRates:
    """True and false match rates of each class, over all pairs that involve the class; exact.

    With references a pair involves the class of its embedding.  Memory is O(n d + c t); one pass over all pairs.

    Args:
        embeddings, labels, references, reference_labels, similarity: as :func:`mimetric.metrics.pair_roc` has them.
        thresholds: (t,) similarities, finite, in any order; rounded to the precision of the product.

    Raises:
        InputError: as there, or thresholds are not a list of finite numbers.

    >>> x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    >>> class_rates(x, [0, 0, 1, 1], [0.7, 0.5]).false_match_rate
    tensor([[0.0000, 0.2500],
            [0.0000, 0.2500]], dtype=torch.float64)
    """
    pairs = AllPairs("class_rates", embeddings, labels, references, reference_labels, similarity)
    levels = as_tensor("class_rates", "thresholds", thresholds).to(pairs.order.device)
    if levels.ndim != 1 or not levels.isfinite().all():
        raise InputError(
            f"class_rates: thresholds must be a list of finite numbers, got {levels.tolist()!s:.80}"
        )
    return rates_of(pairs, levels)


def rates_of(pairs: AllPairs, thresholds: Tensor) -> ClassRates:
    """:func:`class_rates` of pairs at hand."""
    levels, place = thresholds.to(pairs.dtype).sort()
    shape = (len(pairs.classes) + 1, len(levels) + 1)  # and a row for no class, a column for below all levels
    same, different = (torch.zeros(shape, dtype=torch.int64, device=levels.device) for _ in range(2))
    for row_class, sim in pairs.same():
        _tally_(same, row_class, torch.bucketize(sim, levels, right=True))
    for panel in pairs.different() if len(levels) else ():
        row, column = (panel.sim >= levels[0]).nonzero(as_tuple=True)
        cell = torch.bucketize(panel.sim[row, column], levels, right=True)
        _tally_(different, pairs.row_class[panel.rows][row], cell)
        if pairs.itself:
            _tally_(different, pairs.row_class[panel.columns][column], cell)
    rates = []
    for counts, total in ((same, pairs.num_same), (different, pairs.num_different)):
        accepted = counts.flip(1).cumsum(1).flip(1)[:-1, 1:].double()
        rates.append(torch.empty_like(accepted).index_copy_(1, place, accepted / total[:, None]))
    return ClassRates(pairs.classes, rates[0], rates[1])


def _tally_(counts: Tensor, row: Tensor, column: Tensor) -> None:
    counts.view(-1).scatter_add_(0, row * counts.shape[1] + column, torch.ones_like(row))
