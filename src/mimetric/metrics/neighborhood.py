"""What nearest neighbors say of a set: how far a query is from it, and whether a few of its rows are near to all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.neighbors import nearest_neighbors
from ..core.similarity import Similarity
from .geometry import finite_rows

_ROWS = 1 << 14  # compared in float64 at once


def utilization(queries: Any, references: Any) -> Tensor:
    r"""How far each query is from the nearest reference, :math:`\min_x \lVert q - x \rVert^2`.

    Of test queries among training references, low is good: the training set reaches where they lie.  More
    references never raise it.  Its size depends on how spread the embeddings are: compare sets of references within
    one embedding, not embeddings.

    Args:
        queries: (q, d) floating point, finite.
        references: (m, d) floating point, finite.

    Returns:
        (q,) float64 >= 0, nan without references; utilization is their mean.
    Raises:
        InputError: not (rows, d) floating point of one width, or not finite.

    Reference: Venkataramanan et al., ICLR 2022, arXiv:2106.04990.

    >>> utilization(torch.tensor([[1.0, 0.0], [0.0, 0.5]]), torch.tensor([[0.0, 0.0]]))
    tensor([1.0000, 0.2500], dtype=torch.float64)
    """
    queries = finite_rows("utilization", "queries", queries)
    references = finite_rows("utilization", "references", references)
    nearest = nearest_neighbors(queries, references, similarity="negative_squared_euclidean").indices[:, 0]
    if not len(references):
        return torch.full((len(queries),), torch.nan, dtype=torch.float64, device=queries.device)
    parts = zip(torch.split(queries, _ROWS), torch.split(nearest, _ROWS))
    return torch.cat([(x.double() - references[at].double()).square().sum(1) for x, at in parts])


def occurrences(embeddings: Any, *, k: int = 10, similarity: Similarity = "cosine") -> Tensor:
    """How often each row is among the k nearest neighbors of the others.

    Args:
        embeddings: (n, d) floating point, finite; half precision is searched in float32.
        k: neighbors of each row, itself left out, from 1; all others where there are fewer.
        similarity: by which rows are nearer.

    Returns:
        (n,) int64; their mean is k.  Of equally near rows those of the lowest index are the neighbors.
    Raises:
        InputError: not (n, d) floating point and finite, k < 1, or an unknown word.

    >>> occurrences(torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]]), k=1)
    tensor([0, 2, 2, 0])
    """
    rows = finite_rows("occurrences", "embeddings", embeddings)
    nearest = nearest_neighbors(rows, k=k, similarity=similarity).indices
    return torch.bincount(nearest[nearest >= 0], minlength=len(rows))


def hubness(embeddings: Any, *, k: int = 10, similarity: Similarity = "cosine") -> Tensor:
    r"""How uneven the rows are as neighbors: the skewness of :func:`occurrences`.

    .. math:: \frac{\frac1n \sum_i (N_i - \mu)^3}{\bigl(\frac1n \sum_i (N_i - \mu)^2\bigr)^{3/2}}

    Near 0 where all rows are neighbors about equally often; large where a few hubs are near to all, as happens in many
    dimensions.

    Args:
        embeddings, k, similarity: as :func:`occurrences` has them.

    Returns:
        Scalar float64; nan where all rows occur equally often.
    Raises:
        InputError: as :func:`occurrences`.

    Reference: Radovanovic et al., JMLR 11, 2010.

    >>> star = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.5, 0.0], [1.0, -0.5, 0.0], [1.0, 0.0, 0.5]])
    >>> hubness(star, k=1).round(decimals=4)
    tensor(0.8165, dtype=torch.float64)
    """
    gap = occurrences(embeddings, k=k, similarity=similarity).double()
    gap = gap - gap.mean()
    variance = gap.square().mean()
    return torch.where(variance > 0, gap.pow(3).mean() / variance.pow(1.5), torch.nan)
