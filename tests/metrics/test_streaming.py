"""Streams of batches, merged streams and streams in two processes: the numbers of one call on everything."""

from __future__ import annotations

import pytest
import torch
import torch.multiprocessing as mp

from mimetric.core.errors import InputError
from mimetric.metrics import StreamingAlignment, StreamingScatter, StreamingSpectrum
from streams import STREAMS, filled, numbers, work


@pytest.mark.parametrize("name", STREAMS)
def test_batches_and_merged_streams_give_the_numbers_of_one_call(name):
    expected = numbers(filled(name, slice(None)))
    assert any(value.isfinite().any() for value in expected)
    batches = filled(name, slice(0, 7), slice(7, 7), slice(7, 40))
    torch.testing.assert_close(numbers(batches), expected, equal_nan=True)
    merged = filled(name, slice(0, 25))
    merged.merge(filled(name, slice(25, 40)))
    torch.testing.assert_close(numbers(merged), expected, equal_nan=True)


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(tmp_path):
    mp.spawn(work, (str(tmp_path / "meet"), str(tmp_path / "found")), nprocs=2)
    for rank in range(2):
        found = torch.load(f"{tmp_path / 'found'}{rank}", weights_only=True)
        for name in STREAMS:
            torch.testing.assert_close(found[name], numbers(filled(name, slice(None))), equal_nan=True)


def test_streams_of_another_kind_or_size_do_not_merge():
    with pytest.raises(InputError, match="StreamingSpectrum: merges with its like alone"):
        StreamingSpectrum(6).merge(StreamingSpectrum(5))
    with pytest.raises(InputError, match="got StreamingScatter"):
        StreamingAlignment(4, 6).merge(StreamingScatter(4, 6))
