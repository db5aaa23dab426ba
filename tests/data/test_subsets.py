from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimetric.data.seen import load_seen
from mimetric.data.subsets import class_after_class, scaled_rows, some_classes, some_rows

LABELS = np.random.default_rng(0).integers(0, 12, 200)
ROWS = np.arange(30, 180)


def test_rows_are_scaled_by_the_largest_number_of_all() -> None:
    data = load_seen("digits")
    dark = np.flatnonzero(data.x.reshape(len(data.x), -1).max(1) < 255)[:3]
    found = scaled_rows(data, dark)
    assert found.x.dtype == torch.float32
    np.testing.assert_allclose(found.x.numpy(), data.x[dark] / 255, rtol=1e-6)
    assert found.y.tolist() == data.y[dark].tolist()


def test_some_rows_are_of_their_parts_and_by_the_seed() -> None:
    data = load_seen("digits")
    draws = [some_rows(data, np.random.default_rng(seed), train=50, test=10**6) for seed in (0, 0, 1)]
    assert torch.equal(draws[0][0].x, draws[1][0].x)
    assert not torch.equal(draws[0][0].x, draws[2][0].x)
    train, test = draws[0]
    kept = {tuple(row) for row in scaled_rows(data, data.split.train).x.flatten(1).tolist()}
    assert len(train.y) == 50
    assert {tuple(row) for row in train.x.flatten(1).tolist()} <= kept
    assert (
        test.y.bincount().tolist() == np.bincount(data.y[data.split.test]).tolist()
    )  # all, in another order
    assert not np.array_equal(test.y, data.y[data.split.test])


def test_classes_are_drawn_whole_and_by_the_seed() -> None:
    drawn = [some_classes(ROWS, LABELS, 5, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert np.array_equal(drawn[0], ROWS[np.isin(LABELS[ROWS], LABELS[drawn[0]])])
    assert len(np.unique(LABELS[drawn[0]])) == 5
    assert np.array_equal(some_classes(ROWS, LABELS, 10**6, np.random.default_rng(0)), ROWS)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 99))
def test_classes_one_after_the_other(labels: list[int], seed: int) -> None:
    y = np.array(labels)
    rows = np.flatnonzero(np.arange(len(y)) % 3 < 2)
    found = class_after_class(rows, y, np.random.default_rng(seed))
    assert sorted(found) == rows.tolist()
    assert (np.diff(y[found]) != 0).sum() == len(np.unique(y[rows])) - 1  # a class ends once
    same = np.diff(y[found]) == 0
    assert (np.diff(found)[same] > 0).all()  # rows of a class in their order


def test_every_class_comes_first_sometimes() -> None:
    first = {LABELS[class_after_class(ROWS, LABELS, np.random.default_rng(seed))[0]] for seed in range(100)}
    assert len(first) == pytest.approx(12, abs=1)
