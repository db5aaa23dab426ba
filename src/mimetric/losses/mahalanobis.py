"""Fixed class centers, spread as far as they can be: regression to them (MMC), or a softmax over them (MMLDA)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core.checks import check_batch, check_classes, check_positive, check_rows
from ..core.errors import InputError
from ..core.exponentials import LogSumExp
from ..core.objective import Objective
from ..core.pairing import Pairing, check_takes_no
from ..core.pairs import PairSums, pair_loss, pair_sums
from ..core.pooled import pooled_logsumexp
from ..core.reduce import Near, log_add
from ..core.similarity import full_precision, normalized

_SHARPNESS = (4.0, 200.0)  # of the soft maximum, from the first step to the last


def max_mahalanobis_centers(num_classes: int, width: int, *, steps: int = 300) -> Tensor:
    r"""Unit vectors whose largest inner product is the least that width allows.

    Up to width + 1 classes they are a regular simplex, :math:`\langle \mu_i, \mu_j \rangle = -1 / (C - 1)`; up to
    twice the width the axes and their opposites, where the largest is 0.  Both are optimal.  For more classes there is
    no formula: a soft maximum over all pairs is minimized in steps, the same ones each time, in blocks of the pairs.

    Args:
        num_classes: C >= 1.
        width: d >= 1.
        steps: of the minimization, each O(C² d).

    Returns:
        (C, d) float32, rows of length 1.
    Raises:
        InputError: num_classes, width or steps is below 1.

    Reference: Pang et al., ICML 2018, arXiv:1802.09308, for the simplex.  Their code has no case for the axes, and
    minimizes the maximum itself, 10,000 steps of Adam at a rate of 1e-4.

    >>> max_mahalanobis_centers(3, 2)
    tensor([[ 1.0000,  0.0000],
            [-0.5000,  0.8660],
            [-0.5000, -0.8660]])
    """
    for name, value in (("num_classes", num_classes), ("width", width), ("steps", steps)):
        if value < 1:
            raise InputError(f"max_mahalanobis_centers: {name} must be at least 1, got {value}")
    if num_classes <= width + 1:
        return _simplex(num_classes, width).float()
    if num_classes <= 2 * width:
        axes = torch.eye(width)
        return torch.cat((axes, -axes))[:num_classes]
    return _spread(num_classes, width, steps)


def _simplex(num_classes: int, width: int) -> Tensor:
    """Column by column: all later centers share the number that their inner product with this one asks for."""
    centers = torch.zeros(num_classes, width, dtype=torch.float64)
    taken = 0.0  # squared length that the columns so far have given each later center
    for j in range(min(num_classes, width)):
        own = max(0.0, 1 - taken) ** 0.5
        centers[j, j] = own
        if j + 1 < num_classes:
            shared = -(1 / (num_classes - 1) + taken) / own
            centers[j + 1 :, j] = shared
            taken += shared**2
    return centers


def _spread(num_classes: int, width: int, steps: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    rows = nn.Parameter(torch.randn(num_classes, width, generator=generator))
    labels, (first, last) = torch.arange(num_classes), _SHARPNESS
    optimizer = torch.optim.Adam([rows], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with torch.enable_grad():
        for step in range(steps):
            sharpness = first * (last / first) ** (step / steps)
            value = pooled_logsumexp("max_mahalanobis_centers", rows, labels, scale=sharpness) / sharpness
            rows.grad = torch.autograd.grad(value, rows)[0]
            optimizer.step()
            schedule.step()
    return normalized(rows.detach())


@pair_loss
def max_mahalanobis_center_loss(
    embeddings: Any, labels: Any, centers: Any, *, scale: float = 10.0, pairing: Pairing = Pairing()
) -> PairSums:
    r"""Max-Mahalanobis center loss: half the squared distance to the fixed center of the class.

    .. math:: \frac1n \sum_i \tfrac12 |x_i - C \mu_{y_i}|^2

    with centers :math:`\mu` of length 1.  There is no softmax and nothing to learn: the gradient is the error
    :math:`x_i - C \mu_{y_i}`, free of all other classes.  All of it is tightness; the contrast, 0, was settled when
    the centers were spread.  The class of a row is that of its nearest center, the largest :math:`x^T \mu_k`.
    Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        embeddings: (n, d) floating point, from a linear last layer: a rectified one does not reach half of the centers.
        labels: (n,) integer class ids in 0..K-1, or -1.
        centers: (K, d) as :func:`max_mahalanobis_centers` makes them.
        scale: C > 0, the length of the centers.
        pairing: weights and reduction of what all pair losses share; distances are squared Euclidean.

    Returns:
        Scalar >= 0, in squared distances; :math:`C^2 / 2` for embeddings at 0.
    Raises:
        InputError: shapes disagree, labels are not integers or not below K, scale is not > 0, or the pairing has a
            mining or a similarity.

    Reference: Pang et al., ICLR 2020, arXiv:1905.10626.  Their code has twice this, without the half.

    >>> centers = max_mahalanobis_centers(3, 2)
    >>> max_mahalanobis_center_loss(torch.tensor([[0.5, 0.5]]), [0], centers)
    tensor(45.2500)
    """
    where = "max_mahalanobis_center_loss"
    rows, labels, scaled = _scaled(where, embeddings, labels, centers, scale, pairing)
    check_takes_no(where, pairing, "mining", "related")
    known = labels != -1
    cost = torch.where(known, (rows - scaled[labels.clamp(0, len(scaled) - 1)]).square().sum(1) / 2, 0)

    def sides(near: Near, far: Tensor, cost: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001
        return cost, 0 * far

    # No pairs: one reference that is nobody's class.  The engine averages.
    return pair_sums(
        where, rows, labels, rows.new_zeros(1, rows.shape[1]), labels.new_full((1,), -1), push=LogSumExp(1.0),
        sides=sides, tensors=(cost,), pairing=replace(pairing, similarity="dot", ids=None, reference_ids=None),
    )  # fmt: skip


class MaxMahalanobisCenterLoss(Objective):
    """Fixed centers (C, width), saved but not trained, and :func:`max_mahalanobis_center_loss` to them."""

    function = staticmethod(max_mahalanobis_center_loss)

    def __init__(
        self, width: int, num_classes: int, *, scale: float = 10.0, pairing: Pairing = Pairing()
    ) -> None:
        super().__init__(scale=scale, pairing=pairing)
        self.centers = nn.Parameter(max_mahalanobis_centers(num_classes, width), requires_grad=False)


@pair_loss
def max_mahalanobis_softmax_loss(
    embeddings: Any, labels: Any, centers: Any, *, scale: float = 10.0, pairing: Pairing = Pairing()
) -> PairSums:
    r"""Max-Mahalanobis linear discriminant analysis: cross-entropy of squared distances to fixed centers.

    .. math:: \frac1n \sum_i |x_i - C \mu_{y_i}|^2 + \log \sum_k e^{-|x_i - C \mu_k|^2}

    Prototypical networks with prototypes that stay where they are.  Tightness is the first term, contrast the second.
    Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        embeddings, labels, centers, scale: as in :func:`max_mahalanobis_center_loss`.
        pairing: what all pair losses share but similarity.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers or not below K, scale is not > 0, or the pairing has a
            similarity.

    Reference: Pang et al., ICML 2018, arXiv:1802.09308.

    >>> centers = max_mahalanobis_centers(3, 2)
    >>> max_mahalanobis_softmax_loss(torch.tensor([[0.5, 0.5]]), [1], centers)
    tensor(6.3415)
    """
    where = "max_mahalanobis_softmax_loss"
    rows, labels, scaled = _scaled(where, embeddings, labels, centers, scale, pairing)

    def sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        own = near.sum(near.sim)
        return -own, torch.where(near.count > 0, log_add(own, far), 0)

    return pair_sums(
        where, rows, labels, scaled, torch.arange(len(scaled), device=scaled.device),
        push=LogSumExp(1.0), sides=sides, similarity="negative_squared_euclidean", per_class=1, pairing=pairing,
    )  # fmt: skip


class MaxMahalanobisSoftmaxLoss(Objective):
    """Fixed centers (C, width), saved but not trained, and :func:`max_mahalanobis_softmax_loss` over them."""

    function = staticmethod(max_mahalanobis_softmax_loss)

    def __init__(
        self, width: int, num_classes: int, *, scale: float = 10.0, pairing: Pairing = Pairing()
    ) -> None:
        super().__init__(scale=scale, pairing=pairing)
        self.centers = nn.Parameter(max_mahalanobis_centers(num_classes, width), requires_grad=False)


def _scaled(
    where: str, embeddings: Any, labels: Any, centers: Any, scale: float, pairing: Pairing
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, labels and centers of length C, checked."""
    check_positive(where, scale=scale)
    if pairing.similarity not in (None, "negative_squared_euclidean"):
        raise InputError(f"{where}: measures squared distances; leave similarity out of the pairing")
    embeddings, labels = check_batch(where, embeddings, labels)
    centers = check_rows(where, "centers", centers)
    if centers.shape[1] != embeddings.shape[1]:
        raise InputError(
            f"{where}: centers must have {embeddings.shape[1]} columns to match embeddings "
            f"{tuple(embeddings.shape)}, got {tuple(centers.shape)}"
        )
    check_classes(where, labels, len(centers))
    return full_precision(embeddings), labels, scale * full_precision(centers)
