r"""Does one threshold serve all classes alike?  The operating-point inconsistency score.

A system deploys one threshold on distance for everybody.  Where classes are not equally compact, the same threshold
accepts too much in one class and too little in another, which no average over all pairs shows.  From Zhang et al.,
Threshold-Consistent Margin Loss for Open-World Deep Metric Learning, ICLR 2024, arXiv:2307.04047.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.checks import check_choice, check_positive
from ..core.errors import InputError
from .all_pairs import AllPairs, nearest_different
from .rates import ClassRates, rates_of

Order = Literal["range", "threshold"]


@dataclass(frozen=True)
class Opis:
    """How far the utilities of classes are apart, and the utilities."""

    opis: float  # variance over classes, mean over thresholds; nan without a class or a different pair
    epsilon_opis: float  # squared gap of the worst and the best classes, mean over thresholds
    classes: Tensor  # (c,) labels of the classes that count
    utility: Tensor  # (c, t) float64 in [0, 1]
    distances: Tensor  # (t,) float64 the thresholds, ascending
    num_left_out: int  # classes without a pair of their own: one row


def opis(
    embeddings: Any,
    labels: Any,
    *,
    far_range: tuple[float, float] = (1e-2, 1e-1),
    num_thresholds: int = 101,
    c: float = 1.0,
    epsilon: float = 0.1,
    order: Order = "range",
    calibration: tuple[float, float] | None = None,
) -> Opis:
    r"""Operating-point inconsistency score: the variance of utility across classes at the same threshold; exact.

    .. math::
        \mathrm{OPIS} = \frac1{t_1 - t_0} \int_{t_0}^{t_1} \frac1C \sum_i \bigl(U_i(t) - \bar U(t)\bigr)^2 dt,
        \qquad U_i = \frac{(1 + c^2)\, \varphi_i \psi_i}{c^2 \varphi_i + \psi_i}

    with, for class i and Euclidean distances of rows of length 1, :math:`\psi_i(t)` the share of its own pairs at
    most t apart and :math:`\varphi_i(t)` the share of its pairs with other classes more than t apart; U = 0 where both
    are 0.  The integral is a mean over equally spaced thresholds, both ends included.  Epsilon-OPIS is the same
    integral of the squared gap between the mean utility of the worst share epsilon of the classes and of the best.

    It depends on the range, so compare it at one ``far_range`` only.  Three passes over the pairs, O(n d + C t) memory.

    Args:
        embeddings: (n, d) floating point, finite; rows are normalized.
        labels: (n,) integer class ids.  Rows with -1, unlabelled, are of another class than all others and no class
            that counts.
        far_range: the calibration range as two false match rates over all different pairs, in (0, 1].
        num_thresholds: in the range, at least 2.
        c: weight of accepting beside rejecting, > 0; 1 is the harmonic mean.
        epsilon: the share of classes, rounded up, in (0, 1].
        order: classes are worst and best by their mean utility over the range, or at each threshold anew.
            The paper leaves this open.
        calibration: two distances in place of ``far_range``, as :func:`calibration_range` found on other data.

    Returns:
        :class:`Opis`; often printed times 1,000.
    Raises:
        InputError: shapes disagree, labels are not integers, a value is not finite, or an option is out of range.

    >>> x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    >>> opis(x, [0, 0, 1, 1]).opis  # two classes alike
    0.0
    """
    check_positive("opis", c=c)
    check_choice("opis", "order", order, ("range", "threshold"))
    if not 0 < epsilon <= 1:
        raise InputError(f"opis: epsilon must lie above 0 and at most 1, got {epsilon}")
    if num_thresholds < 2:
        raise InputError(f"opis: num_thresholds must be at least 2, got {num_thresholds}")
    pairs = AllPairs("opis", embeddings, labels)
    if calibration is None:
        ends = _similarities_at("opis", pairs, far_range)
        near, far = _distance(ends).tolist()
    else:
        ends, (near, far) = None, _check_calibration(calibration)
    distances = torch.linspace(near, far, num_thresholds, dtype=torch.float64)
    levels = (1 - distances.to(pairs.order.device).square() / 2).to(pairs.dtype)
    if ends is not None:  # the very similarities: a distance and back may lose the last digit
        levels = levels.clamp(ends[1], ends[0])
        levels[0], levels[-1] = ends[0], ends[1]
    rates = rates_of(pairs, levels)
    counts = pairs.num_same > 0
    utility = utility_of(rates, c)[counts]
    score, epsilon_score = inconsistency(utility, epsilon=epsilon, order=order)
    return Opis(score, epsilon_score, rates.classes[counts], utility, distances, int((~counts).sum()))


def calibration_range(
    embeddings: Any, labels: Any, far_range: tuple[float, float] = (1e-2, 1e-1)
) -> tuple[float, float]:
    """The Euclidean distances of rows of length 1 at two false match rates over all different pairs; exact.

    The least distance within which lies at least that share of the different pairs: the distance of one of them.
    Two passes over the pairs in float32, four in float64; O(n d) memory.

    Args:
        embeddings, labels: as :func:`opis` has them.
        far_range: two rates, ascending, in (0, 1].

    Returns:
        Two distances in [0, 2]; nan without a different pair.
    Raises:
        InputError: as :func:`opis`.

    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> calibration_range(x, [0, 1, 2], (0.5, 1.0))  # sqrt 2, sqrt 2 and 2
    (1.4142135623730951, 2.0)
    """
    pairs = AllPairs("calibration_range", embeddings, labels)
    near, far = _distance(_similarities_at("calibration_range", pairs, far_range)).tolist()
    return near, far


def utility_of(rates: ClassRates, c: float = 1.0) -> Tensor:
    """(c, t) the weighted harmonic mean of the true match rate and of 1 - the false match rate; 0 where both are 0."""
    psi, phi = rates.true_match_rate, 1 - rates.false_match_rate
    below = c**2 * phi + psi
    return torch.where(below == 0, 0.0, (1 + c**2) * phi * psi / below)


def inconsistency(utility: Tensor, *, epsilon: float = 0.1, order: Order = "range") -> tuple[float, float]:
    """OPIS and epsilon-OPIS of utilities (c, t) at equally spaced thresholds; nan for no class.

    >>> opis, epsilon_opis = inconsistency(torch.tensor([[0.9], [0.7]], dtype=torch.float64))
    >>> round(opis, 6), round(epsilon_opis, 6)
    (0.01, 0.04)
    """
    if not len(utility):
        return float("nan"), float("nan")
    spread = (utility - utility.mean(0)).square().mean()
    few = _share(epsilon, len(utility))
    by_mean = utility[utility.mean(1).argsort(stable=True)]
    ranked = by_mean if order == "range" else utility.sort(dim=0).values
    gap = ranked[:few].mean(0) - ranked[-few:].mean(0)
    return float(spread), float(gap.square().mean())


def _similarities_at(where: str, pairs: AllPairs, far_range: tuple[float, float]) -> Tensor:
    low, high = far_range
    if not 0 < low <= high <= 1:
        raise InputError(
            f"{where}: far_range must be two rates, ascending, above 0 and at most 1, got {far_range}"
        )
    if not pairs.total_different:
        return torch.full((2,), torch.nan, dtype=pairs.dtype, device=pairs.order.device)
    return nearest_different(pairs, [_share(rate, pairs.total_different) for rate in far_range])


def _share(rate: float, total: int) -> int:
    """The least count that is at least this share of the total; 0.07 * 100 is above 7."""
    count = ceil(rate * total)
    return count - 1 if (count - 1) / total >= rate else count


def _check_calibration(calibration: tuple[float, float]) -> tuple[float, float]:
    near, far = calibration
    if not 0 <= near <= far <= 2:
        raise InputError(f"opis: calibration must be two distances, ascending, in 0..2, got {calibration}")
    return near, far


def _distance(sim: Tensor) -> Tensor:
    return (2 - 2 * sim.double()).clamp(min=0).sqrt()
