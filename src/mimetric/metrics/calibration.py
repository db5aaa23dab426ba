r"""Whether a classifier's probabilities are what they say.

Every metric takes probabilities (n, C), wherever they come from: a calibrator is any function from logits to
probabilities, used as ``ece(calibrate(logits), labels)``.  The plain one is ``logits.softmax(1)``, those with
temperatures are in :mod:`mimetric.metrics.temperature`.

A row's confidence is its largest probability.  Rows with label -1, unlabelled, are left out.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..core.checks import check_batch, check_choice, check_classes, check_positive
from ..core.classes import UNLABELLED
from ..core.errors import InputError
from ..core.similarity import full_precision
from .streaming import Streaming

Binning = Literal["equal_width", "equal_mass"]

_SUM_TOLERANCE = 1e-2  # of a row's probabilities, as bfloat16 rounds them
_ROWS = 1 << 12  # held in float64 at once


class ReliabilityCurve(NamedTuple):
    """Of each of B bins of rows by confidence, float64."""

    confidence: Tensor  # (B,) mean; nan in an empty bin
    accuracy: Tensor  # (B,) share of right predictions; nan in an empty bin
    rows: Tensor  # (B,) how many


def reliability_curve(
    probabilities: Any, labels: Any, *, bins: int = 15, binning: Binning = "equal_width"
) -> ReliabilityCurve:
    """Accuracy beside confidence, in bins of rows of about the same confidence.

    Args:
        probabilities: (n, C) in [0, 1], each row with sum 1.
        labels: (n,) integers in 0..C-1; rows with -1, unlabelled, are left out.
        bins: how many, from 1.
        binning: ``equal_width`` bins are (i / B, (i + 1) / B], and 0 belongs to the first; ``equal_mass`` bins hold
            equally many rows, up to one, but never part rows of equal confidence, so no order of rows matters.

    Returns:
        :class:`ReliabilityCurve`.
    Raises:
        InputError: shapes disagree, labels are not integers below C, rows are no probabilities, bins < 1, or an
            unknown word.

    Reference: Guo et al., ICML 2017, arXiv:1706.04599 (equal width); Nguyen and O'Connor, EMNLP 2015,
    arXiv:1508.05154 (equal mass).

    >>> p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    >>> reliability_curve(p, [0, 1, 1], bins=2, binning="equal_mass").accuracy
    tensor([0.5000, 1.0000], dtype=torch.float64)
    """
    where = "reliability_curve"
    check_positive(where, bins=bins)
    check_choice(where, "binning", binning, ("equal_width", "equal_mass"))
    confidence, right = _confidence(*_checked(where, probabilities, labels))
    place = _equal_width if binning == "equal_width" else _equal_mass
    return _curve(_binned(place(confidence, bins), confidence, right, bins))


def ece(probabilities: Any, labels: Any, *, bins: int = 15, binning: Binning = "equal_width") -> Tensor:
    r"""Expected calibration error: the mean gap between confidence and accuracy.

    .. math:: \sum_b \frac{n_b}{n} \, \lvert \mathrm{acc}_b - \mathrm{conf}_b \rvert

    over the bins of :func:`reliability_curve`, which has the arguments, errors and references.  More bins make it
    larger, by noise alone; name their number with it.  It is 0 for a constant confidence that equals the
    accuracy, and so says nothing of which rows are right.

    Returns:
        Scalar float64 in [0, 1]; nan over no row.

    >>> ece(torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), [0, 1, 1]).round(decimals=4)
    tensor(0.3000, dtype=torch.float64)
    """
    return _expected_gap(reliability_curve(probabilities, labels, bins=bins, binning=binning))


def mce(probabilities: Any, labels: Any, *, bins: int = 15, binning: Binning = "equal_width") -> Tensor:
    r"""Maximum calibration error: the largest gap of any bin that has rows.

    .. math:: \max_{b:\, n_b > 0} \lvert \mathrm{acc}_b - \mathrm{conf}_b \rvert

    Arguments, errors and references as in :func:`reliability_curve`.

    Returns:
        Scalar float64 in [0, 1]; nan over no row.

    >>> mce(torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), [0, 1, 1]).round(decimals=4)
    tensor(0.6000, dtype=torch.float64)
    """
    return _largest_gap(reliability_curve(probabilities, labels, bins=bins, binning=binning))


def classwise_ece(probabilities: Any, labels: Any, *, bins: int = 15) -> Tensor:
    r"""The calibration error of each class's own probability, whether it is the largest or not.

    .. math:: \sum_b \frac{1}{n} \Bigl\lvert \sum_{i:\, p_{ic} \in b} \bigl([y_i = c] - p_{ic}\bigr) \Bigr\rvert

    over equal-width bins; all n rows are in the sum of every class.

    Args:
        probabilities, labels, bins: as :func:`reliability_curve` has them.

    Returns:
        (C,) float64 in [0, 1]; nan over no row.  Classwise ECE, one number, is their mean.
    Raises:
        InputError: as :func:`reliability_curve`.

    Reference: Kull et al., NeurIPS 2019, arXiv:1910.12656; Nixon et al., arXiv:1904.01685.

    >>> classwise_ece(torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), [0, 1, 1]).round(decimals=4)
    tensor([0.3000, 0.3000], dtype=torch.float64)
    """
    probabilities, labels = _checked("classwise_ece", probabilities, labels)
    stream = StreamingClasswiseCalibration(probabilities.shape[1], bins=bins)
    stream.update(probabilities, labels)
    return stream.compute()


def brier(probabilities: Any, labels: Any) -> Tensor:
    r"""Squared distance of the probabilities from the label's corner, :math:`\sum_c (p_{ic} - [y_i = c])^2`.

    A proper score: its expectation is least for the true probabilities.  Of two classes it is twice what some
    libraries report, the square of the second class's gap alone.

    Args:
        probabilities, labels: as :func:`reliability_curve` has them.

    Returns:
        (n,) float64 in [0, 2], nan for an unlabelled row; the Brier score is their mean without nan.
    Raises:
        InputError: as :func:`reliability_curve`.

    Reference: Brier, Monthly Weather Review 78, 1950.

    >>> brier(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), [0, 1])
    tensor([0.5000, 0.0000], dtype=torch.float64)
    """
    probabilities, labels = _check_probabilities("brier", probabilities, labels)
    return _known(_brier(probabilities, labels), labels)


def top1_brier(probabilities: Any, labels: Any) -> Tensor:
    r"""Squared gap between the confidence and whether the prediction is right, :math:`(\max_c p_{ic} - c_i)^2`.

    It looks at the winner alone: on a wrong row it falls with the confidence whatever the label's probability
    is, where :func:`brier` and :func:`nll` may ask for a sharper wrong winner.  Differentiable: its mean without
    nan is the correctness-aware loss, which trains a calibrator on held-out logits, wrong rows among them.

    Args:
        probabilities, labels: as :func:`reliability_curve` has them.

    Returns:
        (n,) float64 in [0, 1], nan for an unlabelled row.
    Raises:
        InputError: as :func:`reliability_curve`.

    Reference: Liu et al., arXiv:2404.13016.

    >>> top1_brier(torch.tensor([[0.4, 0.5, 0.1], [0.7, 0.2, 0.1]]), [0, 0]).round(decimals=4)
    tensor([0.2500, 0.0900], dtype=torch.float64)
    """
    probabilities, labels = _check_probabilities("top1_brier", probabilities, labels)
    return _known(_top1_brier(probabilities, labels), labels)


def nll(probabilities: Any, labels: Any) -> Tensor:
    r"""Negative log-likelihood of the label, :math:`-\log p_{i y_i}`, in nats.

    Args:
        probabilities, labels: as :func:`reliability_curve` has them.

    Returns:
        (n,) float64 >= 0, infinite where the label has probability 0, nan for an unlabelled row.
    Raises:
        InputError: as :func:`reliability_curve`.

    >>> nll(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), [0, 1])
    tensor([0.6931, 0.0000], dtype=torch.float64)
    """
    probabilities, labels = _check_probabilities("nll", probabilities, labels)
    return _known(_nll(probabilities, labels), labels)


def calibration_metrics(probabilities: Any, labels: Any, *, bins: int = 15) -> dict[str, float]:
    """Accuracy, mean confidence, ECE and MCE over equal-width bins, Brier score, top-1 Brier score and NLL.

    Args:
        probabilities, labels, bins: as :func:`reliability_curve` has them.

    Returns:
        ``accuracy``, ``confidence``, ``ece``, ``mce``, ``brier``, ``top1_brier``, ``nll``; nan over no row.
    Raises:
        InputError: as :func:`reliability_curve`.

    >>> found = calibration_metrics(torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), [0, 1, 1])
    >>> {name: round(value, 3) for name, value in found.items()}
    {'accuracy': 0.667, 'confidence': 0.767, 'ece': 0.3, 'mce': 0.6, 'brier': 0.273, 'top1_brier': 0.137, 'nll': 0.415}
    """
    stream = StreamingCalibration(bins=bins)
    stream.update(probabilities, labels)
    return stream.compute()


class StreamingCalibration(Streaming):
    """:func:`calibration_metrics` of batches, and their reliability curve, in O(bins) memory.

    Args:
        bins: of equal width, from 1.

    >>> stream = StreamingCalibration(bins=10)
    >>> stream.update(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), [0, 1])
    >>> stream.update(torch.tensor([[0.6, 0.4]]), [1])
    >>> round(stream.compute()["ece"], 3)
    0.3
    """

    def __init__(self, *, bins: int = 15) -> None:
        check_positive(type(self).__name__, bins=bins)
        self.bins = bins
        super().__init__(
            binned=torch.zeros(3, bins, dtype=torch.float64), scores=torch.zeros(3, dtype=torch.float64)
        )

    def update(self, probabilities: Any, labels: Any) -> None:
        """Probabilities (n, C) and labels (n,) of some rows; C may differ between batches."""
        probabilities, labels = _checked(type(self).__name__, probabilities, labels)
        confidence, right = _confidence(probabilities, labels)
        binned = _binned(_equal_width(confidence, self.bins), confidence, right, self.bins)
        scores = torch.stack([score(probabilities, labels).sum() for score in (_brier, _top1_brier, _nll)])
        self.add(binned=binned, scores=scores)

    def curve(self) -> ReliabilityCurve:
        """:func:`reliability_curve` of all rows so far."""
        return _curve(self.totals["binned"])

    def compute(self) -> dict[str, float]:
        """As :func:`calibration_metrics`."""
        rows, confidence, right = self.totals["binned"].sum(1)
        scores = self.totals["scores"] / rows
        values = {"accuracy": right / rows, "confidence": confidence / rows}
        values |= {"ece": _expected_gap(self.curve()), "mce": _largest_gap(self.curve())}
        values |= dict(zip(("brier", "top1_brier", "nll"), scores))
        return {name: value.item() for name, value in values.items()}


class StreamingClasswiseCalibration(Streaming):
    """:func:`classwise_ece` of batches, in O(C * bins) memory.

    Args:
        num_classes: C.
        bins: of equal width, from 1.

    >>> stream = StreamingClasswiseCalibration(2, bins=10)
    >>> stream.update(torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), [0, 1, 1])
    >>> stream.compute().round(decimals=4)
    tensor([0.3000, 0.3000], dtype=torch.float64)
    """

    def __init__(self, num_classes: int, *, bins: int = 15) -> None:
        check_positive(type(self).__name__, num_classes=num_classes, bins=bins)
        super().__init__(
            gap=torch.zeros(num_classes, bins, dtype=torch.float64), rows=torch.zeros((), dtype=torch.int64)
        )

    def update(self, probabilities: Any, labels: Any) -> None:
        """Probabilities (n, C) and labels (n,) of some rows."""
        where = type(self).__name__
        probabilities, labels = _checked(where, probabilities, labels)
        num_classes, bins = self.totals["gap"].shape
        if probabilities.shape[1] != num_classes:
            raise InputError(
                f"{where}: probabilities must have a column for each of {num_classes} classes, got "
                f"{tuple(probabilities.shape)}"
            )
        gap = torch.zeros_like(self.totals["gap"], device=probabilities.device).flatten()
        first = torch.arange(0, gap.numel(), bins, device=gap.device)  # each class's first bin
        for p, y in zip(torch.split(probabilities, _ROWS), torch.split(labels, _ROWS)):
            short = -p.double()
            short.scatter_add_(1, y[:, None], torch.ones_like(short[:, :1]))
            gap.index_add_(0, (_equal_width(p, bins) + first).flatten(), short.flatten())
        self.add(gap=gap.reshape(num_classes, bins), rows=len(labels))

    def compute(self) -> Tensor:
        """As :func:`classwise_ece`."""
        return self.totals["gap"].abs().sum(1) / self.totals["rows"]


def _check_probabilities(where: str, probabilities: Any, labels: Any) -> tuple[Tensor, Tensor]:
    probabilities, labels = check_batch(where, probabilities, labels)
    check_classes(where, labels, probabilities.shape[1])
    if not probabilities.shape[1]:
        raise InputError(
            f"{where}: probabilities must have a column for each class, got {tuple(probabilities.shape)}"
        )
    probabilities = full_precision(probabilities)
    given = probabilities.detach()
    good = ((given.sum(1) - 1).abs() <= _SUM_TOLERANCE) & (given.amin(1) >= 0)
    if not good.all():
        row = int(good.logical_not().nonzero()[0])
        raise InputError(
            f"{where}: probabilities must be >= 0 with sum 1 in each row, row {row} has sum {given[row].sum():.6g} "
            f"and least {given[row].amin():.6g}; of logits give logits.softmax(1)"
        )
    return probabilities, labels


def _checked(where: str, probabilities: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """Those of the labelled rows, without a gradient."""
    probabilities, labels = _check_probabilities(where, probabilities, labels)
    known = labels != UNLABELLED
    if not known.all():
        probabilities, labels = probabilities[known], labels[known]
    return probabilities.detach(), labels


def _known(values: Tensor, labels: Tensor) -> Tensor:
    return values.masked_fill(labels == UNLABELLED, torch.nan)


def _of_label(probabilities: Tensor, labels: Tensor) -> Tensor:
    return probabilities.gather(1, labels.clamp(min=0)[:, None])[:, 0].double()


def _brier(probabilities: Tensor, labels: Tensor) -> Tensor:
    own = _of_label(probabilities, labels)
    rest: Tensor = torch.linalg.vecdot(probabilities, probabilities).double() - own.square()
    return (1 - own).square() + rest.clamp(min=0)


def _top1_brier(probabilities: Tensor, labels: Tensor) -> Tensor:
    confidence, right = _confidence(probabilities, labels)
    return (confidence.double() - right.double()).square()


def _nll(probabilities: Tensor, labels: Tensor) -> Tensor:
    return 0 - _of_label(probabilities, labels).log()  # not -0 for a sure one


def _confidence(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(n,) the largest probability, and whether it is the label's."""
    confidence, predicted = probabilities.max(1)
    return confidence, predicted == labels


def _equal_width(values: Tensor, bins: int) -> Tensor:
    """Which of the bins (i / B, (i + 1) / B] each value is in; edges rounded as the values are."""
    edges = torch.arange(1, bins, dtype=torch.float64, device=values.device) / bins
    return torch.bucketize(values, edges.to(values.dtype))


def _equal_mass(values: Tensor, bins: int) -> Tensor:
    """By how many values are less: equal values share a bin."""
    return torch.searchsorted(values.sort().values, values) * bins // max(1, len(values))


def _binned(place: Tensor, confidence: Tensor, right: Tensor, bins: int) -> Tensor:
    """(3, B) float64 of each bin: rows, sum of confidences, right predictions."""
    total = torch.zeros(3, bins, dtype=torch.float64, device=place.device)
    ones = torch.ones_like(confidence, dtype=torch.float64)
    return total.index_add_(1, place, torch.stack((ones, confidence.double(), right.double())))


def _curve(binned: Tensor) -> ReliabilityCurve:
    count, confidence, right = binned
    return ReliabilityCurve(confidence / count, right / count, count)


def _expected_gap(curve: ReliabilityCurve) -> Tensor:
    gap = (curve.accuracy - curve.confidence).abs() * curve.rows
    return gap.nansum() / curve.rows.sum()


def _largest_gap(curve: ReliabilityCurve) -> Tensor:
    gap = (curve.accuracy - curve.confidence).abs()
    return torch.where(curve.rows.any(), gap.nan_to_num(0).max(), torch.nan)
