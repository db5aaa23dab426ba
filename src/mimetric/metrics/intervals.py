"""How far a mean over queries can be trusted: bootstrap intervals, and two runs compared query by query.

Queries of one class are not independent: they share their positives, and an encoder that knows the class finds
them all or none.  Drawn as if they were, they make intervals too narrow (the values of a class that are all alike
count as many where they are one).  So :func:`bootstrap_interval` draws whole classes where they are given, which
also asks the question that retrieval asks: what about *other* classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.checks import as_tensor, check_choice, check_labels, check_positive
from ..core.errors import InputError

Average = Literal["micro", "macro"]
_DRAWN = 1 << 20  # draws held at once


@dataclass(frozen=True)
class Interval:
    """A mean with its interval; low and high are nan where there is none."""

    mean: float
    low: float = math.nan
    high: float = math.nan

    @property
    def includes_zero(self) -> bool:
        """Whether 0 cannot be told from it; without an interval nothing can."""
        return not (self.low > 0 or self.high < 0)


def bootstrap_interval(
    values: Any,
    groups: Any = None,
    *,
    average: Average = "micro",
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    r"""Mean of one value per query, with the percentile interval of its bootstrap.

    What is drawn, with replacement and as many as there are, are groups with all their queries (the cluster
    bootstrap), or single queries where no groups are given.  With :math:`w_c` the times that group c was drawn,
    of :math:`n_c` queries with mean :math:`\bar v_c`:

    .. math:: \text{micro: } \frac{\sum_c w_c n_c \bar v_c}{\sum_c w_c n_c}
              \qquad \text{macro: } \frac{\sum_c w_c \bar v_c}{\sum_c w_c}

    References are taken as given.  From few groups (below about 20) the interval is too narrow; where all values
    are alike it has no width, which does not make them certain.

    Args:
        values: (n,) one number per query; nan, where undefined, is left out.
        groups: (n,) integers, for retrieval the class of each query; None draws queries.
        average: over queries, or over the groups' own means: every class counts the same.
        level: share of the resampled means within the interval, in (0, 1).
        resamples: how often is drawn; the cost is resamples times groups, about 10 ns each.
        seed: of the draws.

    Returns:
        :class:`Interval`; no interval for a single group or query, all nan where no value is defined.
    Raises:
        InputError: shapes disagree, groups are not integers, macro without groups, or an option out of range.

    >>> hits = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    >>> bootstrap_interval(hits, [0, 0, 0, 1, 1, 1])  # two classes: each draw has none, one or both of those found
    Interval(mean=0.5, low=0.0, high=1.0)
    """
    where = "bootstrap_interval"
    check_choice(where, "average", average, ("micro", "macro"))
    check_positive(where, resamples=resamples)
    if not 0 < level < 1:
        raise InputError(f"{where}: level must lie between 0 and 1, got {level}; try 0.95")
    if average == "macro" and groups is None:
        raise InputError(f"{where}: macro averages over groups; give groups, the class of each query")
    totals, counts = _parts(_values(where, "values", values), groups, average)
    if not len(counts):
        return Interval(math.nan)
    mean = float(totals.sum() / counts.sum())
    if len(counts) == 1:
        return Interval(mean)
    means = _resampled(totals, counts, resamples, seed)
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return Interval(mean, float(low), float(high))


def paired_difference(
    values: Any,
    others: Any,
    groups: Any = None,
    *,
    average: Average = "micro",
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """How much better one run is than another on the same queries: the mean of values - others, with its interval.

    Hard queries are hard for both, so the difference is known far better than either mean.  Where its interval
    :attr:`~Interval.includes_zero` these queries do not tell the two runs apart.

    Args:
        values, others: (n,) one number per query, as :func:`~mimetric.metrics.per_query` gives them, of the same
            queries in the same order; where either is nan both are left out.
        groups, average, level, resamples, seed: as :func:`bootstrap_interval` has them.

    Raises:
        InputError: lengths differ, or as :func:`bootstrap_interval`.

    >>> paired_difference([0.9, 0.4, 0.8], [0.8, 0.3, 0.7]).includes_zero
    False
    """
    mine, theirs = (
        _values("paired_difference", "values", values),
        _values("paired_difference", "others", others),
    )
    if mine.shape != theirs.shape:
        raise InputError(
            f"paired_difference: others must be of the same queries as values, {tuple(mine.shape)}, "
            f"got {tuple(theirs.shape)}"
        )
    return bootstrap_interval(
        mine - theirs, groups, average=average, level=level, resamples=resamples, seed=seed
    )


def _values(where: str, name: str, values: Any) -> Tensor:
    tensor = as_tensor(where, name, values)
    if tensor.ndim != 1 or tensor.is_complex():
        raise InputError(
            f"{where}: {name} must be one number per query, (n,), got shape {tuple(tensor.shape)}"
        )
    return tensor.detach().double()


def _parts(values: Tensor, groups: Any, average: Average) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(c,) what each group that is drawn adds to the numerator and to the denominator of the mean."""
    known = ~values.isnan()
    if groups is None:
        totals = values[known]
        return totals.cpu().numpy(), np.ones(len(totals))
    groups = check_labels("bootstrap_interval", "groups", groups, values)
    _, index, counts = torch.unique(groups[known], return_inverse=True, return_counts=True)
    totals = torch.zeros_like(counts, dtype=torch.float64).index_add_(0, index, values[known])
    if average == "macro":
        totals, counts = totals / counts, torch.ones_like(counts)
    return totals.cpu().numpy(), counts.double().cpu().numpy()


def _resampled(
    totals: NDArray[np.float64], counts: NDArray[np.float64], resamples: int, seed: int
) -> NDArray[np.float64]:
    """(resamples,) the means of what was drawn."""
    rng, units = np.random.default_rng(seed), len(totals)
    rows = max(1, _DRAWN // units)
    means = []
    for start in range(0, resamples, rows):
        drawn = rng.integers(units, size=(min(rows, resamples - start), units))
        means.append(totals[drawn].sum(1) / counts[drawn].sum(1))
    return np.concatenate(means)
