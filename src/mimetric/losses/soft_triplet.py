"""Triplets under a softplus or a softmax in place of a hinge: no margin is ever met for good."""

from __future__ import annotations

from math import radians, tan
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.checks import check_choice, check_positive
from ..core.coupled import Data, Parts, coupled_sums
from ..core.errors import InputError
from ..core.exponentials import LogSumExp
from ..core.objective import Objective
from ..core.pairing import Pairing, check_pairs, check_takes_no
from ..core.pairs import PairSums, pair_loss, pair_sums
from ..core.pushes import OneSum
from ..core.reduce import Mean, Near, log_add, log_add_to
from ..core.terms import FullPrecision, Hardest, Term
from ..core.triplets import HardestBelow, SoftTriplets

Negatives = Literal["semi_hard", "hard", "all"]


@pair_loss
def soft_triplet_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    margin: float = 0.0,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Soft-margin triplet loss over all triplets of a batch.

    .. math:: \operatorname{mean}_{(i, p, j)} \log\bigl(1 + e^{s_{ij} - s_{ip} + m}\bigr), \qquad p \in P_i,\ j \in N_i

    with s minus the Euclidean distance; 0 when there is no triplet.  Tightness is the mean of
    :math:`-s_{ip}`, contrast that of :math:`\log(e^{s_{ip}} + e^{s_{ij} + m})`.

    Args:
        embeddings: (n, d) floating point; their norm matters.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) where positives and negatives come from; None is the batch itself.
        reference_labels: (m,) their class ids.
        margin: m, in units of the similarity; the paper has none.
        pairing: what all pair losses share: ids, similarity, block; it takes no mining.

    Returns:
        Scalar >= 0.
    Raises:
        InputError: shapes disagree, labels are not integers, margin is not finite, or a mining is given.

    Reference: Hermans et al., arXiv:1703.07737, "soft margin" with all triplets.  The softplus has
    the unit of the similarity: cosines, which span 2, hardly bend it.  Time grows with the positives of
    an anchor, memory does not.

    >>> x = torch.tensor([[0.], [1.], [3.]])
    >>> soft_triplet_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.2201)
    """
    where = "soft_triplet_loss"
    if not abs(margin) < float("inf"):
        raise InputError(f"{where}: margin must be finite, got {margin}")
    check_takes_no(where, pairing, "mining")
    data = check_pairs(where, embeddings, labels, references, reference_labels, pairing)
    return PairSums(where, SoftTriplets(margin), *data, (), "negative_euclidean", pairing)


class SoftTripletLoss(Objective):
    """Module form of :func:`soft_triplet_loss`."""

    function = staticmethod(soft_triplet_loss)

    def __init__(self, *, margin: float = 0.0, pairing: Pairing = Pairing()) -> None:
        super().__init__(margin=margin, pairing=pairing)


@pair_loss
def soft_batch_hard_triplet_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Soft-margin triplet loss of each anchor's farthest positive and nearest negative.

    .. math::
        \operatorname{mean}_i \log\Bigl(1 + \exp\bigl(\max_{j \in N_i} s_{ij} - \min_{p \in P_i} s_{ip}\bigr)\Bigr)

    with s minus the Euclidean distance, over the anchors that have a positive and a negative; 0 when there
    is none.  Tightness is the mean of minus the least :math:`s_{ip}`, contrast the log of the sum of both
    exponentials.  Equally hard pairs share the gradient.

    Args:
        embeddings: (n, d) floating point; their norm matters.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) where positives and negatives come from; None is the batch itself.
        reference_labels: (m,) their class ids.
        pairing: what all pair losses share: ids, mining, similarity, block.

    Returns:
        Scalar >= 0.
    Raises:
        InputError: shapes disagree or labels are not integers.

    Reference: Hermans et al., arXiv:1703.07737, their best: "batch hard" with the soft margin.
    :func:`~mimetric.losses.batch_hard_triplet_loss` has the hinge.

    >>> x = torch.tensor([[0.], [1.], [3.]])
    >>> soft_batch_hard_triplet_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.2201)
    """

    def sides(near: Near, far: Tensor) -> tuple[Mean, Mean]:
        farthest = torch.where(near.valid, near.sim, torch.inf).amin(1)
        return _softmax_of_two(farthest, far)

    return pair_sums(
        "soft_batch_hard_triplet_loss", embeddings, labels, references, reference_labels,
        push=Hardest(), sides=sides, similarity="negative_euclidean", pairing=pairing,
    )  # fmt: skip


class SoftBatchHardTripletLoss(Objective):
    """Module form of :func:`soft_batch_hard_triplet_loss`."""

    function = staticmethod(soft_batch_hard_triplet_loss)

    def __init__(self, *, pairing: Pairing = Pairing()) -> None:
        super().__init__(pairing=pairing)


@pair_loss
def easy_positive_triplet_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    temperature: float = 0.1,
    negatives: Negatives = "semi_hard",
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Easy-positive loss: a softmax of the nearest positive against negatives.

    .. math::
        \operatorname{mean}_i -\log \frac{e^{z_{ip}}}{e^{z_{ip}} + \sum_{j \in J_i} e^{z_{ij}}},
        \qquad p = \operatorname{arg\,max}_{P_i} s

    with :math:`z = s / T` and cosine similarity s.  :math:`J_i` is one negative, the nearest of those farther than
    p (``semi_hard``, EPSHN) or the nearest of all (``hard``, EPHN), or it is all negatives (``all``, the
    paper's easy positive in NCA form).  The mean is over the anchors with a positive and such a negative; 0 when
    there is none.  The other positives are free to lie where they are.  Tightness is the mean of :math:`-z_{ip}`,
    contrast the log of the denominator.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) where positives and negatives come from; None is the batch itself.
        reference_labels: (m,) their class ids.
        temperature: T > 0, in cosine units; the class in their first code has 1.
        negatives: which of them count, as above.
        pairing: what all pair losses share: ids, mining, similarity, block.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, temperature is not > 0, unknown negatives.

    Reference: Xuan et al., WACV 2020, arXiv:1904.05370.  Their code adds over anchors instead, and takes a
    positive of cosine above 0.9999 for a duplicate and leaves it out.

    >>> x = torch.tensor([[1., 0.], [0.8, 0.6], [0.6, 0.8]])
    >>> easy_positive_triplet_loss(x, torch.tensor([0, 0, 1]), temperature=1.0)
    tensor(0.5981)
    """
    where = "easy_positive_triplet_loss"
    check_positive(where, temperature=temperature)
    check_choice(where, "negatives", negatives, ("semi_hard", "hard", "all"))
    push: Term = Hardest()
    if negatives != "hard":
        push = HardestBelow() if negatives == "semi_hard" else LogSumExp(1 / temperature)

    def sides(near: Near, far: Tensor) -> tuple[Mean, Mean]:
        nearest = torch.where(near.valid, near.sim, -torch.inf).amax(1)
        return _softmax_of_two(nearest / temperature, far if negatives == "all" else far / temperature)

    return pair_sums(
        where,
        embeddings,
        labels,
        references,
        reference_labels,
        push=FullPrecision(push),
        sides=sides,
        pairing=pairing,
    )


class EasyPositiveTripletLoss(Objective):
    """Module form of :func:`easy_positive_triplet_loss`."""

    function = staticmethod(easy_positive_triplet_loss)

    def __init__(
        self, *, temperature: float = 0.1, negatives: Negatives = "semi_hard", pairing: Pairing = Pairing()
    ) -> None:
        super().__init__(temperature=temperature, negatives=negatives, pairing=pairing)


@pair_loss
def angular_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    alpha: float = 40.0,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Angular loss: the angle at a negative, in the triangle with an anchor and its positive, stays below α.

    .. math::
        \operatorname{mean}_{(i, p)} \log\Bigl(1 + \sum_{j \in N_i} e^{f_{ipj}}\Bigr), \qquad
        f_{ipj} = 4 \tan^2\!\alpha\, (x_i + x_p)^T x_j - 2 (1 + \tan^2\!\alpha)\, x_i^T x_p

    over the positive pairs, with rows of length 1; 0 when there is none.  Tightness is the mean of
    :math:`-2 (1 + \tan^2 \alpha)\, x_i^T x_p`, contrast the rest; a pair without negatives adds 0 to both.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) where positives and negatives come from; None is the batch itself.
        reference_labels: (m,) their class ids.
        alpha: α in degrees, in (0, 90).
        pairing: what all pair losses share but mining and similarity; a block is of pairs.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, alpha out of range, or the pairing has more than above.

    Reference: Wang et al., ICCV 2017, arXiv:1708.01682, with all negatives in one log-sum as they train it; 40
    degrees as in pytorch-metric-learning.
    No triplet is listed, but positive pairs are: their sums :math:`x_i + x_p` are the rows of the blocks, d
    numbers each, and a product costs as much as there are pairs.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> angular_loss(x, torch.tensor([0, 0, 1]))
    tensor(2.9648)
    """
    where = "angular_loss"
    if not 0 < alpha < 90:
        raise InputError(f"{where}: alpha must lie in (0, 90) degrees, got {alpha}")
    if pairing.similarity not in (None, "cosine"):
        raise InputError(f"{where}: measures angles, the similarity must be cosine, got {pairing.similarity}")
    steepness = tan(radians(alpha)) ** 2

    def parts(data: Data) -> Parts:
        pairs = data.positive_pairs()
        sim, far = data.sums_of_pairs(OneSum(LogSumExp(4 * steepness)), pairs.first, pairs.second)
        pull = -2 * (1 + steepness) * sim
        some = far != -torch.inf
        both = torch.stack((torch.where(some, pull, 0), torch.where(some, log_add(-pull, far), 0)))
        tightness, contrast = pairs.over_anchors(both, data.anchors)
        count = pairs.over_anchors(torch.ones_like(sim), data.anchors)
        return [(Mean(tightness, count), Mean(contrast, count))]

    return coupled_sums(
        where, embeddings, labels, references, reference_labels,
        parts=parts, scale=4 * steepness, by_class=True, pairing=pairing,
    )  # fmt: skip


class AngularLoss(Objective):
    """Module form of :func:`angular_loss`."""

    function = staticmethod(angular_loss)

    def __init__(self, *, alpha: float = 40.0, pairing: Pairing = Pairing()) -> None:
        super().__init__(alpha=alpha, pairing=pairing)


def _softmax_of_two(near: Tensor, far: Tensor) -> tuple[Mean, Mean]:
    """-log of the share of e^near beside e^far, over the anchors where both are there."""
    both = (near.abs() != torch.inf) & (far != -torch.inf)  # NaN counts, and shows
    near, far = torch.where(both, near, 0), torch.where(both, far, 0)
    count = both.to(near.dtype)
    return Mean(-near * count, count), Mean(log_add_to(near, far) * count, count)
