"""How long people wait before anything runs: imports and the command's help, in fresh processes.

    python bench/imports.py [--rounds 11] > bench/results/imports.txt      (--quick: 3 rounds)

The calls take turns; medians.  What an import costs beyond torch is timed inside its process, after ``import torch``:
that itself varies by more from process to process.
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
    "import sys",
    "import torch",
    "import mimetric",
    "import mimetric.losses",
    "from mimetric.losses import SupConLoss",
    "from mimetric.losses import *",
    "import mimetric.metrics",
    "import mimetric.estimators",
    "import pytorch_metric_learning.losses",
)
COMMANDS = ("--help", "compare --help", "objectives")


AFTER_TORCH = """
import time, torch
start = time.perf_counter()
{line}
print(time.perf_counter() - start)
"""


def run(*words: str) -> str:
    """What a fresh Python prints, with compiled files, as people have them from the second time on."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(
        [sys.executable, *words], check=True, capture_output=True, text=True, env=environment
    ).stdout


def seconds(*words: str) -> float:
    start = time.perf_counter()
    run(*words)
    return time.perf_counter() - start


def measure(rounds: int) -> list[Row]:
    """Medians of each; the first round, of cold files, is left out."""
    there = [line for line in IMPORTS if find_spec(line.split()[1].partition(".")[0])]
    whole: dict[str, list[float]] = {}
    beyond: dict[str, list[float]] = {}
    for _ in range(rounds + 1):
        for line in there:
            whole.setdefault(line, []).append(seconds("-c", line))
            if "." in line:
                beyond.setdefault(line, []).append(float(run("-c", AFTER_TORCH.format(line=line))))
        for words in COMMANDS:
            whole.setdefault(f"mimetric {words}", []).append(seconds("-m", "mimetric", *words.split()))
    return [
        {
            "call": call,
            "seconds": statistics.median(found[1:]),
            "beyond_torch": statistics.median(beyond[call][1:]) if call in beyond else None,
        }
        for call, found in whole.items()
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
