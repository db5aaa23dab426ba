r"""Variational bounds on I(X;Y) from the scores of a critic, in nats.

A critic f scores pairs; its scores are a matrix (n, n), ``scores[i, j]`` = :math:`f(x_i, y_j)` of n pairs drawn
independently.  The diagonal holds pairs as they came (joint), the rest is as if X and Y were independent
(marginal).  Bounds that only compare the two also take ``(joint, marginal)``: scores (n,) and (m,) in place of the
matrix.

Every critic gives a bound.  All are at their best for the log density ratio
:math:`f^* = \log p(x, y) - \log p(x) p(y)` (papers that have 1 + that for NWJ move it by 1).  :math:`E_P` is the
expectation over joint pairs, :math:`E_Q` over marginal ones; both are means over the scores given, so a bound holds
in expectation over pairs that the critic was **not** fitted to.  On its own training pairs every lower bound can be
far above I.

Each returns a scalar float64 that has a gradient in the scores.

Reference for all but where another is named: Poole et al., ICML 2019, arXiv:1905.06922.
"""

from __future__ import annotations

from math import inf, log
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.checks import check_finite, check_positive
from ..core.errors import InputError
from .scores import doubles, off_diagonal, sides, square


def dv_bound(scores: Any, marginal: Any = None) -> Tensor:
    r"""Donsker and Varadhan's bound, of MINE.

    .. math:: E_P f - \log E_Q e^f

    Unchanged when a number is added to all scores.

    Direction: lower bound for expectations, not on average over samples.
    Bias: **upwards**, as the log of a mean is on average below the log of the expectation: for m marginal pairs by
        about :math:`\operatorname{Var}_Q(e^f) / 2 m` over the squared mean, for the best critic at least
        :math:`(e^I - 1) / 2 m`.
    Saturation: none, but do not trust it for I near log m.
    Cost: O(n^2) time and memory, or O(n + m): the scores in float64 a few times; 0.01 s of one core at n = 1,000.

    Args:
        scores: (n, n), or (n,) of joint pairs.
        marginal: (m,) scores of marginal pairs, where `scores` is (n,).

    Returns:
        Scalar float64.
    Raises:
        InputError: wrong shapes, fewer than two pairs, or scores that are not finite.

    Reference: Donsker and Varadhan, 1983; Belghazi et al., ICML 2018, arXiv:1801.04062.

    >>> dv_bound(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    tensor(1.5000, dtype=torch.float64)
    """
    joint, others = sides("dv_bound", scores, marginal)
    return joint.mean() - _log_mean_exp(others)


def mine_bound(scores: Any, marginal: Any = None, *, log_average: Any) -> Tensor:
    r"""The value of :func:`dv_bound`, with MINE's gradient for small batches.

    .. math:: \nabla = E_P \nabla f - e^{-a} E_Q\, e^f \nabla f

    The gradient of the log of a batch's mean is biased.  Here the mean in its denominator is replaced by
    :math:`e^a`, an average over many batches (an exponential moving average of :math:`E_Q e^f`): for training.

    Direction: as :func:`dv_bound`.
    Bias: of the value as there; of the gradient none where :math:`e^a` is the expectation.
    Saturation: as there.
    Cost: as there.

    Arguments, returns and errors: as there, and
        log_average: a, a number; it gets no gradient.

    Reference: Belghazi et al., ICML 2018, arXiv:1801.04062, section 3.2.

    >>> scores = torch.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    >>> mine_bound(scores, log_average=log(2)).backward()
    >>> scores.grad  # off the diagonal twice smaller than that of dv_bound
    tensor([[ 0.5000, -0.2500],
            [-0.2500,  0.5000]])
    """
    joint, others = sides("mine_bound", scores, marginal)
    log_mean = _log_mean_exp(others)
    slope = (log_mean - doubles("mine_bound", "log_average", log_average, log_mean).detach()).exp()
    return joint.mean() - (slope - slope.detach() + log_mean.detach())


def nwj_bound(scores: Any, marginal: Any = None) -> Tensor:
    r"""Nguyen, Wainwright and Jordan's bound (f-GAN's KL, MINE-f).

    .. math:: 1 + E_P f - E_Q e^f

    Never above :func:`dv_bound` of the same scores.  It holds the critic to the right level: adding a number to the
    scores changes it.

    Direction: lower bound in expectation.
    Bias: none.  Its variance grows as :math:`e^I`, in a long tail downwards: for I of a few nats a sample is mostly
        a little above what it is on average, and rarely far below.
    Saturation: none, but for the best critic and m marginal pairs the tail is a nat wide from I = log m on.
    Cost: as :func:`dv_bound`.

    Arguments, returns and errors: as :func:`dv_bound`.

    Reference: Nguyen, Wainwright and Jordan, IEEE Trans. Information Theory 56(11), 2010.

    >>> nwj_bound(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    tensor(1.5000, dtype=torch.float64)
    """
    joint, others = sides("nwj_bound", scores, marginal)
    return 1 + joint.mean() - _log_mean_exp(others).exp()


def js_bound(scores: Any, marginal: Any = None) -> Tensor:
    r"""Bound on the Jensen-Shannon divergence of joint and marginal pairs, **not on I**.

    .. math:: \log 2 + \tfrac12 E_P \log \sigma(f) + \tfrac12 E_Q \log \sigma(-f)

    It trains critics steadily (its best critic is the log density ratio too); then read I from :func:`nwj_bound` or
    :func:`smile_bound` of the scores.

    Direction: lower bound in expectation on that divergence.
    Bias: none, and the variance is small.
    Saturation: at log 2, which it nears from I of a few nats on.
    Cost: as :func:`dv_bound`.

    Arguments, returns and errors: as :func:`dv_bound`.

    Reference: Nowozin et al., NIPS 2016, arXiv:1606.00709; Hjelm et al., ICLR 2019, arXiv:1808.06670.

    >>> js_bound(torch.zeros(3, 3)).abs().round(decimals=6)
    tensor(0., dtype=torch.float64)
    """
    joint, others = sides("js_bound", scores, marginal)
    return log(2) + (F.logsigmoid(joint).mean() + F.logsigmoid(-others).mean()) / 2


def smile_bound(scores: Any, marginal: Any = None, *, clip: float = 5.0) -> Tensor:
    r"""Donsker and Varadhan's bound with the scores of marginal pairs clipped.

    .. math:: E_P f - \log E_Q e^{\max(-\tau, \min(f, \tau))}

    Equal to :func:`dv_bound` when no score of a marginal pair reaches the clip.

    Direction: **neither bound**.
    Bias: clipping trades the variance of :func:`dv_bound` for bias, upwards where marginal scores above :math:`\tau`
        are cut, downwards where those below :math:`-\tau` are raised.
    Saturation: none, as the joint scores are not clipped.
    Cost: as :func:`dv_bound`.

    Arguments, returns and errors: as :func:`dv_bound`, and
        clip: :math:`\tau > 0`; the paper tries 1, 5 and 10.

    Reference: Song and Ermon, ICLR 2020, arXiv:1910.06222; it trains the critic by :func:`js_bound`.

    >>> smile_bound(torch.tensor([[2.0, 3.0], [3.0, 1.0]]), clip=1.0)
    tensor(0.5000, dtype=torch.float64)
    """
    check_positive("smile_bound", clip=clip)
    joint, others = sides("smile_bound", scores, marginal)
    return joint.mean() - _log_mean_exp(others.clamp(-clip, clip))


def infonce_bound(scores: Any) -> Tensor:
    r"""InfoNCE: tell each x's own y among all n (a cross-entropy over each row).

    .. math:: \log n + \frac1n \sum_i \log \frac{e^{f_{ii}}}{\sum_j e^{f_{ij}}}

    Unchanged when a function of x is added to the scores.  It looks at rows; of the transposed matrix it tells each
    y's own x.

    Direction: lower bound in expectation for every n.
    Bias: downwards, for the best critic by at most :math:`\log(1 + \operatorname{Var}_Q(e^{f^*}) / n)`; the variance is
        small.
    Saturation: **never above log n**: far below I as soon as I nears log n.
    Cost: as :func:`dv_bound`.

    Args:
        scores: (n, n), n >= 2.

    Returns:
        Scalar float64, at most log n.
    Raises:
        InputError: not square, fewer than two pairs, or scores that are not finite.

    Reference: van den Oord et al., 2018, arXiv:1807.03748.

    >>> infonce_bound(100 * torch.eye(4))  # log 4
    tensor(1.3863, dtype=torch.float64)
    """
    matrix = square("infonce_bound", scores)
    return log(len(matrix)) + matrix.log_softmax(1).diagonal().mean()


def tuba_bound(scores: Any, log_baseline: Any = 0.0) -> Tensor:
    r"""Tractable form of Barber and Agakov's bound for unnormalized models, with a baseline for each x.

    .. math:: 1 + E_P [f(x, y) - \log a(x)] - E_Q [e^{f(x, y)} / a(x)]

    Best for :math:`a(x) = E_{p(y)} e^{f(x, y)}`, then every function of x added to f is undone.  With a = 1 it is
    :func:`nwj_bound`.

    Direction: lower bound in expectation for every a > 0 that is not read from these scores.
    Bias: as :func:`nwj_bound`, and the variance is as large.
    Saturation: as there.
    Cost: as :func:`dv_bound`.

    Args:
        scores: (n, n), n >= 2.
        log_baseline: log a, (n,) one for each row, or a number.

    Returns:
        Scalar float64.
    Raises:
        InputError: wrong shapes, fewer than two pairs, or values that are not finite.

    >>> tuba_bound(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), log_baseline=[0.5, 0.0]).round(decimals=4)
    tensor(1.4467, dtype=torch.float64)
    """
    where = "tuba_bound"
    matrix = square(where, scores)
    return nwj_bound(matrix - _baseline(where, log_baseline, matrix)[:, None])


def interpolated_bound(scores: Any, log_baseline: Any = 0.0, *, alpha: float = 0.5) -> Tensor:
    r"""Between InfoNCE's small variance and NWJ's small bias.

    .. math:: 1 + E_P \Bigl[f - \log\bigl(\alpha\, m(x) + (1 - \alpha)\, a(x)\bigr)\Bigr]
                - E_Q \frac{e^f}{\alpha\, m(x) + (1 - \alpha)\, a(x)}

    with :math:`m(x)` the mean of :math:`e^f` over n - 1 of the row's scores: over the marginal ones in the last term,
    over the own pair and all marginal ones but one, each in turn, in the first.  alpha = 1 is InfoNCE on n - 1 pairs,
    never above log(n - 1); alpha = 0 is :func:`tuba_bound`.

    Direction: lower bound in expectation for every a > 0 that is not read from these scores.
    Bias: downwards as :func:`infonce_bound` at alpha = 1, none at 0; the variance is small at 1 and that of
        :func:`nwj_bound` at 0.
    Saturation: **never above** :math:`1 + \log((n - 1) / \alpha)`; it can pass :math:`\log(n / \alpha)`, as the last
        term can be 0.
    Cost: some ten times :func:`dv_bound`.

    Args:
        scores: (n, n), n >= 2.
        log_baseline: log a, (n,) one for each row, or a number.
        alpha: in [0, 1].

    Returns:
        Scalar float64.
    Raises:
        InputError: wrong shapes, fewer than two pairs, values that are not finite, or alpha outside [0, 1].

    >>> interpolated_bound(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), alpha=0.0)
    tensor(1.5000, dtype=torch.float64)
    """
    where = "interpolated_bound"
    if not 0 <= alpha <= 1:
        raise InputError(f"{where}: alpha must lie in 0..1, got {alpha}")
    matrix = square(where, scores)
    baseline = _baseline(where, log_baseline, matrix)[:, None]
    mixed = torch.logaddexp(
        _log_or_zero(alpha) + _log_mean_without(matrix), _log_or_zero(1 - alpha) + baseline
    )
    joint = matrix.diagonal()[:, None] - off_diagonal(mixed)
    marginal = off_diagonal(matrix) - mixed.diagonal()[:, None]
    return 1 + joint.mean() - _log_mean_exp(marginal.flatten()).exp()


def mean_contrast_bound(scores: Any) -> Tensor:
    r"""Tell each x's own y from the mean of the others: cMIM's contrast.

    .. math:: \log 2 + \frac1n \sum_i \log \frac{e^{f_{ii}}}{e^{f_{ii}} + \frac1{n - 1} \sum_{j \ne i} e^{f_{ij}}}

    cMIM's loss is log 2 less this, with cosines of codes with themselves over a temperature as scores: then I is
    unbounded, and the number says how far codes are told apart.

    Direction: lower bound in expectation for every n: by convexity at most the mean of :func:`infonce_bound` over
        the n - 1 pairs (own, one other).
    Bias: downwards, whatever the critic; more pairs do not take it away.
    Saturation: **never above log 2**, whatever n is.
    Cost: as :func:`dv_bound`.

    Args:
        scores: (n, n), n >= 2.

    Returns:
        Scalar float64, at most log 2.
    Raises:
        InputError: not square, fewer than two pairs, or scores that are not finite.

    Reference: Livne, 2025, arXiv:2502.19642; that it is a lower bound is ours.

    >>> mean_contrast_bound(torch.eye(4))  # log 2 - log(1 + 1 / e)
    tensor(0.3799, dtype=torch.float64)
    """
    matrix = square("mean_contrast_bound", scores)
    others = off_diagonal(matrix).logsumexp(1) - log(len(matrix) - 1)
    return log(2) + F.logsigmoid(matrix.diagonal() - others).mean()


def _baseline(where: str, values: Any, matrix: Tensor) -> Tensor:
    """(n,) one for each row."""
    baseline = doubles(where, "log_baseline", values, matrix)
    if baseline.shape not in (matrix.shape[:1], ()):
        raise InputError(
            f"{where}: log_baseline must be a number or have shape ({len(matrix)},), one for each row of scores, "
            f"got {tuple(baseline.shape)}"
        )
    baseline = baseline.expand(len(matrix))
    check_finite(where, "log_baseline", baseline[:, None])
    return baseline


def _log_mean_exp(values: Tensor) -> Tensor:
    return values.logsumexp(0) - log(len(values))


def _log_mean_without(matrix: Tensor) -> Tensor:
    """(n, n) of each row the log of the mean of exp over all columns but this one.

    From sums before and after the column: leaving out by subtraction loses the rest where one score is far above.
    """
    top = matrix.detach().amax(1, keepdim=True)
    powers = (matrix - top).exp()
    before = F.pad(powers[:, :-1].cumsum(1), (1, 0))
    after = F.pad(powers[:, 1:].flip(1).cumsum(1), (1, 0)).flip(1)
    rest = (before + after).clamp(min=1e-300)  # 690 nats below the row's largest score
    return top + rest.log() - log(len(matrix) - 1)


def _log_or_zero(share: float) -> float:
    return log(share) if share else -inf
