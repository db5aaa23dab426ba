"""The command ``mimetric evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from mimetric.cli.config import ConfigFile
from mimetric.cli.shared import AsJson
from mimetric.train.options import EvaluateOptions


def evaluate(
    source: Path,
    /,
    *,
    options: Annotated[EvaluateOptions, Parameter(name="*")] = EvaluateOptions(),
    config: ConfigFile = None,  # noqa: ARG001 (for the parser: see from_file)
    as_json: AsJson = False,
) -> None:
    """Measure what a comparison trained, or any embeddings, with bootstrap intervals, and warn of what flatters them.

    Args:
        source: The folder of mimetric train or compare, one of its checkpoints, or a file of embeddings: .npz or
            .parquet with embeddings (n, d), labels (n,) and, if you like, split, query, gallery and logits.
        config: TOML file of options; flags go on top.
        as_json: Print one JSON object on stdout in place of the table.
    """
    from mimetric.evaluation import Evaluation
    from mimetric.report.evaluation import print_evaluation, print_evaluations
    from mimetric.report.progress import shown_progress
    from mimetric.train.evaluate import evaluate_source

    with shown_progress() as progress:
        found = evaluate_source(source, options, progress=progress)
    content: dict[str, Any]
    if isinstance(found, Evaluation):
        content, printed = found.as_json(), print_evaluation
    else:
        content, printed = {"runs": {name: one.as_json() for name, one in found.items()}}, print_evaluations
    if as_json:
        print(json.dumps(content, allow_nan=False))
    else:
        printed(content)
