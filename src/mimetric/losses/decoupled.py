"""Decoupled contrastive learning: the positive leaves the denominator."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import torch
from torch import Tensor

from ..core.checks import check_positive
from ..core.exponentials import LogSumExp
from ..core.objective import Objective
from ..core.pairing import Pairing
from ..core.pairs import PairSums, pair_loss, pair_sums
from ..core.reduce import Mean, Near
from ..core.terms import Hardest


@pair_loss
def decoupled_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    temperature: float = 0.1,
    sigma: float = inf,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Decoupled contrastive loss: NT-Xent without the positive in the denominator, its positives weighted or not.

    .. math::
        \frac1n \sum_i \frac{-1}{|P_i|} \sum_{p \in P_i} w_{ip} z_{ip} + \log \sum_{j \in N_i} e^{z_{ij}}, \qquad
        w_{ip} = 2 - \frac{e^{s_{ip} / \sigma}}{E}

    with :math:`z = s / T`, cosine similarity s and E the mean of :math:`e^{s / \sigma}` over all positive pairs.
    With an infinite σ every weight is 1: DCL.  With a finite one it is DCLW: negative von Mises-Fisher weights, of
    mean 1, which pull positives that are near already less, and may push them.  Gradients run through weights and
    E, as in public code of it.  An anchor without positives or without negatives adds 0.  Tightness is the part of the
    positives, contrast the log-sum.

    Two views are rows and references with instance ids as labels (negatives of the other view only), or one
    batch of both (negatives of both, as in the paper).  A finite σ costs a second pass over the pairs.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) what to compare with, such as the other view; None is the batch itself.
        reference_labels: (m,) their class ids.
        temperature: T > 0, in cosine units.
        sigma: σ > 0, in cosine units; infinite is DCL, the paper's DCLW has 0.5.
        pairing: what all pair losses share: ids, mining, similarity, block.

    Returns:
        Scalar of any sign, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, or temperature or sigma is not > 0.

    Reference: Yeh et al., ECCV 2022, arXiv:2110.06848.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> decoupled_loss(x, torch.tensor([0, 0, 1]), temperature=1.0)
    tensor(0.1867)
    """
    check_positive("decoupled_loss", temperature=temperature, sigma=sigma)
    data = (embeddings, labels, references, reference_labels)
    tensors = () if sigma == inf else (_mean_density(data, sigma, pairing),)

    def sides(near: Near, far: Tensor, *mean: Tensor) -> tuple[Tensor, Tensor]:
        z, both = near.sim / temperature, _both(near, far)
        if mean:
            z = (2 - _density(near, sigma) / mean[0]) * z
        return torch.where(both, -near.mean(z), 0), torch.where(both, far, 0)

    return pair_sums(
        "decoupled_loss", *data, push=LogSumExp(1 / temperature), sides=sides, tensors=tensors, pairing=pairing
    )  # fmt: skip


def _mean_density(data: tuple[Any, ...], sigma: float, pairing: Pairing) -> Tensor:
    """The mean density of the positive pairs, with its gradient; 1 where there are none."""

    def sides(near: Near, far: Tensor) -> tuple[Mean, Tensor]:
        both = _both(near, far)
        density = torch.where(both, near.sum(_density(near, sigma)), 0)
        return Mean(density, torch.where(both, near.count, 0)), torch.zeros_like(far)

    pairing = replace(pairing, reduction=None, weights=None)
    mean = pair_sums("decoupled_loss", *data, push=Hardest(), sides=sides, pairing=pairing).total()
    return torch.where(mean > 0, mean, 1)


def _both(near: Near, far: Tensor) -> Tensor:
    """Which anchors have a positive and a negative."""
    return (near.count > 0) & (far > -inf)


def _density(near: Near, sigma: float) -> Tensor:
    return ((near.sim - 1) / sigma).exp()  # the 1 cancels in the weight; no cosine overflows


class DecoupledLoss(Objective):
    """Module form of :func:`decoupled_loss`."""

    function = staticmethod(decoupled_loss)

    def __init__(self, *, temperature: float = 0.1, sigma: float = inf, pairing: Pairing = Pairing()) -> None:
        super().__init__(temperature=temperature, sigma=sigma, pairing=pairing)
