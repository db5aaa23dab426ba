"""What embeddings are worth, with intervals, and what makes the numbers less than they seem."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from mimetric.core.checks import check_batch, check_finite, check_references, check_rows
from mimetric.core.classes import UNLABELLED
from mimetric.core.copies import first_of_copies
from mimetric.core.errors import InputError
from mimetric.core.moments import second_moment
from mimetric.core.similarity import full_precision, normalized
from mimetric.metrics.geometry import anisotropy
from mimetric.metrics.intervals import Interval, bootstrap_interval
from mimetric.metrics.named import DEFAULT, Given, Value, measure, needs_logits

_FEW_CLASSES = 20  # from fewer, an interval over classes is too narrow
_ONE_DIRECTION = 0.99  # mean cosine of two rows
_LOW_RANK, _LEAST_RANK = 0.1, 1.5  # of what width, rows and classes allow; and in any case


@dataclass(frozen=True)
class Evaluation:
    """Metrics by name, and warnings in words."""

    metrics: dict[str, Interval]
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """``{"metrics": {name: {"mean", "low", "high"}}, "warnings": [...]}``; None where there is no number."""
        numbers = {
            name: {part: value if math.isfinite(value) else None for part, value in asdict(found).items()}
            for name, found in self.metrics.items()
        }
        return {"metrics": numbers, "warnings": list(self.warnings)}


def evaluate(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    metrics: Sequence[str] = DEFAULT,
    logits: Any = None,
    target_fmr: float = 1e-3,
    seed: int = 0,
) -> Evaluation:
    """Measure embeddings by cosine: what has one value per query comes with a 95% bootstrap interval over classes.

    Args:
        embeddings: (q, d) floating point, finite: the queries.
        labels: (q,) integer class ids; -1 is unlabelled.
        references: (m, d) what to search; None is the embeddings themselves, without the query.
        reference_labels: (m,) their class ids.
        metrics: names of :func:`mimetric.metrics.metric_names`, such as ``recall_at_5``.
        logits: (q, C) of a classifier, for metrics of classification and calibration.
        target_fmr: false match rate of ``tar_at_far``, ``fnmr_at_fmr`` and ``threshold_at_fmr``, in (0, 1).
        seed: of k-means and of the bootstrap.

    Returns:
        :class:`Evaluation`.  A metric with one number for the whole set has no interval; the intervals of those
        per row of logits are over rows.
    Raises:
        InputError: shapes disagree, labels are not integers, a value is not finite, or an unknown metric.

    >>> x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8], [-1.0, 0.0]])
    >>> found = evaluate(x, [0, 0, 1, 1, 2], metrics=["recall_at_1"])
    >>> found.metrics["recall_at_1"].mean, found.warnings[0]
    (1.0, 'queries without a positive: 1 of 5; they are in no mean of retrieval')
    """
    where = "evaluate"
    embeddings, labels = check_batch(where, embeddings, labels)
    references, others = check_references(where, embeddings, labels, references, reference_labels)
    check_finite(where, "embeddings", embeddings)
    if references is not None:
        check_finite(where, "references", references)
        references = references.detach()
    if logits is not None:
        logits = check_rows(where, "logits", logits).detach()
    if not 0 < target_fmr < 1:
        raise InputError(f"{where}: target_fmr must lie between 0 and 1, got {target_fmr}; try 0.001")
    given = Given(
        embeddings.detach(),
        labels,
        references,
        None if references is None else others,
        logits,
        target_fmr,
        seed,
    )
    values = measure(where, metrics, given)
    found = {name: _interval(name, value, given) for name, value in values.items()}
    warnings = (*_about_rows(given), *_about_classes(given), *_about_spread(given), *_about_intervals(found))
    return Evaluation(found, warnings)


def leaks(train: Any, train_labels: Any, test: Any, test_labels: Any) -> list[str]:
    """What the test shares with training, in words: classes, and rows (n, ...) of the same bytes.

    Raises:
        InputError: rows of different shapes.

    >>> leaks(torch.eye(3)[:2], [0, 0], torch.eye(3)[1:], [1, 2])
    ['rows of the test that are exact copies of training rows: 1 of 2']
    """
    train, test = torch.as_tensor(train), torch.as_tensor(test)
    if train.shape[1:] != test.shape[1:]:
        raise InputError(
            f"leaks: rows of train and test must be alike, got {tuple(train.shape[1:])} and {tuple(test.shape[1:])}"
        )
    said, tested = [], torch.unique(torch.as_tensor(test_labels))
    shared = int(torch.isin(tested, torch.as_tensor(train_labels)).sum())
    if shared:
        said.append(
            f"classes of the test that are trained on: {shared:,} of {len(tested):,}; "
            "this is no measure of unseen classes"
        )
    copies = int((_copies(train, test)[len(train) :] < len(train)).sum())
    if copies:
        said.append(f"rows of the test that are exact copies of training rows: {copies:,} of {len(test):,}")
    return said


def _interval(name: str, value: Value, given: Given) -> Interval:
    """Over classes; a classifier's classes are no sample of classes, so over rows for what it says of them."""
    if not isinstance(value, Tensor):
        return Interval(value)
    return bootstrap_interval(value, None if needs_logits(name) else given.labels, seed=given.seed)


def _about_rows(given: Given) -> list[str]:
    """Queries that count in no mean, copies, rows without a direction."""
    rows, _ = given.everything()
    unlabelled = given.labels == UNLABELLED
    length = torch.linalg.vector_norm(full_precision(rows), dim=1)
    counted = (
        (unlabelled, given.labels, "unlabelled queries", "they are in no mean"),
        (
            ~unlabelled & ~_answerable(given),
            given.labels,
            "queries without a positive",
            "they are in no mean of retrieval",
        ),
        (length == 0, rows, "rows of length 0", "by cosine they are like nothing"),
    )
    said = [
        f"{what}: {int(wrong.sum()):,} of {len(among):,}; {so}"
        for wrong, among, what, so in counted
        if wrong.any()
    ]
    return said + _about_copies(given)


def _answerable(given: Given) -> Tensor:
    """(q,) bool: some reference is of the query's class."""
    if given.reference_labels is not None:
        return torch.isin(given.labels, given.reference_labels)
    _, index, counts = torch.unique(given.labels, return_inverse=True, return_counts=True)
    several: Tensor = counts[index] > 1
    return several


def _about_copies(given: Given) -> list[str]:
    """Copies, by their bytes, among the rows or of queries in references, and those of two labels."""
    queries, (_, labels) = len(given.labels), given.everything()
    if given.references is None:
        what, group = "rows that are exact copies of another", _copies(given.embeddings)
        copies = group.bincount()[group] > 1
    else:
        what, group = (
            "queries that are exact copies of a reference",
            _copies(given.embeddings, given.references),
        )
        copies = torch.isin(group[:queries], group[queries:])
    if not copies.any():
        return []
    labels = labels.cpu()
    known = labels.where(labels != UNLABELLED, torch.iinfo(torch.int64).max)
    low, high = known.scatter_reduce(0, group, known, "amin"), labels.scatter_reduce(0, group, labels, "amax")
    mixed = int((copies & (low < high)[group][:queries]).sum())
    return [
        f"{what}: {int(copies.sum()):,} of {queries:,}, {mixed:,} of them under two labels; copies find each other"
    ]


def _copies(*parts: Tensor) -> Tensor:
    """As :func:`first_of_copies` has them, rows of any two types in the wider one."""
    wide = reduce(torch.promote_types, (part.dtype for part in parts))
    return torch.from_numpy(first_of_copies(*(_array(part.to(wide)) for part in parts)))


def _array(rows: Tensor) -> NDArray[Any]:
    found: NDArray[Any] = full_precision(rows).cpu().numpy()  # numpy knows no bfloat16
    return found


def _about_classes(given: Given) -> list[str]:
    classes = len(torch.unique(given.labels[_answerable(given) & (given.labels != UNLABELLED)]))
    if classes >= _FEW_CLASSES:
        return []
    return [f"classes with queries: {classes}; from fewer than {_FEW_CLASSES} the intervals are too narrow"]


def _about_intervals(found: dict[str, Interval]) -> list[str]:
    alike = [name for name, metric in found.items() if metric.low == metric.high]
    if not alike:
        return []
    return [
        f"intervals without width: {', '.join(alike)}; all queries are alike, which makes nothing certain"
    ]


def _about_spread(given: Given) -> list[str]:
    """Rows that nearly all point one way, or fill far fewer dimensions than they could."""
    rows, labels = given.everything()
    n, width = rows.shape
    cosine = anisotropy(rows).item()
    if cosine > _ONE_DIRECTION:
        return [f"embeddings collapsed to one direction: the mean cosine of two rows is {cosine:.4f}"]
    most = min(width, n - 1, len(torch.unique(labels)) - 1)
    used = _directions(normalized(full_precision(rows))) if most > 2 else math.inf
    if not used <= max(_LEAST_RANK, _LOW_RANK * most):
        return []
    return [
        f"embeddings collapsed to few directions: their variance is that of {used:.1f} equal ones, where {most} "
        "are possible"
    ]


def _directions(unit: Tensor) -> float:
    """Exponential of the entropy of the variances along the principal axes, nan without variance.

    Variances, where :func:`~mimetric.metrics.effective_rank` has their roots: little noise in many directions does
    not hide that one holds nearly all.
    """
    mean = unit.mean(0, dtype=torch.float64)
    variance = torch.linalg.eigvalsh(second_moment(unit) / len(unit) - torch.outer(mean, mean)).clamp(min=0)
    return float(torch.special.entr(variance / variance.sum()).sum().exp())
