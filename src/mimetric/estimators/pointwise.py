r"""Information between one row and one class, from a classifier's scores, in nats.

A score f of every row and class says how much likelier the row is in that class than among all:

.. math:: i(x; c) = f_c(x) - \log \sum_k \pi_k e^{f_k(x)}

with the prior :math:`\pi` of the classes: the log of the probability-corrected softmax.  It is the pointwise mutual
information :math:`\log p(x, c) / p(x) p(c)` where :math:`f_c(x) = \log p(x \mid c)` up to a term free of c.  That is
what two kinds of training lead to, and the prior has to fit the kind:

- cross-entropy on classes alike in frequency: prior None, 1 / C each;
- :func:`~mimetric.losses.pc_softmax_loss` with any prior: the same prior here;
- plain cross-entropy on classes of frequencies :math:`\pi`: its scores are log posteriors; subtract
  :math:`\log \pi` from them, then give that prior.

Never above :math:`-\log \pi_c` (log C without a prior), and without a lower limit.  Unchanged by a number added to all
scores of a row.  :math:`\sum_k \pi_k e^{i(x; k)} = 1` for every row.

**The conditional view** (arXiv:1910.02629) reads the same number as what the outputs z = f(x), a vector of C numbers,
tell of the label of x, *given x*: training by cross-entropy is then to write labels into outputs.  It is the
log-ratio of the label's score to those of labels drawn from the prior, not Shannon's conditional information: z is
a function of x, so that I(Z;Y|X) is 0.  For networks whose outputs are random (dropout, Gaussian logits)
:func:`sampled_information` is its mean over outputs, and :func:`gaussian_logit_information` bounds that in closed form.

References: Qin et al., arXiv:1911.10688 and arXiv:2106.10471; Qin and Kim, arXiv:1910.02629.
"""

from __future__ import annotations

from math import log
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_batch, check_classes, check_finite, check_prior, check_rows
from ..core.classes import UNLABELLED
from ..core.errors import InputError


def pc_log_softmax(logits: Any, prior: Any = None) -> Tensor:
    r"""Pointwise information of each row with each class: the probability-corrected log-softmax.

    .. math:: i_{ic} = f_{ic} - \log \sum_k \pi_k e^{f_{ik}}

    An estimate; the head of this file says of what, and how far it reaches.  The posterior of the classes is
    :math:`\pi_c e^{i_{ic}}`.  Applied to its own result it changes nothing.

    Args:
        logits: (n, C) floating point.
        prior: (C,) probabilities of the classes; None is 1 / C each.

    Returns:
        (n, C) float64 in nats, with a gradient in the logits.
    Raises:
        InputError: logits are not (n, C) or not finite, or a prior that is no distribution, or has a 0.

    >>> pc_log_softmax([[1.0, 0.0, 2.0]], [0.1, 0.2, 0.7])
    tensor([[-0.7306, -1.7306,  0.2694]], dtype=torch.float64)
    """
    return _information("pc_log_softmax", logits, prior)


def pointwise_information(logits: Any, labels: Any, prior: Any = None) -> Tensor:
    r"""Pointwise mutual information of each row with its own label, by a classifier.

    .. math:: i_i = f_{i y_i} - \log \sum_k \pi_k e^{f_{ik}}

    Negative where the scores speak against the label.

    Direction: an estimate, no bound, for one row; the mean over rows is :func:`softmax_information`, which is a lower
        bound in expectation.
    Bias: as there, by training rows and by a prior that does not fit.
    Saturation: at :math:`-\log \pi_{y_i}`, log C without a prior; no floor.
    Cost: O(n C), one softmax over the logits.

    Args:
        logits: (n, C) floating point.
        labels: (n,) integers in 0..C-1, or -1.
        prior: (C,) probabilities of the classes; None is 1 / C each.

    Returns:
        (n,) float64 in nats, nan for unlabelled rows (-1); with a gradient in the logits.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, logits are not finite, or a prior that
            is no distribution, or has a 0.

    Reference: Qin et al., arXiv:1911.10688.

    >>> pointwise_information([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]], [2, 0])
    tensor([0.6910, 0.0000], dtype=torch.float64)
    """
    logits, labels = _checked("pointwise_information", logits, labels)
    return _at(_information("pointwise_information", logits, prior), labels)


def class_information(logits: Any, labels: Any, prior: Any = None) -> Tensor:
    r"""Mean :func:`pointwise_information` of the rows of each class: what is known of whom.

    Direction: an estimate of KL(p(x | c), p(x)), no bound: one class may come out too high at the cost of others.  Only
        the average over rows, :func:`softmax_information`, is a lower bound.
    Bias: as there; of a class with few rows it is as noisy as a mean of few numbers.
    Saturation: at :math:`-\log \pi_c`, log C without a prior; no floor.
    Cost: as :func:`pointwise_information`.

    Args:
        logits, labels, prior: as in :func:`pointwise_information`.

    Returns:
        (C,) float64 in nats, nan for a class without rows.
    Raises:
        InputError: as in :func:`pointwise_information`.

    >>> class_information([[2.0, 0.0], [0.0, 0.0], [0.0, 3.0]], [0, 0, 1])
    tensor([0.2831, 0.6446], dtype=torch.float64)
    """
    logits, labels = _checked("class_information", logits, labels)
    known = labels != UNLABELLED
    found = _at(_information("class_information", logits, prior), labels)[known]
    total = found.new_zeros(logits.shape[1]).index_add(0, labels[known], found)
    return total / torch.bincount(labels[known], minlength=logits.shape[1])


def softmax_information(logits: Any, labels: Any, prior: Any = None) -> Tensor:
    r"""Mutual information between inputs and labels, from scores and the prior of the labels.

    .. math:: \hat I(X; Y) = \frac1n \sum_i \log \frac{e^{f_{i y_i}}}{\sum_k \pi_k e^{f_{ik}}}

    Without a prior :math:`\log C` less the cross-entropy.  Standard error: :func:`standard_error` with this function,
    or the spread of :func:`pointwise_information` over the root of n.

    Direction: **lower bound** in expectation over pairs that the classifier was not fitted to and whose labels have the
        prior given; equality iff the scores are :math:`\log p(x \mid c)` up to a term free of c.
    Bias: upwards on the classifier's own training rows.  Where the labels are not as the prior says it is **no bound**:
        cross-entropy on labels of entropy H(Y) gives up to :math:`\log C - H(Y)` too much if taken for balanced.  Use
        the true prior with a network trained by :func:`~mimetric.losses.pc_softmax_loss`, or
        :func:`classifier_information`, which takes H(Y) from the labels.
    Saturation: never above :math:`-\sum_c n_c / n \log \pi_c`, which is H(Y) where the labels have the prior; no floor.
    Cost: as :func:`pointwise_information`.

    Args:
        logits, labels, prior: as in :func:`pointwise_information`; rows with -1, unlabelled, are left out.

    Returns:
        Scalar float64 in nats; nan over no row.  With a gradient in the logits.
    Raises:
        InputError: as in :func:`pointwise_information`.

    References: Qin et al., arXiv:1911.10688 (balanced) and arXiv:2106.10471 (any prior).

    >>> f = [[1.0, 0.0, 2.0], [0.0, 0.0, 0.0], [2.0, 1.0, -1.0]]
    >>> softmax_information(f, [2, 0, 1], prior=[0.1, 0.2, 0.7])
    tensor(0.2792, dtype=torch.float64)
    """
    logits, labels = _checked("softmax_information", logits, labels)
    known = labels != UNLABELLED
    return _at(_information("softmax_information", logits[known], prior), labels[known]).mean()


class StochasticInformation(NamedTuple):
    """Information of random outputs with the label of each row, given the row, in nats.

    Attributes:
        lower: (n,) expectation moved inside the log: too small.
        mean: (n,) over the draws.
        upper: (n,) of the mean output: too large.
    """

    lower: Tensor
    mean: Tensor
    upper: Tensor


def sampled_information(draws: Any, labels: Any, prior: Any = None) -> StochasticInformation:
    r"""The conditional view of a network with random outputs, such as dropout, from draws z of its outputs.

    .. math::
        \bar z_y - \log \sum_k \pi_k \overline{e^{z_k}} \;\le\; \overline{z_y - \log \sum_k \pi_k e^{z_k}}
        \;\le\; \bar z_y - \log \sum_k \pi_k e^{\bar z_k}

    with means over the draws.

    Direction: lower bound, estimate and upper bound of the conditional view, the bounds exact for the draws given.
    Bias: none of the middle one, for the expectation over outputs.  Of few draws the ends are too near it, the lower
        one most, as it hangs on the largest draws: with a spread above about 1 it is not yet that of the expectation,
        which :func:`gaussian_logit_information` has in closed form.
    Saturation: at :math:`-\log \pi_y`, all three; no floor.
    Cost: O(s n C), one softmax over the draws.

    Args:
        draws: (s, n, C) outputs, s draws for each row.
        labels: (n,) integers in 0..C-1, or -1.
        prior: (C,) probabilities of the classes; None is 1 / C each.

    Returns:
        StochasticInformation; nan for unlabelled rows.
    Raises:
        InputError: draws are not (s, n, C) with s >= 1, or as :func:`pointwise_information`.

    Reference: Qin and Kim, arXiv:1910.02629; the bounds are ours, by convexity of the log-sum.

    >>> found = sampled_information([[[0.0, 0.0]], [[2.0, 0.0]]], [0])
    >>> [round(part.item(), 4) for part in found]
    [0.0455, 0.2831, 0.3799]
    """
    where = "sampled_information"
    z = as_tensor(where, "draws", draws)
    if z.ndim != 3 or not len(z):
        raise InputError(f"{where}: draws must have shape (draws, rows, classes), got {tuple(z.shape)}")
    z = z.double()
    mean, labels = _checked(where, z.mean(0), labels)
    each = _information(where, z.flatten(0, 1), prior).view(z.shape)
    return StochasticInformation(
        _lower(z.logsumexp(0) - log(len(z)), mean, labels, check_prior(where, prior, z.shape[2], mean)),
        _at(each.mean(0), labels),
        _at(_information(where, mean, prior), labels),
    )


def gaussian_logit_information(
    mean: Any, variance: Any, labels: Any, prior: Any = None
) -> tuple[Tensor, Tensor]:
    r"""Bounds of the conditional view for a network whose outputs are independent Gaussians.

    .. math::
        \mu_y - \log \sum_k \pi_k e^{\mu_k + \sigma_k^2 / 2} \;\le\; E \bigl[ z_y - \log \sum_k \pi_k e^{z_k} \bigr]
        \;\le\; \mu_y - \log \sum_k \pi_k e^{\mu_k}

    Direction: lower and upper bound on the expectation that :func:`sampled_information` estimates.
    Bias: none, closed forms; half of :math:`\sigma^2` apart where all variances are alike, equal at variance 0.
    Saturation: at :math:`-\log \pi_y`, both; no floor.
    Cost: O(n C), two softmaxes.

    Args:
        mean: (n, C) floating point.
        variance: (n, C) >= 0.
        labels: (n,) integers in 0..C-1, or -1.
        prior: (C,) probabilities of the classes; None is 1 / C each.

    Returns:
        (lower, upper), each (n,) float64 in nats, nan for unlabelled rows.
    Raises:
        InputError: shapes disagree, a variance below 0, or as :func:`pointwise_information`.

    Reference: as :func:`sampled_information`.

    >>> gaussian_logit_information([[1.0, 0.0, -1.0]], [[0.25, 0.25, 0.25]], [0])
    (tensor([0.5660], dtype=torch.float64), tensor([0.6910], dtype=torch.float64))
    """
    where = "gaussian_logit_information"
    mean, labels = _checked(where, mean, labels)
    variance = check_rows(where, "variance", variance).to(mean)
    if variance.shape != mean.shape:
        raise InputError(
            f"{where}: variance must have shape {tuple(mean.shape)} as mean, got {tuple(variance.shape)}"
        )
    if not (variance >= 0).all():
        raise InputError(f"{where}: variance must be at least 0, got {variance.min().item():g}")
    log_prior = check_prior(where, prior, mean.shape[1], mean)
    lower = _lower(mean + variance / 2, mean, labels, log_prior)
    return lower, _at(_information(where, mean, prior), labels)


def _checked(where: str, logits: Any, labels: Any) -> tuple[Tensor, Tensor]:
    logits, labels = check_batch(where, logits, labels)
    check_classes(where, labels, logits.shape[1])
    return logits.double(), labels


def _information(where: str, logits: Any, prior: Any) -> Tensor:
    """(n, C) of every row with every class."""
    scores = check_rows(where, "logits", logits).double()
    check_finite(where, "logits", scores)
    log_prior = check_prior(where, prior, scores.shape[1], scores)
    return scores - (scores + log_prior).logsumexp(1, keepdim=True)


def _at(values: Tensor, labels: Tensor) -> Tensor:
    """(n,) those of the own class, nan without one."""
    own = values.gather(1, labels.clamp(min=0)[:, None])[:, 0]
    return torch.where(labels == UNLABELLED, torch.nan, own)


def _lower(log_mean_exp: Tensor, mean: Tensor, labels: Tensor, log_prior: Tensor) -> Tensor:
    """(n,) the mean of the own class less a log-sum that knows of the spread."""
    return _at(mean - (log_mean_exp + log_prior).logsumexp(1, keepdim=True), labels)
