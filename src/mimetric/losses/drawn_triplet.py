"""Triplets whose negatives are drawn, in expectation: no noise, and none is ever listed."""

from __future__ import annotations

from typing import Any

from ..core.checks import check_positive, check_rows
from ..core.errors import InputError
from ..core.objective import Objective
from ..core.pairing import Pairing
from ..core.pairs import PairSums, pair_loss, pair_sums
from ..core.triplets import DrawnTriplets, over_triplets


@pair_loss
def distance_weighted_triplet_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    margin: float = 0.1,
    nearest: float = 0.5,
    furthest: float = 1.4,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Triplet margin loss with negatives drawn evenly over distances, in expectation.

    .. math::
        \frac{\sum_{(i, p, j) \in V} \pi_{ij} (s_{ij} - s_{ip} + m)}{\sum_{(i, p, j) \in V} \pi_{ij}}, \qquad
        \pi_{ij} \propto \frac1{q(D_{ij})}, \quad q(D) \propto D^{d - 2} \Bigl(1 - \frac{D^2}4\Bigr)^{(d - 3) / 2}

    with cosine similarity s, distances D of rows of length 1, and V the triplets that miss the margin; 0 when none
    does.  Each positive pair draws one negative with chances :math:`\pi`; what would be the mean over endless draws is
    computed at once, without their noise.  Random negatives are nearly all at distance 1.4, where they cost nothing;
    these come from everywhere.  No gradient runs through the chances.  Tightness is the part of the positives,
    contrast that of the negatives and the margin.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) where positives and negatives come from; None is the batch itself.
        reference_labels: (m,) their class ids.
        margin: m > 0, in cosine units.
        nearest: a distance in (0, 2); a nearer negative is drawn like one at it.
        furthest: a distance in (nearest, 2); from it on none is drawn.
        pairing: what all pair losses share; the similarity is cosine.

    Returns:
        Scalar >= 0, in cosine units.
    Raises:
        InputError: shapes disagree, labels are not integers, margin or distances out of range, another similarity.

    Reference: Wu et al., ICCV 2017, arXiv:1706.07567.  There one negative is drawn for
    each pair, for a margin loss; pytorch-metric-learning draws with its ``DistanceWeightedMiner``.

    >>> import torch
    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> distance_weighted_triplet_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.3800)
    """
    where = "distance_weighted_triplet_loss"
    check_positive(where, margin=margin)
    if not 0 < nearest < furthest < 2:
        raise InputError(f"{where}: needs 0 < nearest < furthest < 2, got {nearest} and {furthest}")
    if pairing.similarity not in (None, "cosine"):
        raise InputError(f"{where}: draws by angles, the similarity must be cosine, got {pairing.similarity}")
    rows = check_rows(where, "embeddings", embeddings)
    return pair_sums(
        where, rows, labels, references, reference_labels,
        push=DrawnTriplets(margin, rows.shape[1], nearest, furthest), sides=over_triplets, pairing=pairing,
    )  # fmt: skip


class DistanceWeightedTripletLoss(Objective):
    """Module form of :func:`distance_weighted_triplet_loss`."""

    function = staticmethod(distance_weighted_triplet_loss)

    def __init__(
        self,
        *,
        margin: float = 0.1,
        nearest: float = 0.5,
        furthest: float = 1.4,
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(margin=margin, nearest=nearest, furthest=furthest, pairing=pairing)
