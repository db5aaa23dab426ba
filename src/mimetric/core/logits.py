"""Losses on logits: from given numbers (rows, classes), or from a linear classifier whose logits are never all held.

Most need two numbers of a row: the logit of its class, and the log-sum of the others.  Those are near and far of the
pair engine with class weights as references (:func:`logit_sums`).  What needs whole rows of logits is a function of
them (:func:`over_logits`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import check_classes, check_labels, check_rows
from .class_sums import ClassSums, RowCosts, Sides
from .errors import InputError
from .pairing import Pairing, average_of, check_takes_no
from .pairs import Described
from .reduce import masked_logsumexp
from .similarity import full_precision

_OF_PAIRS = ("ids", "reference_ids", "related", "mining", "similarity")


@dataclass(frozen=True, eq=False)
class LinearLogits:
    r"""Logits of a linear classifier, not computed yet: in place of logits it keeps a loss at blocks of memory.

    .. math:: f_{ic} = \theta_c^T x_i + b_c

    Attributes:
        embeddings: (n, d) floating point.
        weight: (C, d) one row per class.
        bias: (C,) or None.
    """

    embeddings: Any
    weight: Any
    bias: Tensor | None = None

    def whole(self, where: str) -> Tensor:
        """(n, C) all of them."""
        embeddings, weight = self.checked(where)
        with torch.autocast(embeddings.device.type, enabled=False):
            return F.linear(embeddings, weight, full_precision(self.bias))

    def checked(self, where: str) -> tuple[Tensor, Tensor]:
        """Embeddings and weight in full precision.

        Raises:
            InputError: shapes disagree.
        """
        embeddings = check_rows(where, "embeddings", self.embeddings)
        weight = check_rows(where, "weight", self.weight)
        if weight.shape[1] != embeddings.shape[1]:
            raise InputError(
                f"{where}: weight must have {embeddings.shape[1]} columns to match embeddings "
                f"{tuple(embeddings.shape)}, got {tuple(weight.shape)}"
            )
        if self.bias is not None and self.bias.shape != weight.shape[:1]:
            raise InputError(f"{where}: bias must have shape ({len(weight)},), got {tuple(self.bias.shape)}")
        return full_precision(embeddings), full_precision(weight)


def whole_logits(where: str, logits: Any) -> Any:
    """Given logits as they are; those of a classifier computed."""
    return logits.whole(where) if isinstance(logits, LinearLogits) else logits


def logit_sums(
    where: str,
    logits: Any,
    labels: Any,
    *,
    sides: Sides,
    shift: Callable[[int, Tensor], Tensor] | None = None,
    of_labels: Callable[[Tensor, int, Tensor], Tensor] | None = None,
    divided: bool = True,
    pairing: Pairing = Pairing(),
) -> Described:
    """A loss from the logit of each row's class, and the log-sum of the others.

    Args:
        where: name of the loss, for messages.
        logits: (n, C) floating point, or :class:`LinearLogits`.
        labels: (n,) integer class ids in 0..C-1, or -1: such a row costs 0.
        sides: `sides(own, rest) -> (tightness, contrast)`, each (n,), from own (n,), the logit of the class, and rest
            (n,), the log-sum-exp of the others, -inf over none.  Finite whatever the label.
        shift: `shift(num_classes, like)` gives numbers (C,) that are added to logits.
        of_labels: `of_labels(labels, num_classes, like)` gives numbers (n,), a third argument of `sides`.
        divided: whether it has tightness and contrast; what has not leaves contrast at 0.
        pairing: reduction, weights and block.
    """
    check_takes_no(where, pairing, *_OF_PAIRS)
    if isinstance(logits, LinearLogits):
        return _of_classifier(where, logits, labels, sides, shift, of_labels, divided, pairing)
    logits, labels = check_logits(where, logits, labels)
    with torch.autocast(logits.device.type, enabled=False):
        if shift is not None:
            logits = logits + shift(logits.shape[1], logits)
        index, known = labels.clamp(min=0)[:, None], labels >= 0
        others = torch.ones_like(logits, dtype=torch.bool).scatter_(1, index, False)
        more = () if of_labels is None else (of_labels(index[:, 0], logits.shape[1], logits),)
        found = sides(logits.gather(1, index)[:, 0], masked_logsumexp(logits, others), *more)
    return RowCosts(where, found, known, average_of(where, pairing, logits), divided)


def over_logits(
    where: str,
    logits: Any,
    labels: Any,
    *,
    cost: Callable[[Tensor, Tensor], Tensor],
    pairing: Pairing = Pairing(),
) -> Described:
    """A loss from whole rows of logits, `cost(logits, labels)` of shape (n,), by autograd.

    It has no tightness and contrast.  An unlabelled row is handed over with label 0, and costs 0 whatever is made of
    it.  :class:`LinearLogits` are computed whole.  Arguments as in :func:`logit_sums`.
    """
    check_takes_no(where, pairing, *_OF_PAIRS)
    logits, labels = check_logits(where, logits, labels)
    with torch.autocast(logits.device.type, enabled=False):
        costs = cost(logits, labels.clamp(min=0))
    average = average_of(where, pairing, logits)
    return RowCosts(where, (costs, torch.zeros_like(costs)), labels >= 0, average, divided=False)


def check_logits(where: str, logits: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """Logits (n, C), computed where they are not, in float32 at least, and labels (n,) in 0..C-1 or -1.

    Raises:
        InputError: shapes disagree, logits are not floating point, labels are not integers or not below C.
    """
    if isinstance(logits, LinearLogits):
        check_labels(where, "labels", labels, check_rows(where, "embeddings", logits.embeddings))
    logits = full_precision(check_rows(where, "logits", whole_logits(where, logits)))
    labels = check_labels(where, "labels", labels, logits)
    check_classes(where, labels, logits.shape[1])
    return logits, labels


def _of_classifier(
    where: str,
    logits: LinearLogits,
    labels: Any,
    sides: Sides,
    shift: Callable[[int, Tensor], Tensor] | None,
    of_labels: Callable[[Tensor, int, Tensor], Tensor] | None,
    divided: bool,
    pairing: Pairing,
) -> ClassSums:
    embeddings, weight = logits.checked(where)
    labels = check_labels(where, "labels", labels, embeddings)
    check_classes(where, labels, len(weight))
    added = [logits.bias, None if shift is None else shift(len(weight), weight)]
    bias = sum((full_precision(each) for each in added if each is not None), start=weight.new_zeros(()))
    more = () if of_labels is None else (of_labels(labels.clamp(min=0), len(weight), weight),)
    return ClassSums(
        where, embeddings, labels, weight, sides, pairing, more, rounded=True, divided=divided,
        bias=bias if bias.ndim else None,
    )  # fmt: skip
