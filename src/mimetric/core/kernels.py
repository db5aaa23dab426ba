r"""Kernels between all pairs of rows, and what sums of them tell: Cauchy-Schwarz information and divergence, in nats.

The kernel of two rows is Gaussian, :math:`k(a, b) = e^{-|a - b|^2 / 2 s^2}` with bandwidth s; that of two class
ids is 1 where they are equal, else 0.

Computed in blocks of rows, which are float64: O(n^2 d) time, O(n d) memory.  Each has a gradient in rows that
ask for one (then the blocks are kept, n x n).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

BLOCK_ELEMENTS = 1 << 20  # kernel values held at once: 8 MiB

Weights = Literal["row", "symmetric"]


class Kernel(NamedTuple):
    """A kernel on n rows, 1 on the diagonal; some of its rows at a time."""

    rows: Tensor  # (n, d) float64 around 0, or class ids (n,)
    bandwidth: Tensor | float | None  # None for class ids

    def block(self, at: slice) -> Tensor:
        """(k, n)"""
        if self.bandwidth is None:
            return (self.rows[at, None] == self.rows).double()
        return log_gaussian(self.rows[at], self.rows, self.bandwidth).exp()


class PairSums(NamedTuple):
    """All that HSIC and Cauchy-Schwarz information need of two kernels K and L on the same n rows."""

    both: Tensor  # sum of K * L, elementwise
    first: Tensor  # (n,) sums of the rows of K
    second: Tensor  # (n,) of L


def gaussian(rows: Tensor, bandwidth: Tensor | float) -> Kernel:
    """That of rows (n, d) wherever they lie."""
    return Kernel(rows - rows.detach().mean(0), bandwidth)


def log_gaussian(rows: Tensor, others: Tensor, bandwidth: Tensor | float) -> Tensor:
    """(k, m) logs of the kernel, by a product: rows that are far from 0 lose digits, so center them first."""
    lengths = rows.square().sum(1, keepdim=True)
    squared = torch.addmm(others.square().sum(1), rows, others.T, alpha=-2) + lengths
    return squared.clamp(min=0) / (-2 * bandwidth**2)


def blocks_of(n: int, m: int) -> Iterator[slice]:
    """Some of n rows at a time, for m columns; one empty block of no rows."""
    step = max(1, BLOCK_ELEMENTS // max(1, m))
    return (slice(start, min(start + step, n)) for start in range(0, max(1, n), step))


def pair_sums(first: Kernel, second: Kernel) -> PairSums:
    n = len(first.rows)
    both, rows, columns = [], [], []
    for at in blocks_of(n, n):
        k, q = first.block(at), second.block(at)
        both.append((k * q).sum())
        rows.append(k.sum(1))
        columns.append(q.sum(1))
    return PairSums(torch.stack(both).sum(), torch.cat(rows), torch.cat(columns))


def cs_information(first: Kernel, second: Kernel, *, normalized: bool) -> Tensor:
    r"""Cauchy-Schwarz quadratic mutual information of two variables, from kernels K and Q on the same n rows.

    .. math:: \log \frac{\operatorname{tr} K Q}{n^2} + \log \frac{1^T K 1 \; 1^T Q 1}{n^4}
              - 2 \log \frac{1^T K Q 1}{n^3}

    Normalized it is over :math:`\sqrt{I(x; x) I(y; y)}`, and 0 where either variable is constant; nan without rows.
    """
    found = _cs(pair_sums(first, second))
    if not normalized:
        return found
    alone = torch.stack([_cs(pair_sums(kernel, kernel)) for kernel in (first, second)])
    constant = (alone < 64 * torch.finfo(alone.dtype).eps).any()  # nothing but rounding is left
    return torch.where(constant, 0, found / torch.where(constant, 1, alone).prod().sqrt())


def conditional_cs_divergence(
    x: Tensor,
    y: Tensor,
    prediction: Tensor,
    *,
    bandwidth: Tensor | float,
    y_bandwidth: Tensor | float,
    weights: Weights,
) -> Tensor:
    r"""Cauchy-Schwarz divergence of y and of its prediction, both (n, e), given x (n, d), from kernels K and L on them.

    .. math:: \log \sum_{ji} W_{ji} L(y_j, y_i) + \log \sum_{ji} W_{ji} L(\hat y_j, \hat y_i)
              - 2 \log \sum_{ji} W_{ji} L(\hat y_j, y_i), \qquad D_j = \sum_i K_{ji}^2

    with row weights :math:`W_{ji} = K_{ji} / D_j`, or symmetric ones, :math:`K_{ji} / \sqrt{D_j D_i}`.  In logs
    throughout: predictions far off have a finite divergence, and a gradient.  nan without rows.
    """
    x, center = x - x.detach().mean(0), y.detach().mean(0)
    y, prediction = y - center, prediction - center
    blocks = list(blocks_of(len(x), len(x)))
    total = torch.cat([(2 * log_gaussian(x[at], x, bandwidth)).logsumexp(1) for at in blocks])
    left, right = (total, torch.zeros_like(total)) if weights == "row" else (total / 2, total / 2)
    pairs = ((y, y), (prediction, prediction), (prediction, y))
    sums = []
    for at in blocks:
        weight = log_gaussian(x[at], x, bandwidth) - left[at, None] - right
        found = [(weight + log_gaussian(a[at], b, y_bandwidth)).logsumexp((0, 1)) for a, b in pairs]
        sums.append(torch.stack(found))
    of_y, of_prediction, crossed = torch.stack(sums).logsumexp(0).unbind()
    return of_y + of_prediction - 2 * crossed


def _cs(sums: PairSums) -> Tensor:
    n = len(sums.first)
    if not n:
        return sums.both + torch.nan
    alone = (sums.first.sum() / n**2).log() + (sums.second.sum() / n**2).log()
    return (sums.both / n**2).log() + alone - 2 * (sums.first @ sums.second / n**3).log()
