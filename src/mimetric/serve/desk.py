"""What the page answers from: the models of a run, what each searches, and how often a threshold is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.corpus.embed import on_device, takes_of
from mimetric.corpus.items import Items, embedded_rows
from mimetric.corpus.search import Corpus, read_corpus
from mimetric.data.inputs import Takes, data_rows
from mimetric.data.labelled import LabelledData
from mimetric.data.sources import load_data
from mimetric.explain import pair_maps, position_features
from mimetric.metrics.verification import StreamingRoc
from mimetric.model import Model, load
from mimetric.models.encoders import split_encoder
from mimetric.train.checkpoint import SETTINGS

BINS = 1000  # of the threshold: cosines to 0.002
PAIRED = 10_000  # items whose pairs are counted, at most: 5 * 10^7 pairs


class Rates(NamedTuple):
    """What a threshold on the cosine accepts."""

    items: int  # whose pairs were counted
    thresholds: list[float]  # ascending, from -1 to 1
    same: list[float]  # share of pairs of one class accepted, at each
    different: list[float]  # share of pairs of two classes


class Regions(NamedTuple):
    """What each place of two inputs adds to their cosine; the mean over places is the cosine."""

    query: list[list[float]]
    neighbor: list[list[float]]


@dataclass(frozen=True)
class Served:
    """One model, and what it searches."""

    model: Model
    tests: Items  # the test items of its data, in their order; none where the data are not known
    corpus: Corpus
    rates: Rates | None
    explains: bool  # whether its encoder keeps a map of where things are


@dataclass(frozen=True)
class Desk:
    """All that a page needs, in memory; nothing is read from the disk for a query."""

    name: str  # of the run
    takes: Takes  # what a query is
    data: LabelledData | None
    models: dict[str, Served]  # by objective; one at least

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The place of each test item, by its id."""
        tests = next(iter(self.models.values())).tests
        return {name: number for number, name in enumerate(tests.ids.tolist())}

    def inputs(self, numbers: Sequence[int]) -> NDArray[Any]:
        """Test items (n, ...) as encoders take them."""
        assert self.data is not None
        return np.asarray(self.data.x[self.data.split.test[list(numbers)]])


def open_desk(run: Path, corpus: Path | None = None, device: str = "auto") -> Desk:
    """Load a run, and embed what it searches by each of its models.

    Args:
        run: the folder of a run or a checkpoint; or of a comparison: of each objective the first seed is served.
        corpus: a file of embeddings that this run made, with the index in it; None is the test items of the run's data,
            or their gallery.
        device: where encoders run.

    Raises:
        InputError: no run there, a damaged one, or a corpus that is damaged or does not fit.
    """
    run = run.expanduser()
    models = [on_device(load(folder), device) for folder in _folders(run)]
    named: dict[str, Model] = {}
    for model in models:
        named.setdefault(str(model.settings["objective"]), model)
    if corpus is not None and len(named) > 1:
        raise InputError(
            f"corpus: {corpus} was embedded by one model, and {run} holds {len(named)}; name the checkpoint of that one"
        )
    first = models[0]
    if any(
        (takes_of(one), one.settings.get("data")) != (takes_of(first), first.settings.get("data"))
        for one in models
    ):
        raise InputError(f"{run}: its models were trained on different data; name the folder of one run")
    held = None if corpus is None else read_corpus(corpus)
    data = _data_of(first, needed=held is None)
    served = {name: _served(model, data, held) for name, model in named.items()}
    return Desk(run.resolve().name, takes_of(first), data, served)


def regions(model: Model, query: NDArray[Any], neighbors: NDArray[Any]) -> list[Regions]:
    """Which regions make an input (1, c, h, w) and each of others (k, c, h, w) similar.

    Raises:
        InputError: the encoder keeps no map of places.
    """
    body, head = split_encoder(model.encoder)
    device = next((one.device for one in model.encoder.parameters()), torch.device("cpu"))
    with torch.no_grad():
        features = position_features(
            head, body(torch.from_numpy(np.concatenate((query, neighbors))).to(device))
        )
        found = pair_maps(features[:1].expand(len(neighbors), -1, -1, -1), features[1:])
    return [Regions(*pair) for pair in zip(found.first.cpu().tolist(), found.second.cpu().tolist())]


def _folders(run: Path) -> list[Path]:
    if (run / SETTINGS).exists():
        return [run]
    found = sorted(
        file.parent for file in (*run.glob(f"checkpoints/*/{SETTINGS}"), *run.glob(f"*/{SETTINGS}"))
    )
    if not found:
        raise InputError(
            f"{run}: no run there; name a folder that mimetric train or compare wrote, or one of its checkpoints"
        )
    return found


def _data_of(model: Model, needed: bool) -> LabelledData | None:
    """The data that a run was trained on, where they are still there."""
    spec, shape = model.settings.get("data"), tuple(model.settings["input_shape"])
    try:
        if not isinstance(spec, str):
            raise InputError(
                "the run does not say what it was trained on; name a file of embeddings by --corpus"
            )
        data = load_data(spec)
        if data.kind == "images" and data.x.shape[1:] != shape:
            raise InputError(f"{spec}: rows must be {shape} as in training, got {data.x.shape[1:]}")
    except InputError:
        if needed:
            raise
        return None
    return data


def _served(model: Model, data: LabelledData | None, held: Corpus | None) -> Served:
    width = model.settings["width"]
    if held is not None and held.items.embeddings.shape[1] != width:
        raise InputError(
            f"corpus: {held.name} holds rows of {held.items.embeddings.shape[1]} numbers, and the run makes {width}; "
            "embed it by this run"
        )
    if data is None:
        assert held is not None
        return Served(model, held.items.some(np.arange(0)), held, _rates(held.items, held.items), False)
    tests, split = embedded_rows(model, data_rows(data, data.split.test)), data.split
    if held is not None:
        rates = _rates(held.items, held.items)
    elif split.query is None or split.gallery is None:
        held, rates = Corpus(data.name, tests), _rates(tests, tests)
    else:
        query, gallery = (
            tests.some(np.searchsorted(split.test, rows)) for rows in (split.query, split.gallery)
        )
        held, rates = Corpus(data.name, gallery), _rates(query, gallery)
    return Served(model, tests, held, rates, _explains(model, data))


def _explains(model: Model, data: LabelledData) -> bool:
    """Whether :func:`regions` can say something, tried on one item."""
    if data.kind != "images":
        return False
    one = data.x[data.split.test[:1]]
    try:
        return bool(regions(model, one, one))
    except InputError:
        return False


def _rates(queries: Items, references: Items) -> Rates | None:
    """Of all pairs, or those of items drawn at random; None without pairs of one class and of two."""
    parts = [queries] if references is queries else [queries, references]
    parts = [_drawn(part.some(part.labels != ""), PAIRED // len(parts)) for part in parts]
    classes = {
        label: number
        for number, label in enumerate(np.unique(np.concatenate([part.labels for part in parts])))
    }
    stream = StreamingRoc(BINS)
    stream.update_pairs(
        *chain(*((part.embeddings, [classes[label] for label in part.labels]) for part in parts))
    )
    roc = stream.roc()
    if not int(roc.same[-1]) or not int(roc.different[-1]):
        return None
    columns = (roc.thresholds.round(decimals=6), roc.true_match_rate, roc.false_match_rate)
    count = sum(len(part.labels) for part in parts)
    return Rates(count, *(column[1:-1].flip(0).tolist() for column in columns))


def _drawn(items: Items, most: int) -> Items:
    count = len(items.ids)
    if count <= most:
        return items
    return items.some(np.sort(np.random.default_rng(0).permutation(count)[:most]))
