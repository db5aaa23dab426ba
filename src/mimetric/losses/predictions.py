"""What the predictions of unlabelled rows should look like: each sure of itself, and together of all classes.

Added to the loss of labelled rows of the same classifier, as ``loss + prediction_entropy_loss(logits) + 0.2 *
category_diversity_loss(logits)``.  They are not in the catalog of `compare`: they need rows of another kind.
"""

from __future__ import annotations

from math import log
from typing import Any, cast

import torch
from torch import Tensor

from ..core.checks import check_rows
from ..core.logits import whole_logits
from ..core.objective import Bound
from ..core.similarity import full_precision


class _PredictionLoss(Bound):
    """A function of logits alone: called as `loss(logits)`."""

    def forward(self, logits: Any) -> Tensor:
        return cast(Tensor, self.function(logits, **self.options))


def prediction_entropy_loss(logits: Any) -> Tensor:
    r"""Mean entropy of predictions: the less, the surer each row is.

    .. math:: H(\hat Y \mid X) = -\frac1n \sum_i \sum_c p_{ic} \log p_{ic}, \qquad p_i = \text{softmax}(f_i)

    Alone it may give all rows one class; :func:`category_diversity_loss` holds against that.

    Args:
        logits: f, (n, C) floating point, of unlabelled rows, or :class:`LinearLogits`, which are computed whole.

    Returns:
        Scalar in [0, log C], in nats; 0 over no row.
    Raises:
        InputError: logits are not (n, C) floating point.

    Reference: Grandvalet and Bengio, NeurIPS 2004; for adaptation to another domain Wu et al., 2020, arXiv:2002.01690.

    >>> prediction_entropy_loss(torch.tensor([[0.9, 0.1], [0.2, 0.8]]).log())
    tensor(0.4127)
    """
    log_p = _log_softmax("prediction_entropy_loss", logits)
    return _entropies(log_p).sum() / max(1, len(log_p))


class PredictionEntropyLoss(_PredictionLoss):
    """Module form of :func:`prediction_entropy_loss`."""

    function = staticmethod(prediction_entropy_loss)


def category_diversity_loss(logits: Any) -> Tensor:
    r"""Minus the entropy of the mean prediction: the less, the more evenly a batch is spread over classes.

    .. math:: -H(\hat Y) = \sum_c \bar p_c \log \bar p_c, \qquad \bar p = \frac1n \sum_i \text{softmax}(f_i)

    Together with :func:`prediction_entropy_loss` it is :math:`-I(X; \hat Y)`, information maximization.  It holds every
    batch to even classes: take batches well above C, and a weight β below that of the entropy, the smaller the less
    even the classes are.

    Args:
        logits: f, (n, C) floating point, of unlabelled rows, or :class:`LinearLogits`, which are computed whole.

    Returns:
        Scalar in [-log C, 0], in nats; 0 over no row.
    Raises:
        InputError: logits are not (n, C) floating point.

    Reference: Wu et al., 2020, arXiv:2002.01690 (MEDM): cross-entropy of labelled rows, plus the entropy, plus β times
    this; their code has β = 0.2, to be chosen without labels of the new domain.

    >>> category_diversity_loss(torch.tensor([[0.9, 0.1], [0.2, 0.8]]).log())
    tensor(-0.6881)
    """
    log_p = _log_softmax("category_diversity_loss", logits)
    if not len(log_p):
        return log_p.sum()
    return -_entropies(log_p.logsumexp(0, keepdim=True) - log(len(log_p))).sum()


class CategoryDiversityLoss(_PredictionLoss):
    """Module form of :func:`category_diversity_loss`."""

    function = staticmethod(category_diversity_loss)


def _log_softmax(where: str, logits: Any) -> Tensor:
    """(n, C) log probabilities, in float32 at least."""
    given = check_rows(where, "logits", whole_logits(where, logits))
    with torch.autocast(given.device.type, enabled=False):
        return torch.log_softmax(full_precision(given), dim=1)


def _entropies(log_p: Tensor) -> Tensor:
    """(n,) of rows of log probabilities."""
    return -(log_p.exp() * log_p).sum(1)
