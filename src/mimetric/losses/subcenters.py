"""Softmax losses over classes of several centers each, and the rows that no center of note is near to."""

from __future__ import annotations

from functools import partial
from math import cos, pi, radians
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_choice, check_not_negative, check_positive
from ..core.class_sums import ClassSums
from ..core.class_terms import NearestCenters, SoftCenters
from ..core.errors import InputError
from ..core.objective import Objective
from ..core.pairing import Pairing
from ..core.pairs import pair_loss
from ..core.similarity import normalized
from .against_classes import (
    AgainstClasses,
    Beyond,
    Number,
    against_classes,
    angular_logit,
    class_weights,
    learn,
    straight_through,
)
from .weight_regularizers import distance_of_centers


@pair_loss
def soft_triple_loss(
    embeddings: Any,
    labels: Any,
    centers: Any,
    *,
    scale: float = 20.0,
    gamma: float = 0.1,
    tau: float = 0.2,
    margin: float = 0.01,
    pairing: Pairing = Pairing(),
) -> ClassSums:
    r"""SoftTriple: a softmax over classes of several centers, softly chosen, and centers that need not differ.

    .. math::
        \frac1n \sum_i -\log \frac{e^{\lambda (S_{i y_i} - \delta)}}
        {e^{\lambda (S_{i y_i} - \delta)} + \sum_{c \ne y_i} e^{\lambda S_{ic}}}
        + \frac{\tau}{C K (K - 1)} \sum_c \sum_{k < l} |w_{ck} - w_{cl}|, \qquad
        S_{ic} = \sum_k p_{ick}\, x_i^T w_{ck}, \quad p_{ick} \propto e^{x_i^T w_{ck} / \gamma}

    with rows and centers scaled to length 1.  Tightness is minus the logit of the own class and the term of τ, which
    pulls the centers of a class together; contrast is the log of the denominator.  Unlabelled rows (-1) add 0 to a mean
    over all n.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids in 0..C-1, or -1.
        centers: (C, K, d) of any norm.
        scale: λ > 0.
        gamma: γ > 0, in cosines: the lower, the more the nearest center counts alone.
        tau: τ >= 0; nothing for K = 1.
        margin: δ, in cosines.
        pairing: reduction, weights, block.

    Returns:
        Scalar >= 0, in nats (plus τ times a distance).
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, an option is out of range, or another
            similarity, a mining or a relation is given.

    Reference: Qian et al., ICCV 2019, arXiv:1909.05235.  Their code adds 1e-5 under the root of the distance.

    >>> centers = torch.tensor([[[1.0, 0.0], [0.6, 0.8]], [[0.0, 1.0], [-1.0, 0.0]]])
    >>> soft_triple_loss(torch.eye(2), torch.tensor([0, 1]), centers, scale=1.0)
    tensor(0.5757)
    """
    where = "soft_triple_loss"
    check_positive(where, gamma=gamma)
    check_not_negative(where, tau=tau)
    batch = against_centers(where, embeddings, labels, "centers", centers, pairing)
    by_class = batch.weight.view(-1, batch.centers, batch.weight.shape[1])
    return batch.softmax(
        torch.sub, margin, scale, penalty=tau * distance_of_centers(by_class) if tau else None,
        chosen=SoftCenters(batch.centers, 1 / (gamma * scale)),
    )  # fmt: skip


class SoftTripleLoss(Objective):
    """Centers (C, num_centers, width) and :func:`soft_triple_loss` on them."""

    function = staticmethod(soft_triple_loss)

    def __init__(
        self,
        width: int,
        num_classes: int,
        num_centers: int = 10,
        *,
        scale: float = 20.0,
        gamma: float = 0.1,
        tau: float = 0.2,
        margin: float = 0.01,
        pairing: Pairing = Pairing(),
    ) -> None:
        check_positive("SoftTripleLoss", gamma=gamma)
        check_not_negative("SoftTripleLoss", tau=tau)
        super().__init__(scale=scale, gamma=gamma, tau=tau, margin=margin, pairing=pairing)
        self.centers = class_weights(num_classes, num_centers, width)


@pair_loss
def subcenter_arcface_loss(
    embeddings: Any,
    labels: Any,
    centers: Any,
    *,
    margin: Number = 0.5,
    scale: Number = 64.0,
    beyond: Beyond = "linear",
    grad: Literal["exact", "straight-through"] = "exact",
    pairing: Pairing = Pairing(),
) -> ClassSums:
    r"""Sub-center ArcFace: ArcFace whose classes have several centers, of which the nearest counts.

    :func:`arcface_loss` with :math:`\cos \theta_c = \max_k \cos(x, w_{ck})`.  With wrong labels in the data, one center
    of a class gathers what is right and others what is not: :func:`subcenter_outliers` lists the latter.

    Args:
        embeddings, labels, margin, scale, beyond, grad, pairing: as in :func:`arcface_loss`.
        centers: (C, K, d) of any norm.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: as in :func:`arcface_loss`.

    Reference: Deng et al., ECCV 2020.

    >>> centers = torch.tensor([[[1.0, 0.0], [0.6, 0.8]], [[0.0, 1.0], [-1.0, 0.0]]])
    >>> subcenter_arcface_loss(torch.eye(2), torch.tensor([0, 1]), centers, scale=1.0)
    tensor(0.5014)
    """
    where = "subcenter_arcface_loss"
    check_choice(where, "beyond", beyond, get_args(Beyond))
    check_choice(where, "grad", grad, ("exact", "straight-through"))
    batch = against_centers(where, embeddings, labels, "centers", centers, pairing)
    logit = partial(angular_logit, beyond=beyond)
    return batch.softmax(
        partial(straight_through, logit) if grad == "straight-through" else logit, batch.of_rows(margin), scale,
        chosen=NearestCenters(batch.centers),
    )  # fmt: skip


class SubcenterArcFaceLoss(Objective):
    """Centers (C, num_centers, width) and :func:`subcenter_arcface_loss` on them."""

    function = staticmethod(subcenter_arcface_loss)

    def __init__(
        self,
        width: int,
        num_classes: int,
        num_centers: int = 3,
        *,
        margin: Number = 0.5,
        scale: Number = 64.0,
        beyond: Beyond = "linear",
        grad: Literal["exact", "straight-through"] = "exact",
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(margin=margin, scale=scale, beyond=beyond, grad=grad, pairing=pairing)
        self.centers = class_weights(num_classes, num_centers, width)
        learn(self, margin=margin, scale=scale)


class Outliers(NamedTuple):
    """What :func:`subcenter_outliers` finds."""

    rows: Tensor  # (o,) places of the rows that are far from their class, in order
    dominant: (
        Tensor  # (C,) which center of each class most of its rows are nearest to; 0 for a class without rows
    )


@torch.no_grad()
def subcenter_outliers(
    embeddings: Any, labels: Any, centers: Any, *, threshold: float = radians(75)
) -> Outliers:
    """Rows too far from the dominant center of their class: likely to have a wrong label, or to show nothing.

    A class's dominant center is the one that most of its rows are nearest to; among equals the first.  Rows without
    a label (-1) are no outliers.  As in the paper: leave the outliers out, keep of each class its dominant center,
    ``centers[torch.arange(len(centers)), found.dominant]``, and train on with :func:`arcface_loss`.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids in 0..C-1, or -1.
        centers: (C, K, d) of any norm, such as those of :class:`SubcenterArcFaceLoss`.
        threshold: angle in radians, in 0..π, from which a row is an outlier.

    Raises:
        InputError: shapes disagree, labels are not integers or not below C, or threshold is out of range.

    Reference: Deng et al., ECCV 2020, who have 75 degrees.

    >>> centers = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> rows = torch.tensor([[1.0, 0.2], [0.1, 1.0], [1.0, 0.0]])
    >>> subcenter_outliers(rows, [0, 0, 0], centers)
    Outliers(rows=tensor([1]), dominant=tensor([0]))
    """
    where = "subcenter_outliers"
    if not 0 <= threshold <= pi:
        raise InputError(
            f"{where}: threshold must lie in 0..π, got {threshold}; degrees go through math.radians"
        )
    batch = against_centers(where, embeddings, labels, "centers", centers, Pairing())
    k, classes = batch.centers, len(batch.weight) // batch.centers
    rows, known = normalized(batch.rows), batch.labels >= 0
    own, of_class = (
        batch.labels.clamp(min=0),
        normalized(batch.weight).view(classes, k, batch.weight.shape[1]),
    )
    # One center at a time: all at once would be K times the rows.
    cosines = torch.stack([(rows * of_class[own, j]).sum(1) for j in range(k)], dim=1)
    seen = torch.bincount(own[known] * k + cosines.argmax(1)[known], minlength=classes * k)
    dominant = seen.view(classes, k).argmax(1)
    nearest = cosines.gather(1, dominant[own, None])[:, 0]
    return Outliers((known & (nearest < cos(threshold))).nonzero()[:, 0], dominant)


def against_centers(
    where: str, embeddings: Any, labels: Any, name: str, centers: Any, pairing: Pairing
) -> AgainstClasses:
    """Rows, labels below C and centers (C, K, d) that fit."""
    centers = as_tensor(where, name, centers)
    if centers.ndim != 3 or not centers.shape[1]:
        raise InputError(
            f"{where}: {name} must have shape (classes, centers, width), got {tuple(centers.shape)}"
        )
    return against_classes(where, embeddings, labels, centers.flatten(0, 1), pairing, centers.shape[1])
