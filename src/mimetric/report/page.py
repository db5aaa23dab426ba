"""The report of a comparison: one HTML file that needs neither network nor scripts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from mimetric.core.files import write_whole
from mimetric.report import words
from mimetric.report.axis import Axis
from mimetric.report.curves import learning_curves
from mimetric.report.entropies import entropies
from mimetric.report.information import information_plane
from mimetric.report.pictures import Picture, read_pictures
from mimetric.report.retrieval import retrieval_grids, rows
from mimetric.report.sides import sides


def write_report(results: Mapping[str, Any], path: Path) -> None:
    """Write the page; after a crash the file is whole or as it was.

    Pictures of data rows come from ``pictures.npz`` beside it, where there is one.

    Args:
        results: the content of results.json, see :mod:`mimetric.train.results`.
        path: file to write, ``report.html`` in a run's folder.
    """
    write_whole(path, render(results, read_pictures(path.parent / "pictures.npz")).encode())


def render(results: Mapping[str, Any], pictures: Mapping[int, Picture] | None = None) -> str:
    """The page as text.  Names that come from data and options are escaped.

    Args:
        results: the content of results.json.
        pictures: of data rows; a row without one shows its label.
    """
    templates = Environment(
        loader=PackageLoader("mimetric.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["breakable"] = _breakable
    names = words.ranked(results)
    grids = retrieval_grids(results, names)
    return templates.get_template("page.html").render(
        results=results,
        names=names,
        words=words,
        axis=_recall_axis(results),
        chart=learning_curves(results, names),
        plane=information_plane(results, names),
        entropies=entropies(results, names),
        sides=sides(results, names),
        grids=grids,
        pictures={row: pictures[row] for row in rows(grids) if row in pictures} if pictures else {},
    )


def _recall_axis(results: Mapping[str, Any]) -> Axis:
    """Of the table's column of intervals."""
    entries = [*results["objectives"].values(), *results["baselines"].values()]
    recalls = [entry["recall_at_1"] for entry in entries]
    ends = (min(end, 1) for recall in recalls for end in (recall["mean"], recall["high"] or 0))
    return Axis.around([0, 0.01, *ends], unit="%")


def _breakable(name: str) -> Markup:
    """An objective's name, which may be broken between its options."""
    return Markup(str(escape(name)).replace(":", ":<wbr>").replace(",", ",<wbr>"))
