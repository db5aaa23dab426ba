"""Losses on class means as few-shot learning has them: prototypes of a support set."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..core.checks import check_batch, check_positive, check_references
from ..core.errors import InputError
from ..core.objective import Objective
from ..core.pairing import Pairing
from ..core.pairs import PairSums, pair_loss
from .triplet import centroid_triplet_loss


@pair_loss
def proto_triplet_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    margin: float = 0.5,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Proto-triplet loss: nearer to the mean of the own class than to any other by a margin.

    .. math::
        \operatorname{mean}_i \Bigl[D(x_i, c_{y_i}) - \min_{k \ne y_i} D(x_i, c_k) + m\Bigr]_+

    with Euclidean distances D of rows as they are, so that the margin has their scale, and class means c as prototypes.
    With references c are the means of their classes: a support set, or prototypes made elsewhere, one row a class.
    Without, the batch is both: its class means, where that of the anchor's own class is over the others of it.  It is
    :func:`centroid_triplet_loss` on distances that are not squared; the two sides are as there.

    Args:
        embeddings: (n, d) floating point; their norm matters.
        labels: (n,) integer class ids; unlabelled rows (-1) add 0 and belong to no mean.
        references: (m, d) rows of the class means; None is the batch itself, each anchor left out of its own.
        reference_labels: (m,) their class ids.
        margin: m > 0, in distances.
        pairing: what all pair losses share but mining and relations: a mean is that of a class.

    Returns:
        Scalar >= 0, in distances.
    Raises:
        InputError: shapes disagree, labels are not integers, margin is not > 0, or mining or a relation is given.

    Reference: Mendez-Ruiz et al., arXiv:2305.09062, for queries against the means of a support set; the batch as
    its own support is ours.

    >>> import torch
    >>> queries, prototypes = torch.tensor([[0.2, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    >>> proto_triplet_loss(queries, [0, 0], prototypes, [0, 1])
    tensor(0.2500)
    >>> proto_triplet_loss(torch.tensor([[0.0], [1.0], [2.0], [5.0]]), [0, 0, 1, 1])
    tensor(0.5000)
    """
    where = "proto_triplet_loss"
    check_positive(where, margin=margin)
    if pairing.mining is not None or pairing.related is not None:
        raise InputError(f"{where}: compares with class means; leave mining and related out of the pairing")
    rows, labels = check_batch(where, embeddings, labels)
    others, other_labels = check_references(where, rows, labels, references, reference_labels)
    of_centroids = centroid_triplet_loss.__wrapped__  # type: ignore[attr-defined]
    sums: PairSums = of_centroids(
        rows, labels, others, None if others is None else other_labels, margin=margin,
        pairing=replace(pairing, similarity=pairing.similarity or "negative_euclidean"),
    )  # fmt: skip
    return replace(sums, where=where)


class ProtoTripletLoss(Objective):
    """Module form of :func:`proto_triplet_loss`."""

    function = staticmethod(proto_triplet_loss)

    def __init__(self, *, margin: float = 0.5, pairing: Pairing = Pairing()) -> None:
        super().__init__(margin=margin, pairing=pairing)
