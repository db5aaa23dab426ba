"""What class weights do among themselves: even lengths, wide angles, fewer centers.

To be added to an objective that has class weights, as in ``cosface+0.1*regular-face`` on the command.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_rows
from ..core.errors import InputError
from ..core.objective import WeightRegularizer
from ..core.paired import nearest_other
from ..core.similarity import full_precision, normalized
from .norms import check_norm, norm_cost


def center_invariance_loss(weight: Any) -> Tensor:
    r"""Center invariance: class weights of even length, so that frequent classes do not take more room.

    .. math:: \frac1C \sum_c \tfrac14 \Bigl(|w_c|^2 - \frac1C \sum_k |w_k|^2\Bigr)^2

    Args:
        weight: (C, d) floating point.

    Returns:
        Scalar >= 0, in units of the weights to the fourth; 0 without classes.
    Raises:
        InputError: not (C, d) floating point.

    Reference: Wu et al., ACM Multimedia Thematic Workshops 2017 (Deep Face Recognition with Center Invariant Loss), a
    mean over all classes, where the paper sums over the labels of a batch.

    >>> center_invariance_loss(torch.tensor([[1.0, 0.0], [1.0, 2.0]]))
    tensor(1.)
    """
    square = _weight("center_invariance_loss", weight).square().sum(1)
    mean = square.sum() / max(1, len(square))
    return (square - mean).square().sum() / (4 * max(1, len(square)))


class CenterInvarianceLoss(WeightRegularizer):
    """Module form of :func:`center_invariance_loss`."""

    function = staticmethod(center_invariance_loss)
    sides = None  # type: ignore[assignment]


def regular_face_loss(weight: Any) -> Tensor:
    r"""RegularFace: the cosine of each class weight with its nearest one.

    .. math:: \frac1C \sum_c \max_{k \ne c} \cos(w_c, w_k)

    The nearest are found exactly, in panels; never C x C.  The gradient goes to both weights of a pair.

    Args:
        weight: (C, d) floating point, of any norm.

    Returns:
        Scalar in [-1, 1]; 0 for fewer than two classes.
    Raises:
        InputError: not (C, d) floating point.

    Reference: Zhao et al., CVPR 2019 (RegularFace: Deep Face Recognition via Exclusive Regularization).  Its formula
    divides by squared lengths, its code by lengths; cosines are meant.

    >>> regular_face_loss(torch.tensor([[2.0, 0.0], [0.6, 0.8], [0.0, -1.0]]))
    tensor(0.4000)
    """
    unit = normalized(_weight("regular_face_loss", weight))
    if len(unit) < 2:
        return unit[:0].sum()
    return (unit * unit[nearest_other(unit, "dot")]).sum(1).mean()


class RegularFaceLoss(WeightRegularizer):
    """Module form of :func:`regular_face_loss`."""

    function = staticmethod(regular_face_loss)


def sparse_centers_loss(centers: Any) -> Tensor:
    r"""Sparse centers: those of one class that are not needed fall together.

    .. math:: \frac{1}{C K (K - 1)} \sum_c \sum_{k < l} |w_{ck} - w_{cl}|

    with centers scaled to length 1.  It is part of :func:`soft_triple_loss`, times its τ; for
    :func:`subcenter_arcface_loss` add it.

    Args:
        centers: (C, K, d) floating point, of any norm.

    Returns:
        Scalar in [0, 1], half the mean distance of two centers of a class; 0 for K = 1.
    Raises:
        InputError: not (C, K, d) floating point.

    Reference: Qian et al., ICCV 2019, arXiv:1909.05235.

    >>> sparse_centers_loss(torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [3.0, 0.0]]]))
    tensor(0.3536)
    """
    given = as_tensor("sparse_centers_loss", "centers", centers)
    if given.ndim != 3:
        raise InputError(
            "sparse_centers_loss: centers must have shape (classes, centers of a class, width), as those of "
            f"soft-triple and subcenter-arcface have, got {tuple(given.shape)}"
        )
    return distance_of_centers(_weight("sparse_centers_loss", given.flatten(0, 1)).view(given.shape))


class SparseCentersLoss(WeightRegularizer):
    """Module form of :func:`sparse_centers_loss`."""

    function = staticmethod(sparse_centers_loss)

    def sides(self, weight: Any) -> tuple[Tensor, Tensor]:
        """(the value, 0): it pulls the centers of a class together."""
        nothing, value = super().sides(weight)
        return value, nothing


def orthogonality_loss(weight: Any) -> Tensor:
    r"""Soft orthogonality: class weights of length 1 at right angles.

    .. math:: \lVert W W^T - I \rVert_F^2 = \lVert W^T W - I \rVert_F^2 + C - d

    The smaller of both matrices is made.  More classes than columns cannot all be at right angles: the least value is
    then C - d, where the columns are orthogonal and of length 1.

    Args:
        weight: (C, d) floating point; lengths matter.

    Returns:
        Scalar >= max(0, C - d).
    Raises:
        InputError: not (C, d) floating point.

    Reference: Bansal et al., NeurIPS 2018, arXiv:1810.09102, equation 1.

    >>> orthogonality_loss(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]]))
    tensor(11.)
    """
    rows = _weight("orthogonality_loss", weight)
    classes, width = rows.shape
    with torch.autocast(rows.device.type, enabled=False):
        gram = rows.T @ rows if classes > width else rows @ rows.T
    apart = gram - torch.eye(len(gram)).to(gram)
    return apart.square().sum() + max(0, classes - width)


class OrthogonalityLoss(WeightRegularizer):
    """Module form of :func:`orthogonality_loss`."""

    function = staticmethod(orthogonality_loss)


def weight_norm_loss(weight: Any, *, p: float = 2.0, power: float = 1.0) -> Tensor:
    r"""The mean length of class weights, to a power: :math:`\frac1C \sum_c \lVert w_c \rVert_p^q`.

    Args:
        weight: (C, d) floating point, or centers (C, K, d), of which each counts.
        p: of the norm, >= 1; infinity is the largest number of a weight.
        power: q > 0.

    Returns:
        Scalar >= 0; 0 without classes.
    Raises:
        InputError: not (C, d) or (C, K, d) floating point, or an option is out of range.

    >>> weight_norm_loss(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), power=2.0)
    tensor(12.5000)
    """
    check_norm("weight_norm_loss", p, power)
    given = as_tensor("weight_norm_loss", "weight", weight)
    rows = given.flatten(0, 1) if given.ndim == 3 else given
    return norm_cost(_weight("weight_norm_loss", rows), p, power)


class WeightNormLoss(WeightRegularizer):
    """Module form of :func:`weight_norm_loss`."""

    function = staticmethod(weight_norm_loss)
    sides = None  # type: ignore[assignment]

    def __init__(self, *, p: float = 2.0, power: float = 1.0) -> None:
        check_norm("WeightNormLoss", p, power)
        super().__init__(p=p, power=power)


def distance_of_centers(centers: Tensor) -> Tensor:
    """:func:`sparse_centers_loss` of checked centers."""
    unit = normalized(centers.flatten(0, 1)).view(centers.shape)
    with torch.autocast(unit.device.type, enabled=False):
        gram = unit @ unit.mT
    length = gram.diagonal(dim1=1, dim2=2)
    squared = length[:, :, None] + length[:, None] - 2 * gram
    same = squared <= 0  # where a root has no slope
    distance = torch.where(same, 0, torch.where(same, 1, squared).sqrt())
    classes, k = length.shape
    return distance.sum() / max(1, 2 * classes * k * (k - 1))  # each pair stands there twice


def _weight(where: str, weight: Any) -> Tensor:
    rows: Tensor = full_precision(check_rows(where, "weight", weight))
    return rows
