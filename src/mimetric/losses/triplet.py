"""Losses on triplets, none of which is ever listed."""

from __future__ import annotations

from typing import Any

from ..core.checks import check_positive
from ..core.objective import Objective
from ..core.pairs import Pairing, PairSums, pair_loss, pair_sums
from ..core.reduce import Mean, Near
from ..core.terms import TripletHinge


@pair_loss
def triplet_margin_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    margin: float = 0.1,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Triplet margin loss over all triplets of a batch that miss the margin.

    .. math::
        \frac1{|V|} \sum_{(i, p, j) \in V} s_{ij} - s_{ip} + m, \qquad
        V = \{(i, p, j) : p \in P_i,\ j \in N_i,\ s_{ij} - s_{ip} + m > 0\}

    with cosine similarity s; 0 when no triplet misses it.  Tightness is the part of the positives,
    contrast that of the negatives and the margin, both over the same triplets.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) where positives and negatives come from; None is the batch itself.
        reference_labels: (m,) their class ids.
        margin: m > 0; 0.1 in cosine units is FaceNet's 0.2 in squared distances of unit rows.
        pairing: what all pair losses share: ids, mining, similarity, block.

    Returns:
        Scalar >= 0, in units of the similarity.
    Raises:
        InputError: shapes disagree, labels are not integers, or margin is not > 0.

    Reference: Schroff et al., CVPR 2015, arXiv:1503.03832; all triplets, averaged over those that cost
    something, as in Hermans et al., arXiv:1703.07737 ("batch all").  Time grows with the number of
    positives up to 100 an anchor and hardly beyond; memory not at all.

    >>> import torch
    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> triplet_margin_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.3800)
    """
    check_positive("triplet_margin_loss", margin=margin)

    def sides(near: Near, far: Mean) -> tuple[Mean, Mean]:
        missed = near.sum(far.count)
        return Mean(-near.sum(far.count * near.sim), missed), Mean(far.total, missed)

    return pair_sums(
        "triplet_margin_loss", embeddings, labels, references, reference_labels,
        push=TripletHinge(margin), sides=sides, pairing=pairing,
    )  # fmt: skip


class TripletMarginLoss(Objective):
    """Module form of :func:`triplet_margin_loss`."""

    function = staticmethod(triplet_margin_loss)

    def __init__(self, *, margin: float = 0.1, pairing: Pairing = Pairing()) -> None:
        super().__init__(margin=margin, pairing=pairing)
