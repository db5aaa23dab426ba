"""What a run was measured on, and how much memory it took."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import threading
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import torch

_PACKAGES = ("mimetric", "torch", "numpy", "accelerate", "scikit-learn")


def launched() -> tuple[int, int]:
    """Which of how many processes this is, as torchrun and ``accelerate launch`` say.

    >>> launched()
    (0, 1)
    """
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def environment() -> dict[str, Any]:
    """Versions, processor and threads; no host name and no path."""
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "memory_measured_by": "the system" if _can_reset() else f"sampling every {_INTERVAL * 1e3:.0f} ms",
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    """The processor's name; Linux tells it in a file, other systems through `platform`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


_INTERVAL = 0.01  # seconds between samples
_RESET = Path("/proc/self/clear_refs")


class PeakMemory:
    """Resident peak of this process while inside ``with``, above what it held when this was made.

    Linux keeps the peak itself and lets a process reset it, so nothing is missed there; elsewhere a
    thread samples.  Used several times, it keeps the highest.

    >>> memory = PeakMemory()
    >>> with memory:
    ...     held = bytearray(50 * 2**20)
    >>> memory.bytes >= 50 * 2**20
    True
    """

    def __init__(self) -> None:
        _release()
        self.bytes = 0
        self._process = psutil.Process()
        self._start: int = self._process.memory_info().rss

    def __enter__(self) -> None:
        self._watch = None if _can_reset() else _Watch(self._process)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        peak = _high_water() if self._watch is None else self._watch.stop()
        self.bytes = max(self.bytes, peak - self._start)


def _release() -> None:
    """Hand freed memory back to the system, or what earlier work left free would hide what is used now."""
    gc.collect()
    with suppress(OSError, AttributeError):  # the C library is not GNU's
        ctypes.CDLL(None).malloc_trim(0)


def _can_reset() -> bool:
    """Set the kernel's peak back to what is held now, where it allows that."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def _high_water() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


class _Watch(threading.Thread):
    """Samples what the process holds until stopped."""

    def __init__(self, process: psutil.Process) -> None:
        super().__init__(daemon=True)
        self._process, self._stopped = process, threading.Event()
        self._peak: int = 0
        self.start()

    def run(self) -> None:
        ended = False
        while not ended:
            ended = self._stopped.wait(_INTERVAL)
            self._peak = max(self._peak, self._process.memory_info().rss)

    def stop(self) -> int:
        self._stopped.set()
        self.join()
        return self._peak
