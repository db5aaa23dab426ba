"""How long people wait before anything runs: imports and the command's help, in fresh processes.

    python bench/imports.py [--rounds 11] [--json] > bench/results/imports.txt

The calls take turns; medians.  What an import costs beyond torch is the median over rounds of its difference to
``import torch`` in the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec

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


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of each, and beyond those of torch where it imports that; the first round, of cold files, is left out."""
    lines = calls()
    turns = [{name: seconds(line) for name, line in lines.items()} for _ in range(rounds + 1)][1:]
    found = {name: {"seconds": statistics.median(turn[name] for turn in turns)} for name in lines}
    for name in lines:
        if "." in name or name == "mimetric objectives":
            beyond = statistics.median(turn[name] - turn["import torch"] for turn in turns)
            found[name]["beyond_torch"] = beyond
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    found = measure(options.rounds)
    if options.json:
        print(json.dumps(found))
        return
    print(
        f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load before the start {load:.1f}; milliseconds"
    )
    print(f"{'':40} {'median':>7} {'beyond torch':>13}")
    for name, one in found.items():
        beyond = f"{1e3 * one['beyond_torch']:13.0f}" if "beyond_torch" in one else f"{'-':>13}"
        print(f"{name:40} {1e3 * one['seconds']:7.0f} {beyond}")


if __name__ == "__main__":
    main()
