"""A batch in several processes: value and gradient of one process with all of its rows."""

from __future__ import annotations

import pytest
import torch
import torch.multiprocessing as mp

from mimetric.core.processes import Share, gathered, mean_of_processes, share_of, sharing
from processes_ranks import all_of_them, found, quick_ones, work

WORLDS = [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]


@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_every_process_has_value_and_gradient_of_all_rows(tmp_path, quick):
    """One test, because starting processes takes most of its time."""
    alone = found(0, quick_ones() if quick else all_of_them())
    mp.spawn(work, (str(tmp_path), quick), 3)
    there = {(world, rank): torch.load(tmp_path / f"{world}-{rank}.pt") for world, rank in WORLDS}

    for where, one in there.items():
        assert [name for name, given in one["cases"].items() if not close(given, alone[name])] == [], where
        assert one["mistake"].startswith("gathered: rows must hold as many numbers in every process"), where
        assert (
            f"gathered: sizes must be the rows of each of {where[0]} processes, 2 of process"
            in one["mistake"]
        )
    assert list(there[3, 0]["cases"]) == list(alone)
    made = {where: one["anchors"] for where, one in there.items()}
    assert made == {(2, 0): 5, (2, 1): 6, (3, 0): 3, (3, 1): 4, (3, 2): 4}


def close(one, other):
    try:
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)
    except AssertionError:
        return False
    return True


def test_no_case_is_without_a_gradient():
    alone = found(0, quick_ones())
    assert [name for name, (_, gradient) in alone.items() if not gradient.any()] == []


def test_one_process_has_its_own_rows():
    x, y = torch.zeros(2, 3), torch.zeros(2)
    assert gathered(x)[0] is x
    assert gathered(x, y)[1] is y
    assert mean_of_processes(y, 5) is y
    with sharing():
        assert share_of(8) is None


def test_shares_cover_all_anchors_once():
    for world, anchors in ((1, 5), (3, 3), (3, 11), (7, 100)):
        shares = [Share(rank, world).of(anchors) for rank in range(world)]
        assert [i for share in shares for i in range(anchors)[share]] == list(range(anchors))
        assert min(share.stop - share.start for share in shares) == anchors // world
