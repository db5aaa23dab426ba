r"""The block loop of the pair engine: similarities in, exact value and gradient out, O(n * block) memory.

The gradient is taken on the way forward, while a block is at hand: a block of similarities becomes a block
of slopes in place, and two more products spread it over the rows.  Nothing of size n x m is kept.
:meth:`Problem.plain` states the same formula on the whole matrix by autograd; it serves second derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from .average import Average, Side, are_counted_alike, per_anchor
from .classes import Relation
from .errors import InputError
from .forms import Form, NearFar
from .processes import Share
from .reduce import Mean
from .similarity import Map, mirrored

# Numbers held for one block: 8 MiB in float32.  Enough rows for products at full speed, few enough
# to stay near the cores.
BLOCK_ELEMENTS = 1 << 21
# What autograd keeps of a positive (its place, its similarity, copies), counted in elements.
_NEAR_ELEMENTS = 12

Counts = tuple[Tensor | None, Tensor | None]
"""What each side of some anchors counts; None is one number per anchor."""


@dataclass(frozen=True)
class Problem:
    """All that a loss is but its tensors."""

    form: Form
    classes: Relation
    weights: tuple[float, float]  # of tightness and contrast in the value
    bounded: bool  # similarities lie in [-1, 1]
    map: Map | None  # of the product
    product_type: torch.dtype | None  # of the similarity product, under autocast
    block: int | None
    wants_gradient: bool
    average: Average
    share: Share | None = None  # this process's anchors, where all have the same batch; None is all
    classes_cut: bool = False  # references are those of all processes together
    mirrored: bool = False  # references are the anchors mirrored, and have no gradient of their own

    def plain(self, anchors: Tensor, others: Tensor | None, tensors: tuple[Tensor, ...]) -> Tensor:
        """The value by autograd on the whole matrix: the formula that the blocks compute."""
        if self.classes_cut:
            raise InputError("second derivatives: not of class weights that are cut among processes")
        if self.mirrored:
            others = mirrored(anchors)
        mine = self.mine(len(anchors))
        sim = self.similarities(anchors[mine], anchors if others is None else others)
        here = tuple(t if t.ndim == 0 else t[mine] for t in tensors)
        sides = self.average.of(self.form.plain(self.classes.of(mine).rows(sim), here), mine)
        if self.average.reduction == "none":
            return self.values(sides)
        return self.weighted(sides, self.divisors([counts_of(sides)], len(anchors)))

    def similarities(self, rows: Tensor, references: Tensor) -> Tensor:
        """(n, m) all of them, by autograd."""
        sim = rows @ references.T
        return sim if self.map is None else self.map.plain(sim)

    def product(self, rows: Tensor, references: Tensor, buffer: Tensor) -> Tensor:
        """(k, m) products of a block of rows, in a buffer that may be longer."""
        sim = buffer[: len(rows)]
        if self.product_type is None:
            return torch.mm(rows, references.T, out=sim)
        return sim.copy_(rows.to(self.product_type) @ references.to(self.product_type).T)

    def weighted(self, sides: tuple[Side, Side], divisors: Sequence[Tensor | int]) -> Tensor:
        """Totals over divisors, times weights, added."""
        if self.weights == (1.0, 1.0) and are_counted_alike(*sides):
            return (_totals(sides[0]) + _totals(sides[1])).sum() / divisors[0]
        parts = zip(self.weights, sides, divisors)
        first, *more = [
            _totals(side).sum() / (divisor if w == 1 else divisor / w) for w, side, divisor in parts if w
        ]
        return sum(more, start=first)

    def values(self, sides: tuple[Side, Side]) -> Tensor:
        """(k,) one number per anchor."""
        return sum((w * per_anchor(side) for w, side in zip(self.weights, sides)), start=torch.zeros(()))

    def divisors(self, counts: Sequence[Counts], anchors: int) -> list[Tensor | int]:
        """What each side's total is divided by, from the counts of all blocks."""
        known = self.average.divisor(anchors)
        sums = [self._counted(parts) if parts[0] is not None else known for parts in zip(*counts)]
        return [count + (count == 0) if isinstance(count, Tensor) else count or 1 for count in sums]

    def _counted(self, parts: Sequence[Tensor]) -> Tensor:
        count = sum(parts[1:], start=parts[0])
        return count if self.share is None else self.share.summed(count)

    def one_count(self, sides: tuple[Side, Side]) -> Tensor | None:
        """That of all that is in the value, if it is one: what it divides may be summed before it is known."""
        first, *more = [side for side, w in zip(sides, self.weights) if w]
        alike = all(are_counted_alike(first, side) for side in more)
        return first.count if isinstance(first, Mean) and alike else None

    def shared(self, share: Share | None) -> Problem:
        """The part of one process: world size times its share, so that the mean over processes is the whole."""
        if share is None:
            return self
        of_tightness, of_contrast = self.weights
        return replace(self, share=share, weights=(share.world * of_tightness, share.world * of_contrast))

    def mine(self, anchors: int) -> slice:
        """Which anchors are this process's."""
        return slice(0, anchors) if self.share is None else self.share.of(anchors)

    @property
    def blocks_held(self) -> int:
        """How many arrays of the size of a block are alive at once."""
        return self.form.blocks_held * (1 if self.map is None else 2)

    def blocks(self, n: int, m: int) -> list[slice]:
        """Chosen by elements, not rows: few anchors against many references, or many positives, need fewer."""
        each = m * self.blocks_held + _NEAR_ELEMENTS * self.classes.longest
        mine = self.mine(n)
        rows = self.block or _even(mine.stop - mine.start, max(1, BLOCK_ELEMENTS // each))
        starts = range(mine.start, mine.stop, rows)
        return [slice(start, min(start + rows, mine.stop)) for start in starts]


def _even(n: int, most: int) -> int:
    """The size of parts of n, as few as can be and of one size."""
    return max(1, -(-n // -(-n // most))) if n else most


def _totals(side: Side) -> Tensor:
    return side.total if isinstance(side, Mean) else side


def counts_of(sides: tuple[Side, Side]) -> Counts:
    tightness, contrast = (side.count.sum() if isinstance(side, Mean) else None for side in sides)
    return tightness, contrast


class Opened(NamedTuple):
    """A block with its sides computed and its gradient still to take."""

    block: slice
    sides: tuple[Side, Side]
    slopes_: Callable[[Tensor], tuple[Tensor, tuple[Tensor, ...]]]  # cost -> slopes (k, m), to each tensor


def settled(
    problem: Problem, anchors: Tensor, others: Tensor | None, tensors: tuple[Tensor, ...]
) -> Iterator[tuple[Opened, list[Tensor | int]]]:
    """Blocks one after another in one buffer, with what each side's total is divided by.

    That is 1 where both sides have one count, to be divided by when all blocks are summed.  Two counts of what costs
    something take a pass over all blocks for them alone; any other is known beforehand.
    """
    references = anchors if others is None else others
    plan = problem.blocks(len(anchors), len(references))
    if not plan:
        return
    buffer = anchors.new_empty(plan[0].stop - plan[0].start, len(references))

    def open_all(problem: Problem) -> Iterator[Opened]:
        for block in plan:
            yield _opened(problem, block, problem.product(anchors[block], references, buffer), tensors)

    opened = open_all(problem)
    first = next(opened)
    if problem.one_count(first.sides) is not None:
        known_last: list[Tensor | int] = [1, 1]
        yield from ((block, known_last) for block in chain([first], opened))
        return
    counts = [counts_of(first.sides)]
    if len(plan) > 1 and counts[0] != (None, None):
        counts = [counts_of(block.sides) for block in open_all(replace(problem, wants_gradient=False))]
        opened = open_all(problem)  # the buffer was used again
        first = next(opened)
    divisors = problem.divisors(counts, len(anchors))
    yield from ((block, divisors) for block in chain([first], opened))


def _opened(problem: Problem, block: slice, sim: Tensor, tensors: tuple[Tensor, ...]) -> Opened:
    steepness = None if problem.map is None else problem.map.apply_(sim)
    with torch.set_grad_enabled(problem.wants_gradient):
        here = tuple((t if t.ndim == 0 else t[block]).detach().requires_grad_() for t in tensors)
        form = problem.form
        alone = isinstance(form, NearFar) and form.mined is None  # minings draw from lists as they are
        runs = problem.classes.lean(block) if alone else problem.classes.of(block)
        *sides_of, slopes_of_ = problem.form.opened_(
            sim, runs, here, 2.0 if problem.bounded else float("inf")
        )
        sides = problem.average.of((sides_of[0], sides_of[1]), block)

    def slopes_(cost: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        to_tensors = slopes_of_(cost)
        if steepness is not None:
            sim.div_(steepness)
        return sim, to_tensors

    return Opened(block, sides, slopes_)


class Gradients:
    """Gradients of both sides of the product, from blocks of slopes."""

    def __init__(
        self, anchors: Tensor, others: Tensor | None, needs: Sequence[bool], *, mirrored: bool = False
    ) -> None:
        self.anchors, self.references = anchors, anchors if others is None else others
        self._needs, self._alone = needs, mirrored or others is None  # both sides are the anchors'
        self.to_others = None if self._alone or not needs[1] else torch.zeros_like(self.references)

    @cached_property
    def to_anchors(self) -> Tensor | None:
        return torch.zeros_like(self.anchors) if self._needs[0] else None

    def add_(self, block: slice, slopes: Tensor) -> None:
        n, width = self.anchors.shape
        # Measured: above 8 * width a transposed sum costs more, and slopes + slopes.T up to three times as much.
        if self._alone and self._needs[0] and len(slopes) == n <= 8 * width:
            both = slopes.T.clone(memory_format=torch.contiguous_format).add_(slopes)
            self.to_anchors = torch.mm(both, self.references)  # G X + G^T X in one product
            return
        if self.to_anchors is not None:
            self.to_anchors[block].addmm_(slopes, self.references)
        into, rows = (self.to_anchors, self.references) if self._alone else (self.to_others, self.anchors)
        if into is not None:
            into.addmm_(slopes.T, rows[block])


class Found(NamedTuple):
    """A value, and its gradients where they were asked for."""

    value: Tensor
    to_anchors: Tensor | None
    to_others: Tensor | None
    to_tensors: list[Tensor | None]

    def div_(self, divisor: Tensor | int) -> None:
        """Divide all of it."""
        for part in (self.value, self.to_anchors, self.to_others, *self.to_tensors):
            if part is not None:
                part.div_(divisor)


def by_rows(
    problem: Problem,
    anchors: Tensor,
    others: Tensor | None,
    tensors: tuple[Tensor, ...],
    needs: Sequence[bool],
) -> Found:
    """Value and gradients of anchors (n, w), others (m, w) or None for the anchors themselves, and tensors."""
    gradients = Gradients(anchors, others, needs, mirrored=problem.mirrored)
    to_tensors = [torch.zeros_like(t) if need else None for t, need in zip(tensors, needs[2:])]
    value = anchors.new_zeros(())
    # Not a list of counts: small numbers kept between large blocks would scatter the heap.
    counted, known_last = torch.zeros_like(value), False
    for (block, sides, slopes_), divisors in settled(problem, anchors, others, tensors):
        with torch.set_grad_enabled(problem.wants_gradient):
            cost = problem.weighted(sides, divisors)
        count = problem.one_count(sides)
        if count is not None:
            counted, known_last = counted.add_(count.sum()), True
        value += cost.detach()
        if problem.wants_gradient:
            slopes, parts = slopes_(cost)
            gradients.add_(block, slopes)
            for into, part in zip(to_tensors, parts):
                if into is not None:
                    (into if into.ndim == 0 else into[block]).add_(part)
    found = Found(value, gradients.to_anchors, gradients.to_others, to_tensors)
    if known_last:
        found.div_(problem.divisors([(counted, None)], len(anchors))[0])
    return found


def values_by_rows(
    problem: Problem, anchors: Tensor, others: Tensor | None, tensors: tuple[Tensor, ...]
) -> Tensor:
    """(n,) one number per anchor, without gradients."""
    valued = replace(problem, wants_gradient=False)
    parts = [valued.values(block.sides) for block, _ in settled(valued, anchors, others, tensors)]
    return torch.cat([anchors.new_zeros(0), *parts])
