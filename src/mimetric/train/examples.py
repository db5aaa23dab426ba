"""Test items and what each model makes of them, for people to look at: the same items for all models.

The items are of a few classes, drawn at random but the same every time.  ``examples.json`` holds::

    seed      of the models
    classes   [label]
    items     [{row, label, text (where the data are texts)}]
    batch     what pairs of a batch are given weights: {seen_by: whose embeddings, similarity: [...], same: [...]}
    models    {name: {map: [[x, y] of each item], explained: [share of both axes], found: [label of the item nearest
              to each], similarity: [[mean cosine of each two classes]], scores: as
              :func:`~mimetric.train.portrait.pair_scores`, pair_weights: [as batch] or None}}

and ``pictures.npz``, where the data are images, `row` (r,) and `image` (r, h, w) or (r, h, w, 3) uint8 of all items
that occur here or in the retrieval of results.json.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mimetric.core.files import write_whole
from mimetric.data.sources import LabelledData
from mimetric.train.portrait import class_similarity, pair_scores, principal_places, weights_of_pairs

ITEMS, CLASSES = 300, 20  # at most
DRAWN, WORST, NEIGHBORS = 8, 16, 5  # queries at random and those found worst, and what is shown of each
BATCH_CLASSES, BATCH_ROWS = 8, 4  # of the batch whose pairs are weighed
PICTURES, EXAMPLES = "pictures.npz", "examples.json"
_SIDE = 96  # of a picture, at most
_AT_ONCE = 16  # queries, of which a row of similarities to all test items is held


class Found(NamedTuple):
    """A test item beside a query: its place among the test items, and its cosine to the query."""

    place: int
    similarity: float


class Seen(NamedTuple):
    """What one model makes of the items."""

    near: list[list[Found]]
    first_right: list[int]  # how far down the first item of its class is, from 1; 0 where there is none
    portrait: dict[str, Any]
    batch: Tensor
    objective: nn.Module | None


class Examples:
    """Items of the test, shown to one model after the other.

    Args:
        data: with a test part; where its split marks queries, items are of these and what they find of the others.
        seed: of the models; those of other seeds are passed over.
    """

    def __init__(self, data: LabelledData, seed: int = 0) -> None:
        rows, query = data.split.test, data.split.query
        self._data, self._rows, self._seed = data, rows, seed
        self._labels = torch.from_numpy(data.y[rows])
        queries = torch.ones(len(rows), dtype=torch.bool)
        self._searched = queries
        if query is not None:
            queries = torch.from_numpy(np.isin(rows, query))
            self._searched = ~queries
        self.items = drawn_items(self._labels, queries)
        self._seen: dict[str, Seen] = {}

    def show(self, name: str, seed: int, embeddings: Tensor, objective: nn.Module) -> None:
        """Keep what a model makes of the items.

        Args:
            name: of the objective.
            seed: of the model.
            embeddings: (n, d) of all test rows.
            objective: as it was trained.
        """
        if seed != self._seed or not self.items:
            return
        rows, labels = F.normalize(embeddings.cpu().float(), dim=1), self._labels
        near, first_right = nearest(rows, labels, self.items, self._searched)
        own, classes = rows[self.items], torch.unique(labels[self.items], return_inverse=True)[1]
        places, explained = principal_places(own)
        portrait = {
            "map": places,
            "explained": explained,
            "found": [self._label(found[0].place) if found else None for found in near],
            "similarity": class_similarity(own, classes),
            "scores": pair_scores(rows, labels),
        }
        paired = getattr(objective, "takes_references", True)  # else it would keep its class weights alive
        self._seen[name] = Seen(
            near, first_right, portrait, rows[self._batch()], objective if paired else None
        )

    def retrieval(self) -> dict[str, Any] | None:
        """The part `retrieval` of results.json; None where no test class has two items."""
        if not self._seen:
            return None
        drawn, worst = self._queries()
        queries = [*drawn, *worst]
        return {
            "seed": self._seed,
            "drawn": len(drawn),
            "queries": [self._item(self.items[query]) for query in queries],
            "neighbors": {
                name: [
                    [self._item(one.place) | {"similarity": one.similarity} for one in seen.near[query]]
                    for query in queries
                ]
                for name, seen in self._seen.items()
            },
            "first_right": {
                name: [seen.first_right[query] for query in queries] for name, seen in self._seen.items()
            },
        }

    def write(self, folder: Path, retrieval: Any) -> None:
        """examples.json and pictures.npz; where there is nothing to show, none, not even one of a run before."""
        if not self._seen:
            for name in (EXAMPLES, PICTURES):
                (folder / name).unlink(missing_ok=True)
            return
        content = json.dumps(self._content(), separators=(",", ":"), allow_nan=False)
        write_whole(folder / EXAMPLES, content.encode())
        near = [one for lists in retrieval["neighbors"].values() for found in lists for one in found]
        shown = [item["row"] for item in (*retrieval["queries"], *near)]
        write_pictures(folder, self._data, [*shown, *self._rows[self.items].tolist()])

    def _content(self) -> dict[str, Any]:
        best = min(self._seen, key=lambda name: fmean(self._seen[name].first_right))
        rows, labels = self._seen[best].batch, self._labels[self._batch()]
        apart = ~torch.eye(len(rows), dtype=torch.bool)
        models = {}
        for name, seen in self._seen.items():
            weights = None if seen.objective is None else weights_of_pairs(seen.objective, rows, labels)
            listed = None if weights is None else [round(value, 6) for value in weights[apart].tolist()]
            models[name] = seen.portrait | {"pair_weights": listed}
        same, cosines = (labels[:, None] == labels)[apart], (rows @ rows.T)[apart]
        return {
            "seed": self._seed,
            "classes": [
                self._data.class_names[one] for one in torch.unique(self._labels[self.items]).tolist()
            ],
            "items": [self._item(place) for place in self.items],
            "batch": {
                "seen_by": best,
                "similarity": [round(value, 4) for value in cosines.tolist()],
                "same": same.tolist(),
            },
            "models": models,
        }

    def _batch(self) -> list[int]:
        """Places of a few items of each of a few classes."""
        labels = self._labels[self.items]
        chosen = torch.unique(labels)[:BATCH_CLASSES]
        members = [(labels == one).nonzero()[:BATCH_ROWS, 0].tolist() for one in chosen]
        return [self.items[member] for own in members for member in own]

    def _queries(self) -> tuple[list[int], list[int]]:
        """Which items are queries: the first of some classes, and those that the models find worst."""
        labels = self._labels[self.items].tolist()
        firsts = [labels.index(one) for one in dict.fromkeys(labels)][:DRAWN]
        ranks = [fmean(ranks) for ranks in zip(*(seen.first_right for seen in self._seen.values()))]
        wrong = [item for item, rank in enumerate(ranks) if rank > 1 and item not in firsts]
        return firsts, sorted(wrong, key=lambda item: -ranks[item])[:WORST]

    def _label(self, place: int) -> str:
        return str(self._data.class_names[self._data.y[self._rows[place]]])

    def _item(self, place: int) -> dict[str, Any]:
        row, data = int(self._rows[place]), self._data
        item = {"row": row, "label": self._label(place)}
        if data.kind == "texts" and data.items is not None:
            item["text"] = str(data.items[row])
        return item


def drawn_items(labels: Tensor, queries: Tensor) -> list[int]:
    """Places of items of a few classes of two or more, drawn at random: the same whenever the labels are.

    >>> drawn_items(torch.tensor([0, 1, 1, 2]), torch.ones(4, dtype=torch.bool))
    [1, 2]
    """
    generator = torch.Generator().manual_seed(0)
    classes, counts = torch.unique(labels, return_counts=True)
    shared = classes[(counts > 1) & torch.isin(classes, labels[queries])]
    chosen = shared[torch.randperm(len(shared), generator=generator)[:CLASSES]]
    most = ITEMS // max(1, len(chosen))
    members = [((labels == one) & queries).nonzero()[:, 0] for one in chosen]
    drawn = [own[torch.randperm(len(own), generator=generator)[:most]] for own in members]
    return [place for own in drawn for place in own.tolist()]


def nearest(
    rows: Tensor, labels: Tensor, queries: Sequence[int], searched: Tensor
) -> tuple[list[list[Found]], list[int]]:
    """The items nearest to each query by cosine, without itself, and how far down the first of its class is.

    Args:
        rows: (n, d) of length 1.
        labels: (n,).
        queries: places in the rows.
        searched: (n,) bool, what may be found.

    Returns:
        Up to NEIGHBORS items of each query; and a rank from 1, or 0 where no item of the class may be found.
    """
    near: list[list[Found]] = []
    ranks: list[int] = []
    for places in torch.split(torch.tensor(queries, dtype=torch.int64), _AT_ONCE):
        own = torch.arange(len(places)), places
        sim = (rows[places] @ rows.T).masked_fill(~searched, -torch.inf)
        sim[own] = -torch.inf
        found = sim.topk(min(NEIGHBORS, len(rows)), dim=1)
        near += [
            [Found(*pair) for pair in zip(at, values) if pair[1] > -torch.inf]
            for at, values in zip(found.indices.tolist(), found.values.tolist())
        ]
        first = sim.masked_fill(labels[places, None] != labels, -torch.inf).amax(1)
        ranks += torch.where(first > -torch.inf, 1 + (sim > first[:, None]).sum(1), 0).tolist()
    return near, ranks


def write_pictures(folder: Path, data: LabelledData, shown: Iterable[int]) -> None:
    """pictures.npz of these rows; where the data are no images there is no such file, not even one of a run before."""
    path, rows = folder / PICTURES, np.unique(list(shown))
    if data.kind != "images":
        path.unlink(missing_ok=True)
        return
    packed = io.BytesIO()
    np.savez_compressed(packed, row=rows, image=_pictures(data.x[rows]))
    write_whole(path, packed.getvalue())


def _pictures(x: NDArray[Any]) -> NDArray[np.uint8]:
    """Images (r, c, h, w) of any type as gray or, with three channels, colored pictures, large ones made smaller."""
    if x.dtype != np.uint8:
        low, high = x.min(), x.max()
        x = (255 * (x - low) / (high - low or 1)).round().astype(np.uint8)
    if max(x.shape[2:]) > _SIDE:
        size = [max(1, round(side * _SIDE / max(x.shape[2:]))) for side in x.shape[2:]]
        smaller = F.interpolate(torch.from_numpy(x).float(), size=size, mode="area")
        x = smaller.round().to(torch.uint8).numpy()
    if x.shape[1] == 3:
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    gray: NDArray[np.uint8] = x.mean(axis=1).round().astype(np.uint8)
    return gray
