"""What is in memory as labelled data: arrays, tensors, frames, sparse matrices, texts, Datasets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from mimetric.core.errors import InputError
from mimetric.data.sources import as_data

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 5)).astype(np.float32)
PIXELS = RNG.integers(0, 256, (40, 3, 6, 7), dtype=np.uint8)
Y = np.tile(np.arange(4), 10)


class Frame:
    """As a data frame gives itself to numpy."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return X


@pytest.mark.parametrize(
    "x", [X, X.tolist(), torch.from_numpy(X), torch.from_numpy(X).requires_grad_(), Frame(), csr_array(X)]
)
@pytest.mark.parametrize("y", [Y, Y.tolist(), torch.from_numpy(Y)])
def test_vectors_of_any_kind(x, y):
    data = as_data(x, y)
    assert data.kind == "vectors"
    assert np.array_equal(data.x, X)
    assert np.array_equal(data.y, Y)
    assert data.class_names == ("0", "1", "2", "3")
    assert data.split.kind == "stratified"


def test_images_and_texts():
    assert np.array_equal(as_data(torch.from_numpy(PIXELS), Y).x, PIXELS)
    assert np.array_equal(as_data(PIXELS.transpose(0, 2, 3, 1), Y).x, PIXELS)
    data = as_data([f"text {i}" for i in range(40)], ["а", "b", "c", "ü"] * 10)
    assert data.kind == "texts"
    assert data.class_names == ("b", "c", "ü", "а")
    assert data.items is not None
    assert data.items[7] == "text 7"


class Pairs(Dataset[tuple[Any, Any]]):
    def __init__(self, samples: Any, labels: Any) -> None:
        self.samples, self.labels = samples, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.samples[index], self.labels[index]


class Stream(IterableDataset[tuple[Any, Any]]):
    def __iter__(self) -> Any:
        return iter([(torch.from_numpy(x), int(y)) for x, y in zip(X, Y)])


@pytest.mark.parametrize(
    "dataset",
    [
        TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
        Pairs(X, Y.tolist()),
        Pairs(torch.from_numpy(X), torch.from_numpy(Y)),
        Stream(),
        list(zip(X, Y)),
    ],
)
def test_datasets(dataset):
    data = as_data(dataset)
    assert np.array_equal(data.x, X)
    assert np.array_equal(data.y, Y)


def test_datasets_of_pictures_and_texts():
    from PIL import Image

    opened = [Image.fromarray(pixels.transpose(1, 2, 0)) for pixels in PIXELS]
    assert np.array_equal(as_data(Pairs(opened, Y)).x, PIXELS)
    assert as_data(Pairs([f"t{i}" for i in range(40)], ["a", "b"] * 20)).kind == "texts"


def test_splits_that_are_given():
    part = np.repeat([0, 1, 2], [20, 8, 12])
    query = np.arange(40) % 3 == 0
    data = as_data(X, Y, split=part, query=query, ids=[f"r{i}" for i in range(40)], name="mine")
    assert data.name == "mine"
    assert np.array_equal(data.split.part(), part)
    assert data.split.query is not None
    assert data.split.query.tolist() == [30, 33, 36, 39]
    assert data.ids is not None
    assert data.ids[3] == "r3"
    groups = np.arange(40) // 4
    split = as_data(X, Y, groups=groups).split
    assert split.kind == "grouped"
    assert not set(groups[split.test]) & set(groups[split.train])
    assert as_data(X, np.arange(40) // 2, by="2/5").split.kind == "class-fold"


def test_unlabelled_rows_and_class_names():
    y = np.where(np.arange(40) < 4, -1, Y)
    data = as_data(X, y, class_names=["a", "b", "c", "d"], ids=np.arange(40))
    assert data.class_names == ("a", "b", "c", "d")
    assert np.array_equal(data.x, X[4:])
    assert data.ids is not None
    assert data.ids.tolist() == list(range(4, 40))


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ((X, Y[:9]), r"as_data: y must have shape \(40,\)"),
        ((X, Y / 2), "y must hold integers or strings, got float64"),
        (([[1.0], [1.0, 2.0]], [0, 1]), r"as_data: cannot be taken for an array"),
        ((np.where(X > 2, np.nan, X), Y), "x must be finite"),
        ((X,), "without y, x must be a Dataset of"),
        ((7,), "without y, x must be a Dataset of"),
        (([],), "without y, x must be a Dataset of"),
        ((Pairs([X[0], X[1, :3]], [0, 1]),), r"sample 0 has \(5,\), sample 1 has \(3,\); resize them"),
    ],
)
def test_what_is_no_data(arguments, wanted):
    with pytest.raises(InputError, match=wanted) as error:
        as_data(*arguments)
    assert "\n" not in str(error.value)


def test_columns_of_another_length():
    for name in ("split", "query", "groups", "ids"):
        with pytest.raises(InputError, match=rf"{name} must have shape \(40,\)"):
            as_data(X, Y, **{name: np.zeros(3)})
