"""Splits: what must hold for any labels, checked by plain loops over classes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimetric.core.errors import InputError
from mimetric.data.splits import Split, automatic, class_disjoint, class_folds, grouped, official, stratified

labels_of_many = st.lists(st.integers(-3, 30), min_size=1, max_size=200)


def parts_of(split: Split, n: int) -> list[str]:
    """For each row the one part it is in."""
    found = [""] * n
    for name in ("train", "validation", "test"):
        rows = getattr(split, name)
        assert rows.dtype == np.int64
        assert list(rows) == sorted(rows)
        for row in rows:
            assert found[row] == ""
            found[row] = name
    assert "" not in found
    return found


@given(labels_of_many, st.integers(0, 5))
def test_class_disjoint_keeps_classes_whole(labels, seed):
    try:
        split = class_disjoint(labels, seed=seed)
    except InputError:
        # 2 test, 2 validation classes of those with two rows, and two more of any size to train.
        counts = Counter(labels)
        assert sum(count > 1 for count in counts.values()) < 7 or len(counts) < 8
        return
    parts = parts_of(split, len(labels))
    part_of = {}
    for label, part in zip(labels, parts):
        assert part_of.setdefault(label, part) == part
    for label, count in Counter(labels).items():
        assert count > 1 or part_of[label] == "train"
    assert Counter(part_of.values())["train"] >= 2
    assert Counter(part_of.values())["test"] >= 2


def test_class_disjoint_fractions():
    # 40 classes: half test; of the other 20, 15% are 3.
    split = class_disjoint(np.repeat(np.arange(40), 3))
    assert [len(rows) // 3 for rows in (split.train, split.validation, split.test)] == [17, 3, 20]


@given(labels_of_many, st.integers(0, 5))
def test_stratified_deals_pairs_out_of_every_class(labels, seed):
    try:
        split = stratified(labels, seed=seed)
    except InputError:
        counts = sorted(Counter(labels).values())
        assert len(counts) < 2 or counts[-2] < 3  # no two classes that can be tested
        return
    parts = np.array(parts_of(split, len(labels)))
    for label, count in Counter(labels).items():
        got = Counter(parts[np.array(labels) == label])
        assert got["train"] >= 1
        assert (got["test"] >= 2) == (count >= 3)
        assert count < 7 or got["validation"] >= 2
        # Within a pair of the fraction asked for.
        assert abs(got["test"] - 0.3 * count) <= 2
        assert abs(got["validation"] - 0.15 * count) <= 2


def test_a_seed_is_a_split():
    labels = np.repeat(np.arange(30), 10)
    for draw in (class_disjoint, stratified, automatic):
        assert np.array_equal(draw(labels, seed=3).test, draw(labels, seed=3).test)
        assert not np.array_equal(draw(labels, seed=3).test, draw(labels, seed=4).test)


def test_strings_are_split_as_numbers_are():
    numbers = np.repeat(np.arange(30), 10)
    words = np.array([f"class {number:02}" for number in numbers])
    assert np.array_equal(class_disjoint(words).test, class_disjoint(numbers).test)
    assert set(words[class_disjoint(words, test_classes=["class 03", "class 07"]).test]) == {
        "class 03",
        "class 07",
    }


@pytest.mark.parametrize(("num_classes", "kind"), [(19, "stratified"), (20, "class-disjoint")])
def test_automatic_rule_counts_classes_that_make_queries(num_classes, kind):
    singletons = np.arange(1000, 1050)
    labels = np.concatenate((np.repeat(np.arange(num_classes), 8), singletons))
    split = automatic(labels)
    assert split.kind == kind
    assert set(singletons) <= set(labels[split.train])


def test_official_holds_out_classes_where_the_test_is_unseen():
    labels = np.repeat(np.arange(30), 4)
    split = official(labels, np.where(labels < 20, 0, 2))
    assert split.kind == "official"
    assert set(labels[split.test]) == set(range(20, 30))
    assert len(set(labels[split.validation])) == 3  # 15% of 20
    assert not set(labels[split.train]) & set(labels[split.validation])


def test_official_holds_out_rows_where_the_test_is_seen():
    labels = np.tile(np.arange(5), 40)
    split = official(labels, np.where(np.arange(200) < 100, 0, 2))
    assert set(split.test) == set(range(100, 200))
    assert set(labels[split.validation]) == set(range(5))
    # 20 training rows a class are 10 pairs, with places .05, .15, ...: one lies below 0.15.
    assert len(split.validation) == 5 * 2


def test_official_with_too_few_training_classes_holds_out_rows():
    labels = np.repeat(np.arange(6), 20)
    split = official(labels, np.where(labels < 3, 0, 2))
    assert set(labels[split.train]) == set(labels[split.validation]) == {0, 1, 2}


def test_official_validation_is_kept():
    labels, part = np.tile([0, 1], 6), np.repeat([0, 1, 2], 4)
    split = official(labels, part)
    assert [list(rows) for rows in (split.train, split.validation, split.test)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]


def test_description():
    split = class_disjoint([0, 0, 1, 1, 2, 2, 3, 3], test_classes=[1, 3], validation_fraction=0)
    assert split.describe(np.repeat(np.arange(4), 2)) == (
        "split by class: train 4 rows of 2 classes, validation 0 rows of 0 classes, test 4 rows of 2 classes; "
        "test classes are unseen"
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: class_disjoint([0, 0, 1, 1, 2, 2]), "train must have at least 2 classes, got 0"),
        (lambda: stratified([0] * 9), "train must have at least 2 classes, got 1"),
        (lambda: stratified([0, 1, 1, 2, 2, 2]), "test must have at least 2 classes"),
        (lambda: stratified([0, 1], test_fraction=0.8, validation_fraction=0.2), "below 1 together, got 0.8"),
        (lambda: class_disjoint([0, 1], test_fraction=-0.1), "at least 0"),
        (lambda: official([0, 1, 0, 1], [0, 0, 1, 1]), r"2 \(test\) or, .* got \[0, 1\] .* by :by=rows"),
        (
            lambda: official([0, 1, 0, 1], [0, 0, 2, 2]),
            "test must have at least 2 classes, one of them with 2",
        ),
        (lambda: official([0, 1, 0, 1], [0, 0, 2, 3]), r"got \[0, 2, 3\]"),
        (lambda: official([0, 1, 0, 1], [0, 0, 2]), r"each of 4 rows .* got \[0, 2\] in shape \(3,\)"),
        (lambda: automatic([]), "train must have at least 2 classes, got 0"),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()


# --- Folds, groups, queries ----------------------------------------------------------------------------


@given(st.lists(st.integers(0, 30), min_size=40, max_size=200), st.integers(2, 4), st.integers(0, 9))
def test_every_class_is_tested_in_one_fold(labels, count, seed):
    labels = np.array(labels)
    classes, counts = np.unique(labels, return_counts=True)
    if (counts > 1).sum() < 4 * count:
        return
    folds = class_folds(labels, count, validation_fraction=0, seed=seed)
    tested = [set(labels[fold.test].tolist()) for fold in folds]
    assert sum(map(len, tested)) == (counts > 1).sum()
    assert set.union(*tested) == set(classes[counts > 1].tolist())
    assert max(map(len, tested)) - min(map(len, tested)) <= 1
    for fold in folds:
        assert np.array_equal(np.sort(np.concatenate((fold.train, fold.test))), np.arange(len(labels)))
        assert not set(labels[fold.train]) & set(labels[fold.test])


@given(st.integers(0, 99), st.floats(0.1, 0.5), st.floats(0, 0.3))
def test_groups_stay_in_one_part(seed, test, validation):
    rng = np.random.default_rng(seed)
    labels, groups = rng.integers(0, 4, 200), rng.integers(0, 40, 200)
    split = grouped(labels, groups, test_fraction=test, validation_fraction=validation, seed=seed)
    part = split.part()
    assert all(len(set(part[groups == group])) == 1 for group in set(groups.tolist()))
    largest = np.bincount(groups).max() / 200
    assert test <= (part == 2).mean() <= test + largest
    assert (part == 1).mean() <= validation + largest
    assert validation > 0 or not (part == 1).any()


def test_queries_of_an_official_split():
    labels, part = np.tile(np.arange(5), 8), np.repeat([0, 2], 20)
    query = np.arange(40) % 4 == 0
    split = official(labels, part, query=query)
    assert split.query is not None
    assert split.gallery is not None
    assert split.query.tolist() == [20, 24, 28, 32, 36]
    assert np.array_equal(np.union1d(split.query, split.gallery), split.test)
    assert "; 5 queries are searched among 15 rows" in split.describe(labels)
    for wrong in (np.zeros(40, bool), np.ones(40, bool)):
        with pytest.raises(InputError, match="no query has a row of its class in the gallery"):
            official(labels, part, query=wrong)


def test_what_folds_and_groups_need():
    with pytest.raises(
        InputError, match=r"class_folds: count must be from 2 to half of the 4 classes .*, got 3"
    ):
        class_folds([0, 0, 1, 1, 2, 2, 3, 3, 4], 3)
    with pytest.raises(InputError, match=r"grouped: groups must have shape \(3,\)"):
        grouped([0, 1, 0], [1, 2])
    with pytest.raises(InputError, match="grouped split: train must have at least 2 classes"):
        grouped([0, 1] * 9, [1] * 18)
