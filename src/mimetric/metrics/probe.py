"""How well a plain classifier, fitted to frozen embeddings, tells classes apart, as papers on pretraining ask."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.checks import check_batch
from ..core.classes import UNLABELLED
from ..core.errors import InputError
from ..core.moments import class_moments
from .geometry import finite_rows


def linear_probe_accuracy(train_embeddings: Any, train_labels: Any, embeddings: Any, labels: Any) -> float:
    """The share of rows that a logistic regression on other rows classifies right; needs scikit-learn.

    Columns are scaled to mean 0 and variance 1 over the training rows, so that neither the scale of embeddings nor a
    narrow cone they lie in matters; then cross-entropy with half the squared weights as penalty.

    Args:
        train_embeddings: (n, d) floating point, finite.
        train_labels: (n,) integer class ids of at least two classes; rows with -1, unlabelled, are left out.
        embeddings: (m, d) floating point, finite.
        labels: (m,) their class ids; rows with -1 are left out.

    Returns:
        In [0, 1]; nan over no row.
    Raises:
        InputError: shapes disagree, labels are not integers, a value is not finite, or fewer than two classes.

    >>> x = torch.tensor([[0.0, 9.0], [1.0, 9.0], [4.0, 9.0], [5.0, 9.0]])
    >>> linear_probe_accuracy(x, [7, 7, 3, 3], x + 0.2, [7, 7, 3, 7])
    0.75
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y, others, wanted = _checked(
        "linear_probe_accuracy", train_embeddings, train_labels, embeddings, labels
    )
    if not len(others):
        return float("nan")
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, tol=1e-3))
    return float(probe.fit(x.numpy(), y.numpy()).score(others.numpy(), wanted.numpy()))


def nearest_mean_accuracy(train_embeddings: Any, train_labels: Any, embeddings: Any, labels: Any) -> float:
    """The share of rows whose nearest class mean, of other rows, is that of their class.

    By Euclidean distance between rows as they are: scale them to length 1 first where only directions matter.

    Args, Returns, Raises: as :func:`linear_probe_accuracy` has them.

    Reference: Mensink et al., TPAMI 2013, doi:10.1109/TPAMI.2013.83, there under a learned distance.

    >>> x = torch.tensor([[0.0], [2.0], [5.0], [7.0]])  # means 1 and 6
    >>> nearest_mean_accuracy(x, [7, 7, 3, 3], x, [7, 7, 3, 7])
    0.75
    """
    x, y, others, wanted = _checked(
        "nearest_mean_accuracy", train_embeddings, train_labels, embeddings, labels
    )
    classes, place = torch.unique(y, return_inverse=True)
    means = class_moments(x, place, len(classes)).centers
    nearest = classes[torch.cdist(others.double(), means).argmin(dim=1)]
    return float((nearest == wanted).double().mean())


def _checked(
    where: str, train_embeddings: Any, train_labels: Any, embeddings: Any, labels: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The labelled rows and their classes, of both parts, in float32 on the CPU."""
    parts = []
    for name, given, classes in (("train_", train_embeddings, train_labels), ("", embeddings, labels)):
        rows, y = check_batch(where, given, classes)
        known = y != UNLABELLED
        parts += [finite_rows(where, f"{name}embeddings", rows)[known].float().cpu(), y[known].cpu()]
    x, y, others, wanted = parts
    if x.shape[1] != others.shape[1]:
        raise InputError(f"{where}: embeddings must have {x.shape[1]} columns, got {tuple(others.shape)}")
    if len(torch.unique(y)) < 2:
        raise InputError(f"{where}: train_labels must hold at least two classes, got {len(torch.unique(y))}")
    return x, y, others, wanted
