r"""Entropy and information of labels from how often each occurs, in nats; corrections for what few rows do to them.

Of two rows of labels only the pairs that occur are counted: O(n) memory for any number of labels.  No gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_choice, check_labels
from ..core.classes import UNLABELLED
from ..core.errors import InputError

Correction = Literal["none", "miller-madow", "jackknife", "chao-shen", "nsb"]
_GRID = 512  # concentrations looked at, three times: each time nearer to where the posterior is
_NEGLIGIBLE = 40.0  # nats below the peak of the posterior
_LARGE = 1e3  # from here on Stirling's formula has 12 digits


def label_entropy(labels: Any, *, correction: Correction = "none", num_classes: int | None = None) -> Tensor:
    r"""Entropy of class ids from their counts :math:`n_c` of n rows.

    - none: plug-in, :math:`\hat H = -\sum_c \hat p_c \log \hat p_c, \; \hat p_c = n_c / n`.
    - miller-madow: :math:`\hat H + (C - 1) / 2n`, C the classes that occur.
    - jackknife: :math:`n \hat H - \frac{n - 1}{n} \sum_i \hat H_{-i}`, without one row at a time.
    - chao-shen: :math:`-\sum_c \frac{\tilde p_c \log \tilde p_c}{1 - (1 - \tilde p_c)^n}` with
      :math:`\tilde p_c = (1 - f_1 / n) \hat p_c`, :math:`f_1` the classes with one row: also counts classes that never
      occurred.  Where every class has one row, as if one had two.
    - nsb: the mean of H under Dirichlet priors of all concentrations, mixed so that H is nearly uniform before
      anything is seen.

    Direction: plug-in a lower bound in expectation; the corrected ones are estimates, no bounds.
    Bias: plug-in downwards, by about (C - 1) / 2n for C classes.  Miller-madow is right to order 1/n where all occur,
        the jackknife likewise, with more spread; nsb is best with far fewer rows than classes, if it is told how many
        there are.  All agree as n grows.
    Saturation: plug-in at the log of the classes that occur, so at log n; the corrected ones may pass that.
    Cost: of sorting n labels, 0.05 s of one core for a million; nsb less than 0.1 s more.

    Args:
        labels: (n,) integers; rows with -1, unlabelled, are left out.
        correction: which of these.
        num_classes: how many classes there are, for nsb; None: those that occur.

    Returns:
        Scalar float64 in nats; nan over no row.
    Raises:
        InputError: labels are not one row of integers, no such correction, or fewer classes than occur.

    Reference: Miller 1955; Zahl, Ecology 1977; Chao and Shen, Environmental and Ecological Statistics 2003;
    Nemenman, Shafee and Bialek, NIPS 2001, arXiv:physics/0108025.

    >>> label_entropy([0, 0, 1, 1])
    tensor(0.6931, dtype=torch.float64)
    >>> label_entropy([0, 0, 1, 2], correction="chao-shen")
    tensor(1.7632, dtype=torch.float64)
    """
    where = "label_entropy"
    given = as_tensor(where, "labels", labels)
    given = check_labels(where, "labels", given, given)
    check_choice(where, "correction", correction, get_args(Correction))
    counts = _counts(given[given != UNLABELLED])
    if num_classes is not None and num_classes < len(counts):
        raise InputError(
            f"{where}: num_classes must be at least {len(counts)}, which occur, got {num_classes}"
        )
    return _entropy(counts, correction, num_classes or len(counts))


def joint_label_entropy(a: Any, b: Any, *, correction: Correction = "none") -> Tensor:
    """H(A, B) of two labels for each row: :func:`label_entropy` of the pairs.

    Direction: as :func:`label_entropy`.
    Bias: as there, and pairs are many: plug-in downwards by about (pairs that can occur - 1) / 2n.
    Saturation: as there, with pairs for classes.
    Cost: of sorting a, b and the pairs, 0.3 s of one core for a million.

    Args:
        a, b: (n,) integers; rows with -1, unlabelled, in either are left out.
        correction: as in :func:`label_entropy`; nsb takes every pair of labels that occur as possible.

    Returns, Raises: as :func:`label_entropy`; also when the lengths differ.

    >>> joint_label_entropy([0, 0, 1, 1], [0, 1, 0, 1])
    tensor(1.3863, dtype=torch.float64)
    """
    return _table_entropies("joint_label_entropy", a, b, correction)[2]


def conditional_label_entropy(a: Any, b: Any, *, correction: Correction = "none") -> Tensor:
    r"""H(A | B) = H(A, B) - H(B): how uncertain a is once b is known.

    Direction: as :func:`label_entropy`: plug-in a lower bound in expectation.
    Bias: plug-in downwards, by about (pairs - B) / 2n for B labels b and as many pairs as can occur, and 0 where every
        row has its own b.
    Saturation: plug-in at H(A); 0 where b tells a.  The corrected ones may leave that range.
    Cost: as :func:`joint_label_entropy`.

    Args, Returns, Raises: as :func:`joint_label_entropy`.

    >>> conditional_label_entropy([0, 0, 1, 1], [5, 5, 6, 7])
    tensor(0., dtype=torch.float64)
    """
    _, of_b, joint = _table_entropies("conditional_label_entropy", a, b, correction)
    return joint - of_b


def label_information(a: Any, b: Any, *, correction: Correction = "none") -> Tensor:
    r"""I(A; B) = H(A) + H(B) - H(A, B) of two labels for each row, such as classes and clusters.

    Direction: an estimate, no bound; plug-in at least 0, the corrected ones may be negative.
    Bias: plug-in **upwards**, by about (pairs - A - B + 1) / 2n where A and B are how many labels each has and pairs
        how many can occur together: many small clusters seem to tell much.  Miller-madow and the jackknife take that
        away while most pairs that can occur do; chao-shen and nsb, used for each of the three entropies, reach further.
    Saturation: plug-in at the smaller entropy, so at the log of the fewer labels.
    Cost: as :func:`joint_label_entropy`.

    Args:
        a, b: (n,) integers; rows with -1, unlabelled, in either are left out.
        correction: as in :func:`label_entropy`.

    Returns:
        Scalar float64 in nats; nan over no row.
    Raises:
        InputError: lengths differ, not one row of integers each, or no such correction.

    Reference: as :func:`label_entropy`.

    >>> label_information([0, 0, 1, 1], [1, 1, 0, 0])
    tensor(0.6931, dtype=torch.float64)
    """
    of_a, of_b, joint = _table_entropies("label_information", a, b, correction)
    return of_a + of_b - joint


def _table_entropies(where: str, a: Any, b: Any, correction: Correction) -> tuple[Tensor, Tensor, Tensor]:
    """H(A), H(B) and H(A, B)."""
    check_choice(where, "correction", correction, get_args(Correction))
    given = as_tensor(where, "a", a)
    a = check_labels(where, "a", given, given)
    b = check_labels(where, "b", b, given)
    known = (a != UNLABELLED) & (b != UNLABELLED)
    of_a, row = torch.unique(a[known], return_inverse=True)
    of_b, column = torch.unique(b[known], return_inverse=True)
    sizes = len(of_a), len(of_b), len(of_a) * len(of_b)
    parts = row, column, row * len(of_b) + column
    of_a, of_b, joint = (_entropy(_counts(part), correction, size) for part, size in zip(parts, sizes))
    return of_a, of_b, joint


def _counts(labels: Tensor) -> Tensor:
    """float64; ascending, so that equal tables have equal entropies to the last digit."""
    counts: Tensor = torch.unique(labels, return_counts=True)[1]
    return counts.double().sort().values


def _entropy(counts: Tensor, correction: Correction, num_classes: int) -> Tensor:
    if not len(counts):
        return counts.new_tensor(torch.nan)
    return _nsb(counts, num_classes) if correction == "nsb" else _OF_COUNTS[correction](counts)


def _plug_in(counts: Tensor) -> Tensor:
    share = counts / counts.sum()
    return 0 - (share * share.log()).sum()


def _miller_madow(counts: Tensor) -> Tensor:
    return _plug_in(counts) + (len(counts) - 1) / (2 * counts.sum())


def _jackknife(counts: Tensor) -> Tensor:
    n, sums = counts.sum(), torch.xlogy(counts, counts)
    without = sums.sum() - sums + torch.xlogy(counts - 1, counts - 1)  # (C,) one row less in class c
    left = torch.xlogy(n - 1, n - 1) - without  # (n - 1) times the entropy of what is left
    return n * _plug_in(counts) - (counts * left).sum() / n


def _chao_shen(counts: Tensor) -> Tensor:
    n = counts.sum()
    alone = (counts == 1).sum()
    coverage = 1 - torch.where(alone == n, n - 1, alone) / n
    share = coverage * counts / n
    return 0 - (torch.xlogy(share, share) / (1 - (1 - share) ** n)).sum()


def _nsb(counts: Tensor, num_classes: int) -> Tensor:
    """Posterior mean of H: an integral over log concentrations, given which the mean of H has a closed form.

    Wolpert and Wolf, Phys. Rev. E 1995.
    """
    if num_classes == 1:
        return counts.new_zeros(())
    sizes, times = torch.unique(counts, return_counts=True)
    sizes = torch.cat((sizes.new_zeros(1), sizes))
    times = torch.cat((times.new_tensor([num_classes - len(counts)]), times)).double()
    low, high = log(1e-8 / num_classes), log(1e6 * float(counts.sum()))
    for _ in range(3):
        place = torch.linspace(low, high, _GRID, dtype=torch.float64, device=counts.device)
        weight = _log_posterior(place.exp()[:, None], sizes, times, num_classes) + place
        near = (weight > weight.max() - _NEGLIGIBLE).nonzero()
        first, last = int(near[0]), int(near[-1])
        low, high = float(place[max(first - 1, 0)]), float(place[min(last + 1, _GRID - 1)])
    mean = _dirichlet_entropy(place.exp()[:, None], sizes, times, num_classes)
    return (weight.softmax(0) * mean).sum()


def _log_posterior(beta: Tensor, sizes: Tensor, times: Tensor, num_classes: int) -> Tensor:
    """(g,) of concentrations (g, 1), up to a constant; the prior is the slope of the mean entropy."""
    total = num_classes * beta
    slope = num_classes * torch.polygamma(1, total + 1) - torch.polygamma(1, beta + 1)
    likelihood = (times * _log_rising(beta, sizes)).sum(1) - _log_rising(total, (times * sizes).sum())[:, 0]
    log_posterior: Tensor = likelihood + slope[:, 0].clamp(min=1e-300).log()
    return log_posterior


def _dirichlet_entropy(beta: Tensor, sizes: Tensor, times: Tensor, num_classes: int) -> Tensor:
    """(g,) mean entropy given the counts and each of the concentrations (g, 1)."""
    n = (times * sizes).sum()
    total = n + num_classes * beta
    psi = torch.digamma(total + 1) - torch.digamma(sizes + beta + 1)
    return (times * (sizes + beta) * psi / total).sum(1)


def _log_rising(a: Tensor, n: Tensor) -> Tensor:
    """log of Gamma(a + n) / Gamma(a); for large a without the difference of two large numbers."""
    far = a.clamp(min=_LARGE)
    tail = (1 / (far + n) - 1 / far) / 12
    stirling = n * far.log() + (far + n - 0.5) * torch.log1p(n / far) - n + tail
    return torch.where(a > _LARGE, stirling, torch.lgamma(a + n) - torch.lgamma(a))


_OF_COUNTS: dict[Correction, Callable[[Tensor], Tensor]] = {
    "none": _plug_in,
    "miller-madow": _miller_madow,
    "jackknife": _jackknife,
    "chao-shen": _chao_shen,
}
