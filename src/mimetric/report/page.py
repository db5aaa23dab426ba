"""The report of a run, or across runs: one HTML file that needs no network, and can be read without its script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mimetric.core.files import write_whole
from mimetric.report import words
from mimetric.report.axis import Axis
from mimetric.report.bound import LINES, bounds
from mimetric.report.curves import learning_curves
from mimetric.report.entropies import entropies
from mimetric.report.information import information_plane
from mimetric.report.pictures import Picture, read_pictures
from mimetric.report.portraits import (
    Examples,
    heats,
    maps,
    marks,
    merged,
    read_examples,
    scores,
    shown_rows,
    weights,
)
from mimetric.report.retrieval import classes, retrieval_grids, rows
from mimetric.report.sides import sides
from mimetric.report.templates import templates
from mimetric.report.tuning import tuned

RATE = 0.01  # the false match rate whose threshold is shown until another is chosen


def write_report(results: Mapping[str, Any], path: Path, folders: Sequence[Path] | None = None) -> None:
    """Write the page; after a crash the file is whole or as it was.

    What models make of test items, and their pictures, come from ``examples.json`` and ``pictures.npz`` in the folders,
    where there are such.

    Args:
        results: the content of results.json, see :mod:`mimetric.train.results`; or of several, see
            :mod:`mimetric.train.across`.
        path: file to write, ``report.html`` in a run's folder.
        folders: of the runs; None is the folder of the page.
    """
    folders = [path.parent] if folders is None else folders
    pictures: dict[int, Picture] = {}
    for folder in folders:
        pictures |= read_pictures(folder / "pictures.npz")
    names = [run["names"] for run in results.get("runs", [])] or [{}]
    examples = merged([read_examples(folder / "examples.json") for folder in folders], names)
    write_whole(path, render(results, pictures, examples).encode())


def render(
    results: Mapping[str, Any],
    pictures: Mapping[int, Picture] | None = None,
    examples: Examples | None = None,
) -> str:
    """The page as text.  Names that come from data and options are escaped.

    Args:
        results: the content of results.json.
        pictures: of data rows; a row without one shows its label.
        examples: the content of examples.json.
    """
    names = words.ranked(results)
    grids = retrieval_grids(results, names)
    parts = {
        "chart": learning_curves(results, names),
        "plane": information_plane(results, names),
        "entropies": entropies(results, names),
        "sides": sides(results, names),
        "bounds": bounds(results, names),
        "grids": grids,
        **_of_examples(examples, names),
    }
    held = {*rows(grids), *(shown_rows(examples) if examples else [])}
    return (
        templates()
        .get_template("page.html")
        .render(
            results=results,
            names=names,
            words=words,
            sections=_sections(results, parts),
            titles=LINES,
            tuned=tuned(results),
            axis=_recall_axis(results),
            query_classes=classes(grids),
            pictures={row: pictures[row] for row in sorted(held) if row in pictures} if pictures else {},
            **parts,
        )
    )


def _of_examples(examples: Examples | None, names: Sequence[str]) -> dict[str, Any]:
    if examples is None or not any(name in examples["models"] for name in names):
        return dict.fromkeys(("maps", "scores", "weights"), ())
    compared = heats(examples, names)
    histograms = scores(examples, names)
    rates = sorted({one.rate for panel in histograms for one in panel.thresholds}, reverse=True)
    measured = [model["scores"] for model in examples["models"].values()]
    return {
        "examples": examples,
        "class_marks": marks(examples),
        "maps": maps(examples, names),
        "heats": compared[0],
        "coolest": compared[1],
        "hottest": compared[2],
        "scores": histograms,
        "score_rows": max((held["rows"] for held in measured if held), default=0),
        "rates": rates,
        "default_rate": RATE if RATE in rates else max(rates, default=RATE),
        "weights": weights(examples, names),
        "batch_rows": _rows_of_pairs(len(examples["batch"]["same"])),
    }


def _rows_of_pairs(pairs: int) -> int:
    """n of n (n - 1) ordered pairs."""
    return round((1 + math.sqrt(1 + 4 * pairs)) / 2)


def _sections(results: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, str]:
    """What the page has, by its anchors."""
    names = {
        "objectives": "Objectives", "curves": "Curves", "information": "Information", "spread": "Spread",
        "sides": "Tightness and contrast", "found": "Retrieval", "map": "Map", "classes": "Classes", "scores": "Pairs",
        "weights": "Weights", "care": "Caveats", "again": "Settings",
    }  # fmt: skip
    there = {
        "information": results.get("information"), "spread": parts["entropies"], "sides": parts["sides"],
        "found": parts["grids"], "map": parts["maps"], "classes": parts["maps"], "scores": parts["scores"],
        "weights": parts["weights"],
    }  # fmt: skip
    return {name: title for name, title in names.items() if there.get(name, True)}


def _recall_axis(results: Mapping[str, Any]) -> Axis:
    """Of the table's column of intervals."""
    entries = [*results["objectives"].values(), *results["baselines"].values()]
    recalls = [entry["recall_at_1"] for entry in entries]
    ends = (min(end, 1) for recall in recalls for end in (recall["mean"], recall["high"] or 0))
    return Axis.around([0, 0.01, *ends], unit="%")
