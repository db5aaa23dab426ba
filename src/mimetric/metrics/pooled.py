"""Does one threshold serve all queries alike?  The area under the ROC curve of the scores of all queries together."""

from __future__ import annotations

from typing import Any

import torch

from ..core.checks import as_tensor, check_positive, check_rows
from ..core.errors import InputError
from .verification import auc, roc_curve


def pooled_retrieval_auc(scores: Any, relevance: Any, *, max_negatives: int = 500) -> float:
    """The chance that a relevant item of any query scores above a hard irrelevant item of any query, a tie half.

    For each query the scores of its relevant items and the highest scores of the others; those of all queries in one
    pool.  A mean of the AUC of each query does not see what is added to all scores of a query; this does, and so does
    a threshold.

    Args:
        scores: (q, m) of queries and items, floating point and finite, larger is nearer.
        relevance: (q, m) bool, which items are relevant.
        max_negatives: of each query, >= 1; all where there are fewer.

    Returns:
        In [0, 1], 0.5 where scores say nothing; nan without relevant or without irrelevant items.
    Raises:
        InputError: shapes disagree, relevance is not bool, a score is not finite, or max_negatives is not > 0.

    Reference: Sheikholeslami et al., arXiv:2510.00137.

    >>> scores = torch.tensor([[0.9, 0.8, 0.1], [0.3, 0.4, 0.2]])  # the second query's positive: 0.4
    >>> relevance = torch.tensor([[True, False, False], [False, True, False]])
    >>> pooled_retrieval_auc(scores, relevance, max_negatives=1)  # 0.9 and 0.4 against 0.8 and 0.3
    0.75
    """
    where = "pooled_retrieval_auc"
    check_positive(where, max_negatives=max_negatives)
    rows, relevant = check_rows(where, "scores", scores), as_tensor(where, "relevance", relevance)
    if relevant.dtype != torch.bool or relevant.shape != rows.shape:
        raise InputError(
            f"{where}: relevance must be bool of shape {tuple(rows.shape)} to match scores, "
            f"got {str(relevant.dtype).removeprefix('torch.')} of shape {tuple(relevant.shape)}"
        )
    if not rows.isfinite().all():
        raise InputError(f"{where}: scores must be finite; leave out the items that have none")
    relevant = relevant.to(rows.device)
    positives = rows[relevant]
    hardest = rows.masked_fill(relevant, -torch.inf).topk(min(max_negatives, rows.shape[1])).values
    negatives = hardest[hardest != -torch.inf]
    same = torch.arange(len(positives) + len(negatives), device=rows.device) < len(positives)
    return auc(roc_curve(torch.cat((positives, negatives)), same))
