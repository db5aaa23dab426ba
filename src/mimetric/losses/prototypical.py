"""Prototypical networks: a softmax over distances to class means, of a support set or of the batch itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..core.checks import check_positive
from ..core.coupled import check_class_ids, checked, similarity_of_rows
from ..core.exponentials import LogSumExp
from ..core.objective import Objective
from ..core.pairing import Pairing, check_takes_no
from ..core.pairs import PairSums, pair_loss, pair_sums
from ..core.prototypes import prototypes
from ..core.reduce import Near, log_add
from ..core.similarity import Similarity, full_precision

_SIMILARITY: Similarity = "negative_squared_euclidean"


@pair_loss
def prototypical_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    temperature: float = 1.0,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Prototypical networks: cross-entropy of squared distances to the means of classes.

    .. math:: \frac1n \sum_i \frac{|x_i - c_{y_i}|^2}T + \log \sum_k e^{-|x_i - c_k|^2 / T}

    With references, c are the means of their classes: an episode's support set, with the embeddings its queries.
    Without, the batch is both, and no episodes are drawn: its class means, where that of the anchor's own class is over
    the others of it, as if each row were the query of an episode whose support is all other rows.  Tightness is the
    first term, contrast the second.  An anchor without a mean of its own class (unlabelled, a singleton, absent from
    the support) adds 0 to a mean over all n.

    Args:
        embeddings: (n, d) floating point, the queries; their norm matters.
        labels: (n,) integer class ids; unlabelled rows (-1) belong to no mean.
        references: (m, d) rows of the class means, the support; None is the batch itself, each row left out of its own.
        reference_labels: (m,) their class ids.
        temperature: T > 0, in squared distances; the paper has 1.
        pairing: what all pair losses share but mining and relations: a mean is that of a class.  With
            ``similarity="cosine"`` and a temperature near 0.1 prototypes are compared by angle.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, temperature is not > 0, or mining or a relation is given.

    Reference: Snell et al., NIPS 2017, arXiv:1703.05175, for queries against the means of a support set; the batch
    as its own support is ours.

    >>> queries, support = torch.tensor([[0.0], [3.0]]), torch.tensor([[-1.0], [1.0], [2.0]])
    >>> prototypical_loss(queries, [0, 1], support, [0, 0, 1])
    tensor(0.0092)
    >>> prototypical_loss(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), [0, 0, 1, 1])
    tensor(0.1286)
    """
    where = "prototypical_loss"
    check_positive(where, temperature=temperature)
    check_takes_no(where, pairing, "mining")
    batch = checked(where, embeddings, labels, references, reference_labels, pairing)
    check_class_ids(batch)
    means, classes, own, positives = prototypes(batch)
    similarity = pairing.similarity or _SIMILARITY
    nearest = similarity_of_rows(similarity, full_precision(batch.embeddings), own)
    pull = torch.where(positives > 0, nearest, -torch.inf) / temperature

    def sides(near: Near, far: Tensor, pull: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001
        there = pull != -torch.inf
        return torch.where(there, -pull, 0), torch.where(there, log_add(pull, far), 0)

    return pair_sums(
        where, batch.embeddings, batch.labels, means, classes,
        push=LogSumExp(1 / temperature), sides=sides, tensors=(pull,),
        similarity=similarity, pairing=replace(pairing, ids=None, reference_ids=None),
    )  # fmt: skip


class PrototypicalLoss(Objective):
    """Module form of :func:`prototypical_loss`."""

    function = staticmethod(prototypical_loss)

    def __init__(self, *, temperature: float = 1.0, pairing: Pairing = Pairing()) -> None:
        super().__init__(temperature=temperature, pairing=pairing)
