"""The report of a comparison: one HTML file that needs neither network nor scripts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mimetric.core.files import write_whole
from mimetric.report import curves, words


def write_report(results: Mapping[str, Any], path: Path) -> None:
    """Write the page; after a crash the file is whole or as it was.

    Args:
        results: the content of results.json, see :mod:`mimetric.train.results`.
        path: file to write, ``report.html`` in a run's folder.
    """
    write_whole(path, render(results).encode())


def render(results: Mapping[str, Any]) -> str:
    """The page as text.  Names that come from data and options are escaped."""
    templates = Environment(
        loader=PackageLoader("mimetric.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = words.ranked(results)
    recalls = [
        entry["recall_at_1"] for group in ("objectives", "baselines") for entry in results[group].values()
    ]
    axis = curves.Axis.over(
        max(value for recall in recalls for value in (recall["mean"], recall["high"] or 0))
    )
    chart = curves.learning_curves(results, names)
    template = templates.get_template("page.html")
    return template.render(results=results, names=names, words=words, axis=axis, chart=chart, size=curves)
