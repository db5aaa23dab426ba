"""Recall at k made smooth: how many positives stand in a list's first places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.checks import check_positive
from ..core.errors import InputError
from ..core.objective import Objective
from ..core.pairing import Pairing
from ..core.pairs import PairSums, pair_loss
from ..core.pushed import over_push
from ..core.reduce import Near
from ..core.soft_ranks import Nearer, count_nearer


@pair_loss
def recall_at_k_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    ks: int | Sequence[int] = (1, 2, 4, 8, 16),
    temperature: float = 0.01,
    k_temperature: float | Sequence[float] = 1.0,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Recall at k by sigmoids: one for each reference that stands before a positive, one for the first k places.

    .. math::
        \frac1n \sum_i 1 - \frac1{|K|} \sum_{k \in K} \frac{\min(k, \sum_{p \in P_i} \sigma((k - r_{ip}) / T_k))}
            {\min(k, |P_i|)}, \qquad r_{ip} = 1 + \sum_{j \ne p} \sigma\Bigl(\frac{s_{ij} - s_{ip}}T\Bigr)

    with cosine similarity s over the positives and negatives j of anchor i.  An anchor without positives adds 0.  The
    value of a perfect list is not 0: at rank k the second sigmoid is one half.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled; classes may be of any size.
        references: (m, d) the list of every anchor; None is the batch itself.
        reference_labels: (m,) their class ids.
        ks: K, one k >= 1 or several.
        temperature: T > 0 of ranks, in cosine units.
        k_temperature: T_k > 0 of the first k places, in ranks: one number, or one for each k.
        pairing: ids, similarity, reduction, weights and block; no mining.

    Returns:
        Scalar in 0..1.
    Raises:
        InputError: shapes disagree, labels are not integers, an option out of range, or mining.

    Reference: Patel, Tolias and Matas, CVPR 2022, arXiv:2108.11179; similarity mixup (SiMix) is left out.  Their code
    has min(k, |P|), and ``k_temperature=ks`` by default; it counts the anchor as a reference that stands before every
    other.  Time grows with the longest list of positives, memory does not.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> recall_at_k_loss(x, torch.tensor([0, 0, 1]), ks=[1, 2])  # both positives at rank 2
    tensor(0.4104)
    """
    where = "recall_at_k_loss"
    places, widths = _checked(where, ks, temperature, k_temperature)

    def cost(near: Near, nearer: Tensor) -> Tensor:
        among = torch.where(near.valid, near.sim, -torch.inf)
        # From 1: itself it counts as half a nearer one.
        rank = 0.5 + count_nearer(among, near.sim, temperature) + nearer
        some, missed = near.count > 0, torch.zeros_like(near.count)
        for k, width in zip(places, widths):
            found = near.sum(((k - rank) / width).sigmoid()).clamp(max=k)
            missed = missed + torch.where(some, 1 - found / near.count.clamp(1, k), 0)
        return missed / len(places)

    return over_push(
        where, embeddings, labels, references, reference_labels,
        push=Nearer(temperature), cost=cost, pairing=pairing,
    )  # fmt: skip


def _checked(
    where: str, ks: int | Sequence[int], temperature: float, k_temperature: float | Sequence[float]
) -> tuple[list[int], list[float]]:
    """Each k, and its temperature."""
    check_positive(where, temperature=temperature)
    places = [ks] if isinstance(ks, int) else list(ks)
    if not places or any(not isinstance(k, int) or k < 1 for k in places):
        raise InputError(f"{where}: ks must be one or more integers >= 1, got {places}")
    widths = list(k_temperature) if isinstance(k_temperature, Sequence) else [k_temperature] * len(places)
    if len(widths) != len(places):
        raise InputError(
            f"{where}: k_temperature must be one number, or one for each of the {len(places)} ks, got {len(widths)}"
        )
    for width in widths:
        check_positive(where, k_temperature=width)
    return places, widths


class RecallAtKLoss(Objective):
    """Module form of :func:`recall_at_k_loss`."""

    function = staticmethod(recall_at_k_loss)
    sides = None  # type: ignore[assignment]  # whole rows have none

    def __init__(
        self,
        *,
        ks: int | Sequence[int] = (1, 2, 4, 8, 16),
        temperature: float = 0.01,
        k_temperature: float | Sequence[float] = 1.0,
        pairing: Pairing = Pairing(),
    ) -> None:
        _checked("RecallAtKLoss", ks, temperature, k_temperature)
        super().__init__(ks=ks, temperature=temperature, k_temperature=k_temperature, pairing=pairing)
