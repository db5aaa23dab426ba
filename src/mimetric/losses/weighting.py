"""Losses that weigh a pair by where it stands among others: in its anchor's list, or in the run so far."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import inf
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_choice, check_positive
from ..core.coupled import Data, Parts, coupled_sums
from ..core.errors import InputError
from ..core.hinges import WeightedHinge, weighted_hinge
from ..core.objective import Objective
from ..core.pairing import Pairing, check_ungraded, check_unit_pairs
from ..core.pairs import PairSums, pair_loss, pair_sums
from ..core.pushes import OneSum
from ..core.reduce import Mean, Near
from ..core.terms import Hardest

_FARTHEST = 2.0  # the distance of two rows of length 1 is at most this


@pair_loss
def ranked_list_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    alpha: float = 1.2,
    margin: float = 0.4,
    positive_scale: float = 0.0,
    negative_scale: float = 10.0,
    balance: float = 0.5,
    weighting: Literal["constant", "differentiated"] = "constant",
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Ranked list loss: positives within one distance, negatives beyond a larger one, the worst weighing most.

    .. math::
        \frac1n \sum_i (1 - \lambda) \sum_{j \in P_i^*} p_{ij} (D_{ij} - \alpha + m)
                       + \lambda \sum_{j \in N_i^*} q_{ij} (\alpha - D_{ij})

    with the Euclidean distance D of rows scaled to length 1, in 0..2, the positives :math:`P_i^*` farther than
    :math:`\alpha - m` and the negatives :math:`N_i^*` nearer than α.  The weights of an anchor's pairs add up to 1:
    :math:`p_{ij} \propto e^{T_p (D_{ij} - \alpha + m)}` and :math:`q_{ij} \propto e^{T_n (\alpha - D_{ij})}`.  An
    anchor without such pairs adds 0.  Tightness is the first sum, contrast the second.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) the list of every anchor; None is the batch itself.
        reference_labels: (m,) their class ids.
        alpha: distance α from which a negative costs nothing; the paper's 1 + m/2.
        margin: m in 0 < m <= α: a positive within α - m costs nothing.
        positive_scale: T_p >= 0, sharpness of the weights of positives; 0 weighs all that cost something alike.
        negative_scale: T_n >= 0, sharpness of the weights of negatives.
        balance: λ in [0, 1], the share of the negatives.
        weighting: ``constant``: the gradient does not go through p and q, as in the authors' code; then it is not
            that of the value.  ``differentiated``: it does, as in pytorch-metric-learning.
        pairing: ids, mining and block; mining sees similarities -D.

    Returns:
        Scalar >= 0, in distances.
    Raises:
        InputError: shapes disagree, labels are not integers, an option out of range, or another similarity is asked.

    Reference: Wang et al., CVPR 2019, arXiv:1903.03238.  Their later code also weighs each anchor by the sum of its
    weights; here, as in the paper, anchors count alike.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> ranked_list_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.4301)
    """
    where = "ranked_list_loss"
    check_positive(where, margin=margin)
    check_ungraded(where, pairing)
    check_choice(where, "weighting", weighting, ("constant", "differentiated"))
    if margin > alpha:
        raise InputError(f"{where}: margin must be at most alpha = {alpha}, got {margin}")
    if not (positive_scale >= 0 and negative_scale >= 0):
        raise InputError(f"{where}: scales must be >= 0, got {positive_scale} and {negative_scale}")
    if not 0 <= balance <= 1:
        raise InputError(f"{where}: balance must lie in [0, 1], got {balance}")
    constant = weighting == "constant"

    def sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        excess = torch.where(near.valid, margin - alpha - near.sim, 0)
        return (1 - balance) * weighted_hinge(excess, positive_scale, constant), balance * far

    return pair_sums(
        where, *check_unit_pairs(where, embeddings, labels, references, reference_labels, pairing),
        push=WeightedHinge(negative_scale, -alpha, constant), sides=sides,
        similarity="negative_euclidean", pairing=pairing,
    )  # fmt: skip


class RankedListLoss(Objective):
    """Module form of :func:`ranked_list_loss`."""

    function = staticmethod(ranked_list_loss)

    def __init__(
        self,
        *,
        alpha: float = 1.2,
        margin: float = 0.4,
        positive_scale: float = 0.0,
        negative_scale: float = 10.0,
        balance: float = 0.5,
        weighting: Literal["constant", "differentiated"] = "constant",
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(
            alpha=alpha, margin=margin, positive_scale=positive_scale, negative_scale=negative_scale,
            balance=balance, weighting=weighting, pairing=pairing,
        )  # fmt: skip


@pair_loss
def dynamic_soft_margin_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    histogram: Any = None,
    *,
    num_bins: int = 512,
    momentum: float = 0.01,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Dynamic soft margin loss: a triplet weighs by the share of triplets seen so far that are no harder.

    .. math::
        \operatorname{mean}_{i,\, p \in P_i} w_{ip} (D_{ip} - D_{ij(i)}), \qquad
        w_{ip} = F(D_{ip} - D_{ij(i)}), \qquad j(i) = \operatorname{argmin}_{j \in N_i} D_{ij}

    with the Euclidean distance D of rows scaled to length 1, over every anchor with a negative and each of its
    positives.  F is the cumulative histogram of these differences, which lie in -2..2: that of earlier batches, moved
    towards this one's by `momentum`.  No gradient goes through it, so the gradient is not that of the value.  There is
    no margin to choose: triplets that are easy among those seen cost next to nothing.  Tightness is the part of
    the positives, contrast that of the negatives.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) where positives and negatives come from; None is the batch itself.
        reference_labels: (m,) their class ids.
        histogram: (num_bins,) that of the batches before this one, as :class:`DynamicSoftMarginLoss` keeps it;
            None, or all 0, is none yet: then this batch's own.
        num_bins: bins, of width 4 / (num_bins - 1), a difference being shared between the two next to it; >= 2.
        momentum: share of this batch in the histogram, in [0, 1].
        pairing: ids, mining and block; mining sees similarities -D.

    Returns:
        Scalar of any sign, in distances.
    Raises:
        InputError: shapes disagree, labels are not integers, an option out of range, or another similarity is asked.

    Reference: Zhang and Rusinkiewicz, ICCV 2019.  They have pairs of descriptors, and one triplet a pair, with the
    nearest negative of either end; here each end is an anchor, with its own.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> dynamic_soft_margin_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.2116)
    """
    return _described(
        embeddings, labels, references, reference_labels, histogram, num_bins, momentum, pairing
    )[0]


class DynamicSoftMarginLoss(Objective):
    """Module form of :func:`dynamic_soft_margin_loss`; keeps the histogram, a buffer moved by each call in training."""

    function = staticmethod(dynamic_soft_margin_loss)
    histogram: Tensor

    def __init__(self, *, num_bins: int = 512, momentum: float = 0.01, pairing: Pairing = Pairing()) -> None:
        super().__init__(num_bins=num_bins, momentum=momentum, pairing=pairing)
        _check_histogram("dynamic_soft_margin_loss", num_bins, momentum)
        self.register_buffer("histogram", torch.zeros(num_bins))

    def forward(
        self, embeddings: Any, labels: Any, references: Any = None, reference_labels: Any = None
    ) -> Tensor:
        loss, moved = _described(
            embeddings, labels, *self._against(references, reference_labels), **self.options
        )
        value = loss.total()
        if self.training:
            self.histogram.copy_(moved[-1])
        return value

    def _against(self, references: Any, reference_labels: Any) -> tuple[Any, ...]:
        return references, reference_labels, self.histogram


def _described(
    embeddings: Any,
    labels: Any,
    references: Any,
    reference_labels: Any,
    histogram: Any,
    num_bins: int,
    momentum: float,
    pairing: Pairing,
) -> tuple[PairSums, list[Tensor]]:
    """The dynamic soft margin loss on given data, and the histogram it weighs by, last of a list once it is known."""
    where = "dynamic_soft_margin_loss"
    _check_histogram(where, num_bins, momentum)
    check_ungraded(where, pairing)
    rows = check_unit_pairs(where, embeddings, labels, references, reference_labels, pairing)
    before = rows[0].new_zeros(num_bins) if histogram is None else as_tensor(where, "histogram", histogram)
    if before.shape != (num_bins,):
        raise InputError(f"{where}: histogram must have shape ({num_bins},), got {tuple(before.shape)}")
    before = before.to(rows[0])
    moved: list[Tensor] = []

    def parts(data: Data) -> Parts:
        found = _Triplets.of(*_distances(data), num_bins)
        moved.append(_moved(before, found.counted(num_bins), momentum))
        return [found.weighted(moved[-1])]

    if pairing.mining is None:
        return coupled_sums(
            where, *rows, parts=parts, scale=inf, pairing=replace(pairing, similarity="dot")
        ), moved

    # A mining sees distances, not products, and only the engine knows what it keeps: two passes.
    describe = partial(pair_sums, where, *rows, push=Hardest(), similarity="negative_euclidean")
    here = torch.zeros_like(before)

    def counted(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        here.add_(_Triplets.of(near, far, num_bins).counted(num_bins))
        return torch.zeros_like(far), torch.zeros_like(far)

    def sides(near: Near, far: Tensor) -> tuple[Mean, Mean]:
        return _Triplets.of(near, far, num_bins).weighted(moved[-1])

    with torch.no_grad():  # sides without counts to divide by: the engine shows each block once
        describe(sides=counted, pairing=replace(pairing, reduction=None, weights=None)).total()
    moved.append(_moved(before, here, momentum))
    return describe(sides=sides, pairing=pairing), moved


def _distances(data: Data) -> tuple[Near, Tensor]:
    """Minus the distances of positives (n, p) and of the nearest negative (n,), -inf where there is none."""
    middle = data.others.detach().mean(0)  # fewer digits are lost around it
    others = None if data.references is None else data.references - middle
    data = replace(data, rows=data.rows - middle, references=others)
    squares = torch.linalg.vecdot(data.rows, data.rows)
    shift = squares if others is None else torch.linalg.vecdot(others, others)
    # -|x - y|^2 = 2 (x^T y - |y|^2 / 2) - |x|^2
    near, far, _ = data.near_and_far(OneSum(Hardest()), shift=shift / 2)
    return Near(_root(2 * near.sim - squares[:, None]), near.valid), _root(2 * far - squares)


def _root(product: Tensor) -> Tensor:
    """Minus the root of -product, with slope 0 where rows are equal; NaN shows."""
    equal = product >= 0
    return torch.where(equal, 0, -torch.where(equal, 1, -product).sqrt())


class _Triplets(NamedTuple):
    """Every positive of an anchor beside its nearest negative."""

    there: Tensor  # (k, p) where there are both
    near: Tensor  # (k, p) similarities, minus distances
    nearest: Tensor  # (k, 1)
    place: Tensor  # (k, p) of the difference of distances in the histogram, in bins from 0

    @classmethod
    def of(cls, near: Near, far: Tensor, num_bins: int) -> _Triplets:
        some = far != -torch.inf
        nearest = torch.where(some, far, 0)[:, None]
        place = (nearest - near.sim).detach().add_(_FARTHEST).mul_((num_bins - 1) / (2 * _FARTHEST))
        place = place.clamp_(0, num_bins - 1).nan_to_num_(0.0)
        return cls(near.valid & some[:, None], near.sim, nearest, place)

    def counted(self, num_bins: int) -> Tensor:
        """(num_bins,) how many lie in each bin, a difference being shared between the two next to it."""
        low, part, there = self.place.long().flatten(), self.place.frac(), self.there
        counts = part.new_zeros(num_bins)
        counts.index_add_(0, low, ((1 - part) * there).flatten())
        return counts.index_add_(0, (low + 1).clamp_(max=num_bins - 1), (part * there).flatten())

    def weighted(self, histogram: Tensor) -> tuple[Mean, Mean]:
        """Tightness and contrast, each triplet weighing by the share of those no harder in a histogram."""
        weight = torch.where(self.there, histogram.cumsum(0)[self.place.long()], 0)
        count = self.there.sum(1, dtype=weight.dtype)
        pulled = -torch.linalg.vecdot(weight, self.near)
        return Mean(pulled, count), Mean(weight.sum(1) * self.nearest[:, 0], count)


def _check_histogram(where: str, num_bins: int, momentum: float) -> None:
    if num_bins < 2:
        raise InputError(f"{where}: num_bins must be at least 2, got {num_bins}")
    if not 0 <= momentum <= 1:
        raise InputError(f"{where}: momentum must lie in [0, 1], got {momentum}")


def _moved(before: Tensor, here: Tensor, momentum: float) -> Tensor:
    """Shares of before and of the counts here; nothing here changes nothing, and nothing before is no past."""
    share = torch.where(before.sum() == 0, 1.0, momentum) * (here.sum() > 0)
    return (1 - share) * before + share * here / here.sum().clamp(min=1)
