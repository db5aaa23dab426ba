"""Splits by hash: equal where rows and labels are, kept in a file that says what it is."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from mimetric.core.errors import InputError
from mimetric.data.saved_splits import read_split, split_hash, write_split
from mimetric.data.splits import class_disjoint, official, stratified

LABELS = np.repeat(np.arange(12), 5)


def test_golden():
    # SHA-256 over the parts by hand: a line with name and count, rows as 8 bytes each, labels as lines.
    split = class_disjoint([0, 0, 1, 1, 2, 2, 3, 3], test_classes=[1, 3], validation_fraction=0)
    content = b""
    for name, rows, labels in (
        ("train", (0, 1, 4, 5), "0\n0\n2\n2"), ("validation", (), ""), ("test", (2, 3, 6, 7), "1\n1\n3\n3"),
    ):  # fmt: skip
        content += f"{name} {len(rows)}\n".encode() + b"".join(row.to_bytes(8, "little") for row in rows)
        content += labels.encode()
    assert split_hash(split, [0, 0, 1, 1, 2, 2, 3, 3]) == hashlib.sha256(content).hexdigest()


def test_what_changes_the_hash_and_what_does_not():
    split = class_disjoint(LABELS, seed=1)
    same = split_hash(split, LABELS)
    assert split_hash(class_disjoint(LABELS.astype(np.int32), seed=1), LABELS.astype(np.int32)) == same
    assert split_hash(replace(split, kind="official"), LABELS) == same  # the same rows, whatever drew them
    assert split_hash(class_disjoint(LABELS, seed=2), LABELS) != same
    assert split_hash(split, LABELS + 1) != same
    assert split_hash(replace(split, query=split.test[:3]), LABELS) != same
    assert split_hash(replace(split, train=split.validation, validation=split.train), LABELS) != same


@pytest.mark.parametrize("query", [None, np.arange(60) % 5 == 0])
def test_round_trip(tmp_path, query):
    part = np.repeat([0, 1, 2], [20, 10, 30])
    split = official(LABELS, part, query=query)
    path = write_split(tmp_path, split, LABELS)
    assert path == write_split(tmp_path, split, LABELS)
    assert path.name == f"split-{split_hash(split, LABELS)[:16]}.npz"
    found = read_split(path, LABELS)
    assert found.kind == "official"
    for name in ("train", "validation", "test", "query"):
        assert np.array_equal(getattr(found, name), getattr(split, name))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_other_labels_and_damaged_files(tmp_path):
    path = write_split(tmp_path, stratified(LABELS), LABELS)
    for labels in (LABELS[:-1], LABELS[::-1], LABELS.astype(str)[::-1]):
        with pytest.raises(InputError, match="was written for other labels than these; split the data again"):
            read_split(path, labels)
    content = path.read_bytes()
    for damaged in (b"", content[:100], b"text", content[:-30]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="is no split, or a damaged one"):
            read_split(path, LABELS)
    with pytest.raises(InputError, match="is no split"):
        read_split(tmp_path / "none.npz", LABELS)
    np.savez(path, part=LABELS)
    with pytest.raises(InputError, match="is no split"):
        read_split(path, LABELS)
