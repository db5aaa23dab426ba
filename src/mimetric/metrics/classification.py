r"""What a classifier gets right: by row, by class, and averaged.

Predictions are class ids (n,), or logits (n, C), of which the largest is predicted; of several equal ones
the lowest class.  Rows with label -1, unlabelled, are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.checks import (
    as_tensor,
    check_batch,
    check_classes,
    check_finite,
    check_labels,
    check_positive,
)
from ..core.classes import UNLABELLED
from ..core.errors import InputError
from .streaming import Streaming

_BLOCK_ELEMENTS = 1 << 21  # logits compared at once


def accuracy(predictions: Any, labels: Any) -> Tensor:
    """1 where the predicted class is the label, else 0.

    Args:
        predictions: (n,) integer class ids, or (n, C) logits, finite.
        labels: (n,) integer class ids; -1 is unlabelled.

    Returns:
        (n,) float64, nan for an unlabelled row: accuracy is the mean without them, ``nanmean``.
    Raises:
        InputError: shapes disagree, class ids are not integers, or logits are not finite.

    >>> accuracy([0, 2, 1, 1], [0, 1, 1, -1])
    tensor([1., 0., 1., nan], dtype=torch.float64)
    """
    predicted, labels, _ = _check_predictions("accuracy", predictions, labels)
    return _known((predicted == labels).double(), labels)


def top_k_accuracy(logits: Any, labels: Any, k: int = 5) -> Tensor:
    """1 where the label is among the k classes of the largest logits, else 0.

    Of equal logits the lower class comes first, as in what is predicted: at k = 1 this is :func:`accuracy`.

    Args:
        logits: (n, C) floating point, finite.
        labels: (n,) integers in 0..C-1; -1 is unlabelled.
        k: how many classes, from 1; from C on all rows are right.

    Returns:
        (n,) float64, nan for an unlabelled row.
    Raises:
        InputError: shapes disagree, labels are not integers below C, logits are not finite, or k < 1.

    >>> top_k_accuracy(torch.tensor([[0.1, 0.7, 0.2], [0.4, 0.4, 0.4]]), [2, 2], k=2)
    tensor([1., 0.], dtype=torch.float64)
    """
    where = "top_k_accuracy"
    check_positive(where, k=k)
    logits, labels = check_logits(where, "logits", logits, labels)
    return _known((_places(logits, labels) <= k).double(), labels)


class ClassScores(NamedTuple):
    """One number for each of C classes, float64; macro averages are their means without nan."""

    precision: Tensor  # of the rows predicted as the class, the share that are; nan where none is predicted
    recall: Tensor  # of the rows of the class, the share predicted; nan where it has none
    f1: Tensor  # their harmonic mean, 2 hits / (rows + predicted); nan where there is neither
    rows: Tensor  # how many labelled rows the class has


def class_scores(predictions: Any, labels: Any, *, num_classes: int | None = None) -> ClassScores:
    r"""Precision, recall and F1 of each class.

    .. math:: P_c = \frac{h_c}{p_c}, \qquad R_c = \frac{h_c}{n_c}, \qquad F_c = \frac{2 h_c}{n_c + p_c}

    with :math:`n_c` rows of class c, :math:`p_c` rows predicted as c and :math:`h_c` rows that are both.
    Balanced accuracy is ``recall.nanmean()``, macro-F1 is ``f1.nanmean()``: a class with neither rows nor
    predictions is in no mean, one without predictions counts 0 in macro-F1 and is not in the mean precision.

    Args:
        predictions: (n,) class ids in 0..C-1, or (n, C) logits, finite.
        labels: (n,) class ids in 0..C-1; rows with -1, unlabelled, are left out.
        num_classes: C; None is the width of logits, or 1 more than the largest id.

    Returns:
        :class:`ClassScores` of shape (C,) each, in [0, 1].
    Raises:
        InputError: shapes disagree, class ids are not integers in 0..C-1, or logits are not finite.

    >>> found = class_scores([0, 0, 1, 1], [0, 1, 1, 2])
    >>> found.recall.tolist(), found.precision.tolist()
    ([1.0, 0.5, 0.0], [0.5, 0.5, nan])
    """
    where = "class_scores"
    return _scores(*_counts(where, *_check_predictions(where, predictions, labels, num_classes)))


def confusion_matrix(predictions: Any, labels: Any, *, num_classes: int | None = None) -> Tensor:
    """How many rows of each class are predicted as each class.

    Args:
        predictions, labels, num_classes: as :func:`class_scores` has them.

    Returns:
        (C, C) int64: rows of class i predicted as class j.  The one result here whose size is the square of C.
    Raises:
        InputError: as :func:`class_scores`.

    >>> confusion_matrix([0, 0, 1, 1], [0, 1, 1, -1])
    tensor([[1, 0],
            [1, 1]])
    """
    where = "confusion_matrix"
    predicted, labels, size = _check_predictions(where, predictions, labels, num_classes)
    predicted, labels = _of_known(where, predicted, labels, size)
    return torch.bincount(labels * size + predicted, minlength=size**2).reshape(size, size)


def classification_metrics(logits: Any, labels: Any, *, k: Sequence[int] = ()) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro-F1 and top-k accuracy.

    Args:
        logits: (n, C) floating point, finite.
        labels: (n,) integers in 0..C-1; rows with -1, unlabelled, are left out.
        k: cut-offs of top-k accuracy, from 1.

    Returns:
        ``accuracy``, ``balanced_accuracy``, ``macro_f1`` and ``top_5_accuracy`` and so on for each k, in [0, 1];
        nan over no row.  Balanced accuracy is the mean recall of the classes that have rows, macro-F1 the mean
        F1 of those that have rows or predictions.
    Raises:
        InputError: shapes disagree, labels are not integers below C, logits are not finite, or a k < 1.

    >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 2.0, 1.0]])
    >>> classification_metrics(logits, [0, 1, 1], k=(2,))
    {'accuracy': 0.6666..., 'balanced_accuracy': 0.75, 'macro_f1': 0.6666..., 'top_2_accuracy': 1.0}
    """
    logits, labels = check_logits("classification_metrics", "logits", logits, labels)
    stream = StreamingClassification(logits.shape[1], k=k)
    stream.update(logits, labels)
    return stream.compute()


class StreamingClassification(Streaming):
    """:func:`classification_metrics` of batches, in O(C) memory.

    Args:
        num_classes: C.
        k: cut-offs of top-k accuracy, from 1.

    >>> stream = StreamingClassification(num_classes=2)
    >>> stream.update(torch.tensor([[0.9, 0.1]]), [0])
    >>> stream.update(torch.tensor([[0.6, 0.4], [0.2, 0.8]]), [1, 1])
    >>> stream.compute()["balanced_accuracy"]
    0.75
    """

    def __init__(self, num_classes: int, *, k: Sequence[int] = ()) -> None:
        where = type(self).__name__
        check_positive(where, **{f"k[{at}]": cutoff for at, cutoff in enumerate(k)})
        self.k = tuple(dict.fromkeys(k))
        super().__init__(
            **{name: torch.zeros(num_classes, dtype=torch.int64) for name in ("rows", "predicted", "hits")},
            **{f"top_{k}": torch.zeros((), dtype=torch.int64) for k in self.k},
        )

    def update(self, logits: Any, labels: Any) -> None:
        """Logits (n, C) and labels (n,) of some rows."""
        where = type(self).__name__
        num_classes = len(self.totals["rows"])
        logits, labels = check_logits(where, "logits", logits, labels)
        if logits.shape[1] != num_classes:
            raise InputError(
                f"{where}: logits must have a column for each of {num_classes} classes, got {tuple(logits.shape)}"
            )
        counts = _counts(where, logits.argmax(1), labels, num_classes)
        known = (labels != UNLABELLED)[:, None]
        places = _places(logits, labels)[:, None] if self.k else known
        among = ((places <= labels.new_tensor(self.k)) & known).sum(0)
        self.add(**dict(zip(self.totals, (*counts, *among))))

    def scores(self) -> ClassScores:
        """:func:`class_scores` of all rows so far."""
        return _scores(*(self.totals[name] for name in ("rows", "predicted", "hits")))

    def compute(self) -> dict[str, float]:
        """As :func:`classification_metrics`."""
        scores, rows = self.scores(), self.totals["rows"].sum().double()
        values = {
            "accuracy": self.totals["hits"].sum() / rows,
            "balanced_accuracy": scores.recall.nanmean(),
            "macro_f1": scores.f1.nanmean(),
        }
        values |= {f"top_{k}_accuracy": self.totals[f"top_{k}"] / rows for k in self.k}
        return {name: value.item() for name, value in values.items()}


def check_logits(where: str, name: str, logits: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """Finite logits (n, C), C >= 1, without a gradient, and labels (n,) in 0..C-1 or -1."""
    logits, labels = check_batch(where, logits, labels)
    if not logits.shape[1]:
        raise InputError(f"{where}: {name} must have a column for each class, got {tuple(logits.shape)}")
    check_classes(where, labels, logits.shape[1])
    check_finite(where, name, logits)
    return logits.detach(), labels


def _check_predictions(
    where: str, predictions: Any, labels: Any, num_classes: int | None = None
) -> tuple[Tensor, Tensor, int]:
    """Predicted classes (n,), labels (n,), and how many classes: as given, the logits' width, or as seen."""
    given = as_tensor(where, "predictions", predictions)
    if given.ndim == 2:
        logits, labels = check_logits(where, "predictions", given, labels)
        return logits.argmax(1), labels, num_classes or logits.shape[1]
    if given.ndim != 1:
        raise InputError(
            f"{where}: predictions must be class ids (rows,) or logits (rows, classes), got {tuple(given.shape)}"
        )
    predicted = check_labels(where, "predictions", given, given)
    labels = check_labels(where, "labels", labels, predicted)
    if num_classes is None:
        num_classes = int(torch.cat((predicted, labels, labels.new_tensor([-1]))).max()) + 1
    return predicted, labels, num_classes


def _known(values: Tensor, labels: Tensor) -> Tensor:
    return values.masked_fill(labels == UNLABELLED, torch.nan)


def _of_known(where: str, predicted: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    known = labels != UNLABELLED
    predicted, labels = predicted[known], labels[known]
    for name, ids in (("predictions", predicted), ("labels", labels)):
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < num_classes:
            raise InputError(
                f"{where}: {name} must lie in 0..{num_classes - 1}, got {int(ids.min())} to {int(ids.max())}"
            )
    return predicted, labels


def _counts(where: str, predicted: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, predicted rows and rows that are both, of each class."""
    predicted, labels = _of_known(where, predicted, labels, num_classes)
    rows, found, hits = (
        torch.bincount(ids, minlength=num_classes) for ids in (labels, predicted, labels[predicted == labels])
    )
    return rows, found, hits


def _scores(rows: Tensor, predicted: Tensor, hits: Tensor) -> ClassScores:
    hits = hits.double()
    return ClassScores(hits / predicted, hits / rows, 2 * hits / (rows + predicted), rows)


def _places(logits: Tensor, labels: Tensor) -> Tensor:
    """(n,) from 1: where the label's logit stands among those of its row, the lower class first of equals."""
    classes = torch.arange(logits.shape[1], device=logits.device)
    rows = max(1, _BLOCK_ELEMENTS // len(classes))
    places = []
    for z, own in zip(torch.split(logits, rows), torch.split(labels.clamp(min=0)[:, None], rows)):
        value = z.gather(1, own)
        places.append(1 + ((z > value) | ((z == value) & (classes < own))).sum(1))
    return torch.cat(places)
