r"""A batch beside itself: what a pair of rows costs is made once and serves both of them.

The similarity of i and j is that of j and i, and so is what either adds to the other's sum.  With rows in order of
class, strips of rows reach from the diagonal to the right, in tiles that stay in a core's cache: first for the sums of
their rows and of their columns, then for the slopes.  Where :func:`~mimetric.core.blocks.by_rows` takes three products
one and a half do; slopes beyond :data:`~mimetric.core.blocks.BLOCK_ELEMENTS` are made again, for half a product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from math import prod
from typing import NamedTuple, cast

import torch
from torch import Tensor

from .blocks import BLOCK_ELEMENTS, Found, Problem, counts_of
from .classes import Classes, InOrder
from .forms import NearFar
from .reduce import Mean, Near
from .terms import SAFE_EXPONENT, CircleLogSumExp, EvenTerm, Hinge, LogSumExp

_FEWEST = 640  # rows from which it pays (measured)
_HEIGHT, _WIDTH = 384, 768  # of a tile: 1 MiB in float32 (measured)


def suits(problem: Problem, anchors: Tensor) -> bool:
    """Whether halves are the better blocks of a batch that is its own reference, and the loss can be had from them."""
    form, classes = problem.form, problem.classes
    return bool(
        isinstance(form, NearFar)
        and form.mined is None
        and isinstance(form.push, LogSumExp | Hinge | CircleLogSumExp)
        and problem.bounded
        and form.push.farthest <= SAFE_EXPONENT
        and isinstance(classes, Classes)
        and classes.longest <= _HEIGHT
        and (problem.map, problem.product_type, problem.block, problem.share) == (None, None, None, None)
        and anchors.device.type == "cpu"  # an accelerator would wait for many small kernels
        and len(anchors) >= _FEWEST
    )


def by_halves(problem: Problem, anchors: Tensor, tensors: tuple[Tensor, ...], needs: Sequence[bool]) -> Found:
    """The same as :func:`~mimetric.core.blocks.by_rows`, for problems that it :func:`suits`."""
    form, average = cast(NearFar, problem.form), problem.average
    push, classes = cast(EvenTerm, form.push), cast(Classes, problem.classes).in_order()
    order, whole = classes.order, slice(0, len(anchors))
    places = order.argsort()  # of the batch's rows, in order of class
    halves = _Halves(push, anchors.index_select(0, order), classes)  # four times as fast as anchors[order]
    near_sim, total, count = halves.sums(keep=problem.wants_gradient)
    sums = push.of_sums(total, count)
    if average.weights is not None:
        average = replace(average, weights=average.weights[order])
    with torch.set_grad_enabled(problem.wants_gradient):
        here = tuple((t if t.ndim == 0 else t[order]).detach().requires_grad_() for t in tensors)
        leaves = (near_sim.requires_grad_(), sums.total.requires_grad_(), *here)
        far = sums.total if sums.count is None else Mean(sums.total, sums.count)
        sides = average.of(form.sides(Near(near_sim, classes.positive), far, *here), whole)
        cost = problem.weighted(sides, problem.divisors([counts_of(sides)], len(anchors)))
    if not problem.wants_gradient:
        return Found(cost, None, None, [None] * len(tensors))
    to_near, to_far, *parts = torch.autograd.grad(cost, leaves, materialize_grads=True)
    to_anchors = None
    if needs[0]:
        # As in NearFar: over no negatives the sum is -inf and nothing depends on it.
        to_total = (to_far * sums.factor).masked_fill_(total == 0, 0)
        found = halves.gradient(torch.where(classes.positive, to_near, 0), to_total)
        to_anchors = found.index_select(0, places)
    to_tensors = [
        (part if part.ndim == 0 else part.index_select(0, places)) if need else None
        for part, need in zip(parts, needs[2:])
    ]
    return Found(cost.detach(), to_anchors, None, to_tensors)


class Tile(NamedTuple):
    """Some rows by some columns."""

    rows: slice
    columns: slice

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    @property
    def on_diagonal(self) -> bool:
        """Whether it begins on the diagonal; it then has all members of its rows' classes."""
        return bool(self.rows.start == self.columns.start)

    @property
    def inside(self) -> int:
        """How many of its columns are its own rows, with both of their halves in it."""
        return self.shape[0] if self.on_diagonal else 0

    @property
    def beyond(self) -> slice:
        """The other columns, whose halves are nowhere else."""
        return slice(self.columns.start + self.inside, self.columns.stop)


def _tiles(classes: InOrder) -> list[Tile]:
    """The upper triangle: strips of whole classes, the first tile of each on the diagonal."""
    first, n = classes.first.tolist(), len(classes.first)
    tiles, top = [], 0
    while top < n:
        bottom = first[top + _HEIGHT] if top + _HEIGHT < n else n
        lefts = [top, *range(max(bottom, top + _WIDTH), n, _WIDTH)]
        tiles += [Tile(slice(top, bottom), slice(*sides)) for sides in zip(lefts, [*lefts[1:], n])]
        top = bottom
    return tiles


class _Halves:
    """The upper triangle of a batch in order of class, gone through twice."""

    def __init__(self, push: EvenTerm, rows: Tensor, classes: InOrder) -> None:
        self.push, self.rows, self.classes = push, rows, classes
        self.tiles = _tiles(classes)
        self._again, self._spare = rows.new_empty(2, max(prod(tile.shape) for tile in self.tiles))
        self._kept: list[Tensor] = []  # slopes of the first tiles

    def sums(self, *, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Similarities of class members (n, p), totals of negatives (n,), and how many of them cost something."""
        near, (total, count) = [], self.rows.new_zeros(2, len(self.rows))
        room = BLOCK_ELEMENTS if keep else 0
        for tile in self.tiles:
            room -= prod(tile.shape)
            sim = self._product(tile, self.rows.new_empty(tile.shape) if room >= 0 else self._again)
            if tile.on_diagonal:
                near.append(sim.gather(1, self._members(tile)))
            _add_both_ways(total, tile, self._costs_(tile, sim))
            if self.push.counts:
                _add_both_ways(count, tile, sim)
            if room >= 0:
                self._kept.append(sim)
        return torch.cat(near), total, count

    def gradient(self, to_near: Tensor, to_total: Tensor) -> Tensor:
        """(n, w) of the rows, given those of class members (n, p) and of totals (n,)."""
        found, to_near = torch.zeros_like(self.rows), self._from_both(to_near)
        for tile, slopes in zip(self.tiles, chain(self._kept, self._made_again())):
            pushed = torch.add(to_total[tile.rows, None], to_total[tile.columns], out=_as(tile, self._spare))
            slopes.mul_(pushed)
            if tile.on_diagonal:
                slopes.scatter_(1, self._members(tile), to_near[tile.rows])
            found[tile.rows].addmm_(slopes, self.rows[tile.columns])
            found[tile.beyond].addmm_(slopes[:, tile.inside :].T, self.rows[tile.rows])
        return found

    def _made_again(self) -> Iterator[Tensor]:
        for tile in self.tiles[len(self._kept) :]:
            slopes = self._product(tile, self._again)
            self._costs_(tile, slopes)
            yield slopes

    def _product(self, tile: Tile, buffer: Tensor) -> Tensor:
        return torch.mm(self.rows[tile.rows], self.rows[tile.columns].T, out=_as(tile, buffer))

    def _costs_(self, tile: Tile, sim: Tensor) -> Tensor:
        """What each pair costs, 0 within classes; its slope takes the place of its similarity."""
        costs = self.push.each_(sim, _as(tile, self._spare))
        if tile.on_diagonal:
            for block in (costs, sim):
                block.scatter_(1, self._members(tile), 0.0)
        return costs

    def _members(self, tile: Tile) -> Tensor:
        """Where, in a tile on the diagonal, the classes of its rows stand."""
        start: int = tile.columns.start
        return self.classes.columns[tile.rows] - start

    def _from_both(self, to_near: Tensor) -> Tensor:
        """(n, p) what arrives at a pair from either of its rows."""
        columns, first = self.classes.columns, self.classes.first[:, None]
        place = torch.arange(len(first))[:, None] - first  # of a row in its class
        both = to_near + to_near[columns, place]
        return both.gather(1, columns - first)  # padding repeats the last member: it says the same


def _as(tile: Tile, buffer: Tensor) -> Tensor:
    return buffer.view(-1)[: prod(tile.shape)].view(tile.shape)


def _add_both_ways(sums: Tensor, tile: Tile, values: Tensor) -> None:
    """Add what each pair has to the sums (n,) of both of its rows."""
    sums[tile.rows] += values.sum(1)
    sums[tile.beyond] += values[:, tile.inside :].sum(0)
