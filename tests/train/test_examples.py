from __future__ import annotations

import numpy as np
import pytest
import torch

from mimetric.data.sources import LabelledData
from mimetric.data.splits import Split
from mimetric.train.examples import described, drawn_queries, nearest, write_pictures


def labelled(x, y):
    rows = np.arange(len(y))
    split = Split("official", rows[:0], rows[:0], rows)
    names = tuple(f"class {c}" for c in range(max(y) + 1))
    return LabelledData("made up", x, np.array(y), names, split, "")


def test_queries_are_of_different_classes_that_have_another_item():
    labels = torch.tensor([0, 0, 1, 2, 2, 2, 3, 3])
    queries = drawn_queries(labels)
    assert sorted(labels[queries].tolist()) == [0, 2, 3]
    assert drawn_queries(labels) == queries
    assert len(drawn_queries(torch.arange(40) % 20)) == 8
    assert drawn_queries(torch.arange(5)) == []


def test_nearest_by_cosine_without_the_query():
    rows = torch.tensor([[1.0, 0.0], [10.0, 1.0], [0.0, 1.0], [-1.0, 0.0]])
    [found] = nearest(rows, [0])
    assert [one.place for one in found] == [1, 2, 3]
    assert [one.similarity for one in found] == pytest.approx([10 / 101**0.5, 0, -1])
    duplicate = nearest(torch.ones(3, 2), [1])[0]
    assert sorted(one.place for one in duplicate) == [0, 2]


def test_nothing_to_show_where_no_class_has_two_items():
    data = labelled(np.zeros((3, 1, 2, 2), np.uint8), [0, 1, 2])
    assert described(data, drawn_queries(torch.tensor([0, 1, 2])), {"a": []}) is None


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (np.arange(48, dtype=np.uint8).reshape(4, 1, 3, 4), (3, 4)),
        (np.arange(144, dtype=np.uint8).reshape(4, 3, 3, 4), (3, 4, 3)),
        (np.linspace(-2, 7, 96, dtype=np.float32).reshape(4, 2, 3, 4), (3, 4)),
        (np.full((4, 1, 3, 4), 0.5, np.float32), (3, 4)),
    ],
    ids=["gray", "color", "two channels of floats", "constant"],
)
def test_pictures(tmp_path, x, shape):
    data = labelled(x, [0, 0, 1, 1])
    shown = described(data, [0], {"a": nearest(torch.randn(4, 3), [0])})
    write_pictures(tmp_path, data, shown)
    with np.load(tmp_path / "pictures.npz") as pictures:
        assert pictures["row"].tolist() == [0, 1, 2, 3]
        assert pictures["image"].shape == (4, *shape)
        assert pictures["image"].dtype == np.uint8
        if x.shape[1] == 3:
            np.testing.assert_array_equal(pictures["image"][2, :, :, 1], x[2, 1])


def test_no_pictures_of_vectors_and_none_left_from_before(tmp_path):
    (tmp_path / "pictures.npz").write_bytes(b"of another run")
    data = labelled(np.zeros((4, 5), np.float32), [0, 0, 1, 1])
    write_pictures(tmp_path, data, described(data, [0], {"a": nearest(torch.randn(4, 5), [0])}))
    assert not list(tmp_path.iterdir())
