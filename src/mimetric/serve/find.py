"""One query answered: what is near it, and why."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.core.neighbors import Neighbors
from mimetric.corpus.items import Items
from mimetric.serve.answers import Heat, ItemAnswer, NeighborAnswer, SearchAnswer
from mimetric.serve.asked import Asked, as_row
from mimetric.serve.desk import Desk, Served, regions


def find(desk: Desk, name: str, asked: Asked, k: int, explain: bool) -> SearchAnswer:
    """The k items nearest to a query by the model of that name.

    Raises:
        InputError: no such model or test item, or a query that cannot be read.
    """
    if name not in desk.models:
        raise InputError(f"model: must be one of {', '.join(desk.models)}, got {name[:80]!r}")
    served = desk.models[name]
    if asked.kind == "item":
        number = _checked(asked.item, len(served.tests.ids))
        some, query = served.tests.some(np.array([number])), item_of(served.tests, number, number)
        nearest = served.corpus.search(some.embeddings, k, ids=some.ids.tolist())
        row = desk.inputs([number]) if explain and served.explains else None
    else:
        query, row = None, as_row(asked, desk.takes)
        nearest = served.corpus.search(served.model.encode(row), k)
    neighbors = _neighbors(desk, served.corpus.items, nearest)
    if explain and served.explains and row is not None:
        _explain(desk, served, row, neighbors)
    return SearchAnswer(model=name, query=query, neighbors=neighbors, index=served.corpus.index)


def item_of(items: Items, row: int, number: int | None) -> ItemAnswer:
    """A row of items; `number` is its place among the test items."""
    return ItemAnswer(
        id=str(items.ids[row]),
        label=str(items.labels[row]) or None,
        item=str(items.shown[row]) or None,
        number=number,
    )


def as_png(row: NDArray[Any]) -> bytes:
    """A picture (c, h, w) as it goes into an encoder; numbers that are no bytes are stretched to black and white."""
    from PIL import Image

    if row.dtype != np.uint8:
        low, high = float(row.min()), float(row.max())
        row = (255 * (row - low) / max(high - low, 1e-12)).astype(np.uint8)
    pixels = row.transpose(1, 2, 0) if len(row) == 3 else row.mean(0).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "png")
    return file.getvalue()


def _checked(number: int | None, count: int) -> int:
    if number is None or not 0 <= number < count:
        has = f"there are test items 0 to {count - 1}" if count else "the run has no test items here"
        raise InputError(f"item: {has}, got {number}")
    return number


def _neighbors(desk: Desk, items: Items, nearest: Neighbors) -> list[NeighborAnswer]:
    found = ((score, row) for score, row in zip(*(part[0].tolist() for part in nearest)) if row >= 0)
    return [
        NeighborAnswer(
            **dict(item_of(items, row, desk.numbers.get(str(items.ids[row])))),
            rank=rank,
            score=score,
            why=None,
        )
        for rank, (score, row) in enumerate(found, 1)
    ]


def _explain(desk: Desk, served: Served, row: NDArray[Any], neighbors: list[NeighborAnswer]) -> None:
    """Add regions to the neighbors whose pictures are at hand."""
    shown = [one for one in neighbors if one.number is not None]
    if not shown:
        return
    others = desk.inputs([one.number for one in shown if one.number is not None])
    for one, (query, neighbor) in zip(shown, regions(served.model, row, others)):
        one.why = Heat(query=query, neighbor=neighbor)
