from __future__ import annotations

import os

import pytest
import torch
from hypothesis import settings

from cases import CASES

# No test is timed.  Where a failure blocks others, examples are the same every time; elsewhere they vary.
settings.register_profile("mimetric", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("mimetric")

torch.set_num_threads(1)  # one worker per core runs the suite

_LAWS = ("test_laws.py", "test_reductions.py", "test_relations.py")
_first_of_loss = {case.loss: case for case in reversed(CASES)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Laws of other options of a loss take minutes; the fast suite holds those to plain loops alone."""
    for item in items:
        case = getattr(item, "callspec", None) and item.callspec.params.get("case")
        if (
            item.path.name in _LAWS
            and case is not None
            and case is not _first_of_loss[case.loss]
            and "plain_loops" not in item.name
        ):
            item.add_marker(pytest.mark.slow)
