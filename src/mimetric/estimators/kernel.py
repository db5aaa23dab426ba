r"""Entropy and dependence from kernels between all pairs of n rows; the kernels and widths that such estimates share.

The kernel of two rows is Gaussian, :math:`k(a, b) = e^{-|a - b|^2 / 2 s^2}` with bandwidth s; that of two class
ids is 1 where they are equal, else 0.  Of class ids, rows with -1, unlabelled, are left out.

Computed in float64 and in blocks of rows: O(n^2 d) time, O(n d) memory; what holds an n x n matrix says so.  Each
has a gradient in rows that ask for one (then the blocks are kept, n x n); bandwidths found from the rows have
none.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_finite, check_labels, check_positive, check_rows
from ..core.classes import UNLABELLED
from ..core.errors import InputError
from ..core.kernels import Kernel, blocks_of, gaussian, pair_sums

_MEDIAN_ROWS = 2048  # whose distances, 16 MiB, are ranked
_EIGEN_ROWS = 4096  # whose kernel, 128 MiB, is decomposed


def median_bandwidth(embeddings: Any) -> Tensor:
    """Median distance of two rows that differ: the usual width of a kernel.

    Exact up to 2,048 rows; of more, that of 2,048 rows drawn with a fixed seed.  1 where all rows are equal: then
    every bandwidth gives the same kernel.

    Args:
        embeddings: (n, d) floating point.

    Returns:
        Scalar float64 > 0, without gradient.
    Raises:
        InputError: not (n, d) floating point, or not finite.

    >>> median_bandwidth(torch.tensor([[0.0], [1.0], [3.0]]))  # of 1, 2, 3
    tensor(2., dtype=torch.float64)
    """
    rows = double_rows("median_bandwidth", "embeddings", embeddings).detach()
    if len(rows) > _MEDIAN_ROWS:
        drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:_MEDIAN_ROWS]
        rows = rows[drawn.to(rows.device)]
    distances = torch.pdist(rows)
    distances = distances[distances > 0]
    return distances.median() if len(distances) else rows.new_ones(())


def scott_bandwidth(embeddings: Any) -> Tensor:
    r"""Scott's rule for the width of a density estimate: :math:`n^{-1 / (d + 4)}` times the spread of a column.

    The spread is one number, the root of the mean variance of the columns; 0 where all rows are equal.

    Args, Raises: as :func:`median_bandwidth`.

    Returns:
        Scalar float64 >= 0, without gradient.

    Reference: Scott, Multivariate Density Estimation, 1992.

    >>> scott_bandwidth(torch.tensor([[-1.0], [1.0]])).round(decimals=4)  # sqrt(2) / 2 ** 0.2
    tensor(1.2311, dtype=torch.float64)
    """
    rows = double_rows("scott_bandwidth", "embeddings", embeddings).detach()
    n, width = rows.shape
    if n < 2 or (rows == rows[0]).all():
        return rows.new_zeros(())
    found: Tensor = rows.var(0).mean().sqrt() * n ** (-1 / (width + 4))
    return found


def renyi_entropy(x: Any, *, alpha: float = 1.01, bandwidth: float | None = None) -> Tensor:
    r"""Matrix-based Renyi entropy: that of the eigenvalues of the kernel matrix, no density in between.

    .. math:: S_\alpha(A) = \frac1{1 - \alpha} \log \sum_i \lambda_i(A)^\alpha, \qquad A = K / n

    A measure of its own: 0 where all rows are equal, and it falls with alpha and with the bandwidth.

    Direction: none, **no estimate of Shannon's differential entropy, and no bound on it**.
    Bias: downwards on few rows, as a plug-in entropy is.
    Saturation: at log n, where the kernel sees each row alone, as a narrow one does in many dimensions.
    Cost: n x n memory and O(n^3) time for the eigenvalues; with alpha = 2, where the sum of their squares is that of
        the entries, blocks as elsewhere.  2,000 rows: 0.7 s on one core.

    Args:
        x: (n, d) floating point rows, or (n,) integer class ids (then alpha = 1 is their plug-in entropy).
        alpha: > 0; at 1 the limit, von Neumann's entropy.
        bandwidth: > 0, of the kernel on rows; None is :func:`median_bandwidth`.

    Returns:
        Scalar float64 in 0..log n; nan without rows.
    Raises:
        InputError: wrong shape or type, not finite, alpha or bandwidth <= 0, or more than 4,096 rows
            unless alpha is 2.

    Reference: Sanchez Giraldo, Rao and Principe, IEEE Trans. Information Theory 61(1), 2015, arXiv:1211.2459.

    >>> renyi_entropy(torch.tensor([[0.0], [0.0], [99.0], [99.0]]), bandwidth=1.0)  # two points: log 2
    tensor(0.6931, dtype=torch.float64)
    """
    return _renyi("renyi_entropy", alpha, kernel_of("renyi_entropy", "x", x, bandwidth))


def renyi_information(
    x: Any, y: Any, *, alpha: float = 1.01, bandwidth: float | None = None, y_bandwidth: float | None = None
) -> Tensor:
    r"""Matrix-based Renyi information.

    .. math:: I_\alpha = S_\alpha(A) + S_\alpha(B) - S_\alpha\Bigl(\frac{A \circ B}{\operatorname{tr} A \circ B}\Bigr)

    At alpha = 1 never negative, elsewhere it can be slightly (at alpha = 2 most).

    Direction: none, **no estimate of Shannon's I, and no bound on it**.
    Bias: upwards on few rows: independent x and y do not give 0.
    Saturation: at the smaller of the two entropies, so at log n, which narrow kernels reach whatever the data are.
    Cost: three times :func:`renyi_entropy`.

    Args:
        x: (n, d) floating point rows, or (n,) integer class ids.
        y: the same of the second variable.
        alpha: > 0; at 1 the limit, von Neumann's entropy.
        bandwidth: > 0, of the kernel on x; None is :func:`median_bandwidth`.
        y_bandwidth: the same on y.

    Returns, Raises, Reference: as :func:`renyi_entropy`; lengths that disagree raise too.

    >>> renyi_information(torch.tensor([[0.0], [0.0], [99.0], [99.0]]), [0, 0, 1, 1], bandwidth=1.0)
    tensor(0.6931, dtype=torch.float64)
    """
    where = "renyi_information"
    first, second = kernels_of(where, x, y, bandwidth, y_bandwidth)
    alone = _renyi(where, alpha, first) + _renyi(where, alpha, second)
    return alone - _renyi(where, alpha, first, second)


def hsic(
    x: Any,
    y: Any,
    *,
    unbiased: bool = False,
    bandwidth: float | None = None,
    y_bandwidth: float | None = None,
) -> Tensor:
    r"""Hilbert-Schmidt independence criterion: squared distance of joint and product of marginals, in kernel space.

    .. math:: \frac1{n^2} \operatorname{tr}(K H L H), \qquad H = I - \tfrac1n 1 1^T

    0 only for independent variables (with these kernels, of the distribution), so a test of dependence; never
    negative.  ``unbiased=True`` is Song's form, from pairs of different rows, which can be negative:

    .. math:: \frac1{n (n - 3)} \Bigl[\operatorname{tr}(\tilde K \tilde L)
              + \frac{1^T \tilde K 1 \; 1^T \tilde L 1}{(n - 1)(n - 2)} - \frac2{n - 2} 1^T \tilde K \tilde L 1\Bigr]

    Direction: none, **not in nats and no bound on I**.
    Bias: upwards by O(1/n), in Song's form none.
    Saturation: at 1/4, that of two groups alike in size and far apart (Song's form above it on few rows); kernels
        that see each row alone give (n - 1) / n^2 whatever the data are, Song's form 0.
    Cost: O(n^2 d); 2,000 rows of width 64: 0.1 s on one core, and 0.1 s for each bandwidth.

    Args:
        x: (n, d) floating point rows, or (n,) integer class ids.
        y: the same of the second variable.
        unbiased: without the diagonals; needs 4 rows.
        bandwidth: > 0, of the kernel on x; None is :func:`median_bandwidth`.
        y_bandwidth: the same on y.

    Returns:
        Scalar float64; 0 where x or y is constant, nan without rows.
    Raises:
        InputError: wrong shapes or types, not finite, bandwidth <= 0, or fewer than 4 rows for the unbiased form.

    Reference: Gretton et al., ALT 2005 (there over (n - 1)^2); Song et al., JMLR 13, 2012.

    >>> hsic(torch.tensor([[0.0], [0.0], [99.0], [99.0]]), [0, 0, 1, 1], bandwidth=1.0)
    tensor(0.2500, dtype=torch.float64)
    """
    first, second = kernels_of("hsic", x, y, bandwidth, y_bandwidth)
    sums = pair_sums(first, second)
    n = len(sums.first)
    if unbiased and n < 4:
        raise InputError(f"hsic: the unbiased form needs at least 4 rows, got {n}")
    if not n:
        return sums.both + torch.nan
    if not unbiased:
        means = [
            sums.both / n**2,
            sums.first @ sums.second / n**3,
            sums.first.sum() * sums.second.sum() / n**4,
        ]
        return means[0] - 2 * means[1] + means[2]
    k, q, both = sums.first - 1, sums.second - 1, sums.both - n  # without the diagonals, which are 1
    mixed = k.sum() * q.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ q)
    return (both + mixed) / (n * (n - 3))


def kernel_of(where: str, name: str, x: Any, bandwidth: float | None) -> Kernel:
    """That of rows (n, d) or of class ids (n,)."""
    given = as_tensor(where, name, x)
    if _are_labels(given):
        labels = check_labels(where, name, given, given)
        return Kernel(labels[labels != UNLABELLED], None)
    rows = double_rows(where, name, given)
    return gaussian(rows, chosen_bandwidth(where, bandwidth, rows))


def kernels_of(
    where: str, x: Any, y: Any, bandwidth: float | None, y_bandwidth: float | None
) -> tuple[Kernel, Kernel]:
    """Those of two variables, of the rows where both are known."""
    x, y = as_tensor(where, "x", x), as_tensor(where, "y", y)
    if x.shape[:1] != y.shape[:1]:
        raise InputError(
            f"{where}: x and y must have as many rows, got shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    y = y.to(x.device)
    for labels in filter(_are_labels, (x, y)):
        known = labels != UNLABELLED
        x, y = x[known], y[known]
    return kernel_of(where, "x", x, bandwidth), kernel_of(where, "y", y, y_bandwidth)


def double_rows(where: str, name: str, x: Any) -> Tensor:
    """(n, d) finite, as float64."""
    rows = check_rows(where, name, x)
    check_finite(where, name, rows)
    return rows.double()


def chosen_bandwidth(where: str, given: float | None, rows: Tensor) -> Tensor:
    """The given one, or the median distance."""
    if given is None:
        return median_bandwidth(rows)
    check_positive(where, bandwidth=given)
    return rows.new_full((), given)


def _are_labels(x: Tensor) -> bool:
    return x.ndim == 1 and not x.is_floating_point()


def _renyi(where: str, alpha: float, *kernels: Kernel) -> Tensor:
    """Of the elementwise product of kernels on the same rows."""
    check_positive(where, alpha=alpha)
    n = len(kernels[0].rows)
    if not n:
        return torch.full((), torch.nan, dtype=torch.float64, device=kernels[0].rows.device)
    blocks = (torch.stack([kernel.block(at) for kernel in kernels]).prod(0) / n for at in blocks_of(n, n))
    if alpha == 2:
        return -torch.stack([block.square().sum() for block in blocks]).sum().log()
    if n > _EIGEN_ROWS:
        raise InputError(
            f"{where}: at most {_EIGEN_ROWS} rows, as the eigenvalues of rows x rows numbers are taken, got {n}; "
            "give fewer, or alpha=2, which needs no eigenvalues"
        )
    values = torch.linalg.eigvalsh(torch.cat(list(blocks))).clamp(min=0)
    if alpha == 1:
        return -torch.xlogy(values, values).sum()
    found: Tensor = values.pow(alpha).sum().log() / (1 - alpha)
    return found
