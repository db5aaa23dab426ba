"""Two classes: a loss that is drawn anew at every step, and metrics of the confusion matrix as losses.

Logits are one number for each row, (n,) or (n, 1), positive for class 1.  In ``LinearClassifier(loss, width, 1)`` they
are losses of embeddings.  They are not in the catalog of `compare`, whose data have more classes than two.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_choice, check_classes, check_labels, check_positive, check_rows
from ..core.classifier import LogitsLoss
from ..core.errors import InputError
from ..core.logits import over_logits, whole_logits
from ..core.pairing import Pairing
from ..core.pairs import Described, pair_loss
from ..core.similarity import full_precision

Metric = Literal["accuracy", "f_beta", "g_mean", "balanced_accuracy"]

_STRICT = 1e-6  # taken off every slope, so that none is 0
_LEAST_PRODUCT = 1e-12  # of two rates: below it the root has no slope, where it would have an infinite one


@pair_loss
def ens_loss(
    logits: Any,
    labels: Any,
    *,
    box_cox: float = 0.0,
    generator: torch.Generator | None = None,
    pairing: Pairing = Pairing(),
) -> Described:
    r"""EnsLoss: at every call the slopes of another loss, drawn among those that are fit to classify by.

    .. math:: \frac1n \sum_i g_i z_i, \qquad z_i = \pm f_i, \quad g = g(z) \text{ held constant}

    with margins z, positive where the row is right, and :func:`ens_loss_slopes` g from normal draws.  **Only the
    gradient means something**: the value may be negative, and two of them cannot be compared.  It guards large
    networks against overfitting as dropout does, and needs many epochs.  Unlabelled rows (-1) add 0 to a mean over all
    n.

    Args:
        logits: f, (n,) or (n, 1) floating point, or :class:`LinearLogits` of one class.
        labels: (n,) integers 0 or 1, or -1, unlabelled: classes named -1 and 1 have to be renamed.
        box_cox: λ, of which kind draws are.
        generator: where draws come from; None is torch's own.
        pairing: reduction and weights, which multiply the slopes.

    Returns:
        Scalar of any sign.
    Raises:
        InputError: shapes disagree, logits are not floating point, labels are not 0, 1 or -1.

    Reference: Dai, ICML 2025, arXiv:2409.00908.  λ is 0 in all its settings.

    >>> logits = torch.tensor([2.0, 1.0, 0.5], requires_grad=True)
    >>> ens_loss(logits, [1, 0, 1], generator=torch.Generator().manual_seed(0)).backward()
    >>> (3 * logits.grad).round(decimals=2)  # 2.0 is right and sure, 1.0 is wrong
    tensor([-0.0600,  1.0000, -0.7500])
    """
    column, own = _binary("ens_loss", logits, labels)

    def cost(column: Tensor, _: Tensor) -> Tensor:
        margins = torch.where(own == 1, column[:, 0], -column[:, 0])
        given, known = margins.detach(), own >= 0
        source = given.device if generator is None else generator.device
        normals = torch.randn(len(given), generator=generator, device=source, dtype=given.dtype).to(given)
        # Unlabelled rows stand behind all others, with the slopes nearest to 0.
        slopes = ens_loss_slopes(
            torch.where(known, given, torch.inf), torch.where(known, normals, -torch.inf), box_cox=box_cox
        )
        return slopes * margins

    return over_logits("ens_loss", column, own.clamp(max=0), cost=cost, pairing=pairing)


class EnsLoss(LogitsLoss):
    """Module form of :func:`ens_loss`."""

    function = staticmethod(ens_loss)
    sides = None  # type: ignore[assignment]

    def __init__(
        self, *, box_cox: float = 0.0, generator: torch.Generator | None = None, pairing: Pairing = Pairing()
    ) -> None:
        super().__init__(box_cox=box_cox, generator=generator, pairing=pairing)


def ens_loss_slopes(margins: Tensor, normals: Tensor, *, box_cox: float = 0.0) -> Tensor:
    r"""The slopes that :func:`ens_loss` has at some margins, from normal draws.

    .. math::
        a = \max\bigl(-(1 + \lambda w)_+^{1 / \lambda}, -1\bigr), \qquad a = \max(-e^w, -1) \text{ for } \lambda = 0

    In ascending order they go to the margins in ascending order, which are slopes of a convex loss; divided by z where
    z > 1, so that it falls slowly there; and less 1e-6, so that the slope at 0 is negative and the loss is calibrated.

    Args:
        margins: z, (n,) floating point.
        normals: w, (n,) draws of N(0, 1).
        box_cox: λ; for λ > 0 some slopes are 0 but for the 1e-6.

    Returns:
        (n,) in [-1 - 1e-6, -1e-6], rising with z.
    Raises:
        InputError: shapes disagree.

    Reference: Dai, ICML 2025, arXiv:2409.00908.

    >>> ens_loss_slopes(torch.tensor([2.0, -1.0, 0.5]), torch.tensor([0.2, -0.7, 0.1]))
    tensor([-0.2483, -1.0000, -1.0000])
    """
    if margins.ndim != 1 or normals.shape != margins.shape:
        raise InputError(
            f"ens_loss_slopes: margins and normals must have one shape (n,), got {tuple(margins.shape)} and "
            f"{tuple(normals.shape)}"
        )
    drawn = normals.exp() if box_cox == 0 else (1 + box_cox * normals).clamp(min=0) ** (1 / box_cox)
    ascending = (-drawn).clamp(min=-1).sort().values
    slopes = torch.empty_like(margins).scatter(0, margins.argsort(stable=True), ascending.to(margins))
    return slopes / margins.clamp(min=1) - _STRICT


class SoftConfusion(NamedTuple):
    """How many rows are right and wrong, each almost 0 or 1; they add up over batches."""

    true_positives: Tensor
    false_negatives: Tensor
    false_positives: Tensor
    true_negatives: Tensor


def soft_confusion(logits: Any, labels: Any, *, amplification: float = 73.0) -> SoftConfusion:
    r"""The confusion matrix of two classes, differentiable: predictions by a steep sigmoid of the probability.

    .. math:: \hat y_i = \sigma\bigl(L (\sigma(f_i) - \tfrac12)\bigr)

    One less any function of these four is a loss of that metric, such as :func:`any_loss` of the usual ones.

    Args:
        logits: f, (n,) or (n, 1) floating point, or :class:`LinearLogits` of one class.
        labels: (n,) integers 0 or 1, or -1, unlabelled: such a row is not counted.
        amplification: L > 0; large is near the counts themselves, and leaves no slope but near the threshold.

    Returns:
        :class:`SoftConfusion`, four scalars >= 0.
    Raises:
        InputError: shapes disagree, logits are not floating point, labels are not 0, 1 or -1, or L is not > 0.

    Reference: Han et al., arXiv:2405.14745.

    >>> round(soft_confusion(torch.tensor([0.1, 0.0, -0.1]), [1, 1, 0]).true_positives.item(), 4)  # 0.86 and 0.5
    1.361
    """
    return _confusion("soft_confusion", logits, labels, amplification)


def any_loss(
    logits: Any,
    labels: Any,
    *,
    metric: Metric = "f_beta",
    beta: float = 1.0,
    amplification: float = 73.0,
) -> Tensor:
    r"""AnyLoss: one less a metric of the batch's confusion matrix, its counts made differentiable.

    .. math:: 1 - m(TP, FN, FP, TN)

    with the counts of :func:`soft_confusion`, and m one of

    - accuracy, :math:`(TP + TN) / n`;
    - f_beta, :math:`(1 + \beta^2) TP / ((1 + \beta^2) TP + \beta^2 FN + FP)`;
    - g_mean, :math:`\sqrt{TPR \cdot TNR}`, the geometric mean of the shares of each class that are right;
    - balanced_accuracy, :math:`(TPR + TNR) / 2`, the mean of both.

    For two classes of unequal size, judged by one such number at the threshold 0.  It is no mean over rows: batches
    have to be large, with rows of both classes; where a metric lacks those it needs (f_beta class 1, the last two
    both) the batch costs 0.  Rows that are wrong and sure have no slope: begin near 0, or with cross-entropy, or at a
    smaller amplification (10).

    Args:
        logits: f, (n,) or (n, 1) floating point, or :class:`LinearLogits` of one class.
        labels: (n,) integers 0 or 1, or -1, unlabelled: such a row is not counted.
        metric: m.
        beta: β > 0, how much more a missed row of class 1 weighs in f_beta than a false one.
        amplification: L > 0.

    Returns:
        Scalar in [0, 1].
    Raises:
        InputError: shapes disagree, logits are not floating point, labels are not 0, 1 or -1, β or L is not > 0, or an
            unknown metric.

    Reference: Han et al., arXiv:2405.14745.  Their code divides the counts of a batch by the size of the whole training
    set; this divides by that of the batch.

    >>> any_loss(torch.tensor([0.1, 0.0, -0.1]), [1, 1, 0], metric="balanced_accuracy")
    tensor(0.2293)
    """
    _check_metric("any_loss", metric, beta)
    tp, fn, fp, tn = _confusion("any_loss", logits, labels, amplification)
    positives, negatives = tp + fn, fp + tn
    either, both = (positives + negatives) != 0, (positives != 0) & (negatives != 0)
    if metric == "accuracy":
        value, defined = _share(tp + tn, positives + negatives), either
    elif metric == "f_beta":
        hits = (1 + beta**2) * tp
        value, defined = _share(hits, hits + beta**2 * fn + fp), positives != 0
    elif metric == "g_mean":
        product = _share(tp, positives) * _share(tn, negatives)
        value, defined = product.clamp(min=_LEAST_PRODUCT).sqrt(), both
    else:
        value, defined = (_share(tp, positives) + _share(tn, negatives)) / 2, both
    return torch.where(defined, 1 - value, 0)


class AnyLoss(LogitsLoss):
    """Module form of :func:`any_loss`."""

    function = staticmethod(any_loss)
    sides = None  # type: ignore[assignment]

    def __init__(self, *, metric: Metric = "f_beta", beta: float = 1.0, amplification: float = 73.0) -> None:
        _check_metric("AnyLoss", metric, beta)
        check_positive("AnyLoss", amplification=amplification)
        super().__init__(metric=metric, beta=beta, amplification=amplification)


def _binary(where: str, logits: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """Logits (n, 1), in float32 at least, and labels (n,) 0, 1 or -1."""
    given = as_tensor(where, "logits", whole_logits(where, logits))
    column = full_precision(check_rows(where, "logits", given[:, None] if given.ndim == 1 else given))
    if column.shape[1] != 1:
        raise InputError(
            f"{where}: logits must have shape (n,) or (n, 1), a number for each row, got {tuple(column.shape)}; of two "
            "classes give logits[:, 1] - logits[:, 0]"
        )
    labels = check_labels(where, "labels", labels, column)
    check_classes(where, labels, 2)
    return column, labels


def _confusion(where: str, logits: Any, labels: Any, amplification: float) -> SoftConfusion:
    check_positive(where, amplification=amplification)
    column, own = _binary(where, logits, labels)
    steep = amplification * (column[:, 0].sigmoid() - 0.5)
    yes, no = steep.sigmoid(), (-steep).sigmoid()
    tp, fn, fp, tn = (
        torch.where(own == label, predicted, 0).sum()
        for label, predicted in ((1, yes), (1, no), (0, yes), (0, no))
    )
    return SoftConfusion(tp, fn, fp, tn)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return part / torch.where(whole != 0, whole, 1)


def _check_metric(where: str, metric: str, beta: float) -> None:
    check_choice(where, "metric", metric, get_args(Metric))
    check_positive(where, beta=beta)
