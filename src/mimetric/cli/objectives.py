"""The command ``mimetric objectives``."""

from __future__ import annotations

import json
import math

from mimetric.cli.shared import AsJson


def objectives(*, as_json: AsJson = False) -> None:
    """List the losses: what they take and compare it with, both sides, options and paper.

    What takes embeddings and labels is an objective of compare; the others are called from Python.

    Args:
        as_json: Print them as one JSON object on stdout.
    """
    from mimetric.catalog import entries, others
    from mimetric.report.table import print_objectives

    facts = ("family", "takes", "references", "tightness", "contrast", "options", "paper")
    every = entries() | others()
    listed = {name: {fact: getattr(entry, fact) for fact in facts} for name, entry in every.items()}
    if as_json:
        for entry in listed.values():  # JSON has no infinity
            entry["options"] = {
                option: str(default) if default in (math.inf, -math.inf) else default
                for option, default in entry["options"].items()
            }
        print(json.dumps(listed, allow_nan=False))
    else:
        print_objectives(listed)
