"""Peak memory of a step: the resident peak above what was resident before it, in a process of its own (Linux)."""

from __future__ import annotations

import ctypes
import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch

# Imported once, by a server that each process is forked from before it has computed anything.
SHARED = ["mimetric.losses", "pytorch_metric_learning.losses", "sentence_transformers"]
Step = Callable[[], object]


def resident(field: str) -> int:
    """Bytes of a line of /proc/self/status."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    raise SystemExit(f"no {field} in /proc/self/status; this bench needs Linux")


def taken(step: Step) -> int:
    """Bytes that a step takes at its peak, in this process."""
    ctypes.CDLL(None).malloc_trim(0)  # what others left behind is no room for the step
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    before = resident("VmRSS")
    step()
    return resident("VmHWM") - before


def peak(make: Callable[..., Step], at: Mapping[str, Any]) -> int:
    """Bytes that ``make(**at)`` takes at its peak, in a process of its own.

    One step like it comes before and is thrown away: what a library takes the first time is not the step's.  `make` is
    a function of a module, for the new process to find it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(SHARED)
    with ProcessPoolExecutor(1, mp_context=context) as alone:
        return alone.submit(_peak, torch.get_num_threads(), make, at).result()


def _peak(threads: int, make: Callable[..., Step], at: Mapping[str, Any]) -> int:
    torch.set_num_threads(threads)
    make(**at)()
    return taken(make(**at))
