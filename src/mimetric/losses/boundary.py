"""Hinges at a boundary that is given, learned for each class, or the mean of the batch."""

from __future__ import annotations

from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from ..core.checks import check_classes, check_not_negative, check_positive
from ..core.coupled import Data, Parts, coupled_sums
from ..core.errors import InputError
from ..core.hinges import Hinge, RootHinge, SquaredHinge
from ..core.objective import Objective
from ..core.pairing import Pairing, check_pairs_apart
from ..core.pairs import PairSums, pair_loss, pair_sums
from ..core.pushes import OneSum
from ..core.reduce import Mean, Near
from ..core.similarity import NegativeRoot, lift

_LEAST_REACH = 1e-6  # anchors are divided by their reach


@pair_loss
def margin_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    margin: float = 0.2,
    boundary: float | Tensor = 1.2,
    nu: float = 0.0,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Margin loss: positives nearer than a boundary distance, negatives farther, by a margin each.

    .. math::
        \frac1{|V|} \sum_i \sum_{p \in P_i,\, j \in N_i}
        [D_{ip} - \beta_i + m]_+ + [\beta_i + m - D_{ij}]_+ + \nu \beta_i

    with the Euclidean distance D of rows scaled to length 1, in 0..2, the boundary :math:`\beta_i` of the class of i,
    and |V| the number of hinges that are not 0.  Every positive of an anchor meets every negative of it, so the two
    kinds weigh alike however many more negatives there are; an anchor without either adds nothing.  The paper draws
    one negative for each positive pair, uniformly or by distance.  Tightness is the part of the positives and of ν,
    contrast that of the negatives.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled; in 0..C-1 where each class has a boundary.
        references: (m, d) what to compare with; None is the batch itself.
        reference_labels: (m,) their class ids.
        margin: m > 0, a distance; the paper's α.
        boundary: β, a number > 0 or a tensor with a gradient, () or (C,) with one for each class.  In the module the
            number that it starts from.
        nu: ν >= 0, pulls boundaries down.  Of anchors all of whose hinges are 0 it counts nothing.
        pairing: what all pair losses share.  Mining sees :math:`-D_{ij}^2 / (\beta_i + m)^2`.

    Returns:
        Scalar >= 0, a distance (plus ν times one).
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, an option is out of range, or another
            similarity is asked.

    Reference: Wu et al., ICCV 2017, arXiv:1706.07567, whose β adds one of the whole set, of the class and of the image.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> margin_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.9424)
    """
    where = "margin_loss"
    check_positive(where, margin=margin)
    if not isinstance(boundary, Tensor):
        check_positive(where, boundary=boundary)
    check_not_negative(where, nu=nu)
    if pairing.similarity not in (None, "negative_euclidean"):
        raise InputError(f"{where}: measures Euclidean distances; leave similarity out of the pairing")
    rows, labels, others, other_labels, pairing = check_pairs_apart(
        where, embeddings, labels, references, reference_labels, pairing
    )
    of_anchors = _of_anchors(where, rows, None if pairing.related is not None else labels, boundary)
    # The root comes after the product, so a boundary there is no column: distances are taken in units of it.
    with torch.autocast(rows.device.type, enabled=False):
        squared = lift("negative_squared_euclidean", rows, others)
    in_units = squared.anchors / _reach(of_anchors, margin) ** 2

    def sides(near: Near, far: Mean, boundary: Tensor | float = of_anchors) -> tuple[Mean, Mean]:
        reach = _reach(boundary, margin)
        pull = (margin - boundary - reach * NegativeRoot().plain(near.sim)).clamp(min=0)
        active, negatives = far.count.unbind(1)
        count = negatives * near.sum((pull.detach() > 0).to(pull.dtype)) + near.count * active
        tightness = negatives * near.sum(pull)
        if nu:
            regularizer = nu * boundary * (near.count * negatives)[:, None]
            tightness = tightness + torch.where(count > 0, regularizer[:, 0], 0)
        return Mean(tightness, count), Mean((reach * (near.count * far.total)[:, None])[:, 0], count)

    return pair_sums(
        where, in_units, labels, squared.references, other_labels,
        push=RootHinge(), sides=sides, tensors=(of_anchors,) if isinstance(of_anchors, Tensor) else (),
        rows=(rows, others), pairing=pairing,
    )  # fmt: skip


class MarginLoss(Objective):
    """:func:`margin_loss` with a learned boundary for each of num_classes classes; with None, one fixed number."""

    function = staticmethod(margin_loss)

    def __init__(
        self,
        num_classes: int | None = None,
        *,
        margin: float = 0.2,
        boundary: float | Tensor = 1.2,
        nu: float = 0.0,
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(margin=margin, boundary=boundary, nu=nu, pairing=pairing)
        if num_classes is not None:
            self.boundary = nn.Parameter(torch.empty(num_classes).copy_(torch.as_tensor(boundary)))


@pair_loss
def threshold_consistent_margin_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    positive: float = 0.9,
    negative: float = 0.5,
    positive_weight: float = 1.0,
    negative_weight: float = 1.0,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Threshold-consistent margin: the pairs that cross one threshold for all classes, and they alone.

    .. math::
        \lambda_+ \operatorname{mean}_{i,\, j \in P_i,\, s_{ij} < a}\, (a - s_{ij})
        + \lambda_- \operatorname{mean}_{i,\, j \in N_i,\, s_{ij} > b}\, (s_{ij} - b)

    with cosine similarity s; nothing to average is 0.  Tightness is the first term, contrast the second.  A
    regularizer, to be added to another loss; :func:`contrastive_loss` averages its positives over all of them.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) what to compare with; None is the batch itself.
        reference_labels: (m,) their class ids.
        positive: similarity a that positives should reach, the paper's m+.
        negative: similarity b that negatives should stay below, the paper's m-.
        positive_weight: λ+ > 0.
        negative_weight: λ- > 0.
        pairing: what all pair losses share: ids, mining, similarity, block.

    Returns:
        Scalar >= 0, in units of the similarity.
    Raises:
        InputError: shapes disagree, labels are not integers, or a weight is not > 0.

    Reference: Zhang et al., ICLR 2024, arXiv:2307.04047, who also count pairs exactly at a margin, at cost 0.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> threshold_consistent_margin_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.6800)
    """
    where = "threshold_consistent_margin_loss"
    check_positive(where, positive_weight=positive_weight, negative_weight=negative_weight)

    def sides(near: Near, far: Mean) -> tuple[Mean, Mean]:
        short = (positive - near.sim).clamp(min=0)
        hard = near.sum((short.detach() > 0).to(short.dtype))
        return Mean(positive_weight * near.sum(short), hard), Mean(negative_weight * far.total, far.count)

    return pair_sums(
        where, embeddings, labels, references, reference_labels,
        push=Hinge(negative), sides=sides, pairing=pairing,
    )  # fmt: skip


class ThresholdConsistentMarginLoss(Objective):
    """Module form of :func:`threshold_consistent_margin_loss`."""

    function = staticmethod(threshold_consistent_margin_loss)

    def __init__(
        self,
        *,
        positive: float = 0.9,
        negative: float = 0.5,
        positive_weight: float = 1.0,
        negative_weight: float = 1.0,
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(
            positive=positive, negative=negative, positive_weight=positive_weight,
            negative_weight=negative_weight, pairing=pairing,
        )  # fmt: skip


@pair_loss
def intra_pair_variance_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    positive_slack: float = 0.01,
    negative_slack: float = 0.01,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Intra-pair variance: positives not far below the mean positive, negatives not far above the mean negative.

    .. math::
        \operatorname{mean}_{i,\, j \in P_i}\, [(1 - \varepsilon_+) \mu_+ - s_{ij}]_+^2
        + \operatorname{mean}_{i,\, j \in N_i}\, [s_{ij} - (1 + \varepsilon_-) \mu_-]_+^2

    with cosine similarity s and its means over all positive pairs and over all negative pairs, through which the
    gradient runs too.  Tightness is the first term, contrast the second.  A regularizer, to be added to
    :func:`tuplet_margin_loss`: a collapsed batch costs it nothing.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) what to compare with; None is the batch itself.
        reference_labels: (m,) their class ids.
        positive_slack: :math:`\varepsilon_+` >= 0, as a part of the mean.
        negative_slack: :math:`\varepsilon_-` >= 0.
        pairing: what all pair losses share; the similarity is cosine or dot, and it takes no mining.

    Returns:
        Scalar >= 0, in squared units of the similarity.
    Raises:
        InputError: shapes disagree, labels are not integers, a slack is negative, or another similarity or a
            mining is asked.

    Reference: Yu and Tao, ICCV 2019.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> intra_pair_variance_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.0025)
    """
    where = "intra_pair_variance_loss"
    for name, slack in (("positive_slack", positive_slack), ("negative_slack", negative_slack)):
        if not slack >= 0:
            raise InputError(f"{where}: {name} must be >= 0, got {slack}")
    if pairing.similarity not in (None, "cosine", "dot"):
        raise InputError(f"{where}: the similarity must be cosine or dot, got {pairing.similarity!r}")

    def parts(data: Data) -> Parts:
        ceiling = (1 + negative_slack) * data.mean_of_negatives()
        near, far, _ = data.near_and_far(OneSum(SquaredHinge()), shift=ceiling)
        positive = near.sum(near.sim).sum() / near.count.sum().clamp(min=1) + ceiling
        short = ((1 - positive_slack) * positive - ceiling - near.sim).clamp(min=0)
        return [(Mean(near.sum(short * short), near.count), Mean(far, data.negatives))]

    return coupled_sums(
        where, embeddings, labels, references, reference_labels,
        parts=parts, scale=inf, graded=True, pairing=pairing,
    )  # fmt: skip


class IntraPairVarianceLoss(Objective):
    """Module form of :func:`intra_pair_variance_loss`."""

    function = staticmethod(intra_pair_variance_loss)

    def __init__(
        self, *, positive_slack: float = 0.01, negative_slack: float = 0.01, pairing: Pairing = Pairing()
    ) -> None:
        super().__init__(positive_slack=positive_slack, negative_slack=negative_slack, pairing=pairing)


def _of_anchors(where: str, rows: Tensor, labels: Tensor | None, boundary: float | Tensor) -> Tensor | float:
    """(n, 1) the boundary of each anchor's class, or a number; an unlabelled one takes any, having no positives."""
    if not isinstance(boundary, Tensor):
        return boundary
    each = boundary.to(rows)
    if each.ndim == 0:
        return each.expand(len(rows), 1)
    if each.ndim != 1 or labels is None or labels.ndim != 1:
        raise InputError(
            f"{where}: boundary must be a number, or (classes,) beside class ids for labels, got {tuple(each.shape)}"
        )
    check_classes(where, labels, len(each))
    return each[labels.clamp(0, len(each) - 1), None]


def _reach(boundary: Tensor | float, margin: float) -> Tensor | float:
    """The distance from which a negative costs nothing."""
    reach = boundary + margin
    return reach.clamp(min=_LEAST_REACH) if isinstance(reach, Tensor) else max(reach, _LEAST_REACH)
