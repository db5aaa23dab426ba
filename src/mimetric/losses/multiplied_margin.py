"""Softmax over class weights whose own class is at a multiple of its angle."""

from __future__ import annotations

from math import cos, pi
from typing import Any

import torch
from torch import Tensor

from ..core.class_sums import ClassSums, Softmax
from ..core.errors import InputError
from ..core.objective import Objective
from ..core.pairing import Pairing
from ..core.pairs import pair_loss
from .against_classes import AgainstClasses, Number, against_classes, class_weights


@pair_loss
def large_margin_softmax_loss(
    embeddings: Any,
    labels: Any,
    weight: Any,
    *,
    margin: int = 4,
    lam: Number = 0.0,
    pairing: Pairing = Pairing(),
) -> ClassSums:
    r"""Large-margin softmax (L-Softmax): the own class's angle times a whole number, lengths as they are.

    .. math:: \frac1n \sum_i -\log \frac{e^{f_i}}{e^{f_i} + \sum_{c \ne y_i} e^{x_i^T \theta_c}}, \qquad
              f_i = |x_i| |\theta_{y_i}| \frac{\lambda \cos \theta + \psi(\theta)}{1 + \lambda}, \qquad
              \psi(\theta) = (-1)^k \cos(m \theta) - 2k

    with the angle θ of row and own class weight and k the whole part of mθ/π, which makes ψ fall all the way from 1 to
    1 - 2m.  cos(mθ) is a polynomial in the cosine: no angle is computed, and slopes are finite everywhere.  The two
    sides and unlabelled rows are as in :func:`cosface_loss`.

    Args:
        embeddings: (n, d) floating point; their norm matters.
        labels: (n,) integer class ids in 0..C-1, or -1.
        weight: (C, d) one row per class; its norm matters.
        margin: m >= 1, a whole number; 1 is plain cross-entropy.  The paper has 2, 3 and 4.
        lam: λ >= 0, how much of the plain logit is mixed in.  The authors begin at 1000 and lower it while training,
            never to 0 (SphereFace: to 5): give a tensor () and lower it in place between steps.
        pairing: reduction, weights, block.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, margin is below 1, lam is negative, or
            another similarity, a mining or a relation is given.

    Reference: Liu et al., ICML 2016, arXiv:1612.02295.

    >>> x, weight = torch.eye(2), torch.tensor([[2.0, 1.0], [0.0, 1.0]])
    >>> large_margin_softmax_loss(x, torch.tensor([0, 1]), weight, margin=2)
    tensor(0.4627)
    """
    batch = against_classes("large_margin_softmax_loss", embeddings, labels, weight, pairing)
    lengths = torch.linalg.vector_norm(batch.rows, dim=1) * torch.linalg.vector_norm(
        batch.own_weight(), dim=1
    )
    return _multiplied_softmax(batch, lengths, margin, lam)


class LargeMarginSoftmaxLoss(Objective):
    """Class weights (C, width) and :func:`large_margin_softmax_loss` on them."""

    function = staticmethod(large_margin_softmax_loss)

    def __init__(
        self,
        width: int,
        num_classes: int,
        *,
        margin: int = 4,
        lam: Number = 0.0,
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(margin=margin, lam=lam, pairing=pairing)
        self.weight = class_weights(num_classes, width)


@pair_loss
def sphereface_loss(
    embeddings: Any,
    labels: Any,
    weight: Any,
    *,
    margin: int = 4,
    lam: Number = 0.0,
    pairing: Pairing = Pairing(),
) -> ClassSums:
    r"""SphereFace (A-Softmax): the own class's angle times a whole number, class weights of length 1.

    :func:`large_margin_softmax_loss` on class weights scaled to length 1; embeddings keep their length.

    Args:
        embeddings, labels, margin, lam, pairing: as there.  The authors lower λ from 1000 to 5.
        weight: (C, d) one row per class, of any norm.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: as there.

    Reference: Liu et al., CVPR 2017, arXiv:1704.08063.

    >>> x, weight = torch.eye(2), torch.tensor([[2.0, 0.0], [0.6, 0.8]])
    >>> sphereface_loss(x, torch.tensor([0, 1]), weight, margin=2)
    tensor(0.5380)
    """
    batch = against_classes("sphereface_loss", embeddings, labels, weight, pairing)
    lengths = torch.linalg.vector_norm(batch.rows, dim=1)
    return _multiplied_softmax(batch, lengths, margin, lam, unit_weight=True)


class SphereFaceLoss(Objective):
    """Class weights (C, width) and :func:`sphereface_loss` on them."""

    function = staticmethod(sphereface_loss)

    def __init__(
        self,
        width: int,
        num_classes: int,
        *,
        margin: int = 4,
        lam: Number = 0.0,
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(margin=margin, lam=lam, pairing=pairing)
        self.weight = class_weights(num_classes, width)


def _multiplied_softmax(
    batch: AgainstClasses, lengths: Tensor, margin: int, lam: Number, *, unit_weight: bool = False
) -> ClassSums:
    """A softmax over dot products, the own class's angle multiplied; of lengths (n,) of row times own class weight."""
    if margin < 1 or margin != int(margin):
        raise InputError(f"{batch.where}: margin must be a whole number >= 1, got {margin}")
    if not isinstance(lam, Tensor) and not lam >= 0:
        raise InputError(f"{batch.where}: lam must be >= 0, got {lam}")
    plain = lam.detach().to(batch.rows) if isinstance(lam, Tensor) else lam

    def ours(own: Tensor, length: Tensor) -> Tensor:
        cosine = own / torch.where(length > 0, length, 1)
        return length * (plain * cosine + _multiplied(cosine, int(margin))) / (1 + plain)

    return ClassSums(
        batch.where, batch.rows, batch.labels, batch.weight, Softmax(ours), batch.pairing, (lengths,),
        unit_weight=unit_weight,
    )  # fmt: skip


def _multiplied(cosine: Tensor, margin: int) -> Tensor:
    """ψ(θ) = (-1)^k cos(m θ) - 2 k of cosines (n,), where θ lies between k π / m and (k + 1) π / m."""
    before, now = torch.ones_like(cosine), cosine
    for _ in range(margin - 1):  # cos((j + 1) θ) = 2 cos θ cos(j θ) - cos((j - 1) θ)
        before, now = now, 2 * cosine * now - before
    edges = cosine.new_tensor([cos(pi * j / margin) for j in range(1, margin)])
    k = (cosine.detach()[:, None] <= edges).sum(1)
    return (1 - 2 * (k % 2)) * now - 2 * k
