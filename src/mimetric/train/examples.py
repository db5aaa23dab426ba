"""A few test items and what each model finds nearest to them, for people to look at."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mimetric.core.files import write_whole
from mimetric.data.sources import LabelledData

QUERIES, NEIGHBORS = 8, 5
PICTURES = "pictures.npz"


class Found(NamedTuple):
    """A test item beside a query: its place among the test items, and its cosine to the query."""

    place: int
    similarity: float


def drawn_queries(labels: Tensor) -> list[int]:
    """Places of items of different classes, drawn at random: the same whenever the labels are."""
    generator = torch.Generator().manual_seed(0)
    classes, counts = torch.unique(labels, return_counts=True)
    shared = classes[counts > 1]
    chosen = shared[torch.randperm(len(shared), generator=generator)[:QUERIES]]
    members = [(labels == one).nonzero()[:, 0] for one in chosen]
    return [int(own[torch.randint(len(own), (), generator=generator)]) for own in members]


def nearest(embeddings: Tensor, queries: Sequence[int]) -> list[list[Found]]:
    """The items nearest to each query by cosine, without itself."""
    rows = F.normalize(embeddings, dim=1)
    places = torch.tensor(queries, dtype=torch.int64, device=rows.device)
    sim = rows[places] @ rows.T
    sim[torch.arange(len(places)), places] = -torch.inf
    found = sim.topk(min(NEIGHBORS, max(0, len(rows) - 1)), dim=1)
    return [
        [Found(*pair) for pair in zip(at, similarity)]
        for at, similarity in zip(found.indices.tolist(), found.values.tolist())
    ]


def described(
    data: LabelledData, queries: Sequence[int], found: Mapping[str, Sequence[Sequence[Found]]]
) -> dict[str, Any] | None:
    """What results.json says of them; None where no test class has two items."""
    if not queries:
        return None
    rows = data.split.test

    def item(place: int) -> dict[str, Any]:
        row = int(rows[place])
        return {"row": row, "label": data.class_names[data.y[row]]}

    return {
        "seed": 0,
        "queries": [item(place) for place in queries],
        "neighbors": {
            name: [[item(one.place) | {"similarity": one.similarity} for one in near] for near in lists]
            for name, lists in found.items()
        },
    }


def write_pictures(folder: Path, data: LabelledData, retrieval: Mapping[str, Any] | None) -> None:
    """pictures.npz: `row` (r,) and `image` (r, h, w) or (r, h, w, 3) uint8 of all items that occur.

    Where the data are no images there is no such file, not even one of a run before.
    """
    path = folder / PICTURES
    if retrieval is None or data.x.ndim != 4:
        path.unlink(missing_ok=True)
        return
    near = [one for lists in retrieval["neighbors"].values() for found in lists for one in found]
    rows = np.unique([item["row"] for item in (*retrieval["queries"], *near)])
    packed = io.BytesIO()
    np.savez_compressed(packed, row=rows, image=_pictures(data.x[rows]))
    write_whole(path, packed.getvalue())


def _pictures(x: NDArray[Any]) -> NDArray[np.uint8]:
    """Images (r, c, h, w) of any type as gray or, with three channels, colored pictures."""
    if x.dtype != np.uint8:
        low, high = x.min(), x.max()
        x = (255 * (x - low) / (high - low or 1)).round().astype(np.uint8)
    if x.shape[1] == 3:
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    gray: NDArray[np.uint8] = x.mean(axis=1).round().astype(np.uint8)
    return gray
