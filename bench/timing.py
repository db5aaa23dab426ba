"""Paired timing: the machine is noisy, so only ratios within one run count."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from math import log

import torch


def medians(
    calls: Mapping[str, Callable[[], object]], *, seconds: float = 1.0, rounds: int = 30, least: int = 3
) -> dict[str, float]:
    """Median seconds of each call, the calls taken in turns so that noise falls on all of them alike.

    As many turns as fit in `seconds` for each call, from `least` to `rounds`, after one that does not count.
    """
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds * len(calls)
    for done in range(rounds):
        if done >= least and time.perf_counter() > end:
            break
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def floor(n: int, m: int, d: int) -> Callable[[], object]:
    """The three products any pair loss needs: similarities, and slopes spread over both sides; in blocks
    of the longer one.
    """
    n, m = max(n, m), min(n, m)
    x, y = torch.randn(n, d), torch.randn(m, d)
    rows = max(1, min(n, (1 << 21) // m))
    buffer, to_x, to_y = torch.empty(rows, m), torch.empty(n, d), torch.zeros(m, d)

    def products() -> None:
        for start in range(0, n, rows):
            block = x[start : start + rows]
            sim = torch.mm(block, y.T, out=buffer[: len(block)])
            torch.mm(sim, y, out=to_x[start : start + rows])
            to_y.addmm_(sim.T, block)

    return products


def growth(sizes: Mapping[int, float]) -> float:
    """The exponent e of value ~ size^e: the slope of the line through logarithms, least squares."""
    points = sorted(sizes.items())
    return statistics.linear_regression([log(n) for n, _ in points], [log(v) for _, v in points]).slope
