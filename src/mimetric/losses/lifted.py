"""Losses that look at the pairs of a whole batch together: lifted structure and histogram."""

from __future__ import annotations

from typing import Any

import torch

from ..core.coupled import Data, Parts, coupled_sums
from ..core.errors import InputError
from ..core.exponentials import LogSumExp
from ..core.objective import Objective
from ..core.pairing import Pairing
from ..core.pairs import PairSums, pair_loss
from ..core.pushes import Bins, OneSum
from ..core.reduce import Mean, log_add

_LOWEST = -1e29  # a log-sum over nothing lies below


@pair_loss
def lifted_structure_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    margin: float = 1.0,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Lifted structured loss: each positive pair against the negatives of both its rows.

    .. math::
        \operatorname{mean}_{(i, p)} \tfrac12 [J_{ip}]_+^2, \qquad
        J_{ip} = D_{ip} + \log\Bigl(\sum_{j \in N_i} e^{m - D_{ij}} + \sum_{j \in N_p} e^{m - D_{pj}}\Bigr)

    over the positive pairs, with Euclidean distances D; a pair without negatives adds 0.  The square couples its
    parts: tightness is :math:`\tfrac12 [J]_+ D_{ip}`, contrast the other share.

    Args:
        embeddings: (n, d) floating point; their norm matters.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) where positives and negatives come from; None is the batch itself.
        reference_labels: (m,) their class ids.
        margin: m, in units of the distance.
        pairing: what all pair losses share but mining.

    Returns:
        Scalar >= 0.
    Raises:
        InputError: shapes disagree, labels are not integers, or a mining is given.

    Reference: Oh Song et al., CVPR 2016, arXiv:1511.06452, equation 4, over rows as they come; the loss of
    pytorch-metric-learning takes rows of length 1.  Time is one product more than other pair losses take; separate
    references are compared with themselves too.

    >>> x = torch.tensor([[0.], [1.], [3.]])
    >>> lifted_structure_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.0491)
    """

    def parts(data: Data) -> Parts:
        near, far, _ = data.near_and_far(OneSum(LogSumExp(1.0, -margin)))
        valid = near.valid[: data.anchors]
        negatives = log_add(far[: data.anchors, None].expand(valid.shape), far[data.rows_of_positives()])
        some = valid & ~(negatives < _LOWEST)  # NaN shows
        distance, negatives = (torch.where(some, x, 0) for x in (-near.sim[: data.anchors], negatives))
        over = torch.where(some, distance + negatives, 0).clamp(min=0) / 2
        pairs = valid.sum(1).to(over.dtype)
        return [(Mean((over * distance).sum(1), pairs), Mean((over * negatives).sum(1), pairs))]

    return coupled_sums(
        "lifted_structure_loss", embeddings, labels, references, reference_labels,
        parts=parts, references_as_rows=True, similarity="negative_euclidean", pairing=pairing,
    )  # fmt: skip


class LiftedStructureLoss(Objective):
    """Module form of :func:`lifted_structure_loss`."""

    function = staticmethod(lifted_structure_loss)

    def __init__(self, *, margin: float = 1.0, pairing: Pairing = Pairing()) -> None:
        super().__init__(margin=margin, pairing=pairing)


@pair_loss
def histogram_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    bins: int = 100,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Histogram loss: the chance that a random negative pair is more similar than a random positive pair.

    .. math:: \sum_r h^-_r \sum_{q \le r} h^+_q

    with the histograms of the cosines of all positive and of all negative pairs, each normalized to 1, at the nodes
    :math:`-1 + 2 r / R`; a cosine between two nodes is shared between them linearly.  0 without positive or
    without negative pairs.  It has no tightness and contrast.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) what anchors are paired with; None is the batch itself.
        reference_labels: (m,) their class ids.
        bins: R >= 1, steps from -1 to 1.
        pairing: what all pair losses share but mining; the similarity is cosine, or dot for rows of length 1.  An
            anchor's own cost is the mean over its negatives of the share of all positive pairs that are less similar.

    Returns:
        Scalar in 0..1.
    Raises:
        InputError: shapes disagree, labels are not integers, bins < 1, or a mining or similarity is given.

    Reference: Ustinova and Lempitsky, NeurIPS 2016, arXiv:1611.00822.  The gradient of a
    pair is constant between two nodes.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> histogram_loss(x, torch.tensor([0, 0, 1]), bins=4)
    tensor(0.9520)
    """
    where = "histogram_loss"
    if bins < 1:
        raise InputError(f"{where}: bins must be at least 1, got {bins}")
    if pairing.similarity not in (None, "cosine", "dot"):
        raise InputError(f"{where}: counts cosines from -1 to 1, got the similarity {pairing.similarity}")
    push = Bins(bins)

    def parts(data: Data) -> Parts:
        near, far, _ = data.near_and_far(push)
        far = far.reshape(-1, bins + 1)  # also where there are no rows
        [positive] = push.histogram(near.sim.reshape(1, -1), near.valid.reshape(1, -1))
        share = positive.cumsum(0) / near.count.sum().clamp(min=1)
        cost = Mean(far @ share, far.detach().sum(1))
        return [(cost, Mean(torch.zeros_like(cost.total), torch.ones_like(cost.total)))]

    return coupled_sums(
        where, embeddings, labels, references, reference_labels,
        parts=parts, scale=push.scale, blocks_held=push.blocks_held, divided=False, pairing=pairing,
    )  # fmt: skip


class HistogramLoss(Objective):
    """Module form of :func:`histogram_loss`."""

    function = staticmethod(histogram_loss)
    sides = None  # type: ignore[assignment]

    def __init__(self, *, bins: int = 100, pairing: Pairing = Pairing()) -> None:
        super().__init__(bins=bins, pairing=pairing)
