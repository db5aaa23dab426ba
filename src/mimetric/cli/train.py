"""The command ``mimetric train``."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter

from mimetric.cli.config import ConfigFile
from mimetric.cli.shared import AsJson, unused
from mimetric.train.options import TrainOptions


def train(
    *,
    options: Annotated[TrainOptions, Parameter(name="*")] = TrainOptions(),
    config: ConfigFile = None,  # noqa: ARG001 (for the parser: see from_file)
    resume: bool = False,
    as_json: AsJson = False,
) -> None:
    """Train one objective, saved after each epoch, and judge it on the test as compare does.

    The folder --out is a run: mimetric evaluate and mimetric explain take it.  Ctrl-C stops it after the step under
    way; --resume goes on, also after a crash, to the numbers of a run that was never stopped.  No run is ever
    written over: without --out the next is runs/train-2.

    Args:
        config: TOML file of options, such as the run.toml that every run writes; flags go on top.
        resume: Go on with the run in --out, with the options it began with.
        as_json: Print the content of results.json on stdout in place of the table.
    """
    from mimetric.report.progress import shown_progress
    from mimetric.train.machine import launched
    from mimetric.train.run import train

    if not resume and options.out == TrainOptions.out:
        options = replace(options, out=unused(options.out))
    with shown_progress() as progress:
        results = train(options, resume=resume, progress=progress)
    if launched()[0]:
        return  # the first process speaks for all
    if as_json:
        print(json.dumps(results, allow_nan=False))
        return
    [(name, entry)] = results["objectives"].items()
    print(f"{name}, {results['data']['name']}: {results['data']['note']}")
    for metric in ("recall_at_1", "map_at_r", "r_precision", "nmi"):
        print(f"{metric:<12} {entry[metric]['mean']:.4f}")
    if entry["note"]:
        print(entry["note"])
    print(f"Run: {options.out}; with intervals: mimetric evaluate {options.out}")
