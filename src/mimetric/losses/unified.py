"""Unified negative pairs: a margin softmax over class weights that meets the batch's own negative pairs as well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, get_args

from torch import Tensor

from ..core.checks import check_choice, check_positive
from ..core.class_sums import ClassSums
from ..core.errors import InputError
from ..core.objective import Objective
from ..core.pairing import Pairing
from ..core.pairs import pair_loss
from ..core.pooled import pooled_logsumexp
from ..core.reduce import log_add_to
from .adaptive_margin import magface_loss
from .against_classes import against_classes, class_weights
from .margin import arcface_loss, cosface_loss

Head = Literal["cosface", "arcface", "magface"]
_HEADS = {"cosface": cosface_loss, "arcface": arcface_loss, "magface": magface_loss}


@pair_loss
def unified_negative_pairs_loss(
    embeddings: Any,
    labels: Any,
    weight: Any,
    *,
    head: Head = "arcface",
    margin: float = 0.5,
    scale: float = 64.0,
    whisker: float = 1.5,
    pairing: Pairing = Pairing(),
) -> ClassSums:
    r"""Unified negative pair generation (UNPG): the negative pairs of the batch are further logits of every row.

    .. math:: \frac1n \sum_i -\log \frac{e^{\sigma u_i}}
              {e^{\sigma u_i} + \sum_{c \ne y_i} e^{\sigma \cos \theta_{ic}} + \sum_{q \in S} e^{\sigma q}}

    with :math:`u_i` the cosine to the weight of the own class less a margin, as the head has it, and S the cosines of
    all pairs i < j of the batch with different labels, the same set for every row.  Class weights settle at class
    centers, so the head alone never meets the hardest pairs of rows.  Outliers of S at both ends are left out, for
    very similar negatives may be labeled wrongly: with its quartiles it holds
    :math:`Q_1 - r (Q_3 - Q_1) \le q \le Q_3 + r (Q_3 - Q_1)`.  Tightness is :math:`-\sigma u_i`, contrast the log of
    the denominator.  Unlabelled rows (-1) add 0 to a mean over all n, and are negatives of everything.

    The loss is that of the head plus the mean of :math:`\log(1 + e^{z - z_i})`, with z the log-sum over S and
    :math:`z_i` the head's own: with few classes or a small scale S rules the denominator, and the least loss rises.
    Memory is that of blocks of pairs.  S adds four products of the batch with itself to those of the head, and its
    quartiles two more.

    Args:
        embeddings: (n, d) floating point, of any norm (but under "magface", where it is the quality of a row).
        labels: (n,) integer class ids in 0..C-1, or -1.
        weight: (C, d) one row per class, of any norm.
        head: :func:`cosface_loss`, :func:`arcface_loss` or :func:`magface_loss`, other options at their defaults.
        margin: m of "cosface" in cosine units, of "arcface" in radians; "magface" has margins of its own.
        scale: σ > 0.
        whisker: r >= 0; the authors have 1.5, and 1 on K-FACE.  ``inf`` leaves nothing out, which keeps the hardest
            pairs of clean data.
        pairing: reduction, weights, block.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, scale is not > 0, whisker is negative, an
            unknown head, or the pairing has another similarity, a mining or a relation.

    Reference: Jung et al., BMVC 2022, arXiv:2203.11593, with the margins of their configuration.  Their ArcFace
    lets the cosine rise again where angle and margin pass π; here it is `beyond="linear"`.

    >>> import torch
    >>> x, weight = torch.eye(2), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> unified_negative_pairs_loss(x, [0, 1], weight, head="cosface", scale=1.0)  # logits 0.5, 0 and 0
    tensor(0.7944)
    """
    where = "unified_negative_pairs_loss"
    check_choice(where, "head", head, get_args(Head))
    check_positive(where, scale=scale)
    if not whisker >= 0:
        raise InputError(f"{where}: whisker must be >= 0, or inf for no filter, got {whisker}")
    batch = against_classes(where, embeddings, labels, weight, pairing)
    options = {} if head == "magface" else {"margin": margin}
    body = _HEADS[head].__wrapped__  # type: ignore[attr-defined]
    alone: ClassSums = body(batch.rows, batch.labels, batch.weight, scale=scale, pairing=pairing, **options)
    pool = pooled_logsumexp(where, batch.rows, batch.labels, scale=scale, whisker=whisker, pairing=pairing)
    return replace(_with(pool, alone), where=where)


class UnifiedNegativePairsLoss(Objective):
    """Class weights (C, width) and :func:`unified_negative_pairs_loss` on them."""

    function = staticmethod(unified_negative_pairs_loss)

    def __init__(
        self,
        width: int,
        num_classes: int,
        *,
        head: Head = "arcface",
        margin: float = 0.5,
        scale: float = 64.0,
        whisker: float = 1.5,
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(head=head, margin=margin, scale=scale, whisker=whisker, pairing=pairing)
        self.weight = class_weights(num_classes, width)


def _with(pool: Tensor, alone: ClassSums) -> ClassSums:
    """A softmax loss, its contrast the log of the denominators, with one more log-sum in each of these."""

    def sides(own: Tensor, rest: Tensor, pool: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        tightness, contrast = alone.of_sides(own, rest, *tensors)
        return tightness, log_add_to(contrast, pool.expand_as(contrast))

    return replace(alone, of_sides=sides, tensors=(pool, *alone.tensors))
