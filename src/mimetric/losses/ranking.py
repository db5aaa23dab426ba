"""Average precision made smooth: losses on the rank of each positive in its anchor's list.

A rank is a count of nearer references, here a sum of sigmoids (PNP, smooth AP) or of bins (FastAP).  That couples
each positive with everything else, so these have no tightness and contrast.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ..core.checks import check_choice, check_positive
from ..core.errors import InputError
from ..core.objective import Objective
from ..core.pairing import Pairing
from ..core.pairs import PairSums, pair_loss
from ..core.pushed import over_push
from ..core.pushes import Bins
from ..core.reduce import Near
from ..core.soft_ranks import Nearer, count_nearer

_VARIANTS = ("O", "Iu", "Ib", "Ds", "Dq")


@pair_loss
def pnp_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    variant: Literal["O", "Iu", "Ib", "Ds", "Dq"] = "O",
    temperature: float = 0.01,
    b: float = 2.0,
    alpha: float = 1.0,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""PNP loss: penalizes the negatives that come before positives, and nothing else.

    .. math::
        \frac1n \sum_i \frac1{|P_i|} \sum_{p \in P_i} g(R_{ip}), \qquad
        R_{ip} = \sum_{j \in N_i} \sigma\Bigl(\frac{s_{ij} - s_{ip}}T\Bigr)

    with cosine similarity s: :math:`R_{ip}` counts the negatives nearer than p.  An anchor without positives adds 0.
    Variants:

    - O: :math:`g = R`;
    - Iu: :math:`(1 + R) \log(1 + R)` and Ib: :math:`(b R - \log(1 + b R)) / b^2` hurry positives far down the list;
    - Ds: :math:`\log(1 + R)` and Dq: :math:`1 - (1 + R)^{-\alpha}` give those up, as they may be of another cluster
      of the class.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) the list of every anchor; None is the batch itself.
        reference_labels: (m,) their class ids.
        variant: g; the paper prefers Dq.
        temperature: T > 0, in cosine units.
        b: b > 0 of Ib.
        alpha: α > 0 of Dq; the authors' code trains with 4.
        pairing: ids, similarity, reduction, weights and block; no mining.

    Returns:
        Scalar >= 0, in negatives (O); at most 1 for Dq.
    Raises:
        InputError: shapes disagree, labels are not integers, an option out of range, or mining.

    Reference: Li et al., AAAI 2022, arXiv:2102.04640.  Their code and pytorch-metric-learning count the anchor as
    the first of its own positives: so does ``pnp_loss(x, y, x, y)``.  Time grows with the longest list of positives,
    memory does not.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> pnp_loss(x, torch.tensor([0, 0, 1]), variant="Dq")
    tensor(0.3333)
    """
    where = "pnp_loss"
    check_choice(where, "variant", variant, _VARIANTS)
    check_positive(where, temperature=temperature, b=b, alpha=alpha)

    def cost(near: Near, nearer: Tensor) -> Tensor:
        return near.mean(_penalty(variant, nearer, b, alpha))

    return over_push(
        where, embeddings, labels, references, reference_labels,
        push=Nearer(temperature), cost=cost, pairing=pairing,
    )  # fmt: skip


def _penalty(variant: str, nearer: Tensor, b: float, alpha: float) -> Tensor:
    """g of :func:`pnp_loss`."""
    if variant == "Iu":
        return (1 + nearer) * nearer.log1p()
    if variant == "Ib":
        return (b * nearer - (b * nearer).log1p()) / b**2
    if variant == "Ds":
        return nearer.log1p()
    if variant == "Dq":
        return 1 - (1 + nearer) ** -alpha
    return nearer


class PNPLoss(Objective):
    """Module form of :func:`pnp_loss`."""

    function = staticmethod(pnp_loss)
    sides = None  # type: ignore[assignment]  # whole rows have none

    def __init__(
        self,
        *,
        variant: Literal["O", "Iu", "Ib", "Ds", "Dq"] = "O",
        temperature: float = 0.01,
        b: float = 2.0,
        alpha: float = 1.0,
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(variant=variant, temperature=temperature, b=b, alpha=alpha, pairing=pairing)


@pair_loss
def smooth_ap_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    temperature: float = 0.01,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Smooth AP: average precision with sigmoids for the steps of its ranks.

    .. math::
        \frac1n \sum_i 1 - \frac1{|P_i|} \sum_{p \in P_i} \frac{1 + R^P_{ip}}{1 + R^P_{ip} + R^N_{ip}}, \qquad
        R^S_{ip} = \sum_{j \in S_i, j \ne p} \sigma\Bigl(\frac{s_{ij} - s_{ip}}T\Bigr)

    with cosine similarity s: :math:`R^P` and :math:`R^N` count the positives and negatives nearer than p.  An anchor
    without positives adds 0.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled; classes may be of any size.
        references: (m, d) the list of every anchor; None is the batch itself.
        reference_labels: (m,) their class ids.
        temperature: T > 0, in cosine units.
        pairing: ids, similarity, reduction, weights and block; no mining.

    Returns:
        Scalar in 0..1.
    Raises:
        InputError: shapes disagree, labels are not integers, temperature is not > 0, or mining.

    Reference: Brown et al., ECCV 2020, arXiv:2007.12163.  Their code and pytorch-metric-learning count the
    anchor as the first of its own positives: so does ``smooth_ap_loss(x, y, x, y)``.  Time grows with the longest
    list of positives, memory does not.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> smooth_ap_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.3333)
    """
    where = "smooth_ap_loss"
    check_positive(where, temperature=temperature)

    def cost(near: Near, nearer: Tensor) -> Tensor:
        among = torch.where(near.valid, near.sim, -torch.inf)
        # From 1: itself it counts as half a nearer one.
        place = 0.5 + count_nearer(among, near.sim, temperature)
        return near.mean(nearer / (place + nearer))

    return over_push(
        where, embeddings, labels, references, reference_labels,
        push=Nearer(temperature), cost=cost, pairing=pairing,
    )  # fmt: skip


class SmoothAPLoss(Objective):
    """Module form of :func:`smooth_ap_loss`."""

    function = staticmethod(smooth_ap_loss)
    sides = None  # type: ignore[assignment]  # whole rows have none

    def __init__(self, *, temperature: float = 0.01, pairing: Pairing = Pairing()) -> None:
        super().__init__(temperature=temperature, pairing=pairing)


@pair_loss
def fast_ap_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    num_bins: int = 10,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""FastAP: average precision of lists that are sorted no finer than into bins.

    .. math::
        \frac1n \sum_i 1 - \frac1{|P_i|} \sum_{l=0}^{L} \frac{h^P_{il} H^P_{il}}{H_{il}}

    with histograms :math:`h^P, h` of the squared distances :math:`2 - 2 s`, in 0..4, from the anchor to its positives
    and to all, and their running sums H.  A distance is shared between the two bin edges next to it, of which there
    are L + 1.  An anchor without positives adds 0.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) the list of every anchor; None is the batch itself.
        reference_labels: (m,) their class ids.
        num_bins: L >= 1.
        pairing: ids, reduction, weights and block; no mining.

    Returns:
        Scalar in 0..1.
    Raises:
        InputError: shapes disagree, labels are not integers, num_bins < 1, mining or another similarity is asked.

    Reference: Cakir et al., CVPR 2019.  The mean over anchors leaves none out; pytorch-metric-learning leaves out
    those without positives.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> fast_ap_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.3333)
    """
    where = "fast_ap_loss"
    if num_bins < 1:
        raise InputError(f"{where}: num_bins must be at least 1, got {num_bins}")
    if pairing.similarity not in (None, "cosine"):
        raise InputError(
            f"{where}: its bins are those of rows of length 1; leave similarity out of the pairing"
        )

    push = Bins(num_bins)

    def cost(near: Near, far: Tensor) -> Tensor:
        positives = push.histogram(near.sim, near.valid).flip(1)  # in order of distance
        so_far = positives.cumsum(1)
        everything = so_far + far.flip(1).cumsum(1)
        precision = so_far / torch.where(everything > 0, everything, 1)
        return (near.count > 0).to(near.sim.dtype) - (positives * precision).sum(1) / near.count.clamp(min=1)

    return over_push(
        where, embeddings, labels, references, reference_labels,
        push=push, cost=cost, pairing=pairing,
    )  # fmt: skip


class FastAPLoss(Objective):
    """Module form of :func:`fast_ap_loss`."""

    function = staticmethod(fast_ap_loss)
    sides = None  # type: ignore[assignment]  # whole rows have none

    def __init__(self, *, num_bins: int = 10, pairing: Pairing = Pairing()) -> None:
        super().__init__(num_bins=num_bins, pairing=pairing)
