r"""Information of two sets of rows from their nearest neighbors in the joint space, by the max norm, in nats.

Computed in float64 and in blocks of rows: O(n^2 (d_x + d_y)) time, O(n (d_x + d_y)) memory; no gradient.

Not to be trusted where a relation is strong or rows are wide.  What `ksg_information` finds of correlated normals
(variant 1, k = 3, 2,000 rows; the mean of five draws, which spread by 0.02; variant 2 finds up to 0.1 more):

=====  =====  =====  =====  ======  ======
truth  d = 1  d = 2  d = 5  d = 10  d = 20
=====  =====  =====  =====  ======  ======
0.50   0.50   0.49   0.38   0.22    0.12
1.00   1.00   1.00   0.77   0.45    0.24
2.00   2.00   1.99   1.48   0.88    0.44
4.00   4.00   3.81   2.77   1.70    0.85
8.00   6.23   5.88   4.61   3.05    1.63
=====  =====  =====  =====  ======  ======
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_finite, check_rows
from ..core.errors import InputError
from .nearest import check_neighbors

_BLOCK_ELEMENTS = 1 << 20  # distances held at once, of each side: 8 MiB


def ksg_information(x: Any, y: Any, *, k: int = 3, variant: Literal[1, 2] = 1) -> Tensor:
    r"""Mutual information of two continuous variables by nearest neighbors (Kraskov, Stögbauer, Grassberger).

    .. math:: \hat I_1 &= \psi(k) + \psi(n) - \overline{\psi(n_x + 1) + \psi(n_y + 1)} \\
              \hat I_2 &= \psi(k) - \tfrac1k + \psi(n) - \overline{\psi(n_x) + \psi(n_y)}

    Variant 1: :math:`n_x` is how many other rows are nearer in x than the k-th neighbor is in the joint space, whose
    distance is the larger of those in x and y.  Variant 2: how many are at most as far in x as the farthest in x of
    the k neighbors.  Variant 1 spreads less, variant 2 is less biased where both sides are one number each.

    The local correction (LNC, Gao et al. 2015) is left out on purpose.  It mends strong relations of one or two
    coordinates (8.0 nats found as 8.0), but of x and y that are independent it finds 0.6 nats at d = 5 and 2.3
    at d = 10 (1,000 rows): it makes up information where embeddings live.

    y is first multiplied by the power of two that brings its spread nearest to that of x, so that it hardly matters in
    what units a side is; coordinates within a side should have like spreads.

    Direction: an estimate, no bound.
    Bias: nearly none for weak relations of few coordinates, where it can be slightly negative.  It takes the joint
        density as constant within a neighborhood, so it is too **small** where a strong relation or many coordinates
        make that wrong.  Beyond about 5 coordinates a side it tells whether x and y are related, not how much: see
        the table at the top of this module.
    Saturation: never above :math:`\psi(n) - \psi(k)`, about log(n / k), and 1/k less in variant 2, or where no
        distances in x and y are equal: rows needed grow as the exponential of the information.
    Cost: of n^2 distances on each side; 2,000 rows of width 1: 0.05 s on one core, of width 64: 0.4 s.

    Args:
        x: (n, d) or (n,) floating point, continuous: ties are refused.
        y: (n, e) or (n,) likewise; rows go together.
        k: neighbors to look at, 1 <= k < n.  More: less spread, more bias.
        variant: of the paper.

    Returns:
        Scalar float64 in nats.
    Raises:
        InputError: shapes disagree, values are not floating point or not finite, n <= k, or a row equals
            all its k neighbors on a side, as in constant or repeated rows: :func:`mixed_information` takes those.

    Reference: Kraskov et al., Phys. Rev. E 69:066138, 2004, arXiv:cond-mat/0305641, eqs. 8 and 9; Gao et al.,
    AISTATS 2015, arXiv:1411.2003, on what it misses.

    >>> x = torch.arange(50.0) ** 2
    >>> ksg_information(x, -x, k=2)  # as large as 50 rows can tell: psi(50) - psi(2)
    tensor(3.4792, dtype=torch.float64)
    """
    where = "ksg_information"
    if variant not in (1, 2):
        raise InputError(f"{where}: variant must be 1 or 2, got {variant}")
    x, y = _sides(where, _floating(where, "x", x), _floating(where, "y", y), k)
    total, tied = x.new_zeros(()), x.new_zeros((), dtype=torch.int64)
    for in_x, in_y in _distances(x, y):
        near = torch.maximum(in_x, in_y).topk(k, dim=1, largest=False)
        reach = torch.stack([side.gather(1, near.indices).amax(1, keepdim=True) for side in (in_x, in_y)])
        tied += (reach == 0).any(0).sum()
        if variant == 1:
            radius = near.values[:, -1:]
            total += _psi((in_x < radius).sum(1) + 1) + _psi((in_y < radius).sum(1) + 1)
        else:
            total += _psi((in_x <= reach[0]).sum(1)) + _psi((in_y <= reach[1]).sum(1))
    if tied:
        raise InputError(
            f"{where}: x and y must be continuous, {int(tied)} of {len(x)} rows equal all their k = {k} neighbors "
            "on a side; leave repeated rows out, or use mixed_information"
        )
    n = x.new_tensor(float(len(x)))
    of_k = torch.digamma(x.new_tensor(float(k))) - (1 / k if variant == 2 else 0)
    information: Tensor = of_k + torch.digamma(n) - total / n
    return information


def mixed_information(x: Any, y: Any, *, k: int = 3) -> Tensor:
    r"""Mutual information of variables that are continuous, discrete, or partly each, by nearest neighbors.

    .. math:: \hat I = \psi(n) + \overline{\psi(k_i) - \psi(n_x) - \psi(n_y)}

    :math:`r_i` is the distance from row i to its k-th neighbor in the joint space, where distance is the larger of
    those in x and y.  :math:`k_i, n_x, n_y` count the rows nearer than :math:`r_i`, or at distance 0, in the joint
    space, in x and in y; the row itself is one of them.

    Without ties :math:`k_i = k` and it is :func:`ksg_information`, variant 1.  Of two discrete variables, where
    every pair has more than k rows, it is the plug-in value less its bias: :func:`label_information` by Miller-
    Madow but for terms of order 1/n^2.  Values are compared by distance, labels too; of embeddings and labels use
    :func:`ross_information`, which knows no distance between labels.

    Direction: an estimate, no bound.
    Bias: as :func:`ksg_information`, too small for strong relations and many coordinates; of classes in many
        dimensions more so than :func:`ross_information`.
    Saturation: as :func:`ksg_information` where nothing ties, about log(n / k).
    Cost: as :func:`ksg_information`.

    Args:
        x: (n, d) or (n,) numbers of any kind; y is scaled as in :func:`ksg_information`.
        y: (n, e) or (n,) likewise; rows go together.
        k: neighbors to look at, 1 <= k < n.

    Returns:
        Scalar float64 in nats; 0 where a side is constant.
    Raises:
        InputError: shapes disagree, values are not finite, or n <= k.

    Reference: Gao et al., NIPS 2017, arXiv:1709.06212, as in the authors' code (digamma of counts that include the
    row, where the paper has logarithms), with two departures: :math:`\psi(n)` for log n, which makes the laws above
    exact, and rows that tie at :math:`r_i > 0` are not nearer in the joint space either (theirs: k), so that a
    constant side gives 0.

    >>> mixed_information([0, 0, 0, 0, 1, 1, 1, 1], [5, 5, 5, 5, 7, 7, 7, 7], k=1)  # psi(8) - psi(4)
    tensor(0.7595, dtype=torch.float64)
    """
    where = "mixed_information"
    x, y = (as_tensor(where, name, side).double() for name, side in (("x", x), ("y", y)))
    x, y = _sides(where, _floating(where, "x", x), _floating(where, "y", y), k)
    total = x.new_zeros(())
    for in_x, in_y in _distances(x, y):
        joint = torch.maximum(in_x, in_y)
        radius = joint.topk(k, dim=1, largest=False).values[:, -1:]
        near, near_x, near_y = (((d < radius) | (d == 0)).sum(1) + 1 for d in (joint, in_x, in_y))
        total += _psi(near) - _psi(near_x) - _psi(near_y)
    n = x.new_tensor(float(len(x)))
    information: Tensor = torch.digamma(n) + total / n
    return information


def _floating(where: str, name: str, side: Any) -> Tensor:
    """(n, d) floating point; (n,) is one column."""
    tensor = as_tensor(where, name, side)
    return check_rows(where, name, tensor[:, None] if tensor.ndim == 1 else tensor)


def _sides(where: str, x: Tensor, y: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Checked, in float64, of like spread."""
    if len(x) != len(y):
        raise InputError(f"{where}: y must have {len(x)} rows to match x {tuple(x.shape)}, got {len(y)}")
    check_neighbors(where, "x", x, k)
    check_finite(where, "x", x)
    check_finite(where, "y", y)
    x, y = x.detach().double(), y.detach().to(x.device, torch.float64)
    return x, y * _between(x, y)


def _between(x: Tensor, y: Tensor) -> Tensor:
    """The power of two by which coordinates of y come nearest to the spread of those of x; exact: what tied, ties."""
    spread = torch.stack([side.var(0, correction=0).mean().sqrt() for side in (x, y)])
    ratio = spread[0] / spread[1]
    return torch.where((spread > 0).all(), ratio.log2().round().exp2(), 1)


def _distances(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """By the max norm in x and in y, (b, n) at a time; inf from a row to itself."""
    step = max(1, _BLOCK_ELEMENTS // len(x))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        both = torch.cdist(x[rows], x, p=torch.inf), torch.cdist(y[rows], y, p=torch.inf)
        for distances in both:
            distances.diagonal(start).fill_(torch.inf)
        yield both


def _psi(counts: Tensor) -> Tensor:
    return torch.digamma(counts.double()).sum()
