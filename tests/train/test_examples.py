from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from mimetric.data.sources import LabelledData
from mimetric.data.splits import Split
from mimetric.losses import SupConLoss
from mimetric.train import examples
from mimetric.train.examples import Examples, drawn_items, nearest, write_pictures


def labelled(x, y, *, query=None, items=None):
    rows = np.arange(len(y))
    split = Split("official", rows[:0], rows[:0], rows, None if query is None else np.array(query))
    names = tuple(f"class {c}" for c in range(max(y) + 1))
    return LabelledData("made up", x, np.array(y), names, split, "", items=items)


def everything(rows):
    return torch.ones(rows, dtype=torch.bool)


def test_items_are_of_a_few_classes_that_have_another_item():
    labels = torch.tensor([0, 0, 1, 2, 2, 2, 3, 3])
    items = drawn_items(labels, everything(8))
    assert sorted(items) == [0, 1, 3, 4, 5, 6, 7]
    assert drawn_items(labels, everything(8)) == items
    many = drawn_items(torch.arange(4000) % 40, everything(4000))
    assert len(many) == examples.ITEMS
    assert len({place % 40 for place in many}) == examples.CLASSES
    assert drawn_items(torch.arange(5), everything(5)) == []
    only = torch.zeros(8, dtype=torch.bool)
    only[[1, 2]] = True
    assert drawn_items(labels, only) == [1]


def test_nearest_by_cosine_without_the_query():
    rows = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0.0], [10.0, 1.0], [0.0, 1.0], [-1.0, 0.0]]), dim=1
    )
    labels = torch.tensor([0, 1, 0, 2])
    [found], [rank] = nearest(rows, labels, [0], everything(4))
    assert [one.place for one in found] == [1, 2, 3]
    assert [one.similarity for one in found] == pytest.approx([10 / 101**0.5, 0, -1])
    assert rank == 2
    same = torch.nn.functional.normalize(torch.ones(3, 2), dim=1)
    [[*duplicates]], [rank] = nearest(same, torch.zeros(3), [1], everything(3))
    assert (sorted(one.place for one in duplicates), rank) == ([0, 2], 1)


def test_only_what_may_be_found_is_found():
    rows, searched = torch.eye(4), torch.tensor([False, True, True, False])
    [found], [rank] = nearest(rows, torch.tensor([0, 1, 1, 0]), [0], searched)
    assert ({one.place for one in found}, rank) == ({1, 2}, 0)


def shown(data: LabelledData, *models: tuple[str, int, Any]) -> Examples:
    found = Examples(data)
    for name, seed, embeddings in models:
        found.show(name, seed, embeddings, SupConLoss())
    return found


def test_what_is_written_fits_together(tmp_path):
    data = labelled(np.zeros((12, 5), np.float32), [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
    torch.manual_seed(0)
    found = shown(
        data, ("a", 0, torch.randn(12, 3)), ("b", 0, torch.randn(12, 3)), ("b", 1, torch.randn(12, 3))
    )
    retrieval = found.retrieval()
    found.write(tmp_path, retrieval)
    content = json.loads((tmp_path / "examples.json").read_text())
    assert [file.name for file in tmp_path.iterdir()] == ["examples.json"]  # vectors have no pictures
    assert content["classes"] == ["class 0", "class 1", "class 2", "class 3"]
    assert len(content["items"]) == 12
    assert list(content["models"]) == ["a", "b"]
    for model in content["models"].values():
        assert len(model["map"]) == len(model["found"]) == 12
        assert np.shape(model["similarity"]) == (4, 4)
        assert len(model["pair_weights"]) == len(content["batch"]["same"]) == 12 * 11
        assert sum(model["scores"]["same"]) == 4 * 3
    wrong = [item["label"] != near for item, near in zip(content["items"], content["models"]["a"]["found"])]
    assert any(wrong)
    # Four queries are drawn, one of each class; the others are wrong for some model, the worst first.
    ranks = [sum(both) for both in zip(*retrieval["first_right"].values())]
    assert (retrieval["drawn"], len(retrieval["queries"])) == (4, len(ranks))
    assert ranks[4:] == sorted(ranks[4:], reverse=True)
    assert min(ranks[4:]) > 2


def test_texts_are_told():
    texts = np.array(["ab", "abc", "x", "xy"], object)
    data = labelled(np.zeros((4, 3), np.int32), [0, 0, 1, 1], items=texts)
    retrieval = shown(data, ("a", 0, torch.randn(4, 3))).retrieval()
    told = {item["row"]: item["text"] for item in retrieval["queries"]}
    assert told == {row: texts[row] for row in told}


def test_nothing_to_show_where_no_class_has_two_items(tmp_path):
    for name in ("examples.json", "pictures.npz"):
        (tmp_path / name).write_bytes(b"of another run")
    found = shown(labelled(np.zeros((3, 1, 2, 2), np.uint8), [0, 1, 2]), ("a", 0, torch.eye(3)))
    assert found.retrieval() is None
    found.write(tmp_path, None)
    assert not list(tmp_path.iterdir())


def test_queries_are_those_of_the_data():
    data = labelled(np.zeros((6, 5), np.float32), [0, 0, 0, 1, 1, 1], query=[0, 3])
    [retrieval] = [shown(data, ("a", 0, torch.randn(6, 3))).retrieval()]
    assert {item["row"] for item in retrieval["queries"]} == {0, 3}
    assert not {one["row"] for near in retrieval["neighbors"]["a"] for one in near} & {0, 3}


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (np.arange(48, dtype=np.uint8).reshape(4, 1, 3, 4), (3, 4)),
        (np.arange(144, dtype=np.uint8).reshape(4, 3, 3, 4), (3, 4, 3)),
        (np.linspace(-2, 7, 96, dtype=np.float32).reshape(4, 2, 3, 4), (3, 4)),
        (np.full((4, 1, 3, 4), 0.5, np.float32), (3, 4)),
        (np.full((4, 3, 192, 48), 7, np.uint8), (96, 24, 3)),
    ],
    ids=["gray", "color", "two channels of floats", "constant", "large"],
)
def test_pictures(tmp_path, x, shape):
    write_pictures(tmp_path, labelled(x, [0, 0, 1, 1]), [3, 1, 3])
    with np.load(tmp_path / "pictures.npz") as pictures:
        assert pictures["row"].tolist() == [1, 3]
        assert pictures["image"].shape == (2, *shape)
        assert pictures["image"].dtype == np.uint8
        if x.shape[1] == 3:
            np.testing.assert_array_equal(pictures["image"][0, :3, :4, 1], x[1, 1, :3, :4])


def test_no_pictures_of_vectors_and_none_left_from_before(tmp_path):
    (tmp_path / "pictures.npz").write_bytes(b"of another run")
    write_pictures(tmp_path, labelled(np.zeros((4, 5), np.float32), [0, 0, 1, 1]), [0])
    assert not list(tmp_path.iterdir())
