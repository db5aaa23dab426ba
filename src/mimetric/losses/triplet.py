"""Losses on triplets, none of which is ever listed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..core.checks import check_positive
from ..core.coupled import check_class_ids, checked, similarity_of_rows
from ..core.objective import Objective
from ..core.pairing import Pairing, check_takes_no
from ..core.pairs import PairSums, pair_loss, pair_sums
from ..core.prototypes import prototypes
from ..core.reduce import Mean, Near
from ..core.similarity import Similarity, full_precision
from ..core.terms import Hardest
from ..core.triplets import TripletHinge, over_triplets

_CENTROIDS: Similarity = "negative_squared_euclidean"


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

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> triplet_margin_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.3800)
    """
    check_positive("triplet_margin_loss", margin=margin)
    return pair_sums(
        "triplet_margin_loss", embeddings, labels, references, reference_labels,
        push=TripletHinge(margin), sides=over_triplets, pairing=pairing,
    )  # fmt: skip


class TripletMarginLoss(Objective):
    """Module form of :func:`triplet_margin_loss`."""

    function = staticmethod(triplet_margin_loss)

    def __init__(self, *, margin: float = 0.1, pairing: Pairing = Pairing()) -> None:
        super().__init__(margin=margin, pairing=pairing)


@pair_loss
def semi_hard_triplet_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    margin: float = 0.1,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Triplet margin loss over the triplets whose negative is farther than the positive, but not by the margin.

    .. math::
        \frac1{|V|} \sum_{(i, p, j) \in V} s_{ij} - s_{ip} + m, \qquad
        V = \{(i, p, j) : p \in P_i,\ j \in N_i,\ s_{ip} - m < s_{ij} < s_{ip}\}

    with cosine similarity s; 0 when there is no such triplet.  Leaving out the hardest negatives keeps a
    network at its start from collapsing to one point.  Tightness is the part of the positives, contrast that of
    the negatives and the margin, both over the same triplets.  The value jumps where a negative comes as near as a
    positive: it falls out at cost m.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) where positives and negatives come from; None is the batch itself.
        reference_labels: (m,) their class ids.
        margin: m > 0; 0.1 in cosine units is the paper's 0.2 in squared distances of unit rows.
        pairing: what all pair losses share: ids, mining, similarity, block.

    Returns:
        Scalar in 0..m, in units of the similarity.
    Raises:
        InputError: shapes disagree, labels are not integers, or margin is not > 0.

    Reference: Schroff et al., CVPR 2015, arXiv:1503.03832, who state the condition and not how many such
    negatives a pair gets; here it is all of them.  TensorFlow Addons takes one negative per positive pair: the
    nearest that is farther than the positive, at any margin, and the farthest of all where there is none.

    >>> x = torch.tensor([[1., 0.], [0.8, 0.6], [0.6, 0.8]])
    >>> semi_hard_triplet_loss(x, torch.tensor([0, 0, 1]), margin=0.3)
    tensor(0.1000)
    """
    check_positive("semi_hard_triplet_loss", margin=margin)
    return pair_sums(
        "semi_hard_triplet_loss", embeddings, labels, references, reference_labels,
        push=TripletHinge(margin, semi_hard=True), sides=over_triplets, pairing=pairing,
    )  # fmt: skip


class SemiHardTripletLoss(Objective):
    """Module form of :func:`semi_hard_triplet_loss`."""

    function = staticmethod(semi_hard_triplet_loss)

    def __init__(self, *, margin: float = 0.1, pairing: Pairing = Pairing()) -> None:
        super().__init__(margin=margin, pairing=pairing)


@pair_loss
def batch_hard_triplet_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    margin: float = 0.1,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Triplet margin loss of each anchor's farthest positive and nearest negative.

    .. math::
        \operatorname{mean}_i \Bigl[\max_{j \in N_i} s_{ij} - \min_{p \in P_i} s_{ip} + m\Bigr]_+

    with cosine similarity s, over the anchors that have a positive and a negative, met margins among them;
    0 when there is no such anchor.  Tightness is the part of the positives of missed margins, contrast that of
    their negatives and the margin.  Equally hard pairs share the gradient.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) where positives and negatives come from; None is the batch itself.
        reference_labels: (m,) their class ids.
        margin: m > 0, in units of the similarity.
        pairing: what all pair losses share: ids, mining, similarity, block.

    Returns:
        Scalar >= 0, in units of the similarity.
    Raises:
        InputError: shapes disagree, labels are not integers, or margin is not > 0.

    Reference: Hermans et al., arXiv:1703.07737, who measure Euclidean distances (``negative_euclidean``), with
    margins of 0.1 to 1 and a softplus beside the hinge.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> batch_hard_triplet_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.3800)
    """
    check_positive("batch_hard_triplet_loss", margin=margin)

    def sides(near: Near, far: Tensor) -> tuple[Mean, Mean]:
        return _over_anchors(torch.where(near.valid, near.sim, torch.inf).amin(1), far, margin)

    return pair_sums(
        "batch_hard_triplet_loss", embeddings, labels, references, reference_labels,
        push=Hardest(), sides=sides, pairing=pairing,
    )  # fmt: skip


class BatchHardTripletLoss(Objective):
    """Module form of :func:`batch_hard_triplet_loss`."""

    function = staticmethod(batch_hard_triplet_loss)

    def __init__(self, *, margin: float = 0.1, pairing: Pairing = Pairing()) -> None:
        super().__init__(margin=margin, pairing=pairing)


@pair_loss
def centroid_triplet_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    margin: float = 0.5,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Triplet margin loss of each anchor, the mean of its class and the nearest mean of another class.

    .. math::
        \operatorname{mean}_i \Bigl[\max_{k \ne y_i} s(x_i, c_k) - s(x_i, c_{P_i}) + m\Bigr]_+, \qquad
        c_k = \operatorname{mean}_{j: y_j = k} x_j, \quad c_{P_i} = \operatorname{mean}_{p \in P_i} x_p

    with s minus the squared Euclidean distance, over the anchors that have a positive and another class, met
    margins among them; 0 when there is no such anchor.  The anchor is no part of the mean of its own class.
    Tightness is the part of that mean in missed margins, contrast the other class's and the margin.

    Args:
        embeddings: (n, d) floating point; their norm matters.
        labels: (n,) integer class ids, -1 unlabelled: part of no mean.
        references: (m, d) rows that the means are taken over; None is the batch itself.
        reference_labels: (m,) their class ids.
        margin: m > 0, in units of the similarity.
        pairing: ids, similarity and block of what all pair losses share; it takes no mining.

    Returns:
        Scalar >= 0, in units of the similarity.
    Raises:
        InputError: shapes disagree, labels are not integers, margin is not > 0, or a mining is given.

    Reference: Wieczorek et al., ICONIP 2021, arXiv:2104.13643, with margin and hardest negative mean as in
    their code.  That code takes the root of the distance (``negative_euclidean``), leaves one row of
    every class out of all means at a time, and has the means as anchors too.

    >>> x = torch.tensor([[0.], [2.], [3.], [3.5]])
    >>> centroid_triplet_loss(x, torch.tensor([0, 0, 1, 1]))
    tensor(0.7344)
    """
    where = "centroid_triplet_loss"
    check_positive(where, margin=margin)
    check_takes_no(where, pairing, "mining")
    batch = checked(where, embeddings, labels, references, reference_labels, pairing)
    check_class_ids(batch)
    anchors, of_classes = full_precision(batch.embeddings), prototypes(batch)
    near = similarity_of_rows(pairing.similarity or _CENTROIDS, anchors, of_classes.own)

    def sides(near: Near, far: Tensor, own: Tensor) -> tuple[Mean, Mean]:  # noqa: ARG001
        return _over_anchors(own, far, margin)

    return pair_sums(
        where, anchors, batch.labels, of_classes.means, of_classes.classes,
        push=Hardest(), sides=sides, tensors=(torch.where(of_classes.positives > 0, near, torch.inf),),
        similarity=_CENTROIDS, pairing=replace(pairing, ids=None, reference_ids=None),
    )  # fmt: skip


class CentroidTripletLoss(Objective):
    """Module form of :func:`centroid_triplet_loss`."""

    function = staticmethod(centroid_triplet_loss)

    def __init__(self, *, margin: float = 0.5, pairing: Pairing = Pairing()) -> None:
        super().__init__(margin=margin, pairing=pairing)


def _over_anchors(nearest: Tensor, far: Tensor, margin: float) -> tuple[Mean, Mean]:
    """Both sides of a hinge of one positive (inf is none) and one negative (-inf is none) an anchor."""
    met = far - nearest + margin <= 0  # as it is where either is missing
    anchors = ((nearest != torch.inf) & (far != -torch.inf)).to(far.dtype)
    return Mean(torch.where(met, 0, -nearest), anchors), Mean(torch.where(met, 0, far + margin), anchors)
