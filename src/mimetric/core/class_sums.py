r"""Softmax losses over class weights: of each row the logit of its class, and the log-sum of the others.

Those two numbers are a function with a gradient in closed form; what a loss makes of them is plain autograd on a number
or two for each row.  Logits are made some classes at a time, for all rows.  Where they are few, they are kept for the
way back; where they are many, each block is made again there, so that beside the gradient nothing grows with the number
of classes.  Class weights are scaled to length 1 in the same blocks, and so is their gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .average import Average, Side
from .class_parallel import are_classes_cut
from .errors import InputError
from .pairs import Pairing, PairSums, average_of, pair_sums
from .processes import share_of
from .reduce import FINITE, Mean, Near, masked_logsumexp
from .similarity import normalized
from .terms import FullPrecision, LogSumExp

Sides = Callable[..., tuple[Tensor, Tensor]]
"""`sides(own, rest, *tensors) -> (tightness, contrast)`, each (n,), from the logit of a row's class, and the
log-sum-exp of the others, -inf over none.  Finite whatever the label: a row that has none costs 0."""

_ELEMENTS = 1 << 18  # logits of a block, 1 MiB: they rest in the cache between passes
_LEAST_CLASSES = 256  # of a block, however many rows: thin products are slow
_KEPT = 1 << 22  # logits in all that are kept for the way back
_LOWEST_EXPONENT = -60.0  # far below rounding; products are slow where numbers are subnormal


@dataclass(frozen=True, eq=False)
class ClassSums:
    """A softmax loss over class weights, described and not yet computed."""

    where: str
    rows: Tensor  # (n, d)
    labels: Tensor  # (n,) in 0..C-1; a row of any other costs 0
    weight: Tensor  # (C, d) in the precision of the rows
    of_sides: Sides
    pairing: Pairing
    tensors: tuple[Tensor, ...] = ()  # () or (n,)
    bias: Tensor | None = None  # (C,)
    scale: Tensor | None = None  # () of cosines, which are the logits then; None takes dot products
    divided: bool = True  # whether it has tightness and contrast
    rounded: bool = False  # whether autocast may take the product in its type

    def total(self) -> Tensor:
        """Tightness + contrast, a scalar, or one number for each row."""
        return self.general().total() if self._asks_for_more() else self._costs().total()

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
        rows, weight = self.rows, self.weight
        if self.scale is not None:
            rows, weight = normalized(rows) * self.scale, normalized(weight)
        if self.bias is not None:  # the weight of a constant
            rows = torch.cat((rows, rows.new_ones(len(rows), 1)), dim=1)
            weight = torch.cat((weight, self.bias[:, None].to(weight)), dim=1)

        def sides(near: Near, far: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
            tightness, contrast = self.of_sides(near.sum(near.sim), far, *tensors)
            known = near.count > 0
            return torch.where(known, tightness, 0), torch.where(known, contrast, 0)

        push = LogSumExp(1.0)
        return pair_sums(
            self.where, rows, self.labels, weight, torch.arange(len(weight), device=weight.device),
            push=push if self.rounded else FullPrecision(push), sides=sides, tensors=self.tensors,
            similarity="dot", per_class=1, pairing=replace(self.pairing, similarity=None),
        )  # fmt: skip

    def _asks_for_more(self) -> bool:
        """Whether it is a matter for the pair engine."""
        p, device = self.pairing, self.rows.device.type
        return (
            any(given is not None for given in (p.ids, p.reference_ids, p.related, p.mining, p.block))
            or not self.rows.numel()
            or not len(self.weight)
            or (self.rounded and torch.is_autocast_enabled(device))
            or are_classes_cut()
            or share_of(len(self.rows)) is not None
        )

    def _costs(self) -> RowCosts:
        places = self.labels.clamp(0, len(self.weight) - 1)
        own, rest = _LogSums.apply(  # type: ignore[no-untyped-call]
            self.rows, self.weight, self.bias, self.scale, places, torch.is_grad_enabled()
        )
        average = average_of(self.where, self.pairing, self.rows)
        return RowCosts(self.where, self.of_sides(own, rest, *self.tensors), self.labels == places, average)


@dataclass(frozen=True, eq=False)
class RowCosts:
    """A loss whose sides (n,) of all rows are at hand, averaged when asked for."""

    where: str
    of_rows: tuple[Tensor, Tensor]
    known: Tensor  # (n,) bool: which rows count
    average: Average
    divided: bool = True  # whether it has tightness and contrast

    def total(self) -> Tensor:
        tightness, contrast = self.of_rows
        return self._value(self._averaged(tightness + contrast, tightness.new_zeros(()))[0])

    def sides(self) -> tuple[Tensor, Tensor]:
        if not self.divided:
            raise InputError(f"{self.where}: has no tightness and contrast")
        tightness, contrast = self._averaged(*self.of_rows)
        return self._value(tightness), self._value(contrast)

    def plain(self) -> Tensor:
        """The total: it is by autograd already."""
        return self.total()

    def _averaged(self, *sides: Tensor) -> tuple[Side, Side]:
        first, second = (torch.where(self.known, side, 0) if side.ndim else side for side in sides)
        return self.average.of((first, second), slice(0, len(self.known)))

    def _value(self, side: Side) -> Tensor:
        if isinstance(side, Mean):
            return side.total.sum() / side.count.sum().clamp(min=1)
        if self.average.reduction == "none":
            return side
        divisor = self.average.divisor(len(self.known))
        return side.sum() / (divisor.where(divisor != 0, 1) if isinstance(divisor, Tensor) else divisor or 1)


class _LogSums(torch.autograd.Function):
    """apply(rows, weight, bias, scale, labels in 0..C-1, keep) -> own (n,), rest (n,); see :class:`ClassSums`.

    All products go into given memory, where autocast leaves them as they are.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        scale: Tensor | None,
        labels: Tensor,
        keep: bool,
    ) -> tuple[Tensor, Tensor]:
        left, inverse = rows, None
        if scale is not None:
            inverse = _inverse_lengths(rows)
            left = rows * (inverse * scale)
        keep = keep and len(rows) * len(weight) <= _KEPT
        owns, rests, ctx.kept = [], [], []
        for block in _Logits(left, weight, bias, labels, scale is not None).blocks(keep):
            owns.append(block.own)
            rests.append(block.powers.sum(0).log_().add_(block.top))
            if keep:
                ctx.kept.append(block)
        own, rest = reduce(torch.add, owns), reduce(torch.logaddexp, rests)
        ctx.save_for_backward(rows, weight, bias, scale, labels, rest, left, inverse)
        return own, rest

    @staticmethod
    def backward(ctx: Any, to_own: Tensor, to_rest: Tensor) -> Any:
        rows, weight, bias, scale, labels, rest, left, inverse = ctx.saved_tensors
        needs = ctx.needs_input_grad[:4]
        if torch.is_grad_enabled():  # second derivatives are wanted
            inputs = [x for x, need in zip((rows, weight, bias, scale), needs) if need]
            values = _plain(rows, weight, bias, scale, labels)
            found = iter(torch.autograd.grad(values, inputs, (to_own, to_rest), create_graph=True))
            return *(next(found) if need else None for need in needs), None, None
        to_left = torch.zeros_like(rows) if needs[0] or needs[3] else None
        to_weight = torch.empty_like(weight) if needs[1] else None
        to_bias = torch.empty_like(bias) if needs[2] else None
        logits = _Logits(left, weight, bias, labels, scale is not None)
        for block in logits.slopes(ctx.kept, rest, to_own, to_rest):
            if to_bias is not None:
                torch.sum(block.powers, 1, out=to_bias[block.at])
            logits.spread_(block, to_left, to_weight)
        ctx.kept = []  # overwritten: a second time they are made again
        to_scale = None
        if to_left is not None and scale is not None:
            unit = rows * inverse
            along = (to_left * unit).sum(1, keepdim=True)
            to_left.addcmul_(unit, along, value=-1).mul_(inverse * scale)
            to_scale = along.sum()
        return to_left, to_weight, to_bias, to_scale, None, None


class _Block(NamedTuple):
    """Some classes beside all rows."""

    at: slice  # which classes
    powers: Tensor  # (k, n) of e, to the logits less the largest; next to 0 for a row's class
    padded: Tensor  # (k + 2, n) the same between two more rows, for classes before and after
    place: Tensor  # (1, n) of each row's class among those
    own: Tensor  # (n,) the logit of each row's class, 0 where that is not here
    top: Tensor  # (n,) the largest logit of the others, -inf without any
    inverse: Tensor | None  # (k, 1) 1 / length of each class weight


class _Logits(NamedTuple):
    """Logits of rows (n, d), and their gradient, some classes at a time."""

    left: Tensor  # (n, d)
    weight: Tensor  # (C, d)
    bias: Tensor | None  # (C,)
    labels: Tensor  # (n,)
    unit: bool  # whether class weights count with length 1

    def blocks(self, keep: bool) -> Iterator[_Block]:
        """Each in memory of its own, to be kept, or one after another in the same."""
        n, classes = len(self.left), len(self.weight)
        step = min(classes, max(_LEAST_CLASSES, _ELEMENTS // n))
        buffer = self.left.new_empty(step + 2, n)
        for start in range(0, classes, step):
            at = slice(start, min(start + step, classes))
            weight = self.weight[at]
            if keep and start:
                buffer = torch.empty_like(buffer)
            place = (self.labels - (start - 1)).clamp_(0, len(weight) + 1)[None]
            padded = buffer[: len(weight) + 2]
            padded[:: len(weight) + 1].zero_()
            logits = torch.mm(weight, self.left.T, out=padded[1:-1])
            inverse = _inverse_lengths(weight) if self.unit else None
            if inverse is not None:
                logits.mul_(inverse)
            if self.bias is not None:
                logits.add_(self.bias[at, None])
            own = padded.gather(0, place)[0]
            padded.scatter_(0, place, -torch.inf)
            top = logits.amax(0)
            logits.sub_(top.clamp(min=FINITE)).clamp_(min=_LOWEST_EXPONENT).exp_()
            yield _Block(at, logits, padded, place, own, top, inverse)

    def slopes(self, kept: list[_Block], rest: Tensor, to_own: Tensor, to_rest: Tensor) -> Iterator[_Block]:
        """Blocks of gradients of the logits, given those of own and rest."""
        rest = rest.clamp(min=FINITE)  # over no classes: powers of -inf
        for block in kept or self.blocks(keep=False):
            block.powers.mul_(to_rest * (block.top - rest).exp_())
            block.padded.scatter_(0, block.place, to_own[None])
            yield block

    def spread_(self, block: _Block, to_left: Tensor | None, to_weight: Tensor | None) -> None:
        """Adds the gradient of the rows, and writes that of the classes of a block; overwrites the block."""
        slopes, weight, inverse = block.powers, self.weight[block.at], block.inverse
        if inverse is not None:
            slopes.mul_(inverse)
        if to_left is not None:
            to_left.addmm_(slopes.T, weight)
        if to_weight is not None:
            found = torch.mm(slopes, self.left, out=to_weight[block.at])
            if inverse is not None:
                along = (found * weight).sum(1, keepdim=True).mul_(inverse.square())
                found.addcmul_(weight, along, value=-1)


def _plain(
    rows: Tensor, weight: Tensor, bias: Tensor | None, scale: Tensor | None, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Own and rest by autograd, (n, C) whole: the formula."""
    if scale is not None:
        rows, weight = normalized(rows) * scale, normalized(weight)
    logits, index = F.linear(rows, weight, bias), labels[:, None]
    others = torch.ones_like(logits, dtype=torch.bool).scatter_(1, index, False)
    return logits.gather(1, index)[:, 0], masked_logsumexp(logits, others)


def _inverse_lengths(x: Tensor) -> Tensor:
    """(k, 1) 1 / length of each row, 0 of a zero row."""
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return torch.threshold_(length, 0.0, torch.inf).reciprocal_()
