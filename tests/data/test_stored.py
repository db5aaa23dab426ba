"""Rows that stay on disk, read a batch at a time, by processes that may fail."""

from __future__ import annotations

import math
import os
import pickle
import signal
from contextlib import closing

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset

from mimetric.core.errors import InputError
from mimetric.data.stored import DeadWorkerError, StoredRows, deaths_named, digest_of, read_ahead, stored


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (96, 1, 8, 8), dtype=np.uint8)


@pytest.fixture(scope="module")
def mapped(pixels, tmp_path_factory):
    file = tmp_path_factory.mktemp("mapped") / "x.npy"
    np.save(file, pixels)
    return np.load(file, mmap_mode="r")


class Files(Dataset):
    """Rows one by one; some cannot be read."""

    def __init__(self, x, bad=()):
        self.x, self.bad = x, bad

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        if row in self.bad:
            raise OSError(f"file-{row}.png is truncated\nafter 3 bytes")
        return torch.as_tensor(self.x[row]), row


@given(st.lists(st.integers(0, 95), max_size=20))
def test_reads_what_indexing_gives(mapped, pixels, rows):
    got = StoredRows(mapped)[torch.tensor(rows, dtype=torch.int64)]
    assert torch.equal(got, torch.from_numpy(pixels)[torch.tensor(rows, dtype=torch.int64)])


def test_chosen_rows_and_parts(mapped, pixels):
    rows = StoredRows(mapped, [5, 2, 9, 90])
    x = torch.from_numpy(pixels)[[5, 2, 9, 90]]
    assert (rows.shape, rows.dtype, rows.ndim, len(rows)) == ((4, 1, 8, 8), torch.uint8, 4, 4)
    assert torch.equal(torch.cat(list(rows.parts())), x)
    assert torch.equal(rows[1:3], x[1:3])
    assert torch.equal(rows.chosen(torch.tensor([True, False, False, True]))[:], x[[0, 3]])
    none = rows.chosen(torch.tensor([], dtype=torch.int64))
    assert [part.shape for part in none.parts()] == [(0, 1, 8, 8)]


def test_what_is_stored(mapped, pixels):
    assert stored(pixels) is stored([1.0]) is stored(torch.ones(3)) is None
    rows = stored(mapped)
    assert stored(rows) is rows
    assert stored(np.ascontiguousarray(mapped)[3:]).shape == (93, 1, 8, 8)
    assert stored(Files(pixels)).shape == (96, 1, 8, 8)


def test_doubles_come_as_float32():
    found = StoredRows(np.arange(6.0).reshape(3, 2))[torch.tensor([2])]
    assert torch.equal(found, torch.tensor([[4.0, 5.0]]))


def test_a_hash_of_what_an_array_holds(mapped, pixels, tmp_path):
    y = torch.arange(96)
    np.save(tmp_path / "same.npy", pixels)
    same = np.load(tmp_path / "same.npy", mmap_mode="r")
    assert digest_of(StoredRows(mapped), y) == digest_of(StoredRows(same), y)
    assert digest_of(StoredRows(mapped), y) != digest_of(StoredRows(same, torch.arange(95, -1, -1)), y)
    assert digest_of(StoredRows(mapped), y) != digest_of(StoredRows(same), y + 1)


def test_another_process_maps_the_file_again(mapped):
    for source in (mapped, np.ascontiguousarray(mapped)[10:]):
        sent = pickle.dumps(StoredRows(source))
        assert len(sent) < 2000  # bytes; the pixels are 6,144
        assert torch.equal(pickle.loads(sent)[:], torch.from_numpy(np.array(source)))


def test_a_row_that_cannot_be_read_is_named(pixels):
    rows = StoredRows(Files(pixels, bad={4}))
    message = (
        r"^row 4 cannot be read: OSError: file-4.png is truncated after 3 bytes; mend it, or leave such out by "
        r"StoredRows\(..., skip=True\)$"
    )
    with pytest.raises(InputError, match=message):
        rows[torch.tensor([3, 4])]
    found = StoredRows(Files(pixels, bad={4}), skip=True).read(torch.tensor([3, 4, 5]))
    assert found.good.tolist() == [True, False, True]
    assert list(found.faults) == [4]
    assert torch.equal(found.x, torch.from_numpy(pixels)[[3, 5]])


def test_values_that_are_not_finite_and_other_shapes():
    x = np.ones((3, 2))
    x[1, 1] = math.nan
    with pytest.raises(InputError, match="row 1 cannot be read: its values are not finite"):
        StoredRows(x)[:]
    odd = StoredRows([np.ones(2), np.ones(3)])
    with pytest.raises(
        InputError, match=r"row 1 .*: it must be torch.float32 \(2,\) as the first, got .* \(3,\)"
    ):
        odd[:]


def test_a_source_without_a_first_row():
    with pytest.raises(InputError, match=r"the first row cannot be read .OSError: file-0"):
        StoredRows(Files(np.ones((2, 2)), bad={0}))
    with pytest.raises(InputError, match="source must hold at least one row"):
        StoredRows(np.ones((0, 2)))


def test_other_processes_read_the_same_and_tell_their_errors(pixels):
    batches = torch.tensor([[0, 5], [2, 2], [4, 7]])
    for workers in (0, 2):
        found = [each.x for each in read_ahead(StoredRows(Files(pixels)), batches, workers=workers)]
        assert torch.equal(torch.stack(found), torch.from_numpy(pixels)[batches])
    ahead = read_ahead(StoredRows(Files(pixels, bad={7})), batches, workers=1)
    assert len([next(ahead), next(ahead)]) == 2
    with pytest.raises(InputError, match=r"^row 7 cannot be read: OSError: file-7.png .*skip=True\)$"):
        next(ahead)


class Deadly(Files):
    """Row 7 is the end of whoever reads it."""

    def __getitem__(self, row):
        if row == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(row)


@pytest.mark.skipif(os.name == "nt", reason="processes end in another way there")
def test_a_dead_process_is_named(pixels):
    batches = torch.tensor([[0, 5], [2, 7], [1, 3]])
    with (
        pytest.raises(DeadWorkerError) as caught,
        deaths_named(1),
        closing(read_ahead(StoredRows(Deadly(pixels)), batches, workers=1)) as ahead,
    ):
        list(ahead)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(
        "workers: a process that reads rows has ended (DataLoader worker (pid"
    )
    assert str(caught.value).endswith("take fewer workers than 1, or smaller batches")


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match=r"^something else$"), deaths_named(1):
        raise RuntimeError("something else")


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="the system reads maps alone")
def test_a_file_that_was_cut_is_named(pixels, tmp_path):
    file = tmp_path / "x.npy"
    np.save(file, pixels)
    rows = StoredRows(np.load(file, mmap_mode="r"))
    os.truncate(file, 128 + 50 * 64)
    assert torch.equal(rows[torch.tensor([49])], torch.from_numpy(pixels[49:50]))
    with pytest.raises(
        InputError, match=r"x.npy ends before row 50: it was cut since it was opened; restore it"
    ):
        rows[torch.tensor([3, 50])]


def test_what_was_written_into_a_copy_on_write_map_is_read(pixels, tmp_path):
    np.save(tmp_path / "x.npy", pixels)
    source = np.load(tmp_path / "x.npy", mmap_mode="c")
    source[3] = 7
    assert (StoredRows(source)[torch.tensor([3])] == 7).all()
