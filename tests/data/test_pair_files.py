from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mimetric.core.errors import InputError
from mimetric.data.arrays import as_data
from mimetric.data.labelled import LabelledData
from mimetric.data.pair_files import WRITTEN, read_pair_file, row_names, write_pair_file

IDS = ['a, "b"', "c d", "é", "名前", "-1", "007", " x", "y'"]


def data_of(ids: Any = None) -> LabelledData:
    """Eight rows of two classes, all but 6 and 7 for training."""
    x, y = np.arange(8, dtype=np.float32)[:, None], [0, 1] * 4
    found = as_data(
        np.vstack((x, x, x)), y * 3, ids=None if ids is None else [*ids, *map(str, range(100, 116))]
    )
    split = replace(found.split, train=np.arange(6), validation=np.array([6, 7]), test=np.arange(8, 24))
    return replace(found, split=split)


def columns(names: Any, **rows: list[int]) -> dict[str, Any]:
    return {name: np.asarray(names)[of] for name, of in rows.items()}


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("ids", [None, IDS])
def test_what_was_written_is_read(tmp_path: Path, suffix: str, ids: Any) -> None:
    data, file = data_of(ids), tmp_path / f"mined{suffix}"
    written = columns(row_names(data), anchor=[0, 5], positive=[2, 3], negative=[5, 4])
    write_pair_file(file, written | {"negative_score": np.array([0.5, -0.25])})
    assert read_pair_file(file, data).tolist() == [[0, 2, 5], [5, 3, 4]]
    pairs = columns(row_names(data), anchor=[0, 0], other=[2, 3]) | {"label": np.array([1, 0])}
    write_pair_file(file, pairs)
    assert read_pair_file(file, data).tolist() == [[0, 2], [0, 3]]
    assert [one.name for one in tmp_path.iterdir()] == [file.name]


def test_rows_are_counted_among_those_that_train(tmp_path: Path) -> None:
    data, file = data_of(), tmp_path / "mined.csv"
    data = replace(data, split=replace(data.split, train=np.array([2, 4, 5])))
    file.write_text("anchor,positive,negative\n4,2,5\n")
    assert read_pair_file(file, data).tolist() == [[1, 0, 2]]


def test_pictures_are_called_by_their_paths() -> None:
    data = replace(data_of(), x=np.zeros((24, 1, 2, 2), np.uint8))
    paths = np.array([f"cat/{i}.png" for i in range(24)], object)
    assert row_names(replace(data, items=paths))[3] == "cat/3.png"
    paths[1] = paths[0]  # a list may name a picture twice
    assert row_names(replace(data, items=paths))[3] == 3
    assert row_names(replace(data_of(), items=paths))[3] == 3  # of texts, which are long


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("anchor,positive,negative\n", "holds no lines; mine again"),
        ("anchor,positive\n0,2\n", "needs columns anchor, positive and negative, .* it has anchor, positive"),
        (
            "anchor,positive,negative\n0,2,5\n0,2,77\n",
            "line 3: negative: .* has no row 77; give the file that was",
        ),
        ("anchor,positive,negative\n0,x,5\n", "line 2: positive: .* has no row x"),
        (
            "anchor,positive,negative\n0,2,7\n",
            "line 2: negative: row 7 is not for training; mine with --part train",
        ),
        (
            "anchor,positive,negative\n0,2,4\n",
            "line 2: negative is of class 0, anchor of 0; give the file that was",
        ),
        ("anchor,positive,negative\n0,1,3\n", "line 2: positive is of class 1, anchor of 0"),
        ("anchor,positive,negative\n0,0,3\n", "line 2: names a row twice"),
        ("anchor,positive,negative\n0,2\n", "line 2: 2 fields, the header has 3"),
        ("anchor,other,label\n0,2,0\n", "line 2: other is of class 0, anchor of 0"),
        ("anchor,other,label\n0,2,yes\n", "line 2: label must be 1, of one class, or 0, got yes"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mined.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_pair_file(file, data_of())
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_places_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone.csv: cannot be read: No such file"):
        read_pair_file(tmp_path / "gone.csv", data_of())
    with pytest.raises(InputError, match=r"lists are read from .csv, .* files, got .npz"):
        read_pair_file(tmp_path / "mined.npz", data_of())
    with pytest.raises(InputError, match=r"must be one of .jsonl, .csv, .parquet, got .npz"):
        write_pair_file(tmp_path / "mined.npz", {"anchor": np.arange(2)})
    with pytest.raises(InputError, match="cannot be written"):
        write_pair_file(tmp_path / "gone" / "mined.csv", {"anchor": np.arange(2)})
    assert not list(tmp_path.iterdir())
