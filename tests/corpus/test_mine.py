from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mimetric.core.errors import InputError
from mimetric.corpus.mine import columns_of, hard_negatives, mine
from mimetric.corpus.mine_options import MineOptions
from mimetric.data.arrays import as_data
from mimetric.model import Model
from strategies import batches


def by_loops(x: Tensor, y: list[int], options: MineOptions) -> list[tuple[int, int, int]]:
    """Triplets of the top strategy, one row after the other."""
    cosines, found = torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=2).tolist(), []
    for a, row in enumerate(cosines):
        own = [i for i in range(len(y)) if y[i] == y[a] != -1 and i != a]
        others = [i for i in range(len(y)) if y[i] not in (y[a], -1)]
        if not own:
            continue
        p = (min if options.positive == "farthest" else max)(own, key=lambda i: row[i])
        limits = [1.0 if options.max_score is None else options.max_score]
        if options.absolute_margin is not None:
            limits.append(row[p] - options.absolute_margin)
        if options.relative_margin is not None:
            limits.append(row[p] - options.relative_margin * abs(row[p]))
        ranked = sorted(others, key=lambda i: -row[i])[options.range_min : options.last_rank]
        least = -1.0 if options.min_score is None else options.min_score
        kept = [i for i in ranked if least <= row[i] <= min(limits)]
        found += [(a, p, n) for n in kept[: options.num_negatives]]
    return found


def triplets(mined: Any) -> list[tuple[int, ...]]:
    return list(map(tuple, torch.stack(mined.triplets[:3]).T.tolist()))


def drawn(seed: int) -> tuple[Tensor, list[int]]:
    """Twelve rows in four directions and others, of three classes and none."""
    gen = torch.Generator().manual_seed(seed)
    return torch.randn(12, 3, dtype=torch.float64, generator=gen), [0, 1, 0, 1, 2, 0, 1, -1, 3, 2, 0, 1]


OPTIONS = st.builds(
    MineOptions,
    num_negatives=st.integers(1, 3),
    range_min=st.integers(0, 3),
    range_max=st.sampled_from([None, 6, 9]),
    absolute_margin=st.sampled_from([None, 0.0, 0.3]),
    relative_margin=st.sampled_from([None, 0.05, 0.5]),
    max_score=st.sampled_from([None, 0.6]),
    min_score=st.sampled_from([None, 0.1]),
    positive=st.sampled_from(["nearest", "farthest"]),
)


@given(st.integers(0, 1000), OPTIONS)
def test_equals_plain_loops(seed: int, options: MineOptions) -> None:
    x, y = drawn(seed)
    mined = hard_negatives(x, y, options=options)
    assert triplets(mined) == by_loops(x, y, options)
    cosines = torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=2)
    found = mined.triplets
    torch.testing.assert_close(found.positive_score, cosines[found.anchor, found.positive])
    torch.testing.assert_close(found.negative_score, cosines[found.anchor, found.negative])
    full = found.anchor.bincount(minlength=len(x)) >= options.num_negatives
    assert (mined.anchors, mined.short) == (
        10,
        10 - int(full.sum()),
    )  # all but the row of class 3 and the unlabelled


@given(batches(), st.sampled_from(["nearest", "random", "farthest"]), st.sampled_from(["top", "random"]))
def test_odd_batches(batch: tuple[Tensor, Tensor], positive: Any, sampling: Any) -> None:
    x, y = batch
    classes = y[y >= 0].bincount() if (y >= 0).any() else torch.zeros(1, dtype=torch.int64)
    options = MineOptions(positive=positive, sampling_strategy=sampling)
    if not (classes > 1).any() or (classes > 0).sum() < 2:
        with pytest.raises(InputError, match="needs a class with two rows, and another class"):
            hard_negatives(x, y, options=options)
        return
    mined = hard_negatives(x, y, options=options)
    found = mined.triplets
    assert (y[found.anchor] == y[found.positive]).all()
    assert (y[found.anchor] != y[found.negative]).all()
    assert (found.anchor != found.positive).all()
    assert (y[torch.cat(found[:3])] >= 0).all()
    assert len(set(triplets(mined))) == len(found.anchor)
    others = (y >= 0).sum() - classes[y[y >= 0]]
    assert len(found.anchor) == others.clamp(max=3)[classes[y[y >= 0]] > 1].sum()


def test_draws_follow_the_seed_and_come_from_the_candidates() -> None:
    gen = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 4, generator=gen), torch.arange(60) % 5
    window = {"range_min": 2, "range_max": 12}

    def drawn_with(seed: int) -> list[tuple[int, ...]]:
        options = MineOptions(**window, positive="random", sampling_strategy="random", seed=seed)
        return triplets(hard_negatives(x, y, options=options))

    candidates = set(triplets(hard_negatives(x, y, options=MineOptions(**window, num_negatives=10))))
    first = drawn_with(0)
    assert first == drawn_with(0)
    assert first != drawn_with(1)
    assert {(a, n) for a, _, n in first} <= {(a, n) for a, _, n in candidates}
    assert {a: sum(b == a for b, *_ in first) for a in range(60)} == dict.fromkeys(range(60), 3)
    partners = {(a, p) for seed in range(8) for a, p, _ in drawn_with(seed)}
    assert len(partners) > 120  # of 660; always the nearest would be 60


GUARDED = MineOptions(num_negatives=1, relative_margin=0.05, positive="nearest")


def test_by_hand() -> None:
    # Angles 0, 20 | 15, 90 degrees: cosines 0.94 and 0.26 with the positives.  The row at 15 is nearer to 0 and 20 than
    # 95% of 0.94; both are nearer to it than 95% of 0.26, so it has no negative; and so is 20 to 90, cosine 0.34.
    angles = torch.deg2rad(torch.tensor([0.0, 20.0, 15.0, 90.0]))
    x, y = torch.stack((angles.cos(), angles.sin()), 1), [0, 0, 1, 1]
    assert triplets(hard_negatives(x, y, options=GUARDED)) == [
        (0, 1, 3),
        (1, 0, 3),
        (3, 2, 0),
    ]
    mined = hard_negatives(x, y, options=GUARDED)
    assert (mined.anchors, mined.short, mined.too_near) == (4, 1, 5)
    hardest = hard_negatives(x, y, options=MineOptions(num_negatives=1))
    assert triplets(hardest) == [(0, 1, 2), (1, 0, 2), (2, 3, 1), (3, 2, 1)]


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(nn.Flatten(), {"input_shape": [4], "input_dtype": "float32", "width": 4})


def test_copies_come_once_and_never_with_two_classes(model: Model) -> None:
    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    y = np.arange(40) % 4
    x[8] = x[0]  # both of class 0
    x[13] = x[2]  # of classes 1 and 2
    mined = mine(model, as_data(x, y), MineOptions(part="all"))
    used = set(torch.cat(mined.triplets[:3]).tolist())
    assert (mined.copies, mined.conflicting) == (1, 2)
    assert used == set(range(40)) - {8, 2, 13}


def test_rows_of_the_part_as_the_data_number_them(model: Model) -> None:
    x, y = np.random.default_rng(1).normal(size=(80, 4)).astype(np.float32), np.arange(80) % 4
    data = as_data(x, y)
    found = mine(model, data, MineOptions(num_negatives=2)).triplets
    assert set(found.anchor.tolist()) <= set(data.split.train.tolist())
    a, n = (torch.from_numpy(x[rows]) for rows in (found.anchor, found.negative))
    torch.testing.assert_close(found.negative_score, torch.nn.functional.cosine_similarity(a, n))
    with pytest.raises(InputError, match="no candidate is left of any anchor; allow smaller margins"):
        mine(model, data, MineOptions(max_score=-1.0))


def test_pairs_hold_each_positive_once() -> None:
    data = as_data(np.arange(32, dtype=np.float32).reshape(8, 4), [0, 1] * 4, ids=list("abcdefgh"))
    x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.9, 0.1], [0.0, 1.0]])
    found = hard_negatives(x, [0, 1, 0, 1], options=MineOptions(num_negatives=2)).triplets
    columns = columns_of(found, data, "pair")
    lines = list(zip(*(columns[name].tolist() for name in ("anchor", "other", "label"))))
    assert lines[:6] == [
        ("a", "c", 1),
        ("a", "b", 0),
        ("a", "d", 0),
        ("b", "d", 1),
        ("b", "c", 0),
        ("b", "a", 0),
    ]
    assert columns["score"][:3].tolist() == pytest.approx([0.9 / 0.82**0.5, 0.8, 0.0], abs=1e-6)
    assert [*columns_of(found, data)] == [
        "anchor",
        "positive",
        "negative",
        "positive_score",
        "negative_score",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_negatives": 0}, "num_negatives must be a whole number, at least 1, got 0"),
        (
            {"range_min": 5, "range_max": 6},
            r"range_max must be at least range_min \+ num_negatives \(8\), got 6",
        ),
        ({"relative_margin": -0.1}, "relative_margin must lie between 0 and 2, got -0.1; try 0.05"),
        ({"max_score": 80.0}, "max_score must be a cosine, between -1 and 1, got 80.0"),
        ({"positive": "near"}, "positive: unknown value 'near'; did you mean nearest?"),
    ],
)
def test_mistakes(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MineOptions(**changes)
