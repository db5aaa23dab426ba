"""The report of a comparison: one HTML file that needs neither network nor scripts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mimetric.report import curves, words


def write_report(results: Mapping[str, Any], path: Path) -> None:
    """Write the page; after a crash the file is whole or as it was.

    Args:
        results: the content of results.json, see :mod:`mimetric.train.results`.
        path: file to write, ``report.html`` in a run's folder.
    """
    text = render(results)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o644)  # a temporary file is private to its owner
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


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
