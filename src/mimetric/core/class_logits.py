r"""The logit of each row's class and log-sums of the others, with their gradient in closed form.

Logits are made some classes at a time, for all rows.  Where they are few, they are kept for the way back; where they
are many, each block is made again there, so that beside the gradient nothing grows with the number of classes.  Class
weights are scaled to length 1 in the same blocks, and so is their gradient.  What is summed is counted in bits: powers
of 2 take a third of the time of powers of e.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial, reduce
from math import log
from typing import Any, NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from .derivatives import by_formula
from .reduce import FINITE, masked_logsumexp
from .similarity import inverse_lengths, normalized, of_directions_
from .terms import SAFE_EXPONENT

_ELEMENTS = 1 << 18  # logits of a block, 1 MiB: they rest in the cache between passes
_LEAST_CLASSES = 256  # of a block, however many rows: thin products are slow
_KEPT = 1 << 22  # logits in all that are kept for the way back
_NAT = log(2)  # of a bit: e^x = 2^(x / nat)


class Centers(Protocol):
    """How the logits of a class, one for each of its centers, become one."""

    @property
    def centers(self) -> int:
        """How many a class has."""

    def chosen(self, logits: Tensor, axis: int) -> Tensor:
        """One logit in place of those along an axis."""

    def spread_(self, logits: Tensor, chosen: Tensor, slopes: Tensor) -> None:
        """Overwrites logits (c, K, n) by their slopes, given those of what was chosen (c, n)."""


class Kind(NamedTuple):
    """What logits are, and what is summed."""

    factor: float = 1.0  # of the products
    unit_rows: bool = False  # whether rows count with length 1
    unit_weight: bool = False  # whether class weights do
    centers: Centers | None = None
    over_rows: bool = (
        False  # for each class over the rows of others, in place of for each row over other classes
    )

    @property
    def of_each(self) -> int:
        """How many centers a class has."""
        return 1 if self.centers is None else self.centers.centers


def log_sums(
    rows: Tensor,
    labels: Tensor,
    weight: Tensor,
    kind: Kind,
    bias: Tensor | None = None,
    scale: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Own (n,), the logit of each row's class, and rest (n,), the log-sum of the other classes, -inf over none.

    Args:
        rows: (n, d)
        labels: (n,) in 0..C-1.
        weight: (C K, d) with the K centers of a class side by side.
        kind: with `over_rows` rest is (C,), and a row of label -1 is of no class; its own logit is any number.
        bias: (C,)
        scale: () of cosines with a gradient, or a factor that is not at hand as a number.
    """
    found = _LogSums.apply(rows, weight, bias, scale, labels, kind, torch.is_grad_enabled())  # type: ignore[no-untyped-call]
    return cast(tuple[Tensor, Tensor], found)


class _LogSums(torch.autograd.Function):
    """All products go into given memory, where autocast leaves them as they are."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        scale: Tensor | None,
        labels: Tensor,
        kind: Kind,
        keep: bool,
    ) -> tuple[Tensor, Tensor]:
        left, inverse = rows, None
        if kind.unit_rows:
            inverse = inverse_lengths(rows)
            left = rows * (inverse if scale is None else inverse * scale)
        keep = keep and len(rows) * len(weight) <= _KEPT
        bounded = kind.unit_rows and kind.unit_weight and scale is None and kind.factor <= SAFE_EXPONENT
        logits = _Logits(left, weight, bias, labels, kind, bounded)
        owns, rests, ctx.kept = [], [], []
        for block in logits.blocks(keep):
            owns.append(block.own)
            rests.append(block.rest(axis=1 if kind.over_rows else 0))
            if keep:
                ctx.kept.append(block)
        own = reduce(torch.add, owns) * _NAT  # an output that is kept would never be freed
        rest = torch.cat(rests) if kind.over_rows else reduce(torch.logaddexp2, rests)
        ctx.kind, ctx.bounded, ctx.keep = kind, bounded, keep
        ctx.save_for_backward(rows, weight, bias, scale, labels, rest, left, inverse)
        return own, rest * _NAT

    @staticmethod
    def backward(ctx: Any, to_own: Tensor, to_rest: Tensor) -> Any:
        rows, weight, bias, scale, labels, rest, left, inverse = ctx.saved_tensors
        needs = ctx.needs_input_grad[:4]
        if torch.is_grad_enabled():  # second derivatives are wanted
            formula = partial(_plain, labels, ctx.kind)
            return *by_formula(formula, (rows, weight, bias, scale), needs, to_own, to_rest), None, None, None
        to_left = torch.empty_like(rows) if needs[0] or needs[3] else None
        to_weight = torch.empty_like(weight) if needs[1] else None
        to_bias = torch.empty_like(bias) if needs[2] else None
        logits = _Logits(left, weight, bias, labels, ctx.kind, ctx.bounded)
        for block in ctx.kept or logits.blocks(keep=False, top=None if ctx.keep else rest):
            slopes = logits.slopes_(block, rest, to_own, to_rest)
            if to_bias is not None:
                torch.sum(slopes, 1, out=to_bias[block.at])
            logits.spread(block, slopes, to_left, to_weight)
        ctx.kept = []  # overwritten: a second time they are made again, to the same bits
        to_scale = None
        if to_left is not None and inverse is not None:
            unit = left if scale is None else rows * inverse
            if scale is not None:
                to_scale = torch.linalg.vecdot(to_left, unit).sum()
                inverse = inverse * scale
            of_directions_(to_left, unit, inverse)
        return to_left, to_weight, to_bias, to_scale, None, None, None


class _Block(NamedTuple):
    """Some classes beside all rows."""

    at: slice  # their rows of the weight
    weight: Tensor  # (k, d) those, with the length that counts
    inverse: Tensor | None  # (k, 1) 1 / the length of each, where 1 counts
    logits: Tensor | None  # (c, K, n), where classes have several centers
    chosen: Tensor | None  # (c, n) what is chosen of them
    powers: Tensor  # (c, n) of 2, to the logits in bits less top; 0 for a row's class
    padded: Tensor  # (c, n) the same, or (c + 2, n) between two more rows, for classes before and after
    place: Tensor  # (1, n) of each row's class among those
    own: Tensor  # (n,) in bits the logit of each row's class, 0 where that is not here
    top: Tensor | None  # (n,) in bits, the largest logit of the others or what stands for it; None is 0

    def rest(self, axis: int) -> Tensor:
        """Log-sums along an axis, in bits."""
        found = self.powers.sum(axis).log2_()
        return found if self.top is None else found.add_(self.top)


class _Memory(NamedTuple):
    """What a block is written into: what is made anew each time is a page fault each time."""

    padded: Tensor
    logits: Tensor | None  # of centers
    weight: Tensor | None  # of length 1


class _Logits(NamedTuple):
    """Logits of rows (n, d), and their gradient, some classes at a time."""

    left: Tensor  # (n, d)
    weight: Tensor  # (C K, d)
    bias: Tensor | None  # (C,)
    labels: Tensor  # (n,)
    kind: Kind
    bounded: bool  # whether powers of logits, and sums of them, are normal numbers

    def blocks(self, keep: bool, top: Tensor | None = None) -> Iterator[_Block]:
        """Each in memory of its own, to be kept, or one after another in the same; for `top` see :meth:`_block`."""
        n, of_each = len(self.left), self.kind.of_each
        classes = len(self.weight) // of_each
        step = min(classes, max(1, max(_LEAST_CLASSES, _ELEMENTS // n) // of_each))
        edge = int(
            step < classes or self.kind.over_rows
        )  # one row above and one below: no class of the block
        memory: _Memory | None = None
        for start in range(0, classes, step):
            if keep or memory is None:
                memory = _Memory(
                    self.left.new_empty(step + 2 * edge, n),
                    self.left.new_empty(step * of_each, n) if self.kind.centers else None,
                    self.left.new_empty(step * of_each, self.weight.shape[1])
                    if self.kind.unit_weight
                    else None,
                )
            count = min(step, classes - start)
            padded, place = memory.padded[: count + 2 * edge], self.labels
            if edge:
                padded[:: count + 1].zero_()
                place = (place - (start - 1)).clamp_(0, count + 1)
            yield self._block(start, padded, edge, place[None], memory, top)

    def _block(
        self, start: int, padded: Tensor, edge: int, place: Tensor, memory: _Memory, top: Tensor | None
    ) -> _Block:
        """From class `start` on, as many as there are rows in `padded`, less the edges.

        A `top` (n,) is taken off in place of the largest logit of each row.
        """
        centers, powers = self.kind.centers, padded[edge : len(padded) - edge]
        of_each, count = self.kind.of_each, len(powers)
        at = slice(start * of_each, (start + count) * of_each)
        weight, inverse, products, chosen = self.weight[at], None, None, None
        if memory.weight is not None:
            inverse = inverse_lengths(weight)
            weight = torch.mul(weight, inverse, out=memory.weight[: len(weight)])
        if centers is None or memory.logits is None:
            self._product(weight, at, 1 / _NAT, powers)
        else:
            products = self._product(weight, at, 1.0, memory.logits[: len(weight)]).view(count, of_each, -1)
            chosen = centers.chosen(products, 1)
            torch.mul(chosen, 1 / _NAT, out=powers)
        own = padded.gather(0, place)[0]
        padded.scatter_(0, place, -torch.inf)
        if self.bounded:
            top = None
        else:
            top = powers.amax(0) if top is None else top
            powers.sub_(top.clamp(min=FINITE))
        powers.exp2_()
        return _Block(at, weight, inverse, products, chosen, powers, padded, place, own, top)

    def _product(self, weight: Tensor, at: slice, unit: float, into: Tensor) -> Tensor:
        """(k, n) logits times a number."""
        factor = unit * self.kind.factor
        if self.bias is None:
            return into.addmm_(weight, self.left.T, beta=0, alpha=factor)
        return torch.addmm(self.bias[at, None], weight, self.left.T, beta=unit, alpha=factor, out=into)

    def slopes_(self, block: _Block, rest: Tensor, to_own: Tensor, to_rest: Tensor) -> Tensor:
        """(k, n) gradient of the logits, in their place, given those of own and rest."""
        factor = to_rest * torch.exp2(-rest if block.top is None else block.top - rest)
        block.powers.mul_(factor[block.at, None] if self.kind.over_rows else factor)
        block.padded.scatter_(0, block.place, to_own[None])
        if self.kind.centers is None or block.logits is None or block.chosen is None:
            return block.powers
        self.kind.centers.spread_(block.logits, block.chosen, block.powers)
        return block.logits.flatten(0, 1)

    def spread(self, block: _Block, slopes: Tensor, to_left: Tensor | None, to_weight: Tensor | None) -> None:
        """Adds the gradient of the rows, and writes that of the weights of a block."""
        factor = self.kind.factor
        if to_left is not None:
            to_left.addmm_(slopes.T, block.weight, beta=float(block.at.start > 0), alpha=factor)
        if to_weight is not None:
            found = to_weight[block.at].addmm_(slopes, self.left, beta=0, alpha=factor)
            if block.inverse is not None:
                of_directions_(found, block.weight, block.inverse)


def whole_logits(
    rows: Tensor, weight: Tensor, kind: Kind, bias: Tensor | None = None, scale: Tensor | None = None
) -> Tensor:
    """(n, C) all of them, by autograd."""
    if kind.unit_rows and kind.unit_weight:
        logits = cosines(rows, weight, kind.factor)
        logits = logits if scale is None else logits * scale
    else:
        logits = F.linear(rows, normalized(weight) if kind.unit_weight else weight, bias)
    if kind.centers is None:
        return logits
    return kind.centers.chosen(logits.view(len(logits), -1, kind.of_each), 2)


def cosines(rows: Tensor, weight: Tensor, factor: float = 1.0) -> Tensor:
    """(n, C) of rows (n, d) and class weights (C, d), times a factor; 0 of a zero row, with a zero gradient."""
    return cast(Tensor, _Cosines.apply(rows, weight, factor))  # type: ignore[no-untyped-call]


class _Cosines(torch.autograd.Function):
    """Both lengths and the product in one function: calls are what it costs."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, factor: float) -> Tensor:
        inverses = inverse_lengths(rows), inverse_lengths(weight)
        left, right = rows * inverses[0], weight * inverses[1]
        ctx.factor = factor
        ctx.save_for_backward(rows, weight, left, right, *inverses)
        return rows.new_empty(len(rows), len(weight)).addmm_(left, right.T, beta=0, alpha=factor)

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> Any:
        rows, weight, left, right, of_left, of_right = ctx.saved_tensors
        needs = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # second derivatives are wanted
            factor: float = ctx.factor
            found = by_formula(
                lambda x, w: factor * (normalized(x) @ normalized(w).T), (rows, weight), needs, slopes
            )
            return *found, None
        to_rows = of_directions_(torch.mm(slopes, right), left, of_left * ctx.factor) if needs[0] else None
        to_weight = (
            of_directions_(torch.mm(slopes.T, left), right, of_right * ctx.factor) if needs[1] else None
        )
        return to_rows, to_weight, None


def _plain(
    labels: Tensor, kind: Kind, rows: Tensor, weight: Tensor, bias: Tensor | None, scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Own and rest by autograd, (n, C) whole: the formula."""
    logits, place = whole_logits(rows, weight, kind, bias, scale), labels.clamp(min=0)[:, None]
    others = torch.ones_like(logits, dtype=torch.bool).scatter_(1, place, labels[:, None] < 0)
    own = logits.gather(1, place)[:, 0]
    return own, masked_logsumexp(logits.T, others.T) if kind.over_rows else masked_logsumexp(logits, others)
