r"""A batch beside itself: what a pair of rows costs is made once and serves both of them.

The similarity of i and j is that of j and i, and so is what either adds to the other's sum.  With rows in order of
class, strips of rows reach from the diagonal to the right, in tiles that stay in a core's cache
(:mod:`~mimetric.core.tiles`): first for the sums of their rows and of their columns, then for the slopes.  Where
:func:`~mimetric.core.blocks.by_rows` takes three products one and a half do; what was not kept is made again, for half
a product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from .blocks import Found, Problem, counts_of
from .classes import Classes
from .exponentials import CircleLogSumExp, LogSumExp
from .forms import NearFar
from .hinges import Hinge, SquaredHinge
from .mined import Mined
from .reduce import Mean, Near
from .similarity import Map, mirrored
from .terms import SAFE_EXPONENT, EvenTerm, Sums
from .tiles import HEIGHT, Tile, Triangle

_FEWEST = 640  # rows from which it pays (measured)


def suits(problem: Problem, anchors: Tensor) -> bool:
    """Whether halves are the better blocks of a batch that is its own reference, and the loss can be had from them."""
    form, classes = problem.form, problem.classes
    return bool(
        isinstance(form, NearFar)
        and (form.mined is None or (form.mined.by_hardest and problem.map is None))
        and isinstance(form.push, LogSumExp | Hinge | SquaredHinge | CircleLogSumExp)
        and isinstance(classes, Classes)
        and classes.longest <= HEIGHT
        and (problem.product_type, problem.block, problem.share) == (None, None, None)
        and anchors.device.type == "cpu"  # an accelerator would wait for many small kernels
        and len(anchors) >= _FEWEST
        and form.push.farthest(_most(problem, anchors)) <= SAFE_EXPONENT
    )


def _most(problem: Problem, anchors: Tensor) -> float:
    """How far from 0 similarities may be."""
    if problem.bounded:
        return 1.0
    most = -torch.linalg.vector_norm(anchors.detach(), dim=1).max().square()
    return abs(float(most if problem.map is None else problem.map.plain(most)))


def by_halves(problem: Problem, anchors: Tensor, tensors: tuple[Tensor, ...], needs: Sequence[bool]) -> Found:
    """The same as :func:`~mimetric.core.blocks.by_rows`, for problems that it :func:`suits`."""
    form, average = cast(NearFar, problem.form), problem.average
    push, classes = cast(EvenTerm, form.push), cast(Classes, problem.classes).in_order()
    order, whole = classes.order, slice(0, len(anchors))
    rows = anchors.index_select(0, order)  # four times as fast as anchors[order]
    others = mirrored(rows) if problem.mirrored else rows
    halves: _All | _Kept
    if form.mined is None:
        triangle = Triangle(rows, others, classes, keep=problem.wants_gradient, spares=1)
        halves = _All(push, problem.map, triangle)
    else:
        halves = _Kept(push, form.mined, Triangle(rows, others, classes, keep=True, spares=3))
    near, sums = halves.opened()
    if average.weights is not None:
        average = replace(average, weights=average.weights[order])
    with torch.set_grad_enabled(problem.wants_gradient):
        here = tuple((t if t.ndim == 0 else t[order]).detach().requires_grad_() for t in tensors)
        leaves = (near.sim.requires_grad_(), sums.total.requires_grad_(), *here)
        far = sums.total if sums.count is None else Mean(sums.total, sums.count)
        sides = average.of(form.sides(near, far, *here), whole)
        cost = problem.weighted(sides, problem.divisors([counts_of(sides)], len(anchors)))
    if not problem.wants_gradient:
        return Found(cost, None, None, [None] * len(tensors))
    to_near, to_far, *parts = torch.autograd.grad(cost, leaves, materialize_grads=True)
    to_anchors = None
    if needs[0]:
        # As in NearFar: over no negatives the sum is -inf and nothing depends on it.
        to_total = (to_far * sums.factor).masked_fill_(sums.total == -torch.inf, 0)
        to_near = halves.of_products(torch.where(near.valid, to_near, 0))
        to_anchors = _back(order, halves.triangle.spread(halves.slopes(to_total), to_near))
    to_tensors = [
        (part if part.ndim == 0 else _back(order, part)) if need else None
        for part, need in zip(parts, needs[2:])
    ]
    return Found(cost.detach(), to_anchors, None, to_tensors)


def _back(order: Tensor, rows: Tensor) -> Tensor:
    """Rows in order of class, each where it stands in the batch."""
    return torch.empty_like(rows).index_copy_(0, order, rows)


class _All:
    """All negatives.  Slopes stay, less a factor of either row."""

    def __init__(self, push: EvenTerm, map: Map | None, triangle: Triangle) -> None:
        self.push, self.map, self.triangle = push, map, triangle
        self._steepness: list[Tensor] = []  # of class members

    def opened(self) -> tuple[Near, Sums]:
        near, (total, count) = [], self.triangle.rows.new_zeros(2, len(self.triangle.rows))
        for tile, block in self.triangle.products():
            steepness = self._mapped_(block)
            if tile.members is not None:
                near.append(block.gather(1, tile.members))
                if steepness is not None:
                    self._steepness.append(steepness.gather(1, tile.members))
            costs = self._costs_(tile, block, steepness)
            tile.add_both_ways(total, costs)
            if self.push.counts:
                tile.add_both_ways(count, block)
        return Near(torch.cat(near), self.triangle.classes.positive), self.push.of_sums(total, count)

    def slopes(self, to_total: Tensor) -> Iterator[tuple[Tile, Tensor]]:
        for tile, slopes in self.triangle.blocks(self._slopes_):
            both = self.triangle.spare(tile)
            torch.add(to_total[tile.rows, None], to_total[tile.columns], out=both)
            yield tile, slopes.mul_(both)

    def of_products(self, to_near: Tensor) -> Tensor:
        """The gradient of class members' products, given that of their similarities."""
        return to_near / torch.cat(self._steepness) if self._steepness else to_near

    def _slopes_(self, tile: Tile, products: Tensor) -> None:
        self._costs_(tile, products, self._mapped_(products))

    def _mapped_(self, products: Tensor) -> Tensor | None:
        return None if self.map is None else self.map.apply_(products)

    def _costs_(self, tile: Tile, sim: Tensor, steepness: Tensor | None) -> Tensor:
        """What each pair costs, 0 within classes; its slope takes the place of its similarity."""
        costs = self.push.each_(sim, self.triangle.spare(tile))
        if steepness is not None:
            costs = self.triangle.spare(tile).copy_(sim) if costs is sim else costs
            sim.div_(steepness)
        tile.fill_(costs, 0.0)
        tile.fill_(sim, 0.0)
        return costs


class _Kept:
    """The negatives that a mining keeps for each row.  Similarities stay, -inf within classes."""

    def __init__(self, push: EvenTerm, mined: Mined, triangle: Triangle) -> None:
        self.push, self.mined, self.triangle = push, mined, triangle

    def opened(self) -> tuple[Near, Sums]:
        triangle, n = self.triangle, len(self.triangle.rows)
        near, hardest = [], triangle.rows.new_full((n,), -torch.inf)
        for tile, sim in triangle.products():
            if tile.members is not None:
                near.append(sim.gather(1, tile.members))
            self._negatives_(tile, sim)
            tile.raise_both_ways(hardest, sim)
        positives = Near(torch.cat(near), triangle.classes.positive)
        kept = self.mined.kept_by_hardest(positives, hardest)
        self._above, self._below = kept.above, kept.below
        total, count = triangle.rows.new_zeros(2, n)
        for tile, sim in triangle.blocks(self._negatives_):
            slopes = triangle.spare(tile, 1).copy_(sim)
            self._add_both_ways(total, tile, sim, self.push.each_(slopes, triangle.spare(tile, 2)))
            if self.push.counts:
                self._add_both_ways(count, tile, sim, slopes)
        return positives.kept(kept.valid), self.push.of_sums(total, count)

    def slopes(self, to_total: Tensor) -> Iterator[tuple[Tile, Tensor]]:
        for tile, sim in self.triangle.blocks(self._negatives_):
            both, other = self.triangle.spare(tile), self.triangle.spare(tile, 1)
            self._passed(sim, tile.rows, 1, both).mul_(to_total[tile.rows, None])
            both += self._passed(sim, tile.columns, 0, other).mul_(to_total[tile.columns])
            self.push.each_(sim, other)
            yield tile, sim.mul_(both)

    def of_products(self, to_near: Tensor) -> Tensor:
        return to_near

    def _negatives_(self, tile: Tile, sim: Tensor) -> None:
        if tile.members is not None:
            inside = sim[:, : tile.inside]
            inside.copy_(inside.add(inside.T).div_(2))  # rounded apart, one half may pass a limit and one not
            tile.fill_(sim, -torch.inf)

    def _add_both_ways(self, sums: Tensor, tile: Tile, sim: Tensor, values: Tensor) -> None:
        passed = self.triangle.spare(tile)
        sums[tile.rows].add_(self._passed(sim, tile.rows, 1, passed).mul_(values).sum(1))
        self._passed(sim, tile.columns, 0, passed).mul_(values)
        sums[tile.beyond].add_(passed[:, tile.inside :].sum(0))

    def _passed(self, sim: Tensor, at: slice, dim: int, out: Tensor) -> Tensor:
        """1 where a similarity is kept for its row (dim 1) or its column (dim 0), one of those at; 0 elsewhere."""
        above = -torch.inf if self._above is None else self._above[at].unsqueeze(dim)
        torch.gt(sim, above, out=out)
        return out if self._below is None else out.mul_(sim < self._below[at].unsqueeze(dim))
