"""Some rows of labelled data, as tensors: drawn at random, of some classes, or class after class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mimetric.data.labelled import LabelledData

Rows = NDArray[np.int64]  # (n,) places in the data


class Scaled(NamedTuple):
    """Inputs and their classes."""

    x: Tensor  # (n, ...) float32
    y: Tensor  # (n,) int64


def scaled_rows(data: LabelledData, rows: Rows) -> Scaled:
    """These rows, divided by the largest number of all of the data, which brings images to [0, 1].

    >>> from mimetric.data.sources import load_data
    >>> found = scaled_rows(load_data("digits"), np.arange(5))
    >>> found.x.shape, found.x.max().item(), found.y.tolist()
    (torch.Size([5, 1, 8, 8]), 1.0, [0, 1, 2, 3, 4])
    """
    return Scaled(torch.from_numpy(data.x[rows]) / data.x.max(), torch.from_numpy(data.y[rows]))


def some_rows(
    data: LabelledData, rng: np.random.Generator, *, train: int, test: int
) -> tuple[Scaled, Scaled]:
    """At most so many of the rows to train on and of those to test on, each drawn at random and scaled.

    >>> from mimetric.data.sources import load_data
    >>> train, test = some_rows(load_data("digits"), np.random.default_rng(0), train=100, test=10_000)
    >>> len(train.x), len(test.y)
    (100, 540)
    """
    drawn = [
        rng.permutation(rows)[:most] for rows, most in ((data.split.train, train), (data.split.test, test))
    ]
    return scaled_rows(data, drawn[0]), scaled_rows(data, drawn[1])


def some_classes(rows: Rows, labels: NDArray[np.int64], count: int, rng: np.random.Generator) -> Rows:
    """The rows of this many of their classes, drawn at random; all rows where there are fewer classes.

    Args:
        rows: (m,) places in the data.
        labels: (n,) the classes of all rows of the data.
        count: how many classes.
        rng: of the draw.

    >>> some_classes(np.array([0, 2, 3, 5]), np.array([7, 7, 8, 8, 9, 9]), 2, np.random.default_rng(0))
    array([0, 5])
    """
    return rows[np.isin(labels[rows], rng.permutation(np.unique(labels[rows]))[:count])]


def class_after_class(rows: Rows, labels: NDArray[np.int64], rng: np.random.Generator) -> Rows:
    """The same rows with those of a class side by side, and the classes in random order.

    So the first few are of whole classes, but for the last one: each row keeps the likes that it is to find.

    Args:
        rows, rng: as :func:`some_classes` has them.
        labels: (n,) the classes 0, 1, ... of all rows of the data.

    >>> class_after_class(np.arange(6), np.array([0, 1, 2, 0, 1, 2]), np.random.default_rng(0))
    array([1, 4, 2, 5, 0, 3])
    """
    place = rng.permutation(labels.max() + 1)
    return rows[np.argsort(place[labels[rows]], kind="stable")]
