from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import settings

from cases import CASES

# No test is timed.  Where a failure blocks others, examples are the same every time; elsewhere they vary.
settings.register_profile("quick", deadline=None, max_examples=20, derandomize=bool(os.environ.get("CI")))
settings.register_profile("thorough", deadline=None, max_examples=100)
settings.load_profile("quick")

torch.set_num_threads(1)  # one worker per core runs the suite

_LAWS = ("test_laws.py", "test_reductions.py", "test_relations.py", "test_elsewhere.py")
_first_of_loss = {case.loss: case for case in reversed(CASES)}
_AVERAGES = {
    ("active", True),
    ("none", False),
    ("active", None),
}  # reduction, and whether anchors have weights


def pytest_runtest_setup() -> None:
    torch.manual_seed(0)  # whatever ran before in this process


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All laws of all options and averages take minutes: the fast suite holds other options of a loss to plain loops
    alone, and every loss to some averages."""
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        case = params.get("case")
        if item.path.name not in _LAWS or case is None or "plain_loops" in item.name:
            continue
        average = (params.get("reduction"), params.get("weighted"))
        if case is not _first_of_loss[case.loss] or ("reduction" in params and average not in _AVERAGES):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium, one for all tests: a second one in a process does not start."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()
