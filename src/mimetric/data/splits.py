"""Which rows train, which validate and which test.

Inside this file a split is one array `part` (n,) of int8: 0 train, 1 validation, 2 test.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mimetric.core.errors import InputError

Kind = Literal["class-disjoint", "class-fold", "stratified", "grouped", "official"]
TRAIN, VALIDATION, TEST = 0, 1, 2
MIN_CLASSES = 20  # from here on data without a split of their own are split by class


@dataclass(frozen=True)
class Split:
    """Row indices (int64, increasing, no row in two parts) and where the split came from.

    `official` test rows are those the data name; all others were drawn here.  Of the test rows, `query` are
    searched among the others, the `gallery`; without it each test row is searched among all others.
    `validation` may hold no query (a row with another row of its class) where classes are tiny;
    `train` has at least two classes, and so has `test`, with at least one query.
    """

    kind: Kind
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    query: NDArray[np.int64] | None = None

    @property
    def gallery(self) -> NDArray[np.int64] | None:
        """The test rows that are no queries, where some are."""
        return None if self.query is None else np.setdiff1d(self.test, self.query, assume_unique=True)

    def part(self) -> NDArray[np.int8]:
        """(n,) 0 for train, 1 for validation, 2 for test."""
        part = np.full(len(self.train) + len(self.validation) + len(self.test), TRAIN, np.int8)
        part[self.validation], part[self.test] = VALIDATION, TEST
        return part

    def describe(self, labels: NDArray[np.int64]) -> str:
        """One line: where the split came from, how large each part is, what the parts share."""
        source = {
            "class-disjoint": "split by class",
            "class-fold": "one fold of the classes tests",
            "grouped": "split by group",
            "stratified": "split within classes",
            "official": "test rows as given",
        }[self.kind]
        sizes = ", ".join(
            f"{name} {len(rows):,} rows of {len(np.unique(labels[rows])):,} classes"
            for name, rows in (("train", self.train), ("validation", self.validation), ("test", self.test))
        )
        shared = len(np.intersect1d(labels[self.train], labels[self.test]))
        unseen = f"{shared:,} classes of the test are trained on" if shared else "test classes are unseen"
        searched = ""
        if self.query is not None:
            searched = (
                f"; {len(self.query):,} queries are searched among {len(self.test) - len(self.query):,} rows"
            )
        return f"{source}: {sizes}; {unseen}{searched}"


def class_disjoint(
    labels: ArrayLike,
    *,
    test_classes: ArrayLike | None = None,
    test_fraction: float = 0.5,
    validation_fraction: float = 0.15,
    seed: int = 0,
) -> Split:
    """Whole classes are drawn for test and for validation; the rest train.

    The usual test of retrieval, as on CUB-200 and Cars-196: half of the classes are unseen.  A class
    with one row makes no query, so it trains, unless `test_classes` names it.

    Args:
        labels: (n,) class ids, integers or strings.
        test_classes: the classes to test on; None draws `test_fraction` of them.
        test_fraction: of the classes with two rows or more, in [0, 1); at least two are drawn.
        validation_fraction: of the classes left by the test, in [0, 1); at least two, none for 0.
        seed: of the draw.

    Raises:
        InputError: fewer than two classes are left to train, or the test holds no query.

    >>> class_disjoint([0, 0, 1, 1, 2, 2, 3, 3], test_classes=[1, 3], validation_fraction=0)
    Split(kind='class-disjoint', train=array([0, 1, 4, 5]), validation=array([], dtype=int64),
          test=array([2, 3, 6, 7]), query=None)
    """
    _check_fractions("class_disjoint", test=test_fraction, validation=validation_fraction)
    labels = np.asarray(labels)
    rng = np.random.default_rng(seed)
    part = _by_class(labels, test_classes, test_fraction, validation_fraction, rng)
    return _split("class-disjoint", part, labels)


def stratified(
    labels: ArrayLike, *, test_fraction: float = 0.3, validation_fraction: float = 0.15, seed: int = 0
) -> Split:
    """Rows of every class are drawn for test and validation; the rest train.

    Rows are dealt out in pairs, so that what is drawn from a class can find its like: a class gives
    test rows from 3 rows on and validation rows from 7 on; one with fewer than 3 trains only.

    Args:
        labels: (n,) class ids, integers or strings.
        test_fraction: of the rows of each class, in [0, 1).
        validation_fraction: of the rows of each class, in [0, 1); both together below 1.
        seed: of the draw.

    Raises:
        InputError: fewer than two classes, or no class has enough rows to test.
    """
    _check_fractions("stratified", test=test_fraction, validation=validation_fraction)
    labels = np.asarray(labels)
    rng = np.random.default_rng(seed)
    return _split("stratified", _within_classes(labels, test_fraction, validation_fraction, rng), labels)


def class_folds(
    labels: ArrayLike, count: int, *, validation_fraction: float = 0.15, seed: int = 0
) -> tuple[Split, ...]:
    """The classes dealt out over `count` folds; each split tests on one and trains on the others.

    Every class with two rows or more is tested once; those with one row make no query and always train.

    Args:
        labels: (n,) class ids, integers or strings.
        count: of folds, at least 2 and at most half the number of such classes.
        validation_fraction: of the classes left by the test, in [0, 1); at least two, none for 0.
        seed: of the deal and of the validation classes.

    Raises:
        InputError: a count that the classes do not allow, or as :func:`class_disjoint`.

    >>> [fold.test.tolist() for fold in class_folds([0, 0, 1, 1, 2, 2, 3, 3], 2, validation_fraction=0)]
    [[2, 3, 4, 5], [0, 1, 6, 7]]
    """
    _check_fractions("class_folds", test=0.0, validation=validation_fraction)
    labels = np.asarray(labels)
    classes, counts = np.unique(labels, return_counts=True)
    rng = np.random.default_rng(seed)
    tested = rng.permutation(classes[counts > 1])
    if not 2 <= count <= len(tested) // 2:
        raise InputError(
            f"class_folds: count must be from 2 to half of the {len(tested)} classes with 2 rows or more, got {count}"
        )
    return tuple(
        _split("class-fold", _by_class(labels, tested[fold::count], 0.0, validation_fraction, rng), labels)
        for fold in range(count)
    )


def grouped(
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    test_fraction: float = 0.3,
    validation_fraction: float = 0.15,
    seed: int = 0,
) -> Split:
    """Whole groups are drawn for test and for validation: rows that hang together never test one another.

    A group is what is shared by rows that are no independent witnesses: one person, session, camera or document.
    Groups are drawn until a part has its fraction of the rows; the last may take it beyond.

    Args:
        labels: (n,) class ids, integers or strings.
        groups: (n,) of any type that can be sorted.
        test_fraction: of the rows, in [0, 1); at least one group, none for 0.
        validation_fraction: of the rows, in [0, 1); at least one group, none for 0; both together below 1.
        seed: of the draw.

    Raises:
        InputError: shapes differ, or too few groups: fewer than two classes train, or the test holds no query.

    >>> grouped([0, 1, 0, 1, 0, 1, 0, 1], [5, 5, 5, 5, 6, 6, 6, 6], test_fraction=0.5, validation_fraction=0).test
    array([0, 1, 2, 3])
    """
    _check_fractions("grouped", test=test_fraction, validation=validation_fraction)
    labels, groups = np.asarray(labels), np.asarray(groups)
    if groups.shape != labels.shape:
        raise InputError(
            f"grouped: groups must have shape {labels.shape}, one for each label, got {groups.shape}"
        )
    index, counts = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    order = np.random.default_rng(seed).permutation(len(counts))
    before = np.empty(len(counts))
    before[order] = (counts[order].cumsum() - counts[order]) / max(1, len(labels))
    part = np.full(len(counts), TRAIN, np.int8)
    part[before < test_fraction + validation_fraction] = VALIDATION if validation_fraction else TRAIN
    part[before < test_fraction] = TEST
    return _split("grouped", part[index], labels)


def official(labels: ArrayLike, part: ArrayLike, *, query: ArrayLike | None = None, seed: int = 0) -> Split:
    """The split the data came with: part (n,) is 0 for train, 1 for validation, 2 for test.

    Without validation rows, 15% of the training classes validate where the test classes are unseen
    (and at least four classes can be drawn from), else 15% of the training rows of each class.

    Of the test rows, those marked by query (n,) are searched among the others; what else it marks has no meaning.

    Raises:
        InputError: the parts are no such numbers, train or test is missing, no query has its class in the gallery,
            or as :func:`class_disjoint`.
    """
    labels, part = np.asarray(labels), np.asarray(part)
    codes = np.unique(part).tolist()
    if part.shape != labels.shape or not {TRAIN, TEST} <= set(codes) <= {TRAIN, VALIDATION, TEST}:
        raise InputError(
            f"split must mark each of {len(labels)} rows as 0 (train), 2 (test) or, if any, 1 (validation), "
            f"got {codes[:4]} in shape {part.shape}; mark them so, or split anew by :by=rows or :by=class"
        )
    part = part.astype(np.int8)
    train, rng = part == TRAIN, np.random.default_rng(seed)
    if not (part == VALIDATION).any():
        classes, counts = np.unique(labels[train], return_counts=True)
        unseen = not np.isin(classes, labels[part == TEST]).any()
        if unseen and (counts > 1).sum() >= 4:
            part[train] = _by_class(labels[train], (), 0.0, 0.15, rng)
        else:
            part[train] = _within_classes(labels[train], 0.0, 0.15, rng)
    split = _split("official", part, labels)
    return split if query is None else _with_queries(split, np.asarray(query), labels)


def automatic(labels: ArrayLike, *, seed: int = 0) -> Split:
    """By class where at least 20 classes have two rows or more, else within classes.

    A few classes split by class make a poor test of retrieval: raw pixels already win it.
    """
    counts = np.unique(labels, return_counts=True)[1]
    enough = (counts > 1).sum() >= MIN_CLASSES
    return class_disjoint(labels, seed=seed) if enough else stratified(labels, seed=seed)


def _by_class(
    labels: NDArray[np.generic],
    test_classes: ArrayLike | None,
    test_fraction: float,
    validation_fraction: float,
    rng: np.random.Generator,
) -> NDArray[np.int8]:
    classes, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    part = np.zeros(len(classes), np.int8)
    if test_classes is not None:
        part[np.isin(classes, test_classes)] = TEST
        test_fraction = 0.0
    free = rng.permutation(np.flatnonzero((counts > 1) & (part == TRAIN)))
    num_test = _share(test_fraction, len(free))
    num_validation = _share(validation_fraction, len(free) - num_test)
    part[free[:num_test]] = TEST
    part[free[num_test : num_test + num_validation]] = VALIDATION
    return part[index]


def _share(fraction: float, count: int) -> int:
    return max(2, round(fraction * count)) if fraction > 0 else 0


def _within_classes(
    labels: NDArray[np.generic], test_fraction: float, validation_fraction: float, rng: np.random.Generator
) -> NDArray[np.int8]:
    index, counts = np.unique(labels, return_inverse=True, return_counts=True)[1:]
    order = rng.permutation(len(labels))
    order = order[np.argsort(index[order], kind="stable")]  # class after class, each shuffled
    place = np.arange(len(labels)) - np.repeat(counts.cumsum() - counts, counts)
    quantile = (place // 2 + 0.5) / np.repeat((counts + 1) // 2, counts)  # of the pair, within its class
    part = np.zeros(len(labels), np.int8)
    part[order[quantile < test_fraction + validation_fraction]] = VALIDATION
    part[order[quantile < test_fraction]] = TEST
    return part


def _split(kind: Kind, part: NDArray[np.int8], labels: NDArray[np.generic]) -> Split:
    train, validation, test = (np.flatnonzero(part == code) for code in (TRAIN, VALIDATION, TEST))
    trained = len(np.unique(labels[train]))
    tested = np.unique(labels[test], return_counts=True)[1]
    if trained < 2:
        raise InputError(
            f"{kind} split: train must have at least 2 classes, got {trained}; give more classes"
        )
    if len(tested) < 2 or tested.max() < 2:
        raise InputError(
            f"{kind} split: test must have at least 2 classes, one of them with 2 rows, got {len(test)} rows "
            f"of {len(tested)} classes; give more rows"
        )
    return Split(kind, train, validation, test)


def _with_queries(split: Split, query: NDArray[np.generic], labels: NDArray[np.generic]) -> Split:
    marked = query[split.test].astype(bool)
    queries, gallery = split.test[marked], split.test[~marked]
    if not np.isin(labels[queries], labels[gallery]).any():
        raise InputError(
            f"official split: no query has a row of its class in the gallery, of {len(queries)} queries and "
            f"{len(gallery)} gallery rows; mark others, or none to search the test in itself"
        )
    return replace(split, query=queries)


def _check_fractions(name: str, *, test: float, validation: float) -> None:
    if min(test, validation) < 0 or test + validation >= 1:
        raise InputError(
            f"{name}: test_fraction and validation_fraction must be at least 0 and below 1 together, "
            f"got {test} and {validation}"
        )
