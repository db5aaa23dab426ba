"""What is wrong with a data set, said before a model is trained on it: copies, leaks, classes nobody can test.

Each check counts something, says in words what it found, and, where a count spoils training or the test, what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mimetric.core.classes import UNLABELLED
from mimetric.core.copies import first_of_copies
from mimetric.core.errors import InputError
from mimetric.data.labelled import LabelledData
from mimetric.data.splits import TEST, TRAIN
from mimetric.estimators import label_entropy

NEAR = 0.99  # cosine of two rows less the mean row, above which they are near copies
_LEAST_WIDTH = 16  # numbers in a row from which on its direction tells it from others
_WORK = 1e11  # multiplications in the search for near copies: some seconds
_DRAWN = 5000  # rows it is made for, at most
_PANEL = 1 << 22  # numbers of rows, or of similarities, held at once
_FEW_CLASSES = 20  # a test of fewer classes says little about others

Rows = NDArray[np.bool_]
Facts = dict[str, int | float]


@dataclass(frozen=True)
class Check:
    """One thing looked at: how many, in words, and what to do; the advice is empty where all is well."""

    name: str
    count: int
    found: str
    advice: str


@dataclass(frozen=True)
class Examination:
    """Sizes of a data set, and what each check found."""

    facts: Facts
    checks: tuple[Check, ...]

    def as_json(self) -> dict[str, Any]:
        """``{"facts": {...}, "checks": [{name, count, found, advice}], "warnings": [what needs advice, in words]}``."""
        warnings = [f"{check.name}: {check.found}; {check.advice}" for check in self.checks if check.advice]
        return {"facts": self.facts, "checks": [asdict(check) for check in self.checks], "warnings": warnings}


def examine(data: LabelledData, *, seed: int = 0) -> Examination:
    """Examine labelled data with their split.

    Args:
        data: as :func:`mimetric.data.sources.load_data` loads them.
        seed: of the rows drawn for the search for near copies, where not all are looked at.

    >>> from mimetric.data.sources import load_data
    >>> found = examine(load_data("digits"))
    >>> found.facts["rows"], round(found.facts["label_entropy"], 3), found.checks[0].found
    (1797, 2.302, 'none')
    """
    found = examine_rows(data.x, data.y, data.split.part(), texts=data.kind == "texts", seed=seed)
    return replace(found, checks=(*found.checks, *_queries(data)))


def examine_rows(
    x: NDArray[Any],
    y: NDArray[np.int64],
    part: NDArray[Any] | None = None,
    *,
    texts: bool = False,
    seed: int = 0,
) -> Examination:
    """Examine rows (n, ...) of numbers, their class ids (n,) and, where there is a split, their parts (n,).

    Copies are rows of the same bytes.  Near copies are rows whose cosine, less the mean row, is above
    ``NEAR`` = 0.99: for up to 5,000 rows, drawn at random, all others are searched; fewer where rows are many
    and wide, which bounds the time to seconds, and none in rows of fewer than 16 numbers, where direction tells
    too little.

    Args:
        x: numbers of any type; values that are not finite are counted.
        y: class ids, -1 unlabelled.
        part: 0 train, 1 validation, 2 test.
        texts: rows are code points: copies are looked for, near copies and constants mean nothing.
        seed: of the rows drawn.

    Raises:
        InputError: no rows, or lengths that differ.
    """
    if not len(x) or x.size == 0 or y.shape != x.shape[:1] or (part is not None and part.shape != y.shape):
        raise InputError(
            f"examine_rows: x, y and part must have the same number of rows, at least 1, got {x.shape}, {y.shape}"
            + ("" if part is None else f" and {part.shape}")
        )
    rows = np.ascontiguousarray(x).reshape(len(x), -1)
    first = first_of_copies(rows)
    counts = np.unique(y[y != UNLABELLED], return_counts=True)[1]
    facts = _facts(rows, y, counts)
    checks = [_singletons(counts), _imbalance(facts), _copies(first), _conflicts(first, y)]
    if part is not None:
        checks += [_leaks(first, part), _shared_classes(y, part), _few_test_classes(y, part)]
    if not texts:
        finite, constant = _finite_and_constant(rows)
        checks += _values(finite, constant)
        if rows.shape[1] >= _LEAST_WIDTH:
            usable = np.flatnonzero(finite & ~constant & (first == np.arange(len(rows))))
            checks += _near_copies(rows, y, part, usable, seed)
    return Examination(facts, tuple(checks))


def _facts(rows: NDArray[Any], y: NDArray[np.int64], counts: NDArray[np.int64]) -> Facts:
    facts: Facts = {
        "rows": len(rows), "width": rows.shape[1], "unlabelled": int((y == UNLABELLED).sum()), "classes": len(counts)
    }  # fmt: skip
    if len(counts):
        entropy = label_entropy(torch.from_numpy(y)).item()
        facts |= {
            "largest_class": int(counts.max()), "median_class": float(np.median(counts)),
            "smallest_class": int(counts.min()),
            "label_entropy": entropy, "effective_classes": float(np.exp(entropy)),
        }  # fmt: skip
    return facts


def _check(name: str, wrong: Rows, found: str, advice: str) -> Check:
    """A check of each row, or of each class."""
    count = int(wrong.sum())
    return Check(
        name, count, f"{count:,} of {len(wrong):,} {found}" if count else "none", advice if count else ""
    )


def _singletons(counts: NDArray[np.int64]) -> Check:
    advice = "they have no positive: gather a second row, or leave them out"
    return _check("singletons", counts == 1, "classes have a single row", advice)


def _imbalance(facts: Facts) -> Check:
    """Uneven where classes count for less than half as many equal ones: exp H(Y) < C / 2."""
    classes, effective = facts["classes"], facts.get("effective_classes", 0.0)
    uneven = effective < classes / 2
    found = f"{classes:,} classes count for {effective:,.1f} equal ones, exp H(Y)"
    advice = "draw class-balanced batches, and read macro averages"
    return Check("imbalance", int(uneven), found, advice if uneven else "")


def _copies(first: NDArray[np.int64]) -> Check:
    again = first != np.arange(len(first))
    return _check("copies", again, "rows are exact copies of an earlier one", "keep one of each")


def _conflicts(first: NDArray[np.int64], y: NDArray[np.int64]) -> Check:
    wrong = _differ(y[first], y)
    advice = "correct the labels: no model can get both right"
    return _check("two labels", wrong, "rows are exact copies of a row of another class", advice)


def _leaks(first: NDArray[np.int64], part: NDArray[Any]) -> Check:
    leaked = np.isin(first, first[part == TRAIN]) & (part != TRAIN)
    advice = "drop them from the training rows: what was seen in training tests nothing"
    return _check("leaks", leaked, "rows, in test or validation, are exact copies of training rows", advice)


def _shared_classes(y: NDArray[np.int64], part: NDArray[Any]) -> Check:
    """None or all is a plain question, of unseen classes or of known ones; some is two questions in one number."""
    tested = _tested(y, part)
    shared = int(np.isin(tested, y[part == TRAIN]).sum())
    mixed = 0 < shared < len(tested)
    found = f"{shared:,} of {len(tested):,} test classes are trained on" if shared else "none"
    advice = "test unseen classes or known ones, apart: together their mean answers neither question"
    return Check("shared classes", shared, found, advice if mixed else "")


def _few_test_classes(y: NDArray[np.int64], part: NDArray[Any]) -> Check:
    count = len(_tested(y, part))
    few = count < _FEW_CLASSES
    advice = f"below {_FEW_CLASSES}, intervals over classes are too narrow: test on more"
    return Check("test classes", count, f"{count:,} classes are tested", advice if few else "")


def _tested(y: NDArray[np.int64], part: NDArray[Any]) -> NDArray[np.int64]:
    return np.unique(y[(part == TEST) & (y != UNLABELLED)])


def _queries(data: LabelledData) -> list[Check]:
    """Where the test has a gallery: queries that nothing in it answers, and that are in it."""
    query, gallery = data.split.query, data.split.gallery
    if query is None or gallery is None:
        return []
    alone = ~np.isin(data.y[query], data.y[gallery])
    first = first_of_copies(data.x)
    again = np.isin(first[query], first[gallery])
    return [
        _check("queries alone", alone, "queries have no row of their class in the gallery", "leave them out"),
        _check("queries in gallery", again, "queries are exact copies of a gallery row", "drop one of each"),
    ]


def _values(finite: Rows, constant: Rows) -> list[Check]:
    advice = "drop them, or see how they were read"
    return [
        _check("not finite", ~finite, "rows hold nan or infinity", "drop them, or find what made them"),
        _check("constant", constant, "rows hold one number throughout", advice),
    ]


def _finite_and_constant(rows: NDArray[Any]) -> tuple[Rows, Rows]:
    finite, constant = np.ones(len(rows), bool), np.zeros(len(rows), bool)
    for block in _blocks(len(rows), rows.shape[1]):
        finite[block] = np.isfinite(rows[block]).all(1)
        constant[block] = (rows[block] == rows[block, :1]).all(1)
    return finite, constant


def _near_copies(
    rows: NDArray[Any], y: NDArray[np.int64], part: NDArray[Any] | None, usable: NDArray[np.int64], seed: int
) -> list[Check]:
    """Of rows drawn, those with a near copy anywhere, in another class, and across train and test."""
    n, width = len(usable), rows.shape[1]
    if n < 2:
        return []
    count = min(n, _DRAWN, max(1, int(_WORK / (n * width))))
    drawn = usable[np.sort(np.random.default_rng(seed).permutation(n)[:count])]
    middle = _mean_row(rows, usable)
    queries = _unit(rows[drawn], middle)
    near, other_class, leaked = (np.zeros(count, bool) for _ in range(3))
    for block in _blocks(n, max(width, count)):
        columns = usable[block]
        close = queries @ _unit(rows[columns], middle).T > NEAR
        close &= columns != drawn[:, None]
        near |= close.any(1)
        other_class |= (close & _differ(y[columns], y[drawn, None])).any(1)
        if part is not None:
            leaked |= (close[:, part[columns] == TRAIN]).any(1) & (part[drawn] != TRAIN)
    kind = "rows drawn" if count < n else "rows"
    twin = f"{kind} have another at a cosine above {NEAR}"
    checks = [
        _check("near copies", near, twin, "look at them, and keep one of each"),
        _check("near, two labels", other_class, f"{kind} have one of another class", "see which is right"),
    ]
    if part is not None:
        words = f"{kind}, in test or validation, have one among the training rows"
        checks.append(_check("near leaks", leaked, words, "drop it from the training rows"))
    return checks


def _mean_row(rows: NDArray[Any], usable: NDArray[np.int64]) -> NDArray[np.float32]:
    total = np.zeros(rows.shape[1])
    for block in _blocks(len(usable), len(total)):
        total += rows[usable[block]].sum(0, dtype=np.float64)
    return (total / len(usable)).astype(np.float32)


def _differ(labels: NDArray[np.int64], others: NDArray[np.int64]) -> Rows:
    """Two labels that contradict each other; -1, unlabelled, contradicts none."""
    differ: Rows = (labels != others) & (labels != UNLABELLED) & (others != UNLABELLED)
    return differ


def _unit(rows: NDArray[Any], middle: NDArray[np.float32]) -> NDArray[np.float32]:
    moved = rows.astype(np.float32) - middle
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    length[length == 0] = 1
    moved /= length
    return moved


def _blocks(n: int, width: int) -> Iterator[slice]:
    rows = max(1, _PANEL // width)
    return (slice(start, start + rows) for start in range(0, n, rows))
