"""Inputs as streams: the rows of arrays, lists and folders, in order, prepared ahead, and never all at once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mimetric.core.errors import InputError
from mimetric.data.inputs import Takes, batches, data_rows, open_input
from mimetric.data.lists import read_list
from mimetric.data.npz import npz_rows
from mimetric.data.sources import load_data
from mimetric.data.streams import Row, list_rows, vector

VECTORS = Takes((3,), "float32")


def numbered(count: int) -> list[Row]:
    return [Row(str(n), np.full(3, n, np.float32), f"row {n}") for n in range(count)]


@given(st.integers(0, 40), st.integers(1, 9), st.sets(st.integers(0, 39)), st.sets(st.integers(0, 39)))
def test_batches_keep_order_and_count_what_they_leave_out(count, size, unreadable, repeated):
    rows = numbered(count)
    for n in unreadable & set(range(count)):
        rows[n] = rows[n]._replace(sample=np.full(2, n, np.float32))
    for n in repeated & set(range(1, count)):
        rows[n] = rows[n]._replace(id="0")
    good = [n for n in range(count) if n not in unreadable and not (n in repeated and n > 0)]
    found = list(batches(rows, VECTORS, batch_size=size, skip=True))
    assert [int(x[0]) for batch in found for x in batch.x] == good
    assert [row.place for batch in found for row in batch.rows] == [f"row {n}" for n in good]
    assert sum(batch.read for batch in found) == count
    assert all(batch.read == size for batch in found[:-1])
    assert sum(len(batch.faults) for batch in found) == count - len(good)


def test_few_rows_are_held_at_a_time():
    """However long the stream, only the batches that are prepared ahead have been read."""
    read = 0

    def endless():
        nonlocal read
        while True:
            yield Row(str(read), np.zeros(3, np.float32))
            read += 1

    stream = batches(endless(), VECTORS, batch_size=10)
    for _ in range(5):
        next(stream)
    assert read <= 80
    stream.close()


def test_pictures_are_decoded_as_in_training(tmp_path):
    rng = np.random.default_rng(0)
    for n in range(7):
        Image.fromarray(rng.integers(0, 255, (9, 12, 3), np.uint8)).save(tmp_path / f"{n}.png")
    for label in "ab":
        (tmp_path / label).mkdir()
        for n in range(7):
            (tmp_path / f"{n}.png").replace(tmp_path / label / f"{n}.png") if (n % 2 == 0) == (
                label == "a"
            ) else None
    data = load_data(f"folder:{tmp_path}:size=8")
    takes = Takes(data.x.shape[1:], "uint8")
    [batch] = batches(open_input(str(tmp_path), takes).rows(), takes)
    np.testing.assert_array_equal(batch.x, data.x)
    assert [row.label for row in batch.rows] == [data.class_names[y] for y in data.y]
    of_data = list(data_rows(data))
    assert [row.id for row in of_data] == data.items.tolist()
    np.testing.assert_array_equal([row.sample for row in of_data], data.x)


@given(st.data())
def test_arrays_come_row_by_row_as_numpy_reads_them(tmp_path_factory, data):
    kind = data.draw(st.sampled_from(["<f4", ">f8", "u1", "<i8", "?"]))
    shape = (data.draw(st.integers(1, 9)), *data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    x = np.random.default_rng(0).integers(0, 2, shape).astype(kind)
    y = np.array(
        data.draw(
            st.lists(st.sampled_from(["a", "猫", "-1", "longer"]), min_size=shape[0], max_size=shape[0])
        )
    )
    file = tmp_path_factory.mktemp("x") / "x.npz"
    data.draw(st.sampled_from([np.savez, np.savez_compressed]))(file, x=x, y=y)
    rows = list(npz_rows(file))
    np.testing.assert_array_equal([row.sample for row in rows], x)
    assert [row.label for row in rows] == ["" if label == "-1" else label for label in y]


def test_arrays_larger_than_a_block_with_ids_and_names_of_classes(tmp_path, monkeypatch):
    monkeypatch.setattr("mimetric.data.npz._BLOCK_BYTES", 50)
    x, y = np.arange(60, dtype=np.float32).reshape(20, 3), np.arange(20) % 4 - 1
    np.savez(tmp_path / "x.npz", x=x, y=y, ids=np.arange(20) * 7, class_names=["p", "q", "r"])
    rows = list(npz_rows(tmp_path / "x.npz"))
    np.testing.assert_array_equal([row.sample for row in rows], x)
    assert [row.id for row in rows] == [str(7 * n) for n in range(20)]
    assert [row.label for row in rows] == [["", "p", "q", "r"][n % 4] for n in range(20)]


TEXTS = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\u2028\u2029\x85"), min_size=1
).filter(str.strip)


@given(
    st.lists(
        st.tuples(TEXTS, TEXTS.filter(lambda word: word.strip() != "-1")),
        min_size=2,
        unique_by=lambda row: row[0],
    )
)
def test_lists_say_what_they_say_in_training(tmp_path_factory, rows):
    file = tmp_path_factory.mktemp("list") / "list.jsonl"
    file.write_text(
        "\n".join(json.dumps({"text": text, "label": label, "id": text}) for text, label in rows), "utf-8"
    )
    source, found = read_list(file), list(list_rows(file))
    assert [row.sample for row in found] == source.samples.tolist()
    assert [row.label for row in found] == source.labels.astype(str).tolist()
    assert [row.id for row in found] == source.ids.tolist()


@pytest.mark.parametrize("value", ["", "a b", "nan", "1e99", [], [[1, 2]], None, {}])
def test_what_is_no_vector(value):
    with pytest.raises(InputError, match="vector must hold finite numbers"):
        vector(value)


def test_a_row_of_parquet_without_a_vector_or_of_another_length(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"vector": [[1.0, 2, 3], None, [1.0, 2], [4.0, 5, 6]], "label": [1, 2, 3, None]})
    parquet.write_table(table, tmp_path / "l.parquet")
    [batch] = batches(list_rows(tmp_path / "l.parquet"), VECTORS, skip=True)
    assert batch.x.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert [row.label for row in batch.rows] == ["1", ""]
    assert [fault.partition(": ")[2].partition(":")[0] for fault in batch.faults] == ["row 1", "row 2"]


def test_links(tmp_path):
    """Of files to nothing and in a loop: rows with a fault; of folders that lead back up: left out."""
    folder = tmp_path / "f"
    (folder / "a").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(folder / "a" / "good.png")
    for name, target in (("gone.png", "nothing.png"), ("loop.png", "loop.png")):
        os.symlink(folder / "a" / target, folder / "a" / name)
    os.symlink(folder, folder / "a" / "back")
    takes = Takes((3, 4, 4), "uint8")
    [batch] = batches(open_input(str(folder), takes).rows(), takes, skip=True)
    assert [Path(row.id).name for row in batch.rows] == ["good.png"]
    assert len(batch.faults) == 2


def test_an_input_tells_whether_it_changed(tmp_path):
    takes = Takes((3, 4, 4), "uint8")

    def state(name: Any) -> Any:
        return open_input(str(name), takes).state

    (tmp_path / "f").mkdir()
    for n in range(2):
        Image.new("RGB", (4, 4 + n)).save(tmp_path / "f" / f"{n}.png")
    before = state(tmp_path / "f")
    assert state(tmp_path / "f") == before
    Image.new("RGB", (40, 40)).save(tmp_path / "f" / "1.png")
    assert state(tmp_path / "f") != before
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 3)))
    before = state(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 3)))
    assert state(tmp_path / "x.npz") != before
