"""Cross-entropy that weighs rows by how far their class is from certain: focal loss, and the first term of PolyLoss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..core.checks import check_not_negative, check_per_class
from ..core.classifier import LogitsLoss
from ..core.errors import InputError
from ..core.pairing import Pairing
from ..core.pairs import Described, pair_loss
from .probability import over_probability

Numbers = Tensor | Sequence[float]


@pair_loss
def focal_loss(
    logits: Any,
    labels: Any,
    *,
    gamma: float = 2.0,
    alpha: Numbers | None = None,
    pairing: Pairing = Pairing(),
) -> Described:
    r"""Focal loss over classes of a softmax: cross-entropy in which rows that are right already weigh little.

    .. math:: \frac1n \sum_i - \alpha_{y_i} (1 - p_i)^\gamma \log p_i, \qquad p_i = \mathrm{softmax}(f_i)_{y_i}

    The gradient goes through the weight as well.  With γ = 0 and no α it is cross-entropy.  A function of p alone: no
    tightness and contrast.  Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        logits: f, (n, C) floating point, or :class:`LinearLogits`: blocks, whatever C.
        labels: (n,) integer class ids in 0..C-1, or -1.
        gamma: γ >= 0, how fast the weight falls.
        alpha: (C,) α >= 0, a factor for the rows of each class; None is 1 for all.  The mean stays one over rows, not
            over the sum of α, which ``weight`` of torch's cross_entropy divides by.
        pairing: reduction, weights and block.

    Returns:
        Scalar >= 0, in nats times α.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, gamma is not >= 0, or alpha is not a
            number >= 0 for each class.

    Reference: Lin et al., ICCV 2017, arXiv:1708.02002, with the softmax in place of their sigmoid of each class
    (torchvision's ``sigmoid_focal_loss``, whose α = 0.25 is of the positive side of each class).

    >>> import torch
    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> focal_loss(logits, torch.tensor([0, 0]))
    tensor(0.3518)
    """
    where = "focal_loss"
    check_not_negative(where, gamma=gamma)

    def cost(surprise: Tensor, certainty: Tensor, factor: Tensor | float = 1.0) -> Tensor:
        return factor * (-gamma * certainty).exp() * surprise

    def of_labels(labels: Tensor, num_classes: int, like: Tensor) -> Tensor:
        return _factors(where, alpha, num_classes).to(like)[labels]

    return over_probability(
        where, logits, labels, cost=cost, of_labels=None if alpha is None else of_labels, pairing=pairing
    )


class FocalLoss(LogitsLoss):
    """Module form of :func:`focal_loss`."""

    function = staticmethod(focal_loss)
    sides = None  # type: ignore[assignment]

    def __init__(
        self, *, gamma: float = 2.0, alpha: Numbers | None = None, pairing: Pairing = Pairing()
    ) -> None:
        check_not_negative("FocalLoss", gamma=gamma)
        if alpha is not None:
            _factors("FocalLoss", alpha)
        super().__init__(gamma=gamma, alpha=alpha, pairing=pairing)


@pair_loss
def poly_loss(
    logits: Any, labels: Any, *, epsilon: float = 1.0, gamma: float = 0.0, pairing: Pairing = Pairing()
) -> Described:
    r"""Poly-1 loss: cross-entropy, or the focal loss, with more or less of the first term of its expansion.

    .. math:: \frac1n \sum_i (1 - p_i)^\gamma \bigl[ -\log p_i + \epsilon (1 - p_i) \bigr],
              \qquad -\log p = \sum_{j \ge 1} \tfrac1j (1 - p)^j, \quad p_i = \mathrm{softmax}(f_i)_{y_i}

    With ε = 0 it is :func:`focal_loss`, of γ = 0 cross-entropy.  A function of p alone: no tightness and contrast.
    Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        logits: f, (n, C) floating point, or :class:`LinearLogits`: blocks, whatever C.
        labels: (n,) integer class ids in 0..C-1, or -1.
        epsilon: ε >= -1, added to the first coefficient, which is 1; at -1 that term is gone.
        gamma: γ >= 0, the power of the focal loss it starts from; 0 is cross-entropy.
        pairing: reduction, weights and block.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, or an option is out of range.

    Reference: Leng et al., ICLR 2022, arXiv:2204.12511.  They tune ε for each task: 2 on ImageNet, which is the default
    of optax, below 0 for detection.  Re-implementations mostly take 1.

    >>> import torch
    >>> poly_loss(torch.tensor([[4.0, 2.0, 1.0]]), torch.tensor([0]))
    tensor(0.3261)
    """
    where = "poly_loss"
    _check_poly(where, epsilon, gamma)

    def cost(surprise: Tensor, certainty: Tensor) -> Tensor:
        return (-gamma * certainty).exp() * (surprise + epsilon * (-certainty).exp())

    return over_probability(where, logits, labels, cost=cost, pairing=pairing)


class PolyLoss(LogitsLoss):
    """Module form of :func:`poly_loss`."""

    function = staticmethod(poly_loss)
    sides = None  # type: ignore[assignment]

    def __init__(self, *, epsilon: float = 1.0, gamma: float = 0.0, pairing: Pairing = Pairing()) -> None:
        _check_poly("PolyLoss", epsilon, gamma)
        super().__init__(epsilon=epsilon, gamma=gamma, pairing=pairing)


def _check_poly(where: str, epsilon: float, gamma: float) -> None:
    check_not_negative(where, gamma=gamma)
    if not epsilon >= -1:
        raise InputError(
            f"{where}: epsilon must be >= -1, below which the loss rewards mistakes, got {epsilon}"
        )


def _factors(where: str, alpha: Numbers | None, num_classes: int | None = None) -> Tensor:
    """(C,) a factor for each class."""
    given = check_per_class(where, "alpha", alpha, num_classes)
    if given.device.type == "cpu" and not (given >= 0).all():
        raise InputError(f"{where}: alpha must be >= 0, got {given.min().item():g}")
    return given
