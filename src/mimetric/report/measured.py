"""The page of evaluations: what ``mimetric evaluate --json`` printed, of one model or of several, as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mimetric.core.errors import InputError
from mimetric.core.files import write_whole
from mimetric.report.axis import Axis
from mimetric.report.evaluation import interval, number, shared_warnings
from mimetric.report.templates import templates

Evaluations = Mapping[str, Mapping[str, Any]]  # by name, what Evaluation.as_json gives


def read_evaluation(path: Path) -> dict[str, Any]:
    """The evaluations in a file, by name; one that stands alone has the name "".

    Raises:
        InputError: not what ``mimetric evaluate --json`` prints.
    """
    try:
        content = json.loads(path.read_bytes())
        runs = content.get("runs", {"": content})
        for found in runs.values():
            for metric in found["metrics"].values():
                _check(metric)
            [*map(str, found["warnings"])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{path}: must be what mimetric evaluate --json printed; evaluate again") from None
    return dict(runs)


def write_evaluations(files: Mapping[str, Evaluations], path: Path) -> None:
    """Write the page; after a crash the file is whole or as it was.

    Args:
        files: what :func:`read_evaluation` gives, by the name of the file.
        path: file to write.
    """
    models = {
        (" ".join(filter(None, (file if len(files) > 1 or not name else "", name)))): found
        for file, runs in files.items()
        for name, found in runs.items()
    }
    write_whole(path, render_evaluations(models).encode())


def render_evaluations(models: Evaluations) -> str:
    """The page as text: a row for each model, a column for each metric that any of them has."""
    metrics = list(dict.fromkeys(name for found in models.values() for name in found["metrics"]))
    return (
        templates()
        .get_template("measured.html")
        .render(
            models=models,
            metrics=metrics,
            axes={name: _axis(models, name) for name in metrics},
            number=number,
            interval=interval,
            warnings=shared_warnings(models),
            title=_title(models, metrics),
        )
    )


def _title(models: Evaluations, metrics: list[str]) -> str:
    """The first metric, of one model or from the lowest to the highest."""
    if not metrics:
        return "Nothing was measured"
    first = metrics[0]
    found = [one["metrics"][first] for one in models.values() if first in one["metrics"]]
    known = [metric for metric in found if metric["mean"] is not None]
    if len(found) == 1 and known:
        spread = f" (95% interval {interval(known[0])})" if interval(known[0]) else ""
        return f"{first} is {number(known[0]['mean'])}{spread}"
    values = [metric["mean"] for metric in known]
    ends = f"from {number(min(values))} to {number(max(values))}" if values else "unknown"
    return f"{len(models)} models evaluated: {first} {ends}"


def _axis(models: Evaluations, name: str) -> Axis | None:
    """Of the bars of a metric, from the lowest to the highest; None where nothing is known."""
    held = [one["metrics"][name] for one in models.values() if name in one["metrics"]]
    ends = [end for metric in held for end in metric.values() if end is not None]
    return Axis.between(ends, most=2) if ends else None


def _check(metric: Mapping[str, Any]) -> None:
    for part in ("mean", "low", "high"):
        if metric[part] is not None:
            float(metric[part])
