"""Losses that doubt the given label: reverse cross-entropy beside cross-entropy, and the worst case over labels."""

from __future__ import annotations

from math import log
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.checks import check_choice, check_not_negative, check_positive, check_rows
from ..core.classifier import LogitsLoss
from ..core.errors import InputError
from ..core.logits import LinearLogits, check_logits, logit_sums, over_logits
from ..core.pairing import Pairing
from ..core.pairs import Described, pair_loss
from ..core.similarity import full_precision
from .probability import over_probability, surprise_and_certainty

Normalization = Literal["none", "softplus", "l1"]


@pair_loss
def symmetric_cross_entropy_loss(
    logits: Any,
    labels: Any,
    *,
    alpha: float = 0.1,
    beta: float = 1.0,
    log_zero: float = -4.0,
    pairing: Pairing = Pairing(),
) -> Described:
    r"""Symmetric cross-entropy: cross-entropy, and the reverse, of the label under the model, which noise moves little.

    .. math:: \frac1n \sum_i - \alpha \log p_i - \beta A (1 - p_i), \qquad p_i = \mathrm{softmax}(f_i)_{y_i}

    The reverse is :math:`- \sum_c p_c \log q_c` with the label as q, whose log 0 is set to A < 0: with A = -2 the mean
    absolute error.  A function of p alone: no tightness and contrast.  Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        logits: f, (n, C) floating point, or :class:`LinearLogits`: blocks, whatever C.
        labels: (n,) integer class ids in 0..C-1, or -1.
        alpha: α >= 0, of cross-entropy; 0.1 is for 10 classes, for 100 the authors take 6.
        beta: β >= 0, of the reverse.
        log_zero: A < 0.  The authors' code has log 1e-4 = -9.21: 2.3 times the reverse of the default.
        pairing: reduction, weights and block.

    Returns:
        Scalar >= 0, in nats times α and β.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, or an option is out of range.

    Reference: Wang et al., ICCV 2019, arXiv:1908.06112.

    >>> symmetric_cross_entropy_loss(torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([0]))
    tensor(1.3798)
    """
    where = "symmetric_cross_entropy_loss"
    _check_symmetric(where, alpha, beta, log_zero)

    def cost(surprise: Tensor, certainty: Tensor) -> Tensor:
        return alpha * surprise - beta * log_zero * (-certainty).exp()

    return over_probability(where, logits, labels, cost=cost, pairing=pairing)


class SymmetricCrossEntropyLoss(LogitsLoss):
    """Module form of :func:`symmetric_cross_entropy_loss`."""

    function = staticmethod(symmetric_cross_entropy_loss)
    sides = None  # type: ignore[assignment]

    def __init__(
        self,
        *,
        alpha: float = 0.1,
        beta: float = 1.0,
        log_zero: float = -4.0,
        pairing: Pairing = Pairing(),
    ) -> None:
        _check_symmetric("SymmetricCrossEntropyLoss", alpha, beta, log_zero)
        super().__init__(alpha=alpha, beta=beta, log_zero=log_zero, pairing=pairing)


@pair_loss
def ldr_loss(
    logits: Any,
    labels: Any,
    *,
    temperature: float = 1.0,
    margin: float = 0.1,
    normalization: Normalization = "none",
    pairing: Pairing = Pairing(),
) -> Described:
    r"""Label-distributionally robust loss (LDR-KL): the worst mean violation over labels that are not far from uniform.

    .. math:: \frac1n \sum_i \max_p \sum_c p_c d_{ic} - \lambda \mathrm{KL}(p \Vert \tfrac1C)
              = \frac1n \sum_i \lambda \log \frac1C \sum_c e^{d_{ic} / \lambda},
              \qquad d_{ic} = f_{ic} - f_{i y_i} + m \, [c \ne y_i]

    Tightness is :math:`-f_{i y_i}`, contrast the rest.  With m = 0 it is λ times cross-entropy of f / λ, less λ log C.
    λ to 0 is the multiclass hinge of Crammer and Singer, a large λ the mean violation; the larger, the less a
    mislabeled row pulls.  A large λ needs bounded scores: normalization.  Unlabelled rows (-1) add 0 to a mean over all
    n.

    Args:
        logits: f, (n, C) floating point, or :class:`LinearLogits`: blocks, whatever C, without normalization.
        labels: (n,) integer class ids in 0..C-1, or -1.
        temperature: λ > 0, in units of the scores; the authors choose from 0.1, 1 and 10.
        margin: m >= 0.
        normalization: of each row's scores, whole rows then: softplus makes f softplus(f) over its mean, as the
            authors do here; l1 makes it f over the mean of its absolute values.
        pairing: reduction, weights and block.

    Returns:
        Scalar of any sign, in units of the scores, at least the mean violation.  The constant -λ log C differs from λ
        to λ.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, or an option is out of range.

    Reference: Zhu et al., ICML 2023, arXiv:2112.14869.

    >>> ldr_loss(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0]))
    tensor(-0.6564)
    """
    where = "ldr_loss"
    _check_robust(where, temperature, margin, normalization)

    def of_labels(labels: Tensor, num_classes: int, like: Tensor) -> Tensor:
        return like.new_full(labels.shape, log(num_classes))

    def sides(own: Tensor, rest: Tensor, log_classes: Tensor) -> tuple[Tensor, Tensor]:
        surprise, _ = surprise_and_certainty(rest - own + margin / temperature)  # a margin beside huge logits
        return -temperature * own, temperature * (own + surprise - log_classes)

    if normalization != "none":
        logits = _normalized(check_logits(where, logits, labels)[0], normalization)
    scores = _divided(where, logits, temperature)
    return logit_sums(where, scores, labels, sides=sides, of_labels=of_labels, pairing=pairing)


class LDRLoss(LogitsLoss):
    """Module form of :func:`ldr_loss`."""

    function = staticmethod(ldr_loss)

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        margin: float = 0.1,
        normalization: Normalization = "none",
        pairing: Pairing = Pairing(),
    ) -> None:
        _check_robust("LDRLoss", temperature, margin, normalization)
        super().__init__(temperature=temperature, margin=margin, normalization=normalization, pairing=pairing)


@pair_loss
def aldr_loss(
    logits: Any,
    labels: Any,
    *,
    temperature: float = 1.0,
    alpha: float = 2.0,
    margin: float = 0.1,
    normalization: Normalization = "none",
    steps: int = 3,
    pairing: Pairing = Pairing(),
) -> Described:
    r"""Adaptive label-distributionally robust loss (ALDR-KL): :func:`ldr_loss` with a temperature λ of each row.

    .. math:: \frac1n \sum_i \max_{p, \lambda} \sum_c p_c d_{ic} - \lambda \mathrm{KL}(p \Vert \tfrac1C)
              - \tfrac{a}{2} (\lambda - \lambda_0)^2, \qquad a = \frac{\alpha \log C}{\lambda_0}

    with d as there.  The best λ solves :math:`\lambda = \lambda_0 (1 - \mathrm{KL}(p \Vert \tfrac1C) / \alpha \log C)`
    with p the softmax of d / λ: a row of flat scores keeps λ₀, one that is sure has less, at the least
    :math:`\lambda_0 (1 - 1 / \alpha)`.  It is found by repetition, from λ₀, and held constant in the gradient, which at
    the best λ is exact.  Whole rows of logits: no tightness and contrast.  Unlabelled rows (-1) add 0 to a mean over
    all n.

    Args:
        logits: f, (n, C) floating point, or :class:`LinearLogits`, which are computed whole.
        labels: (n,) integer class ids in 0..C-1, or -1.
        temperature: λ₀ > 0, in units of the scores; the authors choose from 0.1, 1 and 10.
        alpha: α > 1; the larger, the less λ moves.
        margin: m >= 0.
        normalization: as in :func:`ldr_loss`; the authors take l1, which a large λ₀ needs.
        steps: repetitions.  After three the gradient is within 1% of the exact one, on normal scores of any size.
        pairing: reduction and weights.

    Returns:
        Scalar of any sign, in units of the scores.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, or an option is out of range.

    Reference: Zhu et al., ICML 2023, arXiv:2112.14869.  Their code takes one step from the λ that it keeps of each
    training row, with p the softmax of f / λ, without label and margin; here nothing is kept.

    >>> aldr_loss(torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([0]), steps=20)
    tensor(0.4089)
    """
    where = "aldr_loss"
    _check_adaptive(where, temperature, alpha, margin, normalization, steps)

    def cost(logits: Tensor, labels: Tensor) -> Tensor:
        scores = _normalized(logits, normalization)
        own = labels[:, None]
        violations = (scores - scores.gather(1, own) + margin).scatter(1, own, 0.0)
        num_classes = scores.shape[1]
        lam = _adapted(violations.detach(), temperature, alpha, steps)
        worst = lam * ((violations / lam).logsumexp(1, keepdim=True) - log(num_classes))
        stiffness = alpha * log(num_classes) / temperature
        return (worst - stiffness / 2 * (lam - temperature).square())[:, 0]

    return over_logits(where, logits, labels, cost=cost, pairing=pairing)


class ALDRLoss(LogitsLoss):
    """Module form of :func:`aldr_loss`."""

    function = staticmethod(aldr_loss)
    sides = None  # type: ignore[assignment]

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        alpha: float = 2.0,
        margin: float = 0.1,
        normalization: Normalization = "none",
        steps: int = 3,
        pairing: Pairing = Pairing(),
    ) -> None:
        _check_adaptive("ALDRLoss", temperature, alpha, margin, normalization, steps)
        super().__init__(
            temperature=temperature, alpha=alpha, margin=margin, normalization=normalization, steps=steps,
            pairing=pairing,
        )  # fmt: skip


def _adapted(violations: Tensor, temperature: float, alpha: float, steps: int) -> Tensor:
    """(n, 1) temperatures of rows."""
    num_classes = violations.shape[1]
    most = alpha * log(num_classes) or 1.0  # of one class the divergence is 0 in any case
    lam = violations.new_full((len(violations), 1), temperature)
    for _ in range(steps):
        log_p = (violations / lam).log_softmax(1)
        divergence = (log_p.exp() * log_p).sum(1, keepdim=True) + log(num_classes)
        lam = temperature * (1 - divergence / most)
    return lam


def _normalized(scores: Tensor, normalization: Normalization) -> Tensor:
    """(n, C) of a mean size of 1 in each row; rows of zeros stay, under l1."""
    num_classes = scores.shape[1]
    if normalization == "softplus":
        # In logs, for rows whose softplus underflows.
        low = scores < -30
        logs = torch.where(low, scores, F.softplus(torch.where(low, 0, scores)).log())
        return num_classes * logs.softmax(1)
    if normalization == "l1":
        size = scores.abs().mean(1, keepdim=True)
        return scores / torch.where(size == 0, 1, size)
    return scores


def _divided(where: str, logits: Any, temperature: float) -> Tensor | LinearLogits:
    """Logits, given or not computed yet, over a temperature."""
    if not isinstance(logits, LinearLogits):
        rows: Tensor = full_precision(check_rows(where, "logits", logits))
        return rows / temperature
    embeddings, weight = logits.checked(where)
    bias = None if logits.bias is None else logits.bias / temperature
    return LinearLogits(embeddings / temperature, weight, bias)


def _check_symmetric(where: str, alpha: float, beta: float, log_zero: float) -> None:
    check_not_negative(where, alpha=alpha, beta=beta)
    if not log_zero < 0:
        raise InputError(f"{where}: log_zero must be < 0, it stands for log 0, got {log_zero}")


def _check_robust(where: str, temperature: float, margin: float, normalization: Normalization) -> None:
    check_positive(where, temperature=temperature)
    check_choice(where, "normalization", normalization, get_args(Normalization))
    check_not_negative(where, margin=margin)


def _check_adaptive(
    where: str, temperature: float, alpha: float, margin: float, normalization: Normalization, steps: int
) -> None:
    _check_robust(where, temperature, margin, normalization)
    if not alpha > 1:
        raise InputError(f"{where}: alpha must be > 1, or a temperature may be 0, got {alpha}")
    check_not_negative(where, steps=steps)
