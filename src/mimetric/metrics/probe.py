"""How well a linear classifier, fitted to frozen embeddings, tells classes apart, as papers on pretraining ask."""

from __future__ import annotations

from typing import Any

import torch

from ..core.checks import check_batch
from ..core.classes import UNLABELLED
from ..core.errors import InputError
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

    where = "linear_probe_accuracy"
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
    if not len(others):
        return float("nan")
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, tol=1e-3))
    return float(probe.fit(x.numpy(), y.numpy()).score(others.numpy(), wanted.numpy()))
