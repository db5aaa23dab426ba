"""Softmax over classes that come more and less often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.checks import check_per_class, check_prior, check_share
from ..core.classifier import LogitsLoss
from ..core.errors import InputError
from ..core.logits import logit_sums
from ..core.pairing import Pairing
from ..core.pairs import Described, pair_loss
from ..core.reduce import FINITE, log_add

Numbers = Tensor | Sequence[float]


@pair_loss
def pc_softmax_loss(
    logits: Any, labels: Any, *, prior: Numbers | None = None, pairing: Pairing = Pairing()
) -> Described:
    r"""Probability-corrected softmax loss: cross-entropy whose log-sum counts each class by its prior.

    .. math:: \frac1n \sum_i -f_{i y_i} + \log \sum_c \pi_c e^{f_{ic}}

    Tightness is the first term, contrast the second.  Minus the loss on other rows is a lower bound of I(X;Y)
    (:func:`~mimetric.estimators.softmax_information`) whatever the prior; the logits f favor no frequent class.
    Predict by the largest f where classes are to count alike, by the largest :math:`f + \log \pi` where they come as
    in training.  The gradient is that of :func:`balanced_softmax_loss`, which has :math:`\log \pi_{y_i}` less.
    Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        logits: f, (n, C) floating point, or :class:`LinearLogits`.
        labels: (n,) integer class ids in 0..C-1, or -1.
        prior: (C,) π > 0, how often **the batches** hold each class; its sum is 1.  None is 1 / C each, as
            class-balanced batches have it: cross-entropy less log C.
        pairing: reduction, weights and block.

    Returns:
        Scalar of any sign, in nats, at least :math:`\frac1n \sum_i \log \pi_{y_i}`.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, or a prior that is no distribution, or
            has a 0.

    Reference: Qin et al., 2021, arXiv:2106.10471.  Not the post-compensated softmax of Hong et al., CVPR 2021, which
    is cross-entropy in training and corrected at test.

    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> pc_softmax_loss(logits, torch.tensor([0, 1]), prior=[0.9, 0.1])
    tensor(-0.4659)
    """

    def shift(num_classes: int, like: Tensor) -> Tensor:
        return check_prior("pc_softmax_loss", prior, num_classes, like)

    def rarity(labels: Tensor, num_classes: int, like: Tensor) -> Tensor:
        return shift(num_classes, like)[labels]

    def sides(own: Tensor, rest: Tensor, rarity: Tensor) -> tuple[Tensor, Tensor]:
        return rarity - own, log_add(own, rest)

    return logit_sums(
        "pc_softmax_loss", logits, labels, sides=sides, shift=shift, of_labels=rarity, pairing=pairing
    )


class PCSoftmaxLoss(LogitsLoss):
    """Module form of :func:`pc_softmax_loss`."""

    function = staticmethod(pc_softmax_loss)

    def __init__(self, *, prior: Numbers | None = None, pairing: Pairing = Pairing()) -> None:
        _check_some_prior("PCSoftmaxLoss", prior)
        super().__init__(prior=prior, pairing=pairing)


@pair_loss
def logit_adjusted_loss(
    logits: Any,
    labels: Any,
    *,
    prior: Numbers | None = None,
    strength: float = 1.0,
    pairing: Pairing = Pairing(),
) -> Described:
    r"""Logit adjustment: cross-entropy of logits that had a head start by how often their classes come.

    .. math:: \frac1n \sum_i -g_{i y_i} + \log \sum_c e^{g_{ic}}, \qquad g_{ic} = f_{ic} + \tau \log \pi_c

    Tightness is the first term, contrast the second.  With τ = 1 the logits f are right for classes that count alike:
    predict by the largest f.  Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        logits: f, (n, C) floating point, or :class:`LinearLogits`.
        labels: (n,) integer class ids in 0..C-1, or -1.
        prior: (C,) π > 0, how often **the batches** hold each class; its sum is 1.  None is 1 / C each:
            cross-entropy.
        strength: τ; 0 is cross-entropy, 1 the balanced softmax.
        pairing: reduction, weights and block.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, or a prior that is no distribution, or
            has a 0.

    Reference: Menon et al., ICLR 2021, arXiv:2007.07314, equation 10.

    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> logit_adjusted_loss(logits, torch.tensor([0, 1]), prior=[0.9, 0.1])
    tensor(0.7380)
    """
    where = "logit_adjusted_loss"

    def shift(num_classes: int, like: Tensor) -> Tensor:
        return strength * check_prior(where, prior, num_classes, like)

    return logit_sums(where, logits, labels, sides=_softmax, shift=shift, pairing=pairing)


class LogitAdjustedLoss(LogitsLoss):
    """Module form of :func:`logit_adjusted_loss`."""

    function = staticmethod(logit_adjusted_loss)

    def __init__(
        self, *, prior: Numbers | None = None, strength: float = 1.0, pairing: Pairing = Pairing()
    ) -> None:
        _check_some_prior("LogitAdjustedLoss", prior)
        super().__init__(prior=prior, strength=strength, pairing=pairing)


@pair_loss
def balanced_softmax_loss(
    logits: Any,
    labels: Any,
    *,
    counts: Numbers | None = None,
    unseen: float = 0.0,
    pairing: Pairing = Pairing(),
) -> Described:
    r"""Balanced softmax: cross-entropy in which each class stands as often as it has rows.

    .. math:: \frac1n \sum_i -\log \frac{n_{y_i} e^{f_{i y_i}}}{\sum_c n_c e^{f_{ic}}}

    Tightness is minus the log of the numerator, contrast the log of the denominator.  Predict by the largest f.  Where
    classes come one after another, counts are those of the present step, its new rows and the memory of old ones.
    Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        logits: f, (n, C) floating point, or :class:`LinearLogits`.
        labels: (n,) integer class ids in 0..C-1, or -1.
        counts: (C,) n_c >= 0, how often each class comes; a factor in all changes no gradient.  None is alike for
            all: cross-entropy.
        unseen: ε in 0..1, for classes of count 0, which stand for ε times the mean count of the others.  0 leaves
            them out of the sum; 1 counts them in full.
        pairing: reduction, weights and block.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, counts below 0 or none above it, or
            unseen out of range.

    Reference: Ren et al., NeurIPS 2020, arXiv:2007.10740; for classes that come one after another Jodelet et al., 2021,
    arXiv:2103.12532.  How ε stands for a class without rows is our reading of its extended version.

    >>> logits = torch.tensor([[1.0, 0.0, 2.0]])
    >>> balanced_softmax_loss(logits, [2], counts=[1, 2, 7])
    tensor(0.0873)
    """
    where = "balanced_softmax_loss"
    check_share(where, unseen=unseen)

    def shift(num_classes: int, like: Tensor) -> Tensor:
        return _log_counts(where, counts, num_classes, unseen).to(like)

    return logit_sums(where, logits, labels, sides=_softmax, shift=shift, pairing=pairing)


class BalancedSoftmaxLoss(LogitsLoss):
    """Module form of :func:`balanced_softmax_loss`."""

    function = staticmethod(balanced_softmax_loss)

    def __init__(
        self, *, counts: Numbers | None = None, unseen: float = 0.0, pairing: Pairing = Pairing()
    ) -> None:
        check_share("BalancedSoftmaxLoss", unseen=unseen)
        if counts is not None:
            _counts("BalancedSoftmaxLoss", counts)
        super().__init__(counts=counts, unseen=unseen, pairing=pairing)


def _softmax(own: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    return -own, log_add(own, rest)


def _check_some_prior(where: str, prior: Numbers | None) -> None:
    """Before it is known how many classes there are."""
    if prior is not None:
        given = check_per_class(where, "prior", prior)
        check_prior(where, given, len(given), given)


def _counts(where: str, counts: Numbers, num_classes: int | None = None) -> Tensor:
    """(C,) as given."""
    given = check_per_class(where, "counts", counts, num_classes)
    if given.device.type == "cpu" and not (bool((given >= 0).all()) and bool((given > 0).any())):
        raise InputError(f"{where}: counts must be >= 0, and one of them > 0, got {given.tolist()}")
    return given


def _log_counts(where: str, counts: Numbers | None, num_classes: int, unseen: float) -> Tensor:
    """(C,) what is added to logits."""
    if counts is None:
        return torch.zeros(num_classes)
    given = _counts(where, counts, num_classes)
    seen = given > 0
    stands_for = torch.where(seen, given, unseen * given.sum() / seen.sum())
    return stands_for.log().clamp(min=FINITE)
