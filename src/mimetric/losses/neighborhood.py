"""How well classes part among each row's nearest neighbors: the ICNN score, and the loss that raises it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.checks import check_batch, check_references
from ..core.classes import UNLABELLED
from ..core.errors import InputError
from ..core.objective import Objective
from ..core.similarity import full_precision, lift

_INSIDE_ROOT = 1e-6  # of the paper's code: a distance is sqrt(|x - y|^2 + 1e-6)
_BESIDE_NEAREST = 1e-7  # and the nearest other class is that much farther


# The score is a mean of means over all rows, scaled by the largest distance of all, and the loss its log: no
# sum over anchors, so not for the pair engine.
def icnn_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    k: int = 4,
    neighbors: int | None = None,
) -> Tensor:
    r"""ICNN loss: minus the log of the inter- and intra-class nearest neighbors score.

    That is :math:`-\log S` with S of :func:`icnn_score`.  Scaling all rows hardly changes it.  The share of
    same-class neighbors is part of the value and has no gradient, and rows that have all collapsed to one point have
    next to none: it wants another loss, such as cross-entropy, beside it.  It has no tightness and contrast.

    Args:
        embeddings, labels, references, reference_labels, k, neighbors: as for :func:`icnn_score`.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: as :func:`icnn_score`.

    Reference: Mendez-Ruiz et al., arXiv:2305.09062.

    >>> x = torch.tensor([[0.0], [1.0], [3.0], [5.0]])
    >>> icnn_loss(x, torch.tensor([0, 0, 1, 1]))
    tensor(0.2535)
    """
    where = "icnn_loss"
    return -_score(where, embeddings, labels, references, reference_labels, k, neighbors).log()


class ICNNLoss(Objective):
    """Module form of :func:`icnn_loss`."""

    function = staticmethod(icnn_loss)
    sides = None  # type: ignore[assignment]  # it has none

    def __init__(self, *, k: int = 4, neighbors: int | None = None) -> None:
        super().__init__(k=k, neighbors=neighbors)


def icnn_score(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    k: int = 4,
    neighbors: int | None = None,
) -> Tensor:
    r"""Inter- and intra-class nearest neighbors score: 1 where each row's neighbors are of its class, near and alike.

    .. math:: S = \tfrac12 \bigl(\tfrac12 (a + b) + \gamma\bigr)

    over the k nearest references of each row, at Euclidean distances D:

    - a is 1 less the mean distance of same-class neighbors, in units of the distance u of the nearest
      other class, each row's divided by its largest where that is above 1;
    - b is the mean distance of other-class neighbors, in units of the largest of those;
    - γ is the mean share of same-class neighbors, a count without gradient.

    Means are first over a row's neighbors of that kind, then over the rows that have any; without any at all a and b
    are 1.  Of m references k is at most m - 1, and γ is 1 where it is no less.  With fewer than two there is nothing
    to say, and S is 1.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids; -1 is of no row's class.
        references: (m, d) where neighbors are sought; None is the batch itself, without the row in question.
        reference_labels: (m,) their class ids.
        k: neighbors that count, >= 1.
        neighbors: among how many u is sought, at least k; None is all.  The authors' code has k + 1; a row that sees
            no other class among those then counts as distance 0, the best there is.

    Returns:
        Scalar in (0, 1].
    Raises:
        InputError: shapes disagree, labels are not integers, or k or neighbors is out of range.

    Reference: Mendez-Ruiz et al., arXiv:2305.09062, by their code, which drops the nearest reference of a row
    as itself; here it is left out by its place, and so a duplicate stays.

    >>> x = torch.tensor([[0.0], [1.0], [3.0], [5.0]])
    >>> icnn_score(x, torch.tensor([0, 0, 1, 1]))
    tensor(0.7760)
    """
    return _score("icnn_score", embeddings, labels, references, reference_labels, k, neighbors)


def _score(
    where: str,
    embeddings: Any,
    labels: Any,
    references: Any,
    reference_labels: Any,
    k: int,
    neighbors: int | None,
) -> Tensor:
    if k < 1:
        raise InputError(f"{where}: k must be at least 1, got {k}")
    if neighbors is not None and neighbors < k:
        raise InputError(
            f"{where}: neighbors must be at least k = {k}, got {neighbors}; or leave it out for all"
        )
    embeddings, labels = check_batch(where, embeddings, labels)
    references, others = check_references(where, embeddings, labels, references, reference_labels)
    dist = _distances(full_precision(embeddings), full_precision(references))
    there = dist.shape[1] - (references is None)  # how many a row may have for neighbors
    if not len(dist) or there < 2:
        return 1 + 0 * dist.sum()
    looked = there if neighbors is None else min(neighbors, there)
    sought = dist.detach().clone()
    if references is None:
        sought.fill_diagonal_(torch.inf)
    nearest = sought.topk(looked, largest=False).indices
    same = (labels[:, None] == others[nearest]) & (labels != UNLABELLED)[:, None]
    share = same[:, :k].to(dist.dtype).mean() if k < there - 1 else 1.0
    k = min(k, there - 1)
    dist = dist.gather(1, nearest)
    intra = _same_class(dist, same, k)
    inter = _other_class(dist[:, :k], ~same[:, :k])
    return ((intra + inter) / 2 + share) / 2


def _distances(rows: Tensor, references: Tensor | None) -> Tensor:
    with torch.autocast(rows.device.type, enabled=False):
        lifted = lift("negative_squared_euclidean", rows, references)
        return ((lifted.anchors @ lifted.references.T).neg().clamp(min=0) + _INSIDE_ROOT).sqrt()


def _same_class(dist: Tensor, same: Tensor, k: int) -> Tensor:
    """1 - mean distance of same-class neighbors among the first k, beside the nearest other class of all."""
    nearest_other = dist.masked_fill(same, torch.inf).amin(1, keepdim=True)
    share = dist[:, :k] / (nearest_other + _BESIDE_NEAREST)  # 0 where there is no other class
    share = share / share.amax(1, keepdim=True).clamp(min=1)
    return 1 - _mean_of_means(share, same[:, :k])


def _other_class(dist: Tensor, other: Tensor) -> Tensor:
    """Mean distance of other-class neighbors beside the largest of them; 1 where there are none."""
    largest = torch.where(other, dist, 0).amax()
    mean = _mean_of_means(dist, other) / torch.where(largest > 0, largest, 1)
    return torch.where(other.any(), mean, 1)


def _mean_of_means(x: Tensor, kept: Tensor) -> Tensor:
    """Mean over what is kept of each row, then over the rows that keep any; 0 over none."""
    count = kept.sum(1)
    means = torch.where(kept, x, 0).sum(1) / count.clamp(min=1)
    return means.sum() / (count > 0).sum().clamp(min=1)
