"""Anchors with a positive each and hard negatives beside them, as files of text pairs have it."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_choice, check_positive, check_rows
from ..core.diagonal import partner_cross_entropy, suits
from ..core.errors import InputError
from ..core.guided import GuidedMining
from ..core.objective import Bound
from ..core.pairing import Pairing
from ..core.similarity import full_precision, in_one_type, normalized
from .contrast import nt_xent_loss


def explicit_pairs(
    anchors: Any, positives: Any, negatives: Any = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Explicit anchors, positives and negatives, as any pair loss takes them: ``loss(*explicit_pairs(...))``.

    Row i of the positives is the one positive of anchor i.  Its negatives are all other positives of the batch
    and all negatives, whichever anchor they came with.

    Args:
        anchors: (n, d) floating point.
        positives: (n, d), one for each anchor.
        negatives: (n, h, d), some for each anchor, or (m, d) in any order; None is none.

    Returns:
        Embeddings, their ids 0..n-1; references (positives, then negatives) and their ids, -1 for negatives.
    Raises:
        InputError: shapes disagree, or rows are not floating point.

    >>> from mimetric.losses import nt_xent_loss
    >>> anchors, positives = torch.tensor([[1., 0.], [0.6, 0.8]]), torch.tensor([[0.8, 0.6], [0., 1.]])
    >>> data = explicit_pairs(anchors, positives, negatives=torch.tensor([[1., 1.]]))
    >>> data[3]
    tensor([ 0,  1, -1])
    >>> nt_xent_loss(*data, temperature=1.0)
    tensor(1.0388)
    """
    anchors, positives, negatives = _checked("explicit_pairs", anchors, positives, negatives)
    ids = torch.arange(len(anchors), device=anchors.device)
    nobody = ids.new_full((len(negatives),), -1)
    return anchors, ids, torch.cat((positives, negatives)), torch.cat((ids, nobody))


def _checked(where: str, anchors: Any, positives: Any, negatives: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Anchors (n, d), positives (n, d) and all negatives (m, d), perhaps none."""
    anchors, positives = check_rows(where, "anchors", anchors), check_rows(where, "positives", positives)
    n, width = anchors.shape
    if positives.shape != anchors.shape:
        raise InputError(
            f"{where}: positives must have shape {(n, width)}, one for each anchor, got {tuple(positives.shape)}"
        )
    if negatives is None:
        return anchors, positives, positives[:0]
    given = as_tensor(where, "negatives", negatives)
    rows = given.flatten(0, 1) if given.ndim == 3 and len(given) == n else given
    if rows.ndim != 2 or rows.shape[1] != width:
        raise InputError(
            f"{where}: negatives must have shape ({n}, negatives of each, {width}) or (negatives, {width}) to match "
            f"anchors {(n, width)}, got {tuple(given.shape)}"
        )
    return anchors, positives, check_rows(where, "negatives", rows)


# Not in the catalog of `compare`: what it takes is explicit rows; with labels it is nt_xent_loss.
def multiple_negatives_ranking_loss(
    anchors: Any,
    positives: Any,
    negatives: Any = None,
    *,
    scale: float = 20.0,
    direction: Literal["forward", "both"] = "forward",
) -> Tensor:
    r"""Multiple negatives ranking: each anchor finds its positive among all positives and negatives of the batch.

    .. math::
        \frac1n \sum_i -\log \frac{e^{\sigma c(a_i, p_i)}}
                                 {\sum_j e^{\sigma c(a_i, p_j)} + \sum_k e^{\sigma c(a_i, q_k)}}

    with cosine c, positives p and negatives q.  It is :func:`nt_xent_loss` of :func:`explicit_pairs` at temperature
    :math:`1 / \sigma`; call that for tightness and contrast, another similarity, mining or a reduction.  In both
    directions it is the mean of this and of each positive finding its anchor among the anchors; without negatives
    that is :func:`symmetric_nt_xent_loss` at a fixed temperature.

    Args:
        anchors: (n, d) floating point, of any norm.
        positives: (n, d), one for each anchor.
        negatives: (n, h, d), some for each anchor, or (m, d) in any order; None is none.
        scale: σ > 0, one over a temperature in cosine units.
        direction: one way, or both.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, rows are not floating point, scale is not > 0, or an unknown direction.

    Reference: Henderson et al., arXiv:1705.00652, on dot products.  Defaults are those of
    sentence-transformers, ``MultipleNegativesRankingLoss`` and, both ways, ``MultipleNegativesSymmetricRankingLoss``.

    >>> anchors, positives = torch.tensor([[1., 0.], [0.6, 0.8]]), torch.tensor([[0.8, 0.6], [0., 1.]])
    >>> multiple_negatives_ranking_loss(anchors, positives, scale=1.0)
    tensor(0.5737)
    >>> multiple_negatives_ranking_loss(anchors, positives, torch.tensor([[1., 1.]]), scale=1.0)
    tensor(1.0388)
    """
    where = "multiple_negatives_ranking_loss"
    check_positive(where, scale=scale)
    check_choice(where, "direction", direction, ("forward", "both"))
    x, own, others = _checked(where, anchors, positives, negatives)
    rows = in_one_type(x, own if negatives is None else torch.cat((own, others)))
    if suits(*rows, scale):
        return partner_cross_entropy(*rows, scale, both=direction == "both")
    x, ids, references, reference_ids = explicit_pairs(x, own, others)
    forward = nt_xent_loss(x, ids, references, reference_ids, temperature=1 / scale)
    if direction == "forward":
        return forward
    return (forward + nt_xent_loss(references[: len(x)], ids, x, ids, temperature=1 / scale)) / 2


class MultipleNegativesRankingLoss(Bound):
    """Module form of :func:`multiple_negatives_ranking_loss`."""

    function = staticmethod(multiple_negatives_ranking_loss)

    def __init__(self, *, scale: float = 20.0, direction: Literal["forward", "both"] = "forward") -> None:
        super().__init__(scale=scale, direction=direction)

    def forward(self, anchors: Any, positives: Any, negatives: Any = None) -> Tensor:
        return multiple_negatives_ranking_loss(anchors, positives, negatives, **self.options)


# Not in the catalog of `compare`, which has no guide.
def gist_embed_loss(
    anchors: Any,
    positives: Any,
    negatives: Any = None,
    *,
    guide: tuple[Any, ...],
    temperature: float = 0.01,
    margin: float = 0.0,
    margin_kind: Literal["absolute", "relative"] = "absolute",
) -> Tensor:
    r"""GISTEmbed: multiple negatives, less those that a second encoder finds nearer than the positive.

    .. math::
        \frac1n \sum_i -\log \frac{e^{c(a_i, p_i) / T}}{e^{c(a_i, p_i) / T} + \sum_{(u, v) \in N_i} e^{c(u, v) / T}}

    with cosine c.  The pairs :math:`N_i` are the anchor with all other positives, all other anchors and all negatives,
    and its positive with all other positives; of these only those with guide similarity
    :math:`g(u, v) \le g(a_i, p_i) - m`, or :math:`g(a_i, p_i) (1 - m)` with a relative margin.

    For another loss, or without pairs of anchors and pairs of positives, give any pair loss
    ``Pairing(mining=GuidedMining(...))`` with :func:`explicit_pairs`.  Here a row is an anchor beside its positive, so
    that products are as wide as both.

    Args:
        anchors: (n, d) floating point, of any norm.
        positives: (n, d), one for each anchor.
        negatives: (n, h, d), some for each anchor, or (m, d) in any order; None is none.
        guide: the guide's embeddings of the same, in the same order and shapes but for their width.
        temperature: T > 0, in cosine units.
        margin: m.
        margin_kind: how it is taken off.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, rows are not floating point, temperature is not > 0, or an unknown word.

    Reference: Solatorio, arXiv:2402.16829.  Defaults are those of sentence-transformers' ``GISTEmbedLoss``, which
    keeps the pair of an anchor and itself where the guide cannot tell anchor and positive apart.

    >>> anchors, positives = torch.tensor([[1., 0.], [0.6, 0.8]]), torch.tensor([[0.8, 0.6], [0., 1.]])
    >>> gist_embed_loss(anchors, positives, guide=(anchors, positives), temperature=1.0)
    tensor(1.0485)
    """
    where = "gist_embed_loss"
    check_positive(where, temperature=temperature)
    if len(guide) not in (2, 3):
        raise InputError(
            f"{where}: guide must be (anchors, positives) or (anchors, positives, negatives), got {len(guide)} of them"
        )
    rows, references = _all_pairs(where, anchors, positives, negatives)
    guide_rows, guide_references = _all_pairs(f"{where}: guide", *guide)
    mining = GuidedMining(
        guide_rows, guide_references, margin=margin, margin_kind=margin_kind, similarity="dot"
    )
    ids = torch.arange(len(rows), device=rows.device)
    nobody = ids.new_full((len(references) - 3 * len(rows),), -1)
    # Of the three references that belong to an anchor, its positive is one; the other two are the anchor itself.
    pairing = Pairing(
        ids=ids,
        reference_ids=torch.cat((torch.full_like(ids, -1), ids, ids, nobody)),
        mining=mining,
        similarity="dot",
    )
    labels = torch.cat((ids, ids, ids, nobody))
    return nt_xent_loss(rows, ids, references, labels, temperature=temperature, pairing=pairing)


def _all_pairs(where: str, anchors: Any, positives: Any, negatives: Any = None) -> tuple[Tensor, Tensor]:
    """Rows whose products are the cosines of GISTEmbed's pairs: an anchor beside its positive, and for references
    positives, anchors and negatives beside zeros and zeros beside positives."""
    a, p, q = (normalized(full_precision(x)) for x in _checked(where, anchors, positives, negatives))
    right = a.new_zeros(a.shape)
    references = [
        torch.cat((p, right), 1),
        torch.cat((a, right), 1),
        torch.cat((right, p), 1),
        torch.cat((q, q.new_zeros(q.shape)), 1),
    ]
    return torch.cat((a, p), 1), torch.cat(references)


class GISTEmbedLoss(Bound):
    """Module form of :func:`gist_embed_loss`."""

    function = staticmethod(gist_embed_loss)

    def __init__(
        self,
        *,
        temperature: float = 0.01,
        margin: float = 0.0,
        margin_kind: Literal["absolute", "relative"] = "absolute",
    ) -> None:
        super().__init__(temperature=temperature, margin=margin, margin_kind=margin_kind)

    def forward(
        self, anchors: Any, positives: Any, negatives: Any = None, *, guide: tuple[Any, ...]
    ) -> Tensor:
        return gist_embed_loss(anchors, positives, negatives, guide=guide, **self.options)
