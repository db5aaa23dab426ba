"""Confidence that says whether a prediction is right: a loss, and a temperature for each row that descends it.

Beside a frozen classifier: ``logits / AdaptiveTemperature(...)(features)[:, None]`` keep every prediction, and change
how sure it is.  Features are what tells right rows from wrong ones, such as :func:`consistency_features`.
"""

from __future__ import annotations

from math import expm1, log
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.checks import check_positive, check_rows
from ..core.classifier import LogitsLoss
from ..core.errors import InputError
from ..core.logits import check_logits, over_logits
from ..core.pairing import Pairing
from ..core.pairs import Described, pair_loss
from ..core.similarity import full_precision

_COLDEST = 0.05  # a temperature; the softplus above it has a slope everywhere, where a clamp would have none


@pair_loss
def correctness_aware_loss(
    logits: Any, labels: Any, *, balanced: bool = False, pairing: Pairing = Pairing()
) -> Described:
    r"""Correctness-aware loss: confidence near 1 on rows that are right, near 0 on rows that are wrong.

    .. math::
        \frac1n \sum_i w_i \bigl(\max_c p_{ic} - r_i\bigr)^2, \qquad p_i = \text{softmax}(f_i),
        \quad r_i = [\arg\max_c f_{ic} = y_i]

    It is the top-1 Brier score.  Cross-entropy may sharpen a wrong winner that beats the label narrowly; this lowers
    it, whatever the label is.  It says nothing of which class a wrong row has, so it trains no classifier: it trains a
    calibrator on logits of rows that the classifier was **not** fitted to.  The batch must have wrong rows among them;
    where all are right the least cost is at full confidence.  Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        logits: f, (n, C) floating point, or :class:`LinearLogits`, which are computed whole.
        labels: (n,) integer class ids in 0..C-1, or -1.
        balanced: right rows and wrong ones weigh the same in total (w, of mean 1 over the labelled rows), for a batch
            that has both.  Confidence then separates them better, and is **not** calibrated unless half of the rows are
            right.
        pairing: reduction and weights.

    Returns:
        Scalar in [0, 1].  A wrong row costs at least 1 / C².
    Raises:
        InputError: shapes disagree, logits are not floating point, labels are not integers or not below C.

    Reference: Liu et al., arXiv:2404.13016.  Their code trains with balanced weights.

    >>> logits = torch.tensor([[0.4, 0.5, 0.1], [0.7, 0.2, 0.1]]).log()
    >>> correctness_aware_loss(logits, torch.tensor([0, 0]))  # 0.5 on a wrong row, 0.7 on a right one
    tensor(0.1700)
    """
    where = "correctness_aware_loss"
    logits, own = check_logits(where, logits, labels)

    def cost(logits: Tensor, _: Tensor) -> Tensor:
        confidence, predicted = logits.softmax(1).max(1)
        right = predicted == own
        error = (confidence - right.to(confidence)).square()
        return error * _balance(right, own >= 0, error) if balanced else error

    return over_logits(where, logits, own, cost=cost, pairing=pairing)


class CorrectnessAwareLoss(LogitsLoss):
    """Module form of :func:`correctness_aware_loss`."""

    function = staticmethod(correctness_aware_loss)
    sides = None  # type: ignore[assignment]

    def __init__(self, *, balanced: bool = False, pairing: Pairing = Pairing()) -> None:
        super().__init__(balanced=balanced, pairing=pairing)


def consistency_features(logits: Any, transformed: Any, *, k: int = 4) -> Tensor:
    """Whether transformed copies of each input agree with it: their probabilities of its likeliest classes.

    Transforms are those that keep the class, such as small rotations, gray scale or other contrast.

    Args:
        logits: (n, C) floating point, of the inputs as they are; they name the classes.
        transformed: (R, n, C) floating point, or a list of R, of their copies.
        k: how many classes, in 1..C.

    Returns:
        (n, R k) in [0, 1], those of the first transform first.
    Raises:
        InputError: shapes disagree, logits are not floating point, or k is out of range.

    Reference: Liu et al., arXiv:2404.13016, which takes R = 3 and k = 4.

    >>> logits, turned = torch.tensor([[0.2, 0.7, 0.1]]).log(), torch.tensor([[0.5, 0.4, 0.1]]).log()
    >>> consistency_features(logits, [turned], k=2)
    tensor([[0.4000, 0.5000]])
    """
    where = "consistency_features"
    given = check_rows(where, "logits", logits)
    if not 1 <= k <= given.shape[1]:
        raise InputError(f"{where}: k must lie in 1..{given.shape[1]}, the number of classes, got {k}")
    copies = [check_rows(where, "transformed", copy) for copy in transformed]
    if not copies or any(copy.shape != given.shape for copy in copies):
        raise InputError(
            f"{where}: transformed must hold logits of shape {tuple(given.shape)}, as those of the inputs, at least "
            f"once, got {[tuple(copy.shape) for copy in copies]}"
        )
    likeliest = given.topk(k, dim=1).indices
    return torch.cat([full_precision(copy).softmax(1).gather(1, likeliest) for copy in copies], dim=1)


class AdaptiveTemperature(nn.Module):
    """A temperature for each row, from what is known of it: two small layers, about 1 to begin with.

    Called as `temperature(features)` with features (n, num_features), it returns (n,) > 0.05.

    Args:
        num_features: numbers of each row, R k of :func:`consistency_features`.
        hidden: width of the layer between.

    Raises:
        InputError: num_features or hidden is not > 0.

    Reference: Liu et al., arXiv:2404.13016.  There the temperature is clamped to [0.1, 10], where a clamped one, as
    nearly all are at first, has no gradient; here it is a softplus.

    >>> temperature = AdaptiveTemperature(12)
    >>> loss = correctness_aware_loss(torch.randn(8, 10) / temperature(torch.rand(8, 12))[:, None], [3] * 8)
    """

    def __init__(self, num_features: int, *, hidden: int = 5) -> None:
        super().__init__()
        check_positive("AdaptiveTemperature", num_features=num_features, hidden=hidden)
        last = nn.Linear(hidden, 1)
        nn.init.constant_(last.bias, log(expm1(1 - _COLDEST)))  # softplus makes it 0.95
        self.layers = nn.Sequential(nn.Linear(num_features, hidden), nn.ReLU(), last)

    def forward(self, features: Tensor) -> Tensor:
        return F.softplus(self.layers(features))[:, 0] + _COLDEST


def _balance(right: Tensor, known: Tensor, like: Tensor) -> Tensor:
    """(n,) weights of mean 1 over known rows with which right ones and wrong ones sum to the same."""
    rows, hits = known.sum().to(like), (right & known).sum().to(like)
    misses = rows - hits
    share = rows / (2 * torch.where(right, hits, misses).clamp(min=1))
    return torch.where((hits > 0) & (misses > 0), share, 1)
