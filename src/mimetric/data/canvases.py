"""Pictures with one whole object among scraps of others, and the box it is in: where an explanation ought to look."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mimetric.core.checks import check_positive
from mimetric.core.errors import InputError


class Canvases(NamedTuple):
    """Noise and scraps of objects with one whole object each."""

    x: Tensor  # (n, 1, side, side) in [0, 1]
    y: Tensor  # (n,) the class of the object
    box: Tensor  # (n, 4) left, top, right, bottom of its ink, the last two inside it


def composed(
    x: Tensor,
    y: Tensor,
    count: int,
    *,
    side: int = 40,
    scrap: int = 6,
    scraps: int = 4,
    noise: float = 0.2,
    ink: float = 0.2,
    generator: torch.Generator | None = None,
) -> Canvases:
    """New pictures of objects drawn at random, each at a random place that holds all of it.

    Noise is uniform and lies under all; scraps are squares of other objects at random places; what adds up to more
    than 1 is cut to 1.  Since scraps look like objects, only the whole one tells the class for sure.

    Args:
        x: (m, item, item) gray objects in [0, 1], light on dark.
        y: (m,) their classes.
        count: n, how many pictures.
        side: of a picture, at least that of an object.
        scrap: side of a scrap, at most that of an object.
        scraps: how many lie on a picture.
        noise: highest value of the noise, in [0, 1].
        ink: what is lighter is of the object, for its box.
        generator: of all that is random; None is torch's own.

    Raises:
        InputError: objects of another shape, or sizes that do not go into one another.

    >>> found = composed(torch.ones(1, 3, 3), torch.tensor([7]), 2, side=9, scrap=2)
    >>> found.x.shape, found.y.tolist(), (found.box[:, 2:] - found.box[:, :2]).tolist()
    (torch.Size([2, 1, 9, 9]), [7, 7], [[2, 2], [2, 2]])
    """
    check_positive("composed", count=count, scrap=scrap)
    if x.ndim != 3 or x.shape[1] != x.shape[2] or not scrap <= x.shape[1] <= side:
        raise InputError(
            f"composed: x must be square objects (m, item, item), item from scrap ({scrap}) to side ({side}), "
            f"got {tuple(x.shape)}"
        )
    item = x.shape[1]

    def drawn(most: int, *shape: int) -> Tensor:
        return torch.randint(most, shape, generator=generator)

    canvas, chosen = noise * torch.rand(count, side, side, generator=generator), drawn(len(x), count)
    for _ in range(scraps):
        piece = x[drawn(len(x), count)][_square(drawn(item - scrap + 1, count, 2), scrap)]
        canvas[_square(drawn(side - scrap + 1, count, 2), scrap)] += piece
    corner = drawn(side - item + 1, count, 2)  # down, across
    canvas[_square(corner, item)] += x[chosen]
    seen = torch.stack((x[chosen].amax(1), x[chosen].amax(2)), dim=1) > ink  # across, down: (n, 2, item)
    first, last = seen.byte().argmax(2), item - 1 - seen.flip(2).byte().argmax(2)
    box = torch.cat((first, last), dim=1) + corner.flip(1).repeat(1, 2)
    return Canvases(canvas.clamp(max=1)[:, None], y[chosen], box)


def _square(corner: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """The index of a square in each picture, by its upper left corner (n, 2)."""
    down, across = (corner[:, i, None] + torch.arange(side) for i in (0, 1))
    return torch.arange(len(corner))[:, None, None], down[:, :, None], across[:, None, :]
