"""How many directions embeddings use, from the singular values of their matrix (n, d), rows as they are.

Not centered: where all rows are near one vector that vector is the one direction.  Singular values come from the
products (d, d) of the rows in float64, which add up over batches; one below 1e-7 of the largest is lost in rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.moments import second_moment
from .geometry import finite_rows
from .streaming import Streaming


def effective_rank(embeddings: Any) -> Tensor:
    r"""How many directions the rows use: the exponential of the entropy of their singular values.

    .. math:: \exp\Bigl(-\sum_k p_k \log p_k\Bigr), \qquad p_k = \sigma_k / \textstyle\sum_l \sigma_l

    Args:
        embeddings: (n, d) floating point, finite.

    Returns:
        Scalar float64 in [1, min(n, d)]; nan where all rows are zero, or there is none.
    Raises:
        InputError: not (n, d) floating point, or not finite.

    Reference: Roy and Vetterli, EUSIPCO 2007; of embeddings, RankMe (Garrido et al., ICML 2023, arXiv:2210.02885).

    >>> effective_rank(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]]))
    tensor(2., dtype=torch.float64)
    """
    rows = finite_rows("effective_rank", "embeddings", embeddings)
    return _effective_rank(_shares(second_moment(rows), len(rows)))


def spectral_decay(embeddings: Any) -> Tensor:
    r"""How far the singular values are from all equal: the divergence of the uniform distribution from theirs.

    .. math:: \rho = D_{\mathrm{KL}}(U \,\Vert\, p) = -\frac1D \sum_k \log(D \, p_k), \qquad
              p_k = \sigma_k / \textstyle\sum_l \sigma_l

    with :math:`D = \min(n, d)` singular values.  The other direction is :math:`\log D` less the log of
    :func:`effective_rank`; this one dwells on the smallest values.

    Args:
        embeddings: (n, d) floating point, finite.

    Returns:
        Scalar float64 >= 0 in nats: 0 where all directions count alike, infinite where one is not used at all; nan
        where all rows are zero, or there is none.
    Raises:
        InputError: not (n, d) floating point, or not finite.

    Reference: Roth et al., ICML 2020, arXiv:2002.08473, of embeddings of length 1.

    >>> spectral_decay(torch.tensor([[3.0, 0.0], [0.0, 1.0]])).round(decimals=4)
    tensor(0.1438, dtype=torch.float64)
    """
    rows = finite_rows("spectral_decay", "embeddings", embeddings)
    return _decay(_shares(second_moment(rows), len(rows)))


class StreamingSpectrum(Streaming):
    """:func:`effective_rank` and :func:`spectral_decay` of batches, in O(d^2) memory.

    Args:
        width: d.

    >>> stream = StreamingSpectrum(width=2)
    >>> stream.update(torch.tensor([[3.0, 0.0]]))
    >>> stream.update(torch.tensor([[0.0, 1.0]]))
    >>> {name: round(value, 4) for name, value in stream.compute().items()}
    {'effective_rank': 1.7548, 'spectral_decay': 0.1438}
    """

    def __init__(self, width: int) -> None:
        super().__init__(
            second=torch.zeros(width, width, dtype=torch.float64), rows=torch.zeros((), dtype=torch.int64)
        )

    def update(self, embeddings: Any) -> None:
        """Embeddings (n, d) of some rows."""
        where, width = type(self).__name__, len(self.totals["second"])
        rows = finite_rows(where, "embeddings", embeddings)
        if rows.shape[1] != width:
            raise InputError(f"{where}: embeddings must have {width} columns, got {tuple(rows.shape)}")
        self.add(second=second_moment(rows), rows=len(rows))

    def compute(self) -> dict[str, float]:
        """``effective_rank`` and ``spectral_decay``."""
        shares = _shares(self.totals["second"], int(self.totals["rows"]))
        return {"effective_rank": _effective_rank(shares).item(), "spectral_decay": _decay(shares).item()}


def _shares(second: Tensor, rows: int) -> Tensor:
    """(min(n, d),) singular values over their sum, descending; exactly 0 at what is only rounding."""
    squares: Tensor = torch.linalg.eigvalsh(second).flip(0)[:rows]
    if len(squares):
        rounding = len(second) * torch.finfo(second.dtype).eps * squares[0]
        squares = squares.where(squares > rounding, 0)
    values = squares.sqrt()
    return values / values.sum()


def _effective_rank(shares: Tensor) -> Tensor:
    rank: Tensor = torch.special.entr(shares).sum().exp()
    return rank if len(shares) else torch.full_like(rank, torch.nan)


def _decay(shares: Tensor) -> Tensor:
    return -(shares * len(shares)).log().mean()
