"""Triplets and quadruplets whose negatives are near to somebody else than the anchor; none is ever listed."""

from __future__ import annotations

from typing import Any

import torch

from ..core.checks import check_positive
from ..core.coupled import Data, Parts, coupled_sums
from ..core.objective import Objective
from ..core.pairing import Pairing
from ..core.pairs import PairSums, pair_loss
from ..core.pushes import OneSum
from ..core.reduce import Mean
from ..core.triplets import TripletHinge
from ..core.tuples import quadruplets, swapped


@pair_loss
def swap_triplet_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    margin: float = 0.1,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Triplet margin loss with anchor swap: the negative is held against the anchor or the positive, the nearer.

    .. math::
        \frac1{|V|} \sum_{(i, p, j) \in V} h_{ipj} - s_{ip} + m, \qquad h_{ipj} = \max(s_{ij}, s_{pj}), \qquad
        V = \{(i, p, j) : p \in P_i,\ j \in N_i,\ h_{ipj} - s_{ip} + m > 0\}

    with cosine similarity s; 0 when no triplet misses the margin.  Tightness is the part of the positives, contrast
    that of h and the margin.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) where positives and negatives come from; None is the batch itself.
        reference_labels: (m,) their class ids.
        margin: m > 0; 0.1 in cosine units is 0.2 in squared distances of unit rows.
        pairing: what all pair losses share but mining.

    Returns:
        Scalar >= 0, in units of the similarity.
    Raises:
        InputError: shapes disagree, labels are not integers, margin is not > 0, or a mining is given.

    Reference: Balntas et al., BMVC 2016, over all triplets of a batch that cost something, as
    :func:`~mimetric.losses.triplet_margin_loss`.  Time grows with the positives of an anchor, memory with
    their number alone; separate references are compared with themselves too.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> swap_triplet_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.4600)
    """
    check_positive("swap_triplet_loss", margin=margin)

    def parts(data: Data) -> Parts:
        pairs = data.positive_pairs()
        sim = data.similarities(pairs)
        total, count = swapped(data, pairs, sim.detach() - margin)
        each = torch.stack((-count * sim, total + margin * count, count))
        pulled, pushed, missed = pairs.over_anchors(each, data.anchors)
        return [(Mean(pulled, missed.detach()), Mean(pushed, missed.detach()))]

    return coupled_sums(
        "swap_triplet_loss", embeddings, labels, references, reference_labels,
        parts=parts, blocks_held=6, references_as_rows=True, by_class=True, pairing=pairing,
    )  # fmt: skip


class SwapTripletLoss(Objective):
    """Module form of :func:`swap_triplet_loss`."""

    function = staticmethod(swap_triplet_loss)

    def __init__(self, *, margin: float = 0.1, pairing: Pairing = Pairing()) -> None:
        super().__init__(margin=margin, pairing=pairing)


@pair_loss
def quadruplet_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    margin: float = 1.0,
    far_margin: float = 0.5,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Quadruplet loss: a positive pair is nearer than its anchor's negatives, and than pairs of two other classes.

    .. math::
        \operatorname{mean}_{V} (s_{ij} - s_{ip} + m_1) + \operatorname{mean}_{W} (s_{lk} - s_{ip} + m_2)

    with s minus the squared Euclidean distance, V the triplets (i, p, j) and W the quadruplets (i, p, l, k) that miss
    their margin, l an anchor and k a reference of two classes that are both not i's.  Either part is 0 when none
    does.  Tightness is the part of the positives, contrast that of the negatives and the margins.

    Args:
        embeddings: (n, d) floating point; their norm matters.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) where positives and negatives come from; None is the batch itself.
        reference_labels: (m,) their class ids.
        margin: m1 > 0, in units of the similarity.
        far_margin: m2 > 0, for pairs that share no row with the positive pair.
        pairing: what all pair losses share but mining.

    Returns:
        Scalar >= 0, in units of the similarity.
    Raises:
        InputError: shapes disagree, labels are not integers, a margin is not > 0, or a mining is given.

    Reference: Chen et al., CVPR 2017, arXiv:1704.01719, which adds up all tuples; here each part is
    averaged over those that cost something.  Its learned similarity is a squared distance here, and its margins are
    fixed numbers, 1 and 0.5, where it multiplies these by the mean gap of negatives and positives.  Each pair is
    searched for among the limits of all positives: time n m log(n p), memory n p beside the block.

    >>> x = torch.tensor([[0.], [1.], [1.5], [1.8]])
    >>> quadruplet_loss(x, torch.tensor([0, 0, 1, 2]))
    tensor(2.9650)
    """
    where = "quadruplet_loss"
    check_positive(where, margin=margin, far_margin=far_margin)

    def parts(data: Data) -> Parts:
        near, total, count = data.near_and_far(OneSum(TripletHinge(margin)))
        triplets = near.sum(count)
        pairs, pair_count = quadruplets(data, near.sim.detach() - far_margin, near.valid)
        found = near.sum(pair_count)
        return [
            (Mean(-near.sum(count * near.sim), triplets), Mean(total, triplets)),
            (
                Mean(-near.sum(pair_count * near.sim), found),
                Mean(near.sum(pairs) + far_margin * found, found),
            ),
        ]

    return coupled_sums(
        where, embeddings, labels, references, reference_labels,
        parts=parts, blocks_held=12, by_class=True, similarity="negative_squared_euclidean", pairing=pairing,
    )  # fmt: skip


class QuadrupletLoss(Objective):
    """Module form of :func:`quadruplet_loss`."""

    function = staticmethod(quadruplet_loss)

    def __init__(self, *, margin: float = 1.0, far_margin: float = 0.5, pairing: Pairing = Pairing()) -> None:
        super().__init__(margin=margin, far_margin=far_margin, pairing=pairing)
