from __future__ import annotations

import json
import mmap
import platform
import time
from contextlib import contextmanager

import pytest

from mimetric.train import machine

MIB = 2**20


@pytest.mark.parametrize("sampled", [False, True])
def test_peak_is_above_the_start_and_the_highest_of_all_parts(monkeypatch, sampled):
    if sampled:
        monkeypatch.setattr(machine, "_can_reset", lambda: False)
    memory = machine.PeakMemory()
    for size in (40, 80, 20):
        with memory, _held(size):
            time.sleep(0.05 * sampled)
    with _held(160):
        pass
    assert 75 * MIB < memory.bytes < 110 * MIB


@contextmanager
def _held(size):
    """MiB straight from the system: an allocator may keep what is freed, and count it with the next."""
    with mmap.mmap(-1, size * MIB) as pages:
        for start in range(0, len(pages), mmap.PAGESIZE):
            pages[start] = 1
        yield


def test_environment_is_json_without_host_name():
    found = json.dumps(machine.environment())
    assert "torch" in found
    assert platform.node() not in found or not platform.node()
