r"""Bounds on I(X;Y) from the conditional density q(y | x) of a model, in nats.

Its logs are scores as in :mod:`mimetric.estimators.bounds`, ``log_conditional[i, j]`` = :math:`\log q(y_j \mid x_i)`,
and here it matters that they are normalized: a lower bound holds for every model, the upper ones for the true one.
"""

from __future__ import annotations

from math import log
from typing import Any

from torch import Tensor

from ..core.errors import InputError
from .scores import doubles, off_diagonal, sides, square, vector


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

    >>> import torch
    >>> barber_agakov_bound(torch.tensor([0.8, 0.5]).log(), log(2)).round(decimals=4)
    tensor(0.2350, dtype=torch.float64)
    """
    where = "barber_agakov_bound"
    mean = vector(where, "log_conditional", log_conditional).mean()
    given = doubles(where, "entropy", entropy, mean)
    if given.ndim or not given.isfinite():
        raise InputError(f"{where}: entropy must be one finite number, got {given.tolist()}")
    return given + mean


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

    >>> import torch
    >>> club_bound(torch.tensor([[-1.0, -3.0], [-2.0, -1.0]]))
    tensor(1.5000, dtype=torch.float64)
    """
    joint, others = sides("club_bound", log_conditional, None)
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

    >>> import torch
    >>> l1out_bound(torch.tensor([[-1.0, -3.0], [-2.0, -1.0]]))
    tensor(1.5000, dtype=torch.float64)
    """
    matrix = square("l1out_bound", log_conditional)
    others = off_diagonal(matrix.T).logsumexp(1) - log(len(matrix) - 1)
    return (matrix.diagonal() - others).mean()
