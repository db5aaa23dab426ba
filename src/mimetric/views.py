r"""Both views of what an objective does: its two sides, and the information it leaves between embedding and label.

.. math:: I(Z; Y) = H(Z) - H(Z|Y) = H(Y) - H(Y|Z)

An objective lowers H(Z|Y) by its tightness and raises H(Z) by its contrast (the generative view); the same
information is what a classifier can tell of the label (the discriminative view).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from .core.checks import check_batch, check_rows
from .core.classes import UNLABELLED
from .core.errors import InputError
from .estimators import (
    classifier_information,
    conditional_mean_nn_entropy,
    label_entropy,
    mean_nn_entropy,
    probe_information,
    ross_information,
)

_ROWS_A_CLASS = 32  # kept of each class at most where there are more rows than are measured


def decompose(
    loss: Callable[..., Tensor], embeddings: Any, labels: Any, *against: Any
) -> tuple[Tensor, Tensor]:
    """The two sides of a loss on given embeddings: (tightness, contrast).

    They add up to the loss, each with its own gradient.  Tightness stands for H(Z|Y), contrast for -H(Z), in
    the loss's own units: their course in training says what an objective does, their size is not comparable
    between objectives.  `mimetric objectives` lists both sides of each.

    Args:
        loss: a loss function of :mod:`mimetric.losses`, one with options bound by :func:`functools.partial`,
            or the module form of one.
        embeddings: (n, d) floating point.
        labels: (n,) integer class ids.
        against: what else the loss is called with: class weights of a function, or references and their labels.

    Returns:
        Two scalars.
    Raises:
        InputError: the loss has no such sides, or whatever the loss finds wrong.

    Reference: Boudiaf et al., ECCV 2020, arXiv:2003.08983, table 2.

    >>> from mimetric.losses import supcon_loss
    >>> z = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    >>> tightness, contrast = decompose(partial(supcon_loss, temperature=1.0), z, [0, 0, 1, 1])
    >>> round(tightness.item(), 4), round(contrast.item(), 4)
    (-0.8, 1.4736)
    """
    function, options = (loss.func, loss.keywords) if isinstance(loss, partial) else (loss, {})
    sides = getattr(function, "sides", None)
    if sides is None:
        name = getattr(function, "__name__", type(function).__name__)
        raise InputError(
            f"decompose: {name} has no tightness and contrast; give a loss of mimetric.losses or its module"
        )
    return cast(tuple[Tensor, Tensor], sides(embeddings, labels, *against, **options))


@dataclass(frozen=True)
class Information:
    """What was measured between embeddings and labels, in nats; nan where there is nothing to measure.

    Attributes:
        rows, classes: how many were looked at.
        label_entropy: H(Y) of these rows, the most that I(Z;Y) can be.
        discriminative: I(Z;Y) as H(Y) minus a held-out cross-entropy: a lower bound in expectation.
        generative: I(Z;Y) by nearest neighbors (Ross): an estimate, no bound.
        entropy: H(Z) by MeanNN; only differences mean something.
        conditional_entropy: H(Z|Y) by MeanNN.
    """

    rows: int
    classes: int
    label_entropy: float
    discriminative: float
    generative: float
    entropy: float
    conditional_entropy: float


def information(
    embeddings: Any, labels: Any, logits: Any = None, *, max_rows: int = 2048, seed: int = 0
) -> Information:
    """Both views of the mutual information between embeddings and labels.

    The discriminative view is :func:`~mimetric.estimators.classifier_information` of `logits`, or, without any,
    :func:`~mimetric.estimators.probe_information`; the generative view is
    :func:`~mimetric.estimators.ross_information` with 3 neighbors, beside the MeanNN entropies.  Each
    docstring says what its estimate bounds and how it is biased; all suffer from few rows a class.
    To compare objectives give unit rows: nearness is then what cosine retrieval sees, and H(Z) does not depend
    on the scale.

    Args:
        embeddings: (n, d) floating point.
        labels: (n,) integer class ids; unlabelled rows (-1) are left out.
        logits: (n, C) of a classifier that was not fitted to these rows, labels in 0..C-1; None fits a probe.
        max_rows: how many rows are looked at, which bounds the cost: 0.3 s on one core for 2,048 rows of
            85 classes and width 64, growing as their square.  Where there are more, up to 32 rows a class (or as
            many as leave every class in) and as many whole classes as fit are drawn, and H(Y) is theirs.
        seed: of what is drawn, and of the probe's folds.

    Raises:
        InputError: shapes disagree, labels are not integers, values are not finite, max_rows < 1.

    >>> y = torch.arange(200) % 4
    >>> z = torch.eye(4)[y] + 0.1 * torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    >>> found = information(z, y)
    >>> round(found.label_entropy, 2), round(found.discriminative, 1), round(found.generative, 1)
    (1.39, 1.4, 1.4)
    """
    if max_rows < 1:
        raise InputError(f"information: max_rows must be at least 1, got {max_rows}")
    embeddings, labels = check_batch("information", embeddings, labels)
    rows = drawn_rows(labels, max_rows, seed)
    z, y = embeddings[rows], labels[rows]
    if logits is None:
        discriminative = probe_information(z, y, seed=seed)
    else:
        logits = check_rows("information", "logits", logits)
        if len(logits) != len(labels):
            raise InputError(
                f"information: logits must have a row for each of {len(labels)}, got {len(logits)}"
            )
        discriminative = classifier_information(logits[rows], y)
    return Information(
        rows=len(y),
        classes=len(torch.unique(y)),
        label_entropy=label_entropy(y).item(),
        discriminative=discriminative.item(),
        generative=ross_information(z, y).item(),
        entropy=mean_nn_entropy(z).item(),
        conditional_entropy=conditional_mean_nn_entropy(z, y).item(),
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
