"""Paired timing: the machine is noisy, so only ratios within one run count."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def medians(
    calls: Mapping[str, Callable[[], object]], *, seconds: float = 1.0, rounds: int = 30
) -> dict[str, float]:
    """Median seconds of each call, the calls taken in turns so that noise falls on all of them alike."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds * len(calls)
    for done in range(rounds):
        if done >= 3 and time.perf_counter() > end:
            break
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def floor(n: int, m: int, d: int) -> Callable[[], object]:
    """The three products any pair loss needs: similarities, and slopes spread over both sides; in row blocks."""
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
