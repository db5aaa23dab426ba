"""What is measured of the information between embeddings and labels: both views, their intervals, their doubts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.checks import check_batch, check_classes, check_finite, check_rows
from ..core.classes import UNLABELLED
from ..core.errors import InputError
from ..estimators import (
    conditional_mean_nn_entropy,
    gaussian_label_information,
    label_entropy,
    mean_nn_entropy,
    mixture_information,
)
from ..estimators.classifier import probe_logits
from ..estimators.nearest import ross_terms
from .sides import decompose
from .trust import doubts

_ROWS_A_CLASS = 32  # kept of each class at most where there are more rows than are measured
_NORMAL_95 = 1.96  # standard errors to either side


@dataclass(frozen=True)
class Information:
    """What was measured between embeddings and labels, in nats; nan where there is nothing to measure.

    Intervals are of 95% over other rows of the same classes, from the spread of what each row adds.  They say nothing
    of an estimate's bias, which is often larger, and are about a fifth too short, as rows share neighbors and probe.

    Attributes:
        rows, classes, width: what was looked at.
        label_entropy: H(Y) of these rows, the most that I(Z;Y) can be.
        discriminative, discriminative_interval: H(Y) less a held-out cross-entropy: a lower bound in expectation.
        generative, generative_interval: by nearest neighbors (Ross): an estimate, no bound.
        kernel_lower, kernel_upper: bounds for the embeddings under Gaussian noise, which tells less than they do.
        gaussian: by covariances, for normal classes with one in common; does not stop at H(Y): no value where above.
        entropy: H(Z) by MeanNN; only differences mean something.
        conditional_entropy: H(Z|Y) by MeanNN.
        tightness, contrast: of the loss that was given, in its own units.
        warnings: why some of these cannot be trusted here, in words.
    """

    rows: int
    classes: int
    width: int
    label_entropy: float
    discriminative: float
    discriminative_interval: tuple[float, float]
    generative: float
    generative_interval: tuple[float, float]
    kernel_lower: float
    kernel_upper: float
    gaussian: float
    entropy: float
    conditional_entropy: float
    tightness: float
    contrast: float
    warnings: tuple[str, ...]


def information(
    embeddings: Any,
    labels: Any,
    logits: Any = None,
    *,
    loss: Callable[..., Tensor] | None = None,
    max_rows: int = 2048,
    seed: int = 0,
) -> Information:
    """Both views of the mutual information between embeddings and labels.

    The discriminative view is :func:`~mimetric.estimators.classifier_information` of `logits`, or, without any,
    :func:`~mimetric.estimators.probe_information`.  The generative view is
    :func:`~mimetric.estimators.ross_information` with 3 neighbors, beside
    :func:`~mimetric.estimators.mixture_information`, :func:`~mimetric.estimators.gaussian_label_information` and the
    MeanNN entropies.  Each docstring says what its estimate bounds and how it is biased; all suffer from few rows a
    class.
    To compare objectives give unit rows: nearness is then what cosine retrieval sees, and H(Z) does not depend
    on the scale.

    Args:
        embeddings: (n, d) floating point.
        labels: (n,) integer class ids; unlabelled rows (-1) are left out.
        logits: (n, C) of a classifier that was not fitted to these rows, labels in 0..C-1; None fits a probe.
        loss: whose two sides to record as well, as :func:`decompose` takes it.
        max_rows: how many rows are looked at, which bounds the cost: 0.6 s on one core for 2,048 rows of
            85 classes and width 64, growing as their square.  Where there are more, up to 32 rows a class (or as
            many as leave every class in) and as many whole classes as fit are drawn, and H(Y) is theirs.
        seed: of what is drawn, and of the probe's folds.

    Raises:
        InputError: shapes disagree, labels are not integers, values are not finite, max_rows < 1, or as
            :func:`decompose`.

    >>> y = torch.arange(200) % 4
    >>> z = torch.eye(4)[y] + 0.1 * torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    >>> found = information(z, y)
    >>> round(found.label_entropy, 2), round(found.discriminative, 1), round(found.generative, 1)
    (1.39, 1.4, 1.4)
    >>> found.warnings
    ('discriminative and generative at the ceiling H(Y) = 1.39: embeddings that hold more look the same',)
    """
    if max_rows < 1:
        raise InputError(f"information: max_rows must be at least 1, got {max_rows}")
    embeddings, labels = check_batch("information", embeddings, labels)
    check_finite("information", "embeddings", embeddings)
    given = None if logits is None else _checked_logits(logits, embeddings, labels)
    rows = drawn_rows(labels, max_rows, seed)
    z, y = embeddings[rows].detach(), labels[rows]
    own = _discriminative_terms(*probe_logits(z, y, seed=seed) if given is None else (given[rows], y))
    near, kernel = ross_terms(z, y), mixture_information(z, y)
    with torch.no_grad():
        tightness, contrast = (torch.nan, torch.nan) if loss is None else decompose(loss, z, y)
    numbers = {
        "label_entropy": label_entropy(y),
        "discriminative": own.mean(),
        "generative": near.mean(),
        "kernel_lower": kernel.lower,
        "kernel_upper": kernel.upper,
        "gaussian": gaussian_label_information(z, y),
        "entropy": mean_nn_entropy(z),
        "conditional_entropy": conditional_mean_nn_entropy(z, y),
        "tightness": tightness,
        "contrast": contrast,
    }
    found = {name: float(value) for name, value in numbers.items()}
    return Information(
        rows=len(y),
        classes=len(torch.unique(y)),
        width=z.shape[1],
        discriminative_interval=_interval(own),
        generative_interval=(interval := _interval(near)),
        warnings=doubts(z, y, found, interval[1]),
        **found,
    )


def drawn_rows(labels: Tensor, max_rows: int, seed: int = 0) -> Tensor:
    """Which labelled rows :func:`information` looks at, in order: all, or some of each of some classes.

    >>> drawn_rows(torch.tensor([0, 0, 0, 1, 1, 1, -1]), 4).tolist()
    [0, 2, 3, 5]
    """
    rows = (labels != UNLABELLED).nonzero()[:, 0].cpu()
    if len(rows) <= max_rows:
        return rows.to(labels.device)
    generator = torch.Generator().manual_seed(seed)
    rows = rows[torch.randperm(len(rows), generator=generator)]
    _, index, counts = torch.unique(labels.cpu()[rows], return_inverse=True, return_counts=True)
    most = max(1, min(max(_ROWS_A_CLASS, max_rows // len(counts)), max_rows // 2))
    by_class = index.argsort(stable=True)
    place = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[index[by_class]]
    kept = counts.clamp(max=most)
    drawn = torch.randperm(len(counts), generator=generator)
    fits = torch.zeros(len(counts), dtype=torch.bool)
    fits[drawn[kept[drawn].cumsum(0) <= max_rows]] = True
    chosen = by_class[(place < most) & fits[index[by_class]]]
    return rows[chosen].sort().values.to(labels.device)


def _checked_logits(given: Any, embeddings: Tensor, labels: Tensor) -> Tensor:
    logits: Tensor = check_rows("information", "logits", given).to(embeddings.device)
    if len(logits) != len(labels):
        raise InputError(f"information: logits must have a row for each of {len(labels)}, got {len(logits)}")
    check_classes("information", labels, logits.shape[1])
    check_finite("information", "logits", logits)
    return logits


def _discriminative_terms(logits: Tensor, labels: Tensor) -> Tensor:
    """(n,) log of the classifier's probability of the label over the label's frequency: their mean is H(Y) - CE."""
    frequency = torch.bincount(labels, minlength=logits.shape[1]).double() / len(labels)
    surprise = F.cross_entropy(logits.detach().double(), labels, reduction="none")
    terms: Tensor = -surprise - frequency[labels].log()
    return terms


def _interval(terms: Tensor) -> tuple[float, float]:
    """95% around the mean of what each row adds; nan for fewer than two rows."""
    middle, reach = (
        terms.mean(),
        _NORMAL_95 * terms.std() / len(terms) ** 0.5 if len(terms) > 1 else torch.nan,
    )
    return float(middle - reach), float(middle + reach)
