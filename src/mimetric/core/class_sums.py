r"""Softmax losses over class weights: of each row the logit of its class, and the log-sum of the others.

Those two numbers are a function with a gradient in closed form (:mod:`mimetric.core.class_logits`); what a loss makes
of them is plain autograd on a number or two for each row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from .average import Average, Side
from .blocks import BLOCK_ELEMENTS
from .class_logits import Kind, log_sums, whole_logits
from .class_parallel import are_classes_cut
from .class_terms import NearestCenters, SoftCenters
from .classes import UNLABELLED
from .errors import InputError
from .exponentials import LogSumExp
from .pairing import Pairing, average_of
from .pairs import PairSums, pair_sums
from .processes import share_of
from .reduce import Mean, Near, log_add_to
from .similarity import normalized, without_autocast
from .terms import FullPrecision

_FEW = (
    1 << 16
)  # logits, up to which torch's own softmax is the faster one; of a linear classifier BLOCK_ELEMENTS

Sides = Callable[..., tuple[Tensor, Tensor]]
"""`sides(own, rest, *tensors) -> (tightness, contrast)`, each (n,), from the logit of a row's class, and the
log-sum-exp of the others, -inf over none.  Finite whatever the label: a row that has none costs 0."""


@dataclass(frozen=True)
class Softmax:
    """Sides of a softmax: minus the logit of the own class, and the log of all classes' sum."""

    logit: Callable[..., Tensor] | None = None  # logit(own, *tensors), in place of that of the own class
    penalized: bool = False  # whether the last of the tensors is added to tightness
    apart: bool = False  # whether that alone is tightness, and the whole softmax contrast

    def __call__(self, own: Tensor, rest: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        ours = self.ours(own, tensors)
        contrast = log_add_to(ours, rest)
        if self.apart:
            return tensors[-1], contrast - ours
        return tensors[-1] - ours if self.penalized else -ours, contrast

    def ours(self, own: Tensor, tensors: tuple[Tensor, ...]) -> Tensor:
        """(n,) the logit that the own class has."""
        if self.logit is None:
            return own
        return self.logit(own, *(tensors[:-1] if self.penalized else tensors))


@dataclass(frozen=True, eq=False)
class ClassSums:
    """A softmax loss over class weights, described and not yet computed."""

    where: str
    rows: Tensor  # (n, d)
    labels: Tensor  # (n,) in 0..C-1; a row of any other costs 0
    weight: Tensor  # (C K, d) in the precision of the rows, the K centers of a class side by side
    of_sides: Sides
    pairing: Pairing
    tensors: tuple[Tensor, ...] = ()  # () or (n,)
    bias: Tensor | None = None  # (C,)
    scale: float | Tensor | None = None  # of cosines, which are the logits then; None takes dot products
    unit_weight: bool = False  # whether class weights count with length 1 in dot products
    centers: NearestCenters | SoftCenters | None = None  # what becomes of a class's K logits; None is K = 1
    divided: bool = True  # whether it has tightness and contrast
    rounded: bool = False  # whether autocast may take the product in its type

    def total(self) -> Tensor:
        """Tightness + contrast, a scalar, or one number for each row."""
        if self._asks_for_more():
            return self.general().total()
        return self._in_one() if self._is_small() else self._costs().total()

    def sides(self) -> tuple[Tensor, Tensor]:
        """(tightness, contrast), each with its own gradient: two passes."""
        if not self.divided:
            raise InputError(f"{self.where}: has no tightness and contrast")
        if self._asks_for_more():
            return self.general().sides()
        return self._costs().sides()[0], self._costs().sides()[1]

    def plain(self) -> Tensor:
        """The total by autograd on the whole n x C matrix: the formula itself, for tests."""
        return self.general().plain()

    def general(self) -> PairSums:
        """The same on the pair engine: rows are anchors, class weights references with one positive each."""
        rows, weight, centers = self.rows, self.weight, self.centers
        if self.scale is not None:
            rows = normalized(rows) * self.scale
        if self.scale is not None or self.unit_weight:
            weight = normalized(weight)
        if self.bias is not None:  # the weight of a constant
            rows = torch.cat((rows, rows.new_ones(len(rows), 1)), dim=1)
            weight = torch.cat((weight, self.bias[:, None].to(weight)), dim=1)

        def sides(near: Near, far: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
            known = near.count > 0
            own = near.sum(near.sim) if centers is None else torch.where(known, centers.own(near), 0)
            tightness, contrast = self.of_sides(own, far, *tensors)
            return torch.where(known, tightness, 0), torch.where(known, contrast, 0)

        push = LogSumExp(1.0) if centers is None else centers
        of_each = 1 if centers is None else centers.centers
        return pair_sums(
            self.where, rows, self.labels, weight, torch.arange(len(weight), device=weight.device) // of_each,
            push=push if self.rounded else FullPrecision(push), sides=sides, tensors=self.tensors,
            similarity="dot", per_class=of_each, pairing=replace(self.pairing, similarity=None),
        )  # fmt: skip

    def _asks_for_more(self) -> bool:
        rounded = self.rounded and torch.is_autocast_enabled(self.rows.device.type)
        return rounded or asks_for_more(self.pairing, self.rows, self.weight)

    def _is_small(self) -> bool:
        """Whether calls cost more than numbers, of a plain mean."""
        p, rows, sides = self.pairing, self.rows, self.of_sides
        plain = sides == Softmax() and self.scale is None and not self.unit_weight
        return (
            len(rows) * len(self.weight) <= (BLOCK_ELEMENTS if plain else _FEW)
            and isinstance(sides, Softmax)
            and self.centers is None
            and p.reduction in (None, "anchors")
            and p.weights is None
            and rows.device.type == "cpu"  # where labels are known to be of classes
        )

    def _in_one(self) -> Tensor:
        """The total by torch's own softmax over all logits, in the fewest calls."""
        sides, labels = cast(Softmax, self.of_sides), self.labels
        with without_autocast(self.rows.device):
            logits = whole_logits(self.rows, self.weight, self._kind(), self.bias, self._learned_scale())
        if sides.logit is not None:
            place = labels.clamp(min=0)[:, None]
            ours = sides.ours(logits.gather(1, place)[:, 0], self.tensors)
            logits = logits.scatter(1, place, ours[:, None])
        whole = int(labels.min()) != UNLABELLED
        total = F.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="mean" if whole else "sum")
        total = total if whole else total / len(labels)
        if sides.penalized:
            penalty = self.tensors[-1]
            total = total + (penalty if whole else torch.where(labels == UNLABELLED, 0, penalty)).mean()
        return total

    def _costs(self) -> RowCosts:
        kind = self._kind()
        places = self.labels.clamp(0, len(self.weight) // kind.of_each - 1)
        own, rest = log_sums(self.rows, places, self.weight, kind, self.bias, self._learned_scale())
        average = average_of(self.where, self.pairing, self.rows)
        return RowCosts(self.where, self.of_sides(own, rest, *self.tensors), self.labels == places, average)

    def _kind(self) -> Kind:
        cosines = self.scale is not None
        factor = 1.0 if self.scale is None or isinstance(self.scale, Tensor) else float(self.scale)
        return Kind(factor, cosines, cosines or self.unit_weight, self.centers)

    def _learned_scale(self) -> Tensor | None:
        return self.scale if isinstance(self.scale, Tensor) else None


def asks_for_more(pairing: Pairing, rows: Tensor, weight: Tensor) -> bool:
    """Whether rows beside class weights are a matter for the pair engine."""
    given = (pairing.ids, pairing.reference_ids, pairing.related, pairing.mining, pairing.block)
    return (
        any(option is not None for option in given)
        or not rows.numel()
        or not len(weight)
        or are_classes_cut()
        or share_of(len(rows)) is not None
    )


@dataclass(frozen=True, eq=False)
class RowCosts:
    """A loss whose sides (n,) of all rows are at hand, averaged when asked for."""

    where: str
    of_rows: tuple[Side, Side]
    known: Tensor | None  # (n,) bool: which rows count; None is all
    average: Average
    divided: bool = True  # whether it has tightness and contrast

    def total(self) -> Tensor:
        tightness, contrast = self.of_rows
        if isinstance(tightness, Tensor) and isinstance(contrast, Tensor):
            return self._value(self._averaged(tightness + contrast, tightness.new_zeros(()))[0])
        first, second = (self._value(side) for side in self._averaged(tightness, contrast))
        return first + second

    def sides(self) -> tuple[Tensor, Tensor]:
        if not self.divided:
            raise InputError(f"{self.where}: has no tightness and contrast")
        tightness, contrast = self._averaged(*self.of_rows)
        return self._value(tightness), self._value(contrast)

    def plain(self) -> Tensor:
        """The total: it is by autograd already."""
        return self.total()

    def _averaged(self, *sides: Side) -> tuple[Side, Side]:
        first, second = (self._counted(side) for side in sides)
        return self.average.of((first, second), slice(None))

    def _counted(self, side: Side) -> Side:
        if self.known is None or isinstance(side, Mean) or not side.ndim:
            return side
        return torch.where(self.known, side, 0)

    def _value(self, side: Side) -> Tensor:
        if isinstance(side, Mean):
            count = side.count.sum()
            return side.total.sum() / (count + (count == 0))
        if self.average.reduction == "none":
            return side
        divisor = self.average.divisor(len(side))
        return side.sum() / (divisor.where(divisor != 0, 1) if isinstance(divisor, Tensor) else divisor or 1)


@dataclass(frozen=True, eq=False)
class Deferred:
    """Costs of rows that are made when asked for, of each side anew: each has a gradient of its own."""

    costs: Callable[[], RowCosts]

    def total(self) -> Tensor:
        return self.costs().total()

    def sides(self) -> tuple[Tensor, Tensor]:
        return self.costs().sides()[0], self.costs().sides()[1]

    def plain(self) -> Tensor:
        """The total."""
        return self.total()
