"""What the benches share: two flags, one line about the machine, and the rows of a table kept as JSON."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mimetric.train.machine import environment

PACKAGES = (
    "torch", "numpy", "pytorch-metric-learning", "open-metric-learning", "sentence-transformers", "torchmetrics",
    "faiss-cpu", "scikit-learn",
)  # fmt: skip
Row = dict[str, Any]


def arguments(docs: str) -> argparse.ArgumentParser:
    """Flags of every bench: each adds its own."""
    parser = argparse.ArgumentParser(description=docs.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="the part that `make bench` runs: a minute or two"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="the same rows, and the machine, as JSON")
    return parser


@contextmanager
def report(options: argparse.Namespace) -> Iterator[list[Row]]:
    """Says where the bench runs; what it adds to the list is written as JSON at the end, where asked for.

    Also a bench that is stopped leaves the rows that it has.
    """
    there = machine()
    versions = ", ".join(f"{name} {number}" for name, number in there["versions"].items())
    print(
        f"{there['cpu']}, {there['cores']} cores, load {there['load']:.1f} before the start; {versions}",
        flush=True,
    )
    rows: list[Row] = []
    try:
        yield rows
    finally:
        if options.json:
            flags = {name: value for name, value in vars(options).items() if name != "json"}
            options.json.write_text(
                json.dumps({"machine": there, "options": flags, "rows": rows}, indent=1) + "\n"
            )


def machine() -> Row:
    """Hardware and versions; the load tells how much of the machine others had."""
    there = environment()
    return {
        "cpu": there["cpu"],
        "cores": there["cpus"],
        "load": os.getloadavg()[0],
        "python": there["python"],
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
