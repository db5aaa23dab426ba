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

from .average import Average, Side
from .checks import check_classes, check_labels, check_rows
from .errors import InputError
from .pairs import Described, Pairing, PairSums, average_of, check_takes_no, pair_sums
from .reduce import Mean, Near, masked_logsumexp
from .similarity import full_precision
from .terms import LogSumExp

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
    sides: Callable[..., tuple[Tensor, Tensor]],
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
        sums = _of_classifier(where, logits, labels, sides, shift, of_labels, pairing)
        return sums if divided else _Undivided(**vars(sums))
    logits, labels = check_logits(where, logits, labels)
    with torch.autocast(logits.device.type, enabled=False):
        if shift is not None:
            logits = logits + shift(logits.shape[1], logits)
        index, known = labels.clamp(min=0)[:, None], labels >= 0
        others = torch.ones_like(logits, dtype=torch.bool).scatter_(1, index, False)
        more = () if of_labels is None else (of_labels(index[:, 0], logits.shape[1], logits),)
        found = sides(logits.gather(1, index)[:, 0], masked_logsumexp(logits, others), *more)
    tightness, contrast = (torch.where(known, side, 0) for side in found)
    return _RowCosts(where, (tightness, contrast), divided, average_of(where, pairing, tightness))


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
        costs = torch.where(labels >= 0, cost(logits, labels.clamp(min=0)), 0)
    return _RowCosts(where, (costs, torch.zeros_like(costs)), False, average_of(where, pairing, costs))


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
    sides: Callable[..., tuple[Tensor, Tensor]],
    shift: Callable[[int, Tensor], Tensor] | None,
    of_labels: Callable[[Tensor, int, Tensor], Tensor] | None,
    pairing: Pairing,
) -> PairSums:
    embeddings, weight = logits.checked(where)
    labels = check_labels(where, "labels", labels, embeddings)
    check_classes(where, labels, len(weight))
    added = [logits.bias, None if shift is None else shift(len(weight), weight)]
    column = sum((each for each in added if each is not None), start=weight.new_zeros(len(weight)))
    # What is added to a logit is the weight of a constant.
    rows = torch.cat((embeddings, embeddings.new_ones(len(embeddings), 1)), dim=1)
    columns = torch.cat((weight, column[:, None]), dim=1)

    more = () if of_labels is None else (of_labels(labels.clamp(min=0), len(weight), weight),)

    def near_and_far(near: Near, far: Tensor, *more: Tensor) -> tuple[Tensor, Tensor]:
        known = near.count > 0
        tightness, contrast = sides(near.sum(near.sim), far, *more)
        return torch.where(known, tightness, 0), torch.where(known, contrast, 0)

    return pair_sums(
        where, rows, labels, columns, torch.arange(len(weight), device=weight.device),
        push=LogSumExp(1.0), sides=near_and_far, tensors=more, similarity="dot", per_class=1,
        pairing=pairing,
    )  # fmt: skip


class _Undivided(PairSums):
    """A loss on the pair engine that has but one number for each row."""

    def sides(self) -> tuple[Tensor, Tensor]:
        raise InputError(f"{self.where}: has no tightness and contrast")


@dataclass(frozen=True, eq=False)
class _RowCosts:
    """A loss on given logits: its sides (n,) of all rows, averaged when asked for."""

    where: str
    of_rows: tuple[Tensor, Tensor]
    divided: bool
    average: Average

    def total(self) -> Tensor:
        tightness, contrast = self._averaged()
        return tightness + contrast

    def sides(self) -> tuple[Tensor, Tensor]:
        if not self.divided:
            raise InputError(f"{self.where}: has no tightness and contrast")
        return self._averaged()

    def plain(self) -> Tensor:
        """The total: it is by autograd already."""
        return self.total()

    def _averaged(self) -> tuple[Tensor, Tensor]:
        rows = len(self.of_rows[0])
        tightness, contrast = self.average.of(self.of_rows, slice(0, rows))
        return self._value(tightness, rows), self._value(contrast, rows)

    def _value(self, side: Side, rows: int) -> Tensor:
        if isinstance(side, Mean):
            return side.total.sum() / side.count.sum().clamp(min=1)
        if self.average.reduction == "none":
            return side
        divisor = self.average.divisor(rows)
        return side.sum() / (divisor.where(divisor != 0, 1) if isinstance(divisor, Tensor) else divisor or 1)
