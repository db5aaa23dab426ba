from __future__ import annotations

import json
import platform
import time

import numpy as np
import pytest

from mimetric.train import machine

MIB = 2**20


@pytest.mark.parametrize("sampled", [False, True])
def test_peak_is_above_the_start_and_the_highest_of_all_parts(monkeypatch, sampled):
    if sampled:
        monkeypatch.setattr(machine, "_can_reset", lambda: False)
    memory = machine.PeakMemory()
    for size in (40, 80, 20):
        with memory:
            held = np.ones(size * MIB, np.uint8)
            time.sleep(0.05 * sampled)
            held = None
    outside = np.ones(160 * MIB, np.uint8)
    assert held is None
    assert len(outside)
    assert 75 * MIB < memory.bytes < 110 * MIB


def test_environment_is_json_without_host_name():
    found = json.dumps(machine.environment())
    assert "torch" in found
    assert platform.node() not in found or not platform.node()
