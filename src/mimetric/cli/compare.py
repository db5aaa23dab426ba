"""The command ``mimetric compare``."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter

from mimetric.cli.config import ConfigFile
from mimetric.cli.shared import AsJson, unused
from mimetric.train.options import CompareOptions


def compare(
    *,
    options: Annotated[CompareOptions, Parameter(name="*")] = CompareOptions(),
    config: ConfigFile = None,  # noqa: ARG001 (for the parser: see from_file)
    resume: bool = False,
    as_json: AsJson = False,
) -> None:
    """Train several objectives on one data set and one budget, and compare them with error bars.

    Writes report.html, results.json, results.csv and a checkpoint per objective and seed into --out.  The
    default folder is never written over: the next is runs/compare-2.  A folder you name is.

    Args:
        config: TOML file of options, such as the run.toml that every run writes; flags go on top.
        resume: Go on with the study of --trials in --out, with the options it began with.
        as_json: Print the content of results.json on stdout in place of the table.
    """
    from mimetric.report.page import write_report
    from mimetric.report.progress import shown_progress
    from mimetric.report.table import print_comparison
    from mimetric.train.compare import compare

    if not resume and options.out == CompareOptions.out:
        options = replace(options, out=unused(options.out))
    page = options.out / "report.html"
    with shown_progress() as progress:
        if (options.out / "results.json").exists():
            progress.said(f"writing over the results in {options.out}")
        results = compare(options, resume=resume, progress=progress)
    write_report(results, page)
    if as_json:
        print(json.dumps(results, allow_nan=False))
    else:
        print_comparison(results, page)
