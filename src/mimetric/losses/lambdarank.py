"""LambdaRank: pairs of references in the wrong order, each worth what it would change in nDCG to swap them."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.checks import check_choice, check_positive
from ..core.classes import Rows
from ..core.errors import InputError
from ..core.objective import Objective
from ..core.pairing import Pairing
from ..core.pairs import PairSums, pair_loss
from .listwise import Lists, listed, over_lists

Gain = Literal["exponential", "linear"]


@pair_loss
def lambdarank_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    scale: float = 1.0,
    gain: Gain = "exponential",
    k: int | None = None,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""LambdaRank: a pair in the wrong order costs as much as it would change nDCG to swap its two.

    .. math::
        \frac1n \sum_i \frac1{D_i} \sum_{j, l: y_{ij} > y_{il}} |g_{ij} - g_{il}| \,
            \Bigl|\frac1{\log_2(1 + r_{ij})} - \frac1{\log_2(1 + r_{il})}\Bigr|
            \log\bigl(1 + e^{\sigma (s_{il} - s_{ij})}\bigr)

    with cosine similarity s, over all references of anchor i but itself, relevance y, gain g, and rank r by
    similarity, where of equal ones the less relevant stands first; :math:`D_i` is the DCG of the best ranking.  Ranks
    have no gradient.  An anchor without positives, or without others, adds 0.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) the list of every anchor; None is the batch itself.
        reference_labels: (m,) their class ids.
        scale: σ > 0, one over a temperature in cosine units.
        gain: g, ``"exponential"`` is :math:`2^y - 1`, ``"linear"`` is y; with labels they are the same.
        k: of nDCG@k: places behind k count nothing; None is the whole list.
        pairing: ids, related (bool or grades), similarity, reduction, weights and block; no mining.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, scale is not > 0, k < 1, an unknown gain, or mining.

    Reference: Burges et al., NIPS 2006; this cost, whose gradient are its lambdas: Burges, MSR-TR-2010-82.  allRank
    counts in bits and sums over lists.  Time grows with the longest list of positives, memory does not.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> lambdarank_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.2076)
    """
    where = "lambdarank_loss"
    check_positive(where, scale=scale)
    check_choice(where, "gain", gain, get_args(Gain))
    _check_places(where, k)

    def cost(rows: Rows) -> Tensor:
        found = listed(rows)
        gains = torch.exp2(found.relevance) - 1 if gain == "exponential" else found.relevance
        discounts = 1 / torch.arange(2, gains.shape[1] + 2, dtype=gains.dtype, device=gains.device).log2()
        if k is not None:
            discounts[k:] = 0
        best = (gains.clamp(min=0).sort(dim=1, descending=True).values * discounts).sum(1)
        share = torch.where(found.valid, gains, torch.inf) / torch.where(best > 0, best, 1)[:, None]
        discount = torch.empty_like(gains).scatter_(1, _ranking(found), discounts.expand_as(gains))
        columns, valid = rows.runs.columns, rows.near.valid
        of_positives = torch.where(valid, share.gather(1, columns), -torch.inf)
        swaps = _Swaps.apply(
            scale * rows.sim,
            scale * rows.near.sim,
            share,
            of_positives,
            discount,
            discount.gather(1, columns),
        )  # type: ignore[no-untyped-call]
        return cast(Tensor, swaps)

    return over_lists(where, embeddings, labels, references, reference_labels, cost, inf, pairing)


class LambdaRankLoss(Objective):
    """Module form of :func:`lambdarank_loss`."""

    function = staticmethod(lambdarank_loss)
    sides = None  # type: ignore[assignment]  # whole rows have none

    def __init__(
        self,
        *,
        scale: float = 1.0,
        gain: Gain = "exponential",
        k: int | None = None,
        pairing: Pairing = Pairing(),
    ) -> None:
        check_positive("LambdaRankLoss", scale=scale)
        check_choice("LambdaRankLoss", "gain", gain, get_args(Gain))
        _check_places("LambdaRankLoss", k)
        super().__init__(scale=scale, gain=gain, k=k, pairing=pairing)


def _check_places(where: str, k: int | None) -> None:
    if k is not None and k < 1:
        raise InputError(f"{where}: k must be at least 1, or None for the whole list, got {k}")


def _ranking(found: Lists) -> Tensor:
    """(k, m) columns by falling similarity, of equal ones the less relevant first."""
    by_relevance = found.relevance.argsort(dim=1, stable=True)
    nearest = found.sim.detach().gather(1, by_relevance).argsort(dim=1, descending=True, stable=True)
    return by_relevance.gather(1, nearest)


class _Swaps(torch.autograd.Function):
    """apply(sim (k, m), of (k, p), gains and discounts of both) -> (k,), one positive at a time: not (k, p, m).

    A pair counts where the gain of the positive is larger; +inf in gains of references and -inf in those of positives
    leave one out.
    """

    @staticmethod
    def forward(
        ctx: Any,
        sim: Tensor,
        of: Tensor,
        gain: Tensor,
        gain_of: Tensor,
        discount: Tensor,
        discount_of: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(sim, of, gain, gain_of, discount, discount_of)
        total = sim.new_zeros(len(sim))
        for one, weight in _swapped(of, gain, gain_of, discount, discount_of):
            total += (weight * F.softplus(sim - one, threshold=50)).sum(1)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        sim, of, *others = ctx.saved_tensors
        to_sim, to_of = torch.zeros_like(sim), []
        for one, weight in _swapped(of, *others):
            slope = weight * (sim - one).sigmoid() * grad[:, None]
            to_sim = to_sim + slope
            to_of.append(-slope.sum(1))
        return to_sim, torch.stack(to_of, 1), None, None, None, None


def _swapped(
    of: Tensor, gain: Tensor, gain_of: Tensor, discount: Tensor, discount_of: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each positive (k, 1) in turn: its similarity, and what it would change to swap it with each reference."""
    for one, own, at in zip(*(torch.split(x, 1, 1) for x in (of, gain_of, discount_of))):
        yield one, (own - gain).clamp_(min=0).mul_((at - discount).abs_())
