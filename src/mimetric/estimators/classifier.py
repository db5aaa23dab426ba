"""Information by a classifier, in nats: the discriminative view of I(Z;Y)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.checks import check_batch, check_classes, check_finite
from ..core.classes import UNLABELLED
from ..core.errors import InputError
from ..core.temperature import likeliest_temperature
from .plugin import label_entropy

_STRENGTHS = (4.0, 32.0)  # of the weights: the penalty is their squared norm over twice this
_STEPS = 20  # of L-BFGS for each; more move the held-out cross-entropy by less than 0.01


def classifier_information(logits: Any, labels: Any) -> Tensor:
    r"""Mutual information from a classifier's logits: entropy of the labels minus cross-entropy.

    .. math:: \hat I(Z; Y) = \hat H(Y) + \frac1n \sum_i \log \operatorname{softmax}(f_i)_{y_i}

    Direction: lower bound in expectation (Barber and Agakov) on rows that the classifier was **not** fitted to.
    Bias: downwards by about (C - 1) / 2n, that of the plug-in H(Y); upwards on the classifier's own training rows.
    Saturation: below the plug-in H(Y); no floor, negative where the classifier is confidently wrong.
    Cost: O(n C), one softmax over the logits; no gradient.

    Args:
        logits: (n, C) floating point.
        labels: (n,) integers in 0..C-1; rows with -1, unlabelled, are left out.

    Returns:
        Scalar float64 in nats; nan over no row.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, logits are not finite.

    Reference: Barber and Agakov, NIPS 2003; Boudiaf et al., ECCV 2020, arXiv:2003.08983, lemma 2.

    >>> classifier_information(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), [0, 1])
    tensor(0.6930, dtype=torch.float64)
    """
    where = "classifier_information"
    logits, labels = check_batch(where, logits, labels)
    check_classes(where, labels, logits.shape[1])
    check_finite(where, "logits", logits)
    known = labels != UNLABELLED
    return label_entropy(labels) - F.cross_entropy(logits[known].detach().double(), labels[known])


def calibrated_information(logits: Any, labels: Any, *, folds: int = 2, seed: int = 0) -> Tensor:
    r"""Mutual information from a classifier's logits, divided by a temperature that is fitted on other rows.

    .. math:: \hat I(Z; Y) = \hat H(Y) + \frac1n \sum_i \log \operatorname{softmax}(f_i / T_i)_{y_i}

    :math:`T_i` is the likeliest temperature of the folds that row i is not in, each class spread over the folds evenly.
    Tighter than :func:`classifier_information` wherever the classifier is too sure of itself: overfitting makes logits
    too large, which costs cross-entropy and says nothing of the embeddings.

    Direction: lower bound in expectation, as :func:`classifier_information` and on the same rows.
    Bias: as there; one number is fitted, so with less than some tens of rows it may be below the plain one.
    Saturation: as there.
    Cost: some 5 to 10 softmaxes over the logits for each fold; no gradient.

    Args:
        logits: (n, C) floating point; of a network trained with a prior, add its log first.
        labels: (n,) integers in 0..C-1; rows with -1, unlabelled, are left out.
        folds: >= 2.
        seed: of which rows go into which fold.

    Returns:
        Scalar float64 in nats; nan with fewer rows than folds.
    Raises:
        InputError: as :func:`classifier_information`, or folds < 2.

    Reference: Guo et al., ICML 2017, arXiv:1706.04599, for the temperature.

    >>> sure = torch.tensor([[9.0, 0.0]]).repeat(8, 1)  # and wrong once in four
    >>> y = [0, 0, 0, 1, 0, 0, 0, 1]
    >>> calibrated_information(sure, y) > classifier_information(sure, y)
    tensor(True)
    """
    where = "calibrated_information"
    if folds < 2:
        raise InputError(f"{where}: folds must be at least 2, got {folds}")
    logits, labels = check_batch(where, logits, labels)
    check_classes(where, labels, logits.shape[1])
    check_finite(where, "logits", logits)
    known = labels != UNLABELLED
    logits, labels = logits[known].detach().double(), labels[known]
    fold = _folds(labels, folds, seed)
    cooled = torch.full_like(logits, torch.nan)
    for held in range(folds if len(labels) >= folds else 0):
        out = fold == held
        cooled[out] = logits[out] / likeliest_temperature(logits[~out], labels[~out])
    return label_entropy(labels) - F.cross_entropy(cooled, labels)


def probe_information(embeddings: Any, labels: Any, *, folds: int = 2, seed: int = 0) -> Tensor:
    r"""Mutual information by a linear probe: entropy of the labels minus its held-out cross-entropy.

    A logistic regression on the embeddings is fitted to all folds but one and scored on that one, for each of
    the folds; each class is spread over the folds evenly.  Then :func:`classifier_information` of the held-out
    logits.

    Embeddings are shifted, and scaled by one number, so that their mean squared norm is 1.  The penalty beside the
    sum of the cross-entropies is the squared norm of the weights over 2 C with C = 4 or 32 (scikit-learn's C):
    for each fold the one that does better on the other folds.

    Direction: lower bound in expectation: every row is held out from the probe that reads it.
    Bias: downwards where classes cannot be told apart by hyperplanes or a probe has few rows a class to learn from:
        of 42 normal classes in 64 dimensions by 0.7 of 2.9 nats with 2,000 rows, by 1.4 with 500.
    Saturation: below the plug-in H(Y).
    Cost: about 100 products of the embeddings (n, d) with weights (d, classes) and back, in float32; 2,000 rows of
        width 64 and 42 classes: 0.1 s on one core.  No gradient.

    Args:
        embeddings: (n, d) floating point.
        labels: (n,) integer class ids; rows that are unlabelled (-1) or in a class with fewer rows than
            folds are left out.
        folds: >= 2.
        seed: of which rows go into which fold.

    Returns:
        Scalar float64 in nats; nan when no class has enough rows.
    Raises:
        InputError: shapes disagree, labels are not integers, values are not finite, folds < 2.

    >>> z = torch.tensor([[0.0], [0.1], [0.2], [0.3], [9.0], [9.1], [9.2], [9.3]])
    >>> probe_information(z, [0, 0, 0, 0, 1, 1, 1, 1]).round(decimals=2)
    tensor(0.6800, dtype=torch.float64)
    """
    return classifier_information(*probe_logits(embeddings, labels, folds=folds, seed=seed))


def probe_logits(embeddings: Any, labels: Any, *, folds: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """What :func:`probe_information` is read from: held-out logits (n, C), and the labels (n,) of these rows.

    Rows that it leaves out are missing; classes are numbered from 0 in their order.
    """
    where = "probe_information"
    if folds < 2:
        raise InputError(f"{where}: folds must be at least 2, got {folds}")
    embeddings, labels = check_batch(where, embeddings, labels)
    check_finite(where, "embeddings", embeddings)
    _, index, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    kept = (labels != UNLABELLED) & (counts[index] >= folds)
    rows, labels = embeddings[kept].detach().float(), labels[kept]
    classes, labels = torch.unique(labels, return_inverse=True)
    fold = _folds(labels, folds, seed)
    logits = rows.new_zeros(len(_STRENGTHS), len(rows), len(classes))
    for held in range(folds if len(rows) else 0):
        out = fold == held
        logits[:, out] = _fitted(rows[~out], labels[~out], len(classes), rows[out])
    return _chosen(logits, labels, fold), labels


def _chosen(logits: Tensor, labels: Tensor, fold: Tensor) -> Tensor:
    """(n, C) of the logits (strengths, n, C): for each fold those of the strength that suits the other folds."""
    losses = torch.stack([F.cross_entropy(one, labels, reduction="none") for one in logits])
    chosen = torch.empty_like(logits[0])
    for held in torch.unique(fold):
        best = losses[:, fold != held].mean(1).argmin()
        chosen[fold == held] = logits[best, fold == held]
    return chosen


def _folds(labels: Tensor, folds: int, seed: int) -> Tensor:
    """(n,) the fold of each row: the rows of a class in random order take turns."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).to(labels.device)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    turns = torch.arange(len(labels), device=labels.device) % folds
    return torch.empty_like(labels).scatter_(0, by_class, turns)


def _fitted(rows: Tensor, labels: Tensor, num_classes: int, others: Tensor) -> Tensor:
    """Logits (strengths, m, C) of other rows by the logistic regressions of these rows and labels."""
    middle = rows.mean(0)
    scale = (rows - middle).square().sum(1).mean().sqrt()
    scale = torch.where(scale > 0, scale, 1)
    x = F.pad((rows - middle) / scale, (0, 1), value=1.0)  # the last weight is the bias
    weight = x.new_zeros(num_classes, x.shape[1], requires_grad=True)
    found = []
    for strength in _STRENGTHS:  # each starts where the one before it ended
        _descend(weight, x, labels, strength)
        found.append(F.linear((others - middle) / scale, weight[:, :-1], weight[:, -1]).detach())
    return torch.stack(found)


def _descend(weight: Tensor, x: Tensor, labels: Tensor, strength: float) -> None:
    """Move the weights to the least penalized cross-entropy."""
    optimizer = torch.optim.LBFGS([weight], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        penalty = weight[:, :-1].square().sum() / (2 * strength)
        loss = F.cross_entropy(x @ weight.T, labels) + penalty / len(x)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
