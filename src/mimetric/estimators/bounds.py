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

from ..core.checks import as_tensor, check_finite, check_positive, check_rows
from ..core.errors import InputError


def barber_agakov_bound(log_conditional: Any, entropy: Any) -> Tensor:
    r"""Entropy of Y less the cross-entropy of a model q(y | x).

    .. math:: H(Y) + E_P \log q(y \mid x)

    Direction: lower bound in expectation, below I by the mean KL(p(y|x) || q(y|x)).
    Bias: none where H(Y) is exact, else that of H(Y).
    Saturation: at H(Y) for classes; none for densities, whose logs have no ceiling.
    Cost: O(n).

    Args:
        log_conditional: (n,) :math:`\log q(y_i \mid x_i)` of a model that is normalized over y.
        entropy: H(Y), a number: known, or an estimate (then its bias is added).

    Returns:
        Scalar float64.
    Raises:
        InputError: not (n,) floating point, none, or not finite.

    Reference: Barber and Agakov, NIPS 2003.

    >>> barber_agakov_bound(torch.tensor([0.8, 0.5]).log(), log(2)).round(decimals=4)
    tensor(0.2350, dtype=torch.float64)
    """
    where = "barber_agakov_bound"
    mean = _vector(where, "log_conditional", log_conditional).mean()
    given = _doubles(where, "entropy", entropy, mean)
    if given.ndim or not given.isfinite():
        raise InputError(f"{where}: entropy must be one finite number, got {given.tolist()}")
    return given + mean


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
    joint, others = _sides("dv_bound", scores, marginal)
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
    joint, others = _sides("mine_bound", scores, marginal)
    log_mean = _log_mean_exp(others)
    slope = (log_mean - _doubles("mine_bound", "log_average", log_average, log_mean).detach()).exp()
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
    joint, others = _sides("nwj_bound", scores, marginal)
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
    joint, others = _sides("js_bound", scores, marginal)
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
    joint, others = _sides("smile_bound", scores, marginal)
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
    matrix = _square("infonce_bound", scores)
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
    matrix = _square(where, scores)
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
    matrix = _square(where, scores)
    baseline = _baseline(where, log_baseline, matrix)[:, None]
    mixed = torch.logaddexp(
        _log_or_zero(alpha) + _log_mean_without(matrix), _log_or_zero(1 - alpha) + baseline
    )
    joint = matrix.diagonal()[:, None] - _off_diagonal(mixed)
    marginal = _off_diagonal(matrix) - mixed.diagonal()[:, None]
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
    matrix = _square("mean_contrast_bound", scores)
    others = _off_diagonal(matrix).logsumexp(1) - log(len(matrix) - 1)
    return log(2) + F.logsigmoid(matrix.diagonal() - others).mean()


def club_bound(log_conditional: Any) -> Tensor:
    r"""Contrastive log-ratio upper bound.

    .. math:: E_P \log p(y \mid x) - E_Q \log p(y \mid x)

    Unchanged when a function of x or of y is added, so log density ratios do as well.

    Direction: upper bound in expectation **for the true conditional density** p(y | x).  With a model in its place
        only while q(y | x) p(x) is nearer (in KL) to the joint than to the product of the marginals; the value does
        not show it.
    Bias: none, but its expectation is far from I: two correlated normals with I = 1 nat give 6.4.
    Saturation: none.
    Cost: as :func:`dv_bound`.

    Args:
        log_conditional: (n, n) of :math:`\log p(y_j \mid x_i)`, n >= 2.

    Returns:
        Scalar float64.
    Raises:
        InputError: not square, fewer than two pairs, or values that are not finite.

    Reference: Cheng et al., ICML 2020, arXiv:2006.12013.  Their sample form keeps the diagonal in the second mean:
    (n - 1) / n times this.

    >>> club_bound(torch.tensor([[-1.0, -3.0], [-2.0, -1.0]]))
    tensor(1.5000, dtype=torch.float64)
    """
    joint, others = _sides("club_bound", log_conditional, None)
    return joint.mean() - others.mean()


def l1out_bound(log_conditional: Any) -> Tensor:
    r"""Leave-one-out upper bound: the density of y is the mean of the other x's conditionals.

    .. math:: \frac1n \sum_i \log \frac{p(y_i \mid x_i)}{\frac1{n - 1} \sum_{j \ne i} p(y_i \mid x_j)}

    Never above :func:`club_bound`.  Unchanged when a function of y is added, so log density ratios do as well.

    Direction: upper bound in expectation **for the true conditional density**; with a model in its place neither.
    Bias: upwards, by nats as I nears log n: of 256 pairs of correlated normals with I = 4 it finds 7.1, of 2,000
        pairs 4.1.
    Saturation: none.
    Cost: as :func:`dv_bound`.

    Arguments, returns and errors: as :func:`club_bound`.

    >>> l1out_bound(torch.tensor([[-1.0, -3.0], [-2.0, -1.0]]))
    tensor(1.5000, dtype=torch.float64)
    """
    matrix = _square("l1out_bound", log_conditional)
    others = _off_diagonal(matrix.T).logsumexp(1) - log(len(matrix) - 1)
    return (matrix.diagonal() - others).mean()


def _sides(where: str, scores: Any, marginal: Any) -> tuple[Tensor, Tensor]:
    """Scores of joint pairs (n,) and of marginal pairs (m,)."""
    if marginal is None:
        matrix = _square(where, scores)
        return matrix.diagonal(), _off_diagonal(matrix).flatten()
    return _vector(where, "scores", scores), _vector(where, "marginal", marginal)


def _square(where: str, scores: Any) -> Tensor:
    matrix = check_rows(where, "scores", scores)
    if len(matrix) < 2 or len(matrix) != matrix.shape[1]:
        raise InputError(
            f"{where}: scores must have shape (n, n) with n >= 2, every x with every y, got {tuple(matrix.shape)}"
        )
    matrix = matrix.double()  # float32 could not hold the squares of large scores
    check_finite(where, "scores", matrix)
    return matrix


def _vector(where: str, name: str, values: Any) -> Tensor:
    vector = as_tensor(where, name, values)
    if vector.ndim != 1 or not len(vector) or not vector.is_floating_point():
        kind = str(vector.dtype).removeprefix("torch.")
        raise InputError(
            f"{where}: {name} must be floating point of shape (pairs,), at least one pair, "
            f"got {kind} of shape {tuple(vector.shape)}"
        )
    vector = vector.double()
    check_finite(where, name, vector[:, None])
    return vector


def _baseline(where: str, values: Any, matrix: Tensor) -> Tensor:
    """(n,) one for each row."""
    baseline = _doubles(where, "log_baseline", values, matrix)
    if baseline.shape not in (matrix.shape[:1], ()):
        raise InputError(
            f"{where}: log_baseline must be a number or have shape ({len(matrix)},), one for each row of scores, "
            f"got {tuple(baseline.shape)}"
        )
    baseline = baseline.expand(len(matrix))
    check_finite(where, "log_baseline", baseline[:, None])
    return baseline


def _doubles(where: str, name: str, values: Any, like: Tensor) -> Tensor:
    """A float keeps its digits, which `as_tensor` alone makes float32."""
    as_tensor(where, name, values)
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)


def _off_diagonal(matrix: Tensor) -> Tensor:
    """(n, n - 1) each row without its own column."""
    n = len(matrix)
    return matrix.flatten()[:-1].view(n - 1, n + 1)[:, 1:].reshape(n, n - 1)


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
