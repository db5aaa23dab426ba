"""Softmax over class weights with a margin: the logit of the own class is less by a constant, of cosine or of angle."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, get_args

import torch

from ..core.checks import check_choice
from ..core.class_sums import ClassSums
from ..core.objective import Objective
from ..core.pairing import Pairing
from ..core.pairs import pair_loss
from .against_classes import (
    Beyond,
    Number,
    against_classes,
    angular_logit,
    class_weights,
    learn,
    straight_through,
)


@pair_loss
def cosface_loss(
    embeddings: Any,
    labels: Any,
    weight: Any,
    *,
    margin: Number = 0.35,
    scale: Number = 64.0,
    pairing: Pairing = Pairing(),
) -> ClassSums:
    r"""CosFace, large margin cosine loss: the own class's cosine less a margin.

    .. math:: \frac1n \sum_i -\log \frac{e^{\sigma (\cos \theta_{y_i} - m)}}
              {e^{\sigma (\cos \theta_{y_i} - m)} + \sum_{c \ne y_i} e^{\sigma \cos \theta_c}}

    with the angle θ of a row to a class weight.  Tightness is minus the logit of the own class, contrast the log of the
    denominator.  Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids in 0..C-1, or -1.
        weight: (C, d) one row per class, of any norm.
        margin: m in cosine units, a number or a tensor with a gradient, () or (C,) with one for each class.  In the
            module an ``nn.Parameter`` is learned; it needs something else that holds it up.
        scale: σ > 0, a number or a tensor () with a gradient; in the module an ``nn.Parameter`` is learned.
        pairing: reduction, weights, block.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, scale is not > 0, or another similarity,
            a mining or a relation is given.

    Reference: Wang et al., CVPR 2018, arXiv:1801.09414.

    >>> x, weight = torch.eye(2), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> cosface_loss(x, torch.tensor([0, 1]), weight, scale=1.0)
    tensor(0.4201)
    """
    batch = against_classes("cosface_loss", embeddings, labels, weight, pairing)
    return batch.softmax(torch.sub, batch.of_rows(margin), scale)


class CosFaceLoss(Objective):
    """Class weights (C, width) and :func:`cosface_loss` on them."""

    function = staticmethod(cosface_loss)

    def __init__(
        self,
        width: int,
        num_classes: int,
        *,
        margin: Number = 0.35,
        scale: Number = 64.0,
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(margin=margin, scale=scale, pairing=pairing)
        self.weight = class_weights(num_classes, width)
        learn(self, margin=margin, scale=scale)


@pair_loss
def arcface_loss(
    embeddings: Any,
    labels: Any,
    weight: Any,
    *,
    margin: Number = 0.5,
    scale: Number = 64.0,
    beyond: Beyond = "linear",
    grad: Literal["exact", "straight-through"] = "exact",
    pairing: Pairing = Pairing(),
) -> ClassSums:
    r"""ArcFace, additive angular margin loss: the own class's angle plus a margin.

    .. math:: \frac1n \sum_i -\log \frac{e^{\sigma \cos(\theta_{y_i} + m)}}
              {e^{\sigma \cos(\theta_{y_i} + m)} + \sum_{c \ne y_i} e^{\sigma \cos \theta_c}}

    The two sides and unlabelled rows are as in :func:`cosface_loss`.  No angle is ever computed: cos(θ + m) is
    cos θ cos m - sin θ sin m, whose slope in the cosine is infinite at cosine +-1; there, and only there, the sine
    counts as constant, so that a row on its class weight has a finite gradient (0, as its direction is none).

    Args:
        embeddings, labels, weight, scale, pairing: as in :func:`cosface_loss`.
        margin: m in radians, in 0..π; a number or a tensor, as there.
        beyond: past θ = π - m the cosine of the sum would rise again.  ``linear``: there it is cos θ - m sin m, as
            in insightface's `ArcFace` and pytorch-metric-learning.  ``cosine``: it rises, as in the paper's formula
            and where insightface takes angles.  ``easy``: no margin past θ = π/2, its `easy_margin`.
        grad: ``exact``, as in both.  ``straight-through``: the gradient of the plain cosine, as where insightface
            takes angles, which writes the margin into the logits unseen by autograd; then the gradient is not that of
            the value, and none goes to a learned margin.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: as in :func:`cosface_loss`, or an unknown choice.

    Reference: Deng et al., CVPR 2019, arXiv:1801.07698.

    >>> x, weight = torch.eye(2), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> arcface_loss(x, torch.tensor([0, 1]), weight, scale=1.0)
    tensor(0.3477)
    """
    where = "arcface_loss"
    check_choice(where, "beyond", beyond, get_args(Beyond))
    check_choice(where, "grad", grad, ("exact", "straight-through"))
    batch = against_classes(where, embeddings, labels, weight, pairing)
    logit = partial(angular_logit, beyond=beyond)
    return batch.softmax(
        partial(straight_through, logit) if grad == "straight-through" else logit,
        batch.of_rows(margin),
        scale,
    )


class ArcFaceLoss(Objective):
    """Class weights (C, width) and :func:`arcface_loss` on them."""

    function = staticmethod(arcface_loss)

    def __init__(
        self,
        width: int,
        num_classes: int,
        *,
        margin: Number = 0.5,
        scale: Number = 64.0,
        beyond: Beyond = "linear",
        grad: Literal["exact", "straight-through"] = "exact",
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(margin=margin, scale=scale, beyond=beyond, grad=grad, pairing=pairing)
        self.weight = class_weights(num_classes, width)
        learn(self, margin=margin, scale=scale)
