"""Where a heat map says an object is, beside the box where it is.

A box is (left, top, right, bottom) in whole pixels, the last two inside it: [0, 0, 9, 9] covers 100 pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_labels
from ..core.errors import InputError
from .classification import accuracy


def heat_boxes(heat: Any, *, threshold: float = 0.2) -> Tensor:
    """The box around the largest connected warm area of each heat map.

    A map is scaled to [0, 1]; warm is what reaches the threshold; positions are connected at sides and corners.  The
    area with the most positions counts, the first of equal ones.  Around a flat map it is the whole map.

    Args:
        heat: (n, h, w) floating point, finite, as fine as the boxes are to be: enlarge a coarse map first.
        threshold: in [0, 1], of the highest value.  Choose it on other images than those that are judged.

    Returns:
        (n, 4) int64, on the device of the heat; it is found on the CPU.
    Raises:
        InputError: another shape, values that are not finite, or a threshold out of range.

    Needs scipy.  Reference: Zhou et al., CVPR 2016, arXiv:1512.04150, with a threshold of 0.2.

    >>> heat_boxes(torch.tensor([[[0.0, 0.9, 1.0], [0.0, 0.0, 0.8], [0.5, 0.0, 0.0]]]))
    tensor([[1, 0, 2, 1]])
    """
    where = "heat_boxes"
    maps = as_tensor(where, "heat", heat)
    if maps.ndim != 3 or not maps.is_floating_point() or 0 in maps.shape[1:]:
        raise InputError(
            f"{where}: heat must be floating point (rows, height, width), got {tuple(maps.shape)}"
        )
    if not maps.isfinite().all():
        raise InputError(f"{where}: heat must be finite")
    if not 0 <= threshold <= 1:
        raise InputError(f"{where}: threshold must lie in [0, 1], got {threshold}")
    low, high = maps.detach().amin((1, 2), keepdim=True), maps.detach().amax((1, 2), keepdim=True)
    warm = (maps.detach() - low >= threshold * (high - low)).cpu()
    boxes = [_largest(one) for one in warm]
    return torch.tensor(boxes, dtype=torch.int64, device=maps.device).view(-1, 4)


def box_iou(boxes: Any, others: Any) -> Tensor:
    """Intersection over union of each box with its counterpart.

    Args:
        boxes: (n, 4) whole pixels, left <= right and top <= bottom.
        others: (n, 4) the same.

    Returns:
        (n,) float64 in [0, 1].
    Raises:
        InputError: shapes disagree, not integers, or a box whose ends are the wrong way round.

    >>> box_iou([[0, 0, 9, 9]], [[5, 0, 14, 9]])
    tensor([0.3333], dtype=torch.float64)
    """
    first = _check_boxes("box_iou", "boxes", boxes)
    second = _check_boxes("box_iou", "others", others).to(first.device)
    if first.shape != second.shape:
        raise InputError(f"box_iou: others must have shape {tuple(first.shape)}, got {tuple(second.shape)}")
    shared = torch.cat(
        (torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:])), 1
    )
    inside = _area(shared)
    return inside.double() / (_area(first) + _area(second) - inside)


def gt_known_localization(boxes: Any, truth: Any, *, iou: float = 0.5) -> Tensor:
    """Whether each box, found for the true class, is right: it overlaps the true one by at least `iou`.

    Args:
        boxes: (n, 4) of :func:`heat_boxes`, of maps of the **true** class, whatever the classifier says.
        truth: (n, 4).
        iou: in (0, 1].

    Returns:
        (n,) float64, 0 or 1; the mean is GT-known Loc.
    Raises:
        InputError: as :func:`box_iou`, or iou out of range.

    Reference: Choe et al., CVPR 2020, arXiv:2001.07437.

    >>> gt_known_localization([[0, 0, 9, 9], [0, 0, 9, 9]], [[2, 0, 9, 9], [5, 0, 14, 9]])
    tensor([1., 0.], dtype=torch.float64)
    """
    if not 0 < iou <= 1:
        raise InputError(f"localization: iou must lie in (0, 1], got {iou}")
    return (box_iou(boxes, truth) >= iou).double()


def top1_localization(boxes: Any, truth: Any, predictions: Any, labels: Any, *, iou: float = 0.5) -> Tensor:
    """Whether each box is right, and the predicted class too.

    Args:
        boxes, truth, iou: as in :func:`gt_known_localization`.
        predictions: (n,) class ids, or (n, C) logits.
        labels: (n,) the true classes.

    Returns:
        (n,) float64, 0 or 1, nan for unlabelled rows (-1); the mean is Top-1 Loc, never above GT-known Loc.
    Raises:
        InputError: as :func:`gt_known_localization`, or predictions and labels that do not fit.

    >>> top1_localization([[0, 0, 9, 9]] * 2, [[0, 0, 9, 9]] * 2, [3, 4], [3, 3])
    tensor([1., 0.], dtype=torch.float64)
    """
    found = gt_known_localization(boxes, truth, iou=iou)
    labels = check_labels("top1_localization", "labels", labels, found)
    return found * accuracy(predictions, labels).to(found)


def _largest(warm: Tensor) -> list[int]:
    from scipy import ndimage

    areas, _ = ndimage.label(warm.numpy(), structure=[[1, 1, 1]] * 3)
    sizes = torch.bincount(torch.from_numpy(areas).flatten().long())
    rows, columns = ndimage.find_objects(areas)[int(sizes[1:].argmax())]
    return [columns.start, rows.start, columns.stop - 1, rows.stop - 1]


def _check_boxes(where: str, name: str, boxes: Any) -> Tensor:
    given = as_tensor(where, name, boxes)
    if given.ndim != 2 or given.shape[1] != 4 or given.is_floating_point() or given.dtype == torch.bool:
        kind = str(given.dtype).removeprefix("torch.")
        raise InputError(f"{where}: {name} must be integers (boxes, 4), got {kind} of {tuple(given.shape)}")
    if (given[:, 2:] < given[:, :2]).any():
        raise InputError(
            f"{where}: {name} must be (left, top, right, bottom) with left <= right, top <= bottom"
        )
    return given.long()


def _area(boxes: Tensor) -> Tensor:
    """(n,) pixels; 0 for a box whose ends are the wrong way round."""
    return (boxes[:, 2:] - boxes[:, :2] + 1).clamp(min=0).prod(1)
