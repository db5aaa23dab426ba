"""One softmax for each positive: it against all negatives of its anchor, by dot products or by angles."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.blocks import BLOCK_ELEMENTS
from ..core.checks import check_not_negative, check_positive, check_rows
from ..core.exponentials import LogSumExp
from ..core.objective import Objective
from ..core.paired import are_partners
from ..core.pairing import Pairing
from ..core.pairs import PairSums, pair_loss, pair_sums
from ..core.reduce import Mean, Near, log_add_to_each
from ..core.similarity import full_precision, in_one_type, without_autocast
from ..core.terms import FullPrecision


@pair_loss
def n_pairs_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    norm_weight: float = 0.002,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""N-pairs loss: a softmax of each positive against the negatives, by dot products, and short rows.

    .. math::
        \frac1n \sum_i \frac1{|P_i|} \sum_{p \in P_i} \log\Bigl(1 + \sum_{j \in N_i} e^{x_i^T x_j - x_i^T x_p}\Bigr)
        + \frac\lambda2 |x_i|^2

    An anchor without positives adds 0.  Tightness is the part of the positives and of the length, contrast the log of
    the denominators.  At λ = 0 it is :func:`nt_xent_loss` with dot products and temperature 1.

    Args:
        embeddings: (n, d) floating point; their norm matters.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) what to compare with; None is the batch itself.
        reference_labels: (m,) their class ids.
        norm_weight: λ >= 0.
        pairing: what all pair losses share; its own similarity is the dot product.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, or norm_weight is negative.

    Reference: Sohn, NeurIPS 2016, who takes one pair (x, x+) of each class and for negatives the other x+: that is
    ``n_pairs_loss(x, classes, x_plus, classes)``.  λ = 0.002 and λ/4 for either row of a pair are TensorFlow's.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> n_pairs_loss(x, torch.tensor([0, 0, 1]), norm_weight=0.0)
    tensor(0.5625)
    """
    where = "n_pairs_loss"
    check_not_negative(where, norm_weight=norm_weight)
    rows = check_rows(where, "embeddings", embeddings)
    squares = full_precision(rows).square().sum(1)

    def sides(near: Near, far: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        length = torch.where(near.count > 0, norm_weight / 2 * square, 0)
        return length - near.mean(near.sim), near.mean(log_add_to_each(near.sim, far))

    pairs = pair_sums(
        where, rows, labels, references, reference_labels,
        push=FullPrecision(LogSumExp(1.0)), sides=sides, tensors=(squares,), similarity="dot", pairing=pairing,
    )  # fmt: skip
    return cast(PairSums, _OneToOne(pairs, norm_weight)) if _is_one_to_one(pairs) else pairs


class NPairsLoss(Objective):
    """Module form of :func:`n_pairs_loss`."""

    function = staticmethod(n_pairs_loss)

    def __init__(self, *, norm_weight: float = 0.002, pairing: Pairing = Pairing()) -> None:
        super().__init__(norm_weight=norm_weight, pairing=pairing)


@dataclass(frozen=True)
class _OneToOne:
    """N-pairs of rows with one positive each, the reference of their own place: a cross-entropy."""

    pairs: PairSums
    norm_weight: float

    def total(self) -> Tensor:
        with without_autocast(self.pairs.embeddings.device):
            x, others = in_one_type(self.pairs.embeddings, cast(Tensor, self.pairs.references))
            own = torch.arange(len(x), device=x.device)
            value = F.cross_entropy(x @ others.T, own)
            return value + self.norm_weight / 2 * x.square().sum() / len(x) if self.norm_weight else value

    def plain(self) -> Tensor:
        return self.pairs.plain()

    def sides(self) -> tuple[Tensor, Tensor]:
        return self.pairs.sides()


def _is_one_to_one(pairs: PairSums) -> bool:
    """Whether labels say so, nothing is asked of the pairing, and all products fit a block."""
    return (
        pairs.references is not None
        and pairs.pairing == Pairing()
        and 0 < len(pairs.labels) ** 2 <= BLOCK_ELEMENTS
        and are_partners(pairs.labels, pairs.reference_labels)
    )


@pair_loss
def tuplet_margin_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    margin: float = 0.1,
    scale: float = 64.0,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Tuplet margin: a softmax of each positive against the negatives, the positive's angle less a slack.

    .. math::
        \operatorname{mean}_{i,\, p \in P_i}
        \log\Bigl(1 + \sum_{j \in N_i} e^{\sigma (\cos \theta_{ij} - \cos(\theta_{ip} - m))}\Bigr)

    with :math:`\theta` the angle between rows, over all positive pairs.  A positive nearer than m is pushed away.
    Tightness is the mean of :math:`-\sigma \cos(\theta_{ip} - m)`, contrast that of the log of the denominators.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) what to compare with; None is the batch itself.
        reference_labels: (m,) their class ids.
        margin: m >= 0 in radians; the paper's 5.73 degrees.
        scale: σ > 0.
        pairing: what all pair losses share; similarities are taken for cosines.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, margin is negative, or scale is not > 0.

    Reference: Yu and Tao, ICCV 2019, who add :func:`intra_pair_variance_loss`.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> tuplet_margin_loss(x, torch.tensor([0, 0, 1]), margin=0.0, scale=1.0)
    tensor(0.8437)
    """
    where = "tuplet_margin_loss"
    check_positive(where, scale=scale)
    check_not_negative(where, margin=margin)

    def sides(near: Near, far: Tensor) -> tuple[Mean, Mean]:
        z = scale * _turned(near.sim, margin)
        return Mean(-near.sum(z), near.count), Mean(near.sum(log_add_to_each(z, far)), near.count)

    return pair_sums(
        where, embeddings, labels, references, reference_labels,
        push=LogSumExp(scale), sides=sides, pairing=pairing,
    )  # fmt: skip


class TupletMarginLoss(Objective):
    """Module form of :func:`tuplet_margin_loss`."""

    function = staticmethod(tuplet_margin_loss)

    def __init__(self, *, margin: float = 0.1, scale: float = 64.0, pairing: Pairing = Pairing()) -> None:
        super().__init__(margin=margin, scale=scale, pairing=pairing)


def _turned(cosine: Tensor, angle: float) -> Tensor:
    """The cosine of an angle less another; the sine of equal rows is 0, with slope 0 where it has none."""
    square, least = 1 - cosine.square(), 4 * torch.finfo(cosine.dtype).eps
    sine = square.clamp(min=least).sqrt() * (square > least)
    return cosine * cos(angle) + sine * sin(angle)
