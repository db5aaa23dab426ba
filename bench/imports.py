"""How long people wait before anything runs: imports and the command's help, in fresh processes.

    python bench/imports.py [--rounds 11] > bench/results/imports.txt      (--quick: 3 rounds)

The calls take turns; medians.  What an import costs beyond torch is the median over rounds of its difference to
``import torch`` in the same round.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec

from report import Row, arguments, report

IMPORTS = (
    "mimetric",
    "mimetric.losses",
    "mimetric.metrics",
    "mimetric.estimators",
    "pytorch_metric_learning.losses",
)
COMMANDS = ("--help", "compare --help", "objectives")


def calls() -> dict[str, list[str]]:
    """Command lines by what they show; peers where they are installed."""
    there = [name for name in IMPORTS if find_spec(name.partition(".")[0])]
    python = {name: [sys.executable, "-c", f"import {name}"] for name in ("sys", "torch", *there)}
    return {f"import {name}": line for name, line in python.items()} | {
        f"mimetric {words}": [sys.executable, "-m", "mimetric", *words.split()] for words in COMMANDS
    }


def seconds(line: list[str]) -> float:
    """With compiled files, as people have them from the second time on."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - start


def measure(rounds: int) -> list[Row]:
    """Seconds of each, and beyond those of torch where it imports that; the first round, of cold files, is left out."""
    lines = calls()
    turns = [{name: seconds(line) for name, line in lines.items()} for _ in range(rounds + 1)][1:]

    def median(name: str, less: str | None = None) -> float:
        return statistics.median(turn[name] - (turn[less] if less else 0.0) for turn in turns)

    with_torch = [name for name in lines if "." in name or name == "mimetric objectives"]
    return [
        {
            "call": name,
            "seconds": median(name),
            "beyond_torch": median(name, "import torch") if name in with_torch else None,
        }
        for name in lines
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, help="11, or 3 with --quick, after one that does not count")
    options = parser.parse_args()
    with report(options) as rows:
        rows += measure(options.rounds or (3 if options.quick else 11))
        print(f"{'milliseconds':40} {'median':>7} {'beyond torch':>13}")
        for row in rows:
            beyond = "-" if row["beyond_torch"] is None else f"{1e3 * row['beyond_torch']:.0f}"
            print(f"{row['call']:40} {1e3 * row['seconds']:7.0f} {beyond:>13}")


if __name__ == "__main__":
    main()
