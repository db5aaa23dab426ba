"""Losses of one number for each row: the probability p that the softmax gives its class.

The own logit and the log-sum of the others tell p, so a linear classifier's logits come in blocks.  Such a loss has no
tightness and contrast.  Weights of its own times the two parts of cross-entropy would add up to it, but their gradients
depend on a constant added to all logits, as those of cross-entropy do not, and a sum of two large parts has lost the
digits of a small p or 1 - p.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.logits import logit_sums
from ..core.pairing import Pairing
from ..core.pairs import Described
from ..core.reduce import FINITE

_STEEPEST = 30.0


def over_probability(
    where: str,
    logits: Any,
    labels: Any,
    *,
    cost: Callable[..., Tensor],
    of_labels: Callable[[Tensor, int, Tensor], Tensor] | None = None,
    pairing: Pairing = Pairing(),
) -> Described:
    """A loss from `cost(surprise, certainty)`, each (n,): -log p and -log(1 - p) of each row's class.

    Both are taken from the difference of two logits: 1 - p has its digits where p is near 1, and p where it is near 0.
    Arguments as in :func:`~mimetric.core.logits.logit_sums`; numbers `of_labels` are a third of `cost`.
    """

    def sides(own: Tensor, rest: Tensor, *more: Tensor) -> tuple[Tensor, Tensor]:
        costs = cost(*surprise_and_certainty(rest - own), *more)
        return costs, torch.zeros_like(costs)

    return logit_sums(where, logits, labels, sides=sides, of_labels=of_labels, divided=False, pairing=pairing)


def surprise_and_certainty(log_odds: Tensor) -> tuple[Tensor, Tensor]:
    """-log p and -log(1 - p), from log((1 - p) / p); -inf is p = 1, of slope 0.

    >>> surprise_and_certainty(torch.tensor([-30.0, 0.0]))
    (tensor([9.3576e-14, 6.9315e-01]), tensor([30.0000,  0.6931]))
    """
    log_odds = torch.where(log_odds == -torch.inf, FINITE, log_odds)  # a clamp would hide the slope of nan
    return F.softplus(log_odds, threshold=50), F.softplus(-log_odds, threshold=50)


def power_cost(surprise: Tensor, power: float) -> Tensor:
    r""":math:`(1 - p^a) / a` from -log p, with a the power; -log p itself where it is 0.

    With a < 0 the cost grows as a power of 1 / p.  From -log p = 30 on it goes on along its tangent there, so that no
    row overflows.

    >>> power_cost(torch.tensor([2.0, 2.0, 2.0]).log(), 1.0)  # p is one half
    tensor([0.5000, 0.5000, 0.5000])
    """
    if power == 0:
        return surprise
    exponent = -power * (surprise.clamp(max=_STEEPEST) if power < 0 else surprise)
    # Autograd takes the slope of expm1 from its value, which near -1 has none of its digits.
    less_one = torch.where(exponent > -1, exponent.expm1(), exponent.exp() - 1)
    beyond = exp(-power * _STEEPEST) * (surprise - _STEEPEST).relu() if power < 0 else 0
    return beyond - less_one / power
