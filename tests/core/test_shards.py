"""References and queries in two processes: the ranks of one."""

from __future__ import annotations

import pytest
import torch.multiprocessing as mp

from mimetric.core.errors import InputError
from mimetric.core.ranks import rank_blocks
from mimetric.core.shards import sharded_rank_blocks
from sharded_ranks import CASES, WORLD, found, search, work


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(work, (str(tmp_path_factory.mktemp("gloo") / "meeting"), results), WORLD)
        return dict(results)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_count_what_one_counts(sharded, case):
    args, options = search(case, slice(0, 90), slice(0, 400))
    whole = found(rank_blocks(*args, **options))
    assert len(whole) == 90
    assert sharded[0][case] | sharded[1][case] == whole
    assert len(sharded[0][case]) == CASES[case][2]


def test_says_what_has_no_common_mean():
    with pytest.raises(InputError, match=r"^sharded_rank_blocks: similarity must be one of cosine, dot"):
        sharded_rank_blocks([[1.0]], [0], [[1.0]], [0], similarity="negative_euclidean")
