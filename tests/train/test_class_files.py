"""Rows of classes on disk: whatever the number of processes that wrote them, any other reads the same."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimetric.core.errors import InputError
from mimetric.losses import own_classes
from mimetric.train.class_files import load_classes, part_folder, remove_other_parts, save_classes

WEIGHT = torch.randn(23, 4, generator=torch.Generator().manual_seed(0))
MOMENT = torch.arange(23)


def save(folder, world, weight=WEIGHT):
    for rank in range(world):
        mine = own_classes(23, rank, world)
        some = slice(mine.start, mine.stop)
        save_classes(folder, {"weight": weight[some], "moment": MOMENT[some]}, mine)


@given(wrote=st.integers(1, 7), reads=st.integers(1, 7))
def test_read_by_another_number_of_processes(tmp_path_factory, wrote, reads):
    folder = tmp_path_factory.mktemp("classes")
    save(folder, wrote)
    found = [load_classes(folder, own_classes(23, rank, reads)) for rank in range(reads)]
    assert torch.equal(torch.cat([one["weight"] for one in found]), WEIGHT)
    assert torch.equal(torch.cat([one["moment"] for one in found]), MOMENT)


def test_saving_again_replaces(tmp_path):
    save(tmp_path, 3)
    save(tmp_path, 3, weight=-WEIGHT)
    assert torch.equal(load_classes(tmp_path, range(23))["weight"], -WEIGHT)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda files, _: files[1].unlink(), r"must hold each of the classes 0..22 in one file .*in vain for 7:"),
        (lambda files, _: files[2].unlink(), r"looked in vain for 15"),
        (lambda files, _: files[0].write_bytes(files[0].read_bytes()[:50]), "cannot be read"),
        (lambda files, _: files[0].write_bytes(pickle.dumps(print)), "cannot be read"),
        (lambda files, folder: files[0].rename(folder / "classes-a-b.safetensors"), "its name must be classes-FIRST"),
        (lambda files, folder: files[0].rename(folder / "classes-0-9.safetensors"), "must have 9 rows, got"),
        (lambda _, folder: save_classes(folder, {"weight": WEIGHT[:7]}, range(7)), "holds .* others of the folder"),
    ],
    ids=["a gap", "no end", "truncated", "a pickle", "no numbers", "a wrong name", "other tensors"],
)  # fmt: skip
def test_what_is_missing_or_broken_is_named(tmp_path, broken, message):
    save(tmp_path, 3)
    broken(sorted(tmp_path.iterdir()), tmp_path)
    with pytest.raises(InputError, match=message):
        load_classes(tmp_path, range(23))


def test_an_empty_folder_and_rows_that_do_not_fit(tmp_path):
    with pytest.raises(InputError, match="looked in vain for 0"):
        load_classes(tmp_path, range(3))
    with pytest.raises(
        InputError, match=r"^save_classes: weight must have 5 rows, one for each of range\(0, 5\)"
    ):
        save_classes(tmp_path, {"weight": WEIGHT}, range(5))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("saved", ["../7-2", "7", "7-2/..", 7, None, "a-b"])
def test_a_save_is_named_by_two_numbers(tmp_path, saved):
    with pytest.raises(InputError, match="classes must be STEP-PROCESSES, two numbers, got"):
        part_folder(tmp_path, "state", saved)


def test_other_saves_are_deleted(tmp_path):
    for name in ("state-classes-5-2", "weights-classes-7-2", "state-classes-7-3", "mine"):
        (tmp_path / name).mkdir()
        save_classes(tmp_path / name, {"weight": WEIGHT}, range(23))
    remove_other_parts(tmp_path, "7-2")
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["mine", "weights-classes-7-2"]
