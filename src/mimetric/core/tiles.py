"""A batch beside itself, rows in order of class: tiles of the upper triangle, and a block of numbers for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from .blocks import BLOCK_ELEMENTS
from .classes import InOrder

HEIGHT, _WIDTH = 384, 768  # of a tile: 1 MiB in float32 (measured)


class Tile(NamedTuple):
    """Some rows by some columns."""

    rows: slice
    columns: slice
    members: Tensor | None  # (k, p) where the classes of its rows stand, if it begins on the diagonal

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    @property
    def inside(self) -> int:
        """How many of its columns are its own rows, with both of their halves in it."""
        return 0 if self.members is None else self.shape[0]

    @property
    def beyond(self) -> slice:
        """The other columns, whose halves are nowhere else."""
        return slice(self.columns.start + self.inside, self.columns.stop)

    def fill_(self, block: Tensor, value: float) -> None:
        """Put a value in the places of class members."""
        if self.members is not None:
            block.scatter_(1, self.members, value)

    def add_both_ways(self, sums: Tensor, values: Tensor) -> None:
        """Add what each pair has to the sums (n,) of both of its rows."""
        sums[self.rows].add_(values.sum(1))
        sums[self.beyond].add_(values[:, self.inside :].sum(0))

    def raise_both_ways(self, largest: Tensor, values: Tensor) -> None:
        """The same for the largest (n,)."""
        for at, found in ((self.rows, values.amax(1)), (self.beyond, values[:, self.inside :].amax(0))):
            torch.maximum(largest[at], found, out=largest[at])


class Triangle:
    """Products of rows (n, w) with others, the rows or their mirror, and what was made of them.

    Blocks stay while all fit into BLOCK_ELEMENTS, if asked to; the others share one place, and are made again.  A spare
    is memory for one more block.
    """

    def __init__(self, rows: Tensor, others: Tensor, classes: InOrder, *, keep: bool, spares: int) -> None:
        self.rows, self.others, self.classes = rows, others, classes
        self.tiles = _tiles(classes)
        sizes = [prod(tile.shape) for tile in self.tiles]
        largest = max(sizes)
        stay = [size for i, size in enumerate(sizes) if keep and sum(sizes[: i + 1]) <= BLOCK_ELEMENTS]
        sizes = [*stay, *[largest] * (1 + spares)]
        # In one piece: of many, some go back to the system, and the next call has page faults (measured).
        memory = torch.split(rows.new_empty(sum(sizes)), sizes)
        self._kept, (self._again, *self._spares) = memory[: len(stay)], memory[len(stay) :]

    def products(self) -> Iterator[tuple[Tile, Tensor]]:
        """Similarities of all tiles."""
        for i, tile in enumerate(self.tiles):
            yield tile, self._product(tile, self._kept[i] if i < len(self._kept) else self._again)

    def blocks(self, make_: Callable[[Tile, Tensor], object]) -> Iterator[tuple[Tile, Tensor]]:
        """All tiles again, as they were left, or made of similarities in place."""
        for i, tile in enumerate(self.tiles):
            if i < len(self._kept):
                yield tile, _as(tile, self._kept[i])
            else:
                block = self._product(tile, self._again)
                make_(tile, block)
                yield tile, block

    def spare(self, tile: Tile, which: int = 0) -> Tensor:
        return _as(tile, self._spares[which])

    def spread(self, slopes: Iterable[tuple[Tile, Tensor]], to_near: Tensor) -> Tensor:
        """(n, w) the gradient of rows, given slopes of all tiles, and of class members (n, p) to put into them."""
        found, to_near = torch.zeros_like(self.rows), self._from_both(to_near)
        for tile, block in slopes:
            if tile.members is not None:
                block.scatter_(1, tile.members, to_near[tile.rows])
            found[tile.rows].addmm_(block, self.others[tile.columns])
            found[tile.beyond].addmm_(block[:, tile.inside :].T, self.others[tile.rows])
        return found

    def _product(self, tile: Tile, buffer: Tensor) -> Tensor:
        return torch.mm(self.rows[tile.rows], self.others[tile.columns].T, out=_as(tile, buffer))

    def _from_both(self, to_near: Tensor) -> Tensor:
        """(n, p) what arrives at a pair from either of its rows."""
        columns, first = self.classes.columns, self.classes.first[:, None]
        place = torch.arange(len(first))[:, None] - first  # of a row in its class
        both = to_near + to_near[columns, place]
        return both.gather(1, columns - first)  # padding repeats the last member: it says the same


def _as(tile: Tile, memory: Tensor) -> Tensor:
    return memory[: prod(tile.shape)].view(tile.shape)


def _tiles(classes: InOrder) -> list[Tile]:
    """The upper triangle: strips of whole classes, the first tile of each on the diagonal."""
    first, n = classes.first.tolist(), len(classes.first)
    tiles, top = [], 0
    while top < n:
        bottom = first[top + HEIGHT] if top + HEIGHT < n else n
        lefts = [top, *range(max(bottom, top + _WIDTH), n, _WIDTH)]
        for left, right in zip(lefts, [*lefts[1:], n]):
            members = classes.columns[top:bottom] - top if left == top else None
            tiles.append(Tile(slice(top, bottom), slice(left, right), members))
        top = bottom
    return tiles
