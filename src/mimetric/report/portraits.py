"""What each model makes of the same test items: the map, classes beside classes, scores of pairs, weights of pairs.

Everything here reads the content of examples.json, see :mod:`mimetric.train.examples`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mimetric.report.axis import Axis
from mimetric.report.plot import Plot, Point, listed

Examples = Mapping[str, Any]
HUES, SHAPES = 7, 3  # a class has a hue and a shape of its own, up to their product


class Mark(NamedTuple):
    """How a class is drawn."""

    label: str
    hue: int
    shape: int


@dataclass(frozen=True)
class Spot:
    """An item on the map; `found` is the class of the item nearest to it."""

    at: Point
    row: int
    mark: Mark
    text: str | None
    found: str | None

    @property
    def wrong(self) -> bool:
        return self.found != self.mark.label

    @property
    def said(self) -> str:
        """What it is, in words."""
        text = f"{self.text} ({self.mark.label})" if self.text else self.mark.label
        return f"{text}; nearest is {self.found}" if self.wrong else f"{text}; nearest is of its class"


@dataclass(frozen=True)
class Map:
    """The items as one model places them, along two principal components."""

    name: str
    plot: Plot
    spots: tuple[Spot, ...]

    @property
    def wrong(self) -> int:
        """How many are nearest to an item of another class."""
        return sum(spot.wrong for spot in self.spots)


@dataclass(frozen=True)
class Cell:
    """Two classes, by number, and the mean cosine of their pairs; `share` of the way from the lowest to the highest."""

    row: int
    column: int
    value: float
    share: float


@dataclass(frozen=True)
class Heat:
    """Classes beside classes."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Threshold:
    """Where a false match rate is kept: accepted is the share of the same pairs beyond it."""

    rate: float
    cosine: float
    accepted: float
    at: Point


@dataclass(frozen=True)
class Scores:
    """How cosines of pairs are spread: outlines of the histograms of pairs of one class and of two."""

    name: str
    plot: Plot
    same: str
    different: str
    thresholds: tuple[Threshold, ...]


@dataclass(frozen=True)
class Weights:
    """How hard pairs of the batch are pulled (below the line at `zero`) or pushed, against their cosine."""

    name: str
    plot: Plot
    same: str
    different: str
    zero: Point


def read_examples(path: Path) -> Examples | None:
    """The content of ``examples.json``; None where it is absent or broken: a report must not fail over it."""
    try:
        content = json.loads(path.read_bytes())
        for model in content["models"].values():
            _check(model, content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return dict(content)


def merged(held: Sequence[Examples | None], names: Sequence[Mapping[str, str]]) -> Examples | None:
    """Those of several runs as one, their models under other names where `names` has such.

    Of a run that was shown other items than the first, nothing is taken; of one that weighed pairs of another batch,
    no weights.
    """
    first = next(filter(None, held), None)
    if first is None:
        return None
    models: dict[str, Any] = {}
    for one, new in zip(held, names):
        if one is None or one["items"] != first["items"]:
            continue
        lost = {} if one["batch"] == first["batch"] else {"pair_weights": None}
        models |= {new.get(name, name): model | lost for name, model in one["models"].items()}
    return {**first, "models": models}


def marks(examples: Examples) -> list[Mark]:
    """How the classes are drawn, in their order."""
    return [
        Mark(str(label), number % HUES, number // HUES % SHAPES)
        for number, label in enumerate(examples["classes"])
    ]


def maps(examples: Examples, names: Sequence[str]) -> list[Map]:
    """One map per objective; components of one model have nothing to do with those of another."""
    by_label = {mark.label: mark for mark in marks(examples)}
    found = []
    for name, model in _models(examples, names):
        x, y = ([place[axis] for place in model["map"]] for axis in (0, 1))
        across, up = model["explained"]
        titles = f"across {across:.0%} of the variance", f"up {up:.0%}"
        plot = Plot(Axis.between(x), Axis.between(y), *titles, width=300, height=240)
        spots = tuple(
            Spot(plot.at(*place), item["row"], by_label[item["label"]], item.get("text"), nearest)
            for item, place, nearest in zip(examples["items"], model["map"], model["found"])
        )
        found.append(Map(name, plot, spots))
    return found


def heats(examples: Examples, names: Sequence[str]) -> tuple[list[Heat], float, float]:
    """One grid of classes per objective, and the lowest and highest value of all of them."""
    models = _models(examples, names)
    known = [
        value for _, model in models for line in model["similarity"] for value in line if value is not None
    ]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    return [_heat(name, model["similarity"], low, high) for name, model in models], low, high


def scores(examples: Examples, names: Sequence[str]) -> list[Scores]:
    """Histograms as shares of their pairs, on common axes."""
    held = {name: model["scores"] for name, model in _models(examples, names) if model["scores"]}
    if not held:
        return []
    shares = {name: tuple(_shares(own[kind]) for kind in ("same", "different")) for name, own in held.items()}
    every = [side for sides in shares.values() for side in sides]
    bins = len(every[0])
    used = [place for side in every for place, share in enumerate(side) if share > 1e-4]
    plot = Plot(
        Axis.between([2 * min(used) / bins - 1, 2 * (max(used) + 1) / bins - 1]),
        Axis.around([0, *(share for side in every for share in side)], unit="%", most=3),
        "cosine of a pair", "share of pairs", height=110,
    )  # fmt: skip
    return [
        Scores(name, plot, _outline(plot, same), _outline(plot, different), _thresholds(plot, held[name]))
        for name, (same, different) in shares.items()
    ]


def weights(examples: Examples, names: Sequence[str]) -> list[Weights]:
    """One panel per objective that weighs pairs, each on its own scale: the largest weight is 1."""
    batch, found = examples["batch"], []
    for name, model in _models(examples, names):
        given = model["pair_weights"]
        if given is None or not any(given):
            continue
        most = max(map(abs, given))
        plot = Plot(
            Axis.between(batch["similarity"]), Axis(-1, 1, (-1.0, 0.0, 1.0)), "cosine of the pair", "weight"
        )
        pairs = list(zip(batch["similarity"], (weight / most for weight in given), batch["same"]))
        same, different = (
            _dots(plot, [pair[:2] for pair in pairs if pair[2] == kind]) for kind in (True, False)
        )
        found.append(Weights(name, plot, same, different, plot.at(plot.x.low, 0)))
    return found


def shown_rows(examples: Examples) -> list[int]:
    """Rows of all items."""
    return [item["row"] for item in examples["items"]]


def _models(examples: Examples, names: Sequence[str]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, examples["models"][name]) for name in names if name in examples["models"]]


def _check(model: Mapping[str, Any], examples: Examples) -> None:
    """Fail on what the drawings could not use."""
    items, batch = examples["items"], examples["batch"]
    labels = {str(label) for label in examples["classes"]}
    for values in (model["map"], model["found"]):
        if len(values) != len(items) or not labels.issuperset(item["label"] for item in items):
            raise ValueError("items and models disagree")
    if model["pair_weights"] is not None and len(model["pair_weights"]) != len(batch["similarity"]):
        raise ValueError("pairs and weights disagree")


def _dots(plot: Plot, places: Iterable[tuple[float, float]]) -> str:
    """A path of dots, one at each place where there are several."""
    return "".join(f"M{x} {y}h0" for x, y in dict.fromkeys(plot.at(*place) for place in places))


def _heat(name: str, similarity: Sequence[Sequence[float | None]], low: float, high: float) -> Heat:
    span = high - low or 1.0
    return Heat(
        name,
        tuple(
            Cell(row, column, value, round((value - low) / span, 3))
            for row, line in enumerate(similarity)
            for column, value in enumerate(line)
            if value is not None
        ),
    )


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    return [count / total for count in counts]


def _outline(plot: Plot, shares: Sequence[float]) -> str:
    """Steps over the bins, which run from -1 to 1."""
    bins = len(shares)
    ends = [(2 * place / bins - 1, 2 * (place + 1) / bins - 1) for place in range(bins)]
    corners: Iterable[Point] = (
        plot.at(end, share)
        for (start, stop), share in zip(ends, shares)
        if stop > plot.x.low and start < plot.x.high
        for end in (start, stop)
    )
    return listed([plot.at(plot.x.low, 0), *dict.fromkeys(corners), plot.at(plot.x.high, 0)])


def _thresholds(plot: Plot, held: Mapping[str, Any]) -> tuple[Threshold, ...]:
    return tuple(
        Threshold(one["fmr"], one["threshold"], one["tmr"], plot.at(one["threshold"], 0))
        for one in held["thresholds"]
    )
