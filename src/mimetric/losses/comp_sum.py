"""Powers of the probability of the class: the comp-sum family from cross-entropy to mean absolute error, against noise.

A power puts p^a in front of the gradient of cross-entropy: rows that the model finds unlikely, mislabeled ones among
them, pull less.
"""

from __future__ import annotations

from math import inf, log
from typing import Any, cast

import torch
from torch import Tensor

from ..core.checks import check_match, check_not_negative, check_positive
from ..core.classifier import LogitsLoss
from ..core.errors import InputError
from ..core.logits import check_logits, over_logits
from ..core.objective import Bound
from ..core.pairing import Pairing
from ..core.pairs import Described, pair_loss
from ..core.reduce import masked_logsumexp
from .probability import over_probability, power_cost, surprise_and_certainty


@pair_loss
def comp_sum_loss(logits: Any, labels: Any, *, tau: float = 1.0, pairing: Pairing = Pairing()) -> Described:
    r"""Comp-sum loss: one family from sum-exponential over cross-entropy to mean absolute error.

    .. math:: \frac1n \sum_i \frac{1 - p_i^{\tau - 1}}{\tau - 1}, \quad -\log p_i \text{ for } \tau = 1,
              \qquad p_i = \mathrm{softmax}(f_i)_{y_i}

    The gradient is that of cross-entropy times :math:`p^{\tau - 1}`.  τ = 0 is the sum-exponential loss 1 / p - 1,
    1 cross-entropy, 1 < τ < 2 generalized cross-entropy of q = τ - 1, 2 the mean absolute error as 1 - p (others
    count it twice).  With many classes and τ near 2 an untrained model has hardly a gradient.  With τ < 1 the gradient
    of a hopeless row has no bound: from -log p = 30 on the loss goes on along its tangent.  A function of p alone:
    no tightness and contrast.  Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        logits: f, (n, C) floating point, or :class:`LinearLogits`: blocks, whatever C.
        labels: (n,) integer class ids in 0..C-1, or -1.
        tau: τ >= 0; useful from 0 to 2.
        pairing: reduction, weights and block.

    Returns:
        Scalar >= 0; in nats for τ = 1.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, or tau is not >= 0.

    Reference: Mao et al., ICML 2023, arXiv:2304.07288.

    >>> comp_sum_loss(torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([0]), tau=1.5)
    tensor(0.3688)
    """
    where = "comp_sum_loss"
    check_not_negative(where, tau=tau)

    def cost(surprise: Tensor, certainty: Tensor) -> Tensor:  # noqa: ARG001
        return power_cost(surprise, tau - 1)

    return over_probability(where, logits, labels, cost=cost, pairing=pairing)


class CompSumLoss(LogitsLoss):
    """Module form of :func:`comp_sum_loss`."""

    function = staticmethod(comp_sum_loss)
    sides = None  # type: ignore[assignment]

    def __init__(self, *, tau: float = 1.0, pairing: Pairing = Pairing()) -> None:
        check_not_negative("CompSumLoss", tau=tau)
        super().__init__(tau=tau, pairing=pairing)


@pair_loss
def generalized_cross_entropy_loss(
    logits: Any, labels: Any, *, q: float = 0.7, truncation: float = 0.0, pairing: Pairing = Pairing()
) -> Described:
    r"""Generalized cross-entropy: between cross-entropy (q to 0) and mean absolute error (q = 1), against noise.

    .. math:: \frac1n \sum_i \frac{1 - \max(p_i, k)^q}{q}, \qquad p_i = \mathrm{softmax}(f_i)_{y_i}

    :func:`comp_sum_loss` with τ = 1 + q, if k = 0.  With k > 0, the truncated loss, rows whose class has at most that
    probability are taken for mislabeled: a constant cost and no gradient.  An untrained model has only such rows, so
    the paper truncates late in training, and by what an earlier model says.  A function of p alone: no tightness and
    contrast.  Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        logits: f, (n, C) floating point, or :class:`LinearLogits`: blocks, whatever C.
        labels: (n,) integer class ids in 0..C-1, or -1.
        q: in (0, 1].
        truncation: k in [0, 1); 0 is none, the paper's is 0.5.
        pairing: reduction, weights and block.

    Returns:
        Scalar in [0, 1 / q].
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, or an option is out of range.

    Reference: Zhang and Sabuncu, NeurIPS 2018, arXiv:1805.07836.  Code of the truncated loss takes the constant
    :math:`(1 - k^q) / q` off, and decides which rows count from weights of each training row that it updates between
    epochs.

    >>> generalized_cross_entropy_loss(torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([0]))
    tensor(0.3546)
    """
    where = "generalized_cross_entropy_loss"
    _check_generalized(where, q, truncation)
    most = -log(truncation) if truncation else inf

    def cost(surprise: Tensor, certainty: Tensor) -> Tensor:  # noqa: ARG001
        return power_cost(surprise.clamp(max=most), q)

    return over_probability(where, logits, labels, cost=cost, pairing=pairing)


class GeneralizedCrossEntropyLoss(LogitsLoss):
    """Module form of :func:`generalized_cross_entropy_loss`."""

    function = staticmethod(generalized_cross_entropy_loss)
    sides = None  # type: ignore[assignment]

    def __init__(self, *, q: float = 0.7, truncation: float = 0.0, pairing: Pairing = Pairing()) -> None:
        _check_generalized("GeneralizedCrossEntropyLoss", q, truncation)
        super().__init__(q=q, truncation=truncation, pairing=pairing)


@pair_loss
def smooth_adversarial_comp_sum_loss(
    logits: Any,
    labels: Any,
    perturbed_logits: Any,
    *,
    tau: float = 1.0,
    rho: float = 1.0,
    nu: float = 0.3,
    pairing: Pairing = Pairing(),
) -> Described:
    r"""Smooth adversarial comp-sum loss: a comp-sum loss, and how far an attack moves the margins of a row.

    .. math:: \frac1n \sum_i \Phi^\tau \Bigl( \sum_{c \ne y_i} e^{-\Delta_{ic} / \rho} \Bigr)
              + \nu \, \lVert \Delta'_i - \Delta_i \rVert_2, \qquad \Delta_{ic} = f_{i y_i} - f_{ic}

    with Δ' the same of the logits of a perturbed row, over classes other than y.  The first term is
    :func:`comp_sum_loss` of f / ρ.  An attack that makes the loss large makes its second term large: take a few
    ascent steps on the perturbed rows, inside their ball, with this loss of detached logits; start from a random point,
    for at the row itself the slope is 0.  Whole rows of logits: no tightness and contrast.  Unlabelled rows (-1) add 0
    to a mean over all n.

    Args:
        logits: f, (n, C) floating point, of the rows as they are.
        labels: (n,) integer class ids in 0..C-1, or -1.
        perturbed_logits: (n, C) of the rows as an attack leaves them, by the same model in the same mode.
        tau: τ >= 0, as in :func:`comp_sum_loss`.
        rho: ρ > 0, the margin, in units of the logits.
        nu: ν >= 0.  The paper tunes it, and so should you, from small to large: where it is large a model that
            predicts one thing for all rows is best, whose loss is log C.
        pairing: reduction and weights.

    Returns:
        Scalar >= 0.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, or an option is out of range.

    Reference: Mao et al., ICML 2023, arXiv:2304.07288, section 5.  Our default of ν trained well on small data, where
    1 did not.

    >>> rows, moved = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[1.5, 0.5, -1.0]])
    >>> smooth_adversarial_comp_sum_loss(rows, [0], moved, nu=1.0)
    tensor(1.2879)
    """
    where = "smooth_adversarial_comp_sum_loss"
    _check_adversarial(where, tau, rho, nu)
    rows, checked = check_logits(where, logits, labels)
    moved, _ = check_logits(where, perturbed_logits, labels)
    check_match(where, "perturbed_logits", moved, tuple(rows.shape), "logits", rows)

    def cost(logits: Tensor, labels: Tensor) -> Tensor:
        own = labels[:, None]
        others = torch.ones_like(logits, dtype=torch.bool).scatter_(1, own, False)
        behind = logits - logits.gather(1, own)  # minus the margins; 0 for the class itself
        surprise, _ = surprise_and_certainty(masked_logsumexp(behind / rho, others))
        shift = moved - moved.gather(1, own) - behind
        distance: Tensor = torch.linalg.vector_norm(shift, dim=1)
        return power_cost(surprise, tau - 1) + nu * distance

    return over_logits(where, rows, checked, cost=cost, pairing=pairing)


class SmoothAdversarialCompSumLoss(Bound):
    """Module form of :func:`smooth_adversarial_comp_sum_loss`."""

    function = staticmethod(smooth_adversarial_comp_sum_loss)

    def __init__(
        self, *, tau: float = 1.0, rho: float = 1.0, nu: float = 0.3, pairing: Pairing = Pairing()
    ) -> None:
        _check_adversarial("SmoothAdversarialCompSumLoss", tau, rho, nu)
        super().__init__(tau=tau, rho=rho, nu=nu, pairing=pairing)

    def forward(self, logits: Any, labels: Any, perturbed_logits: Any) -> Tensor:
        return cast(Tensor, self.function(logits, labels, perturbed_logits, **self.options))


def _check_generalized(where: str, q: float, truncation: float) -> None:
    if not 0 < q <= 1:
        raise InputError(f"{where}: q must lie in (0, 1], got {q}; cross-entropy, q = 0, is comp_sum_loss")
    if not 0 <= truncation < 1:
        raise InputError(f"{where}: truncation must lie in [0, 1), got {truncation}")


def _check_adversarial(where: str, tau: float, rho: float, nu: float) -> None:
    check_not_negative(where, tau=tau, nu=nu)
    check_positive(where, rho=rho)
