"""Positive pairs that do harm, known by the losses they had: views that agree on noise, or have nothing in common."""

from __future__ import annotations

from math import pi
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from ..core.checks import as_tensor, check_choice, check_not_negative
from ..core.errors import InputError


class BadPairMining(nn.Module):
    r"""Remember what every positive pair cost, and weigh down those that cost oddly little or oddly much.

    .. math::
        w_i = e^{-(L_i - \mu)^2 / 2 \sigma^2} \; \Bigl[ \tfrac{1}{\sigma \sqrt{2 \pi}} \Bigr] \quad \text{where} \quad
        m_i \le \mu - \beta_n \sigma \;\text{ or }\; m_i \ge \mu + \beta_f \sigma, \quad \text{else } 1

    with :math:`L_i` the loss of pair i now, :math:`m_i` the mean of its losses in earlier epochs, and μ and σ the mean
    and the standard deviation of m over all pairs.  Pairs below are noisy (the views agree on noise), pairs above
    faulty (a view lost the pattern).  A few lines make it part of any loop with a loss for each pair::

        mining = BadPairMining(len(data), warmup=10)
        for epoch in range(epochs):
            mining.start_epoch()
            for rows in batches:
                losses = ...  # (n,) one for each pair
                mining(losses, rows).mean().backward()

    The factor in brackets is that of weight="density", the paper's.  It is no share: where σ is below 0.399, a flagged
    pair near μ gains weight.  With weight="relative" w lies in (0, 1].  Sums, flags and the epoch belong to
    `state_dict`.  In several processes each has its own pairs and statistics.

    Args:
        num_pairs: pairs in the data, >= 1, numbered from 0.
        warmup: epochs that are remembered and weigh nothing down, >= 0.
        noisy: β_n >= 0, in standard deviations; infinity flags none.
        faulty: β_f >= 0.
        weight: density or relative.

    Reference: Lan et al., ICLR 2024, arXiv:2302.03357.  In their code later epochs weigh more in the mean, not
    divided by the sum of those weights, so that L is compared with a μ on another scale; here m is the paper's mean.

    >>> mining = BadPairMining(3, warmup=1, noisy=9.0, faulty=1.0, weight="relative")
    >>> mining.start_epoch()
    >>> mining(torch.tensor([1.0, 1.0, 4.0]), [0, 1, 2])
    tensor([1., 1., 4.])
    >>> mining.start_epoch()
    >>> mining(torch.tensor([1.0, 1.0, 4.0]), [0, 1, 2]), mining.faulty.tolist()
    (tensor([1.0000, 1.0000, 1.4715]), [False, False, True])
    """

    _total: Tensor
    _count: Tensor
    _center: Tensor
    _spread: Tensor
    _side: Tensor
    _epoch: Tensor

    def __init__(
        self,
        num_pairs: int,
        *,
        warmup: int,
        noisy: float = 2.0,
        faulty: float = 3.0,
        weight: Literal["density", "relative"] = "density",
    ) -> None:
        super().__init__()
        where = "BadPairMining"
        if num_pairs < 1:
            raise InputError(f"{where}: num_pairs must be at least 1, got {num_pairs}")
        check_not_negative(where, warmup=warmup, noisy=noisy, faulty=faulty)
        check_choice(where, "weight", weight, ("density", "relative"))
        self.warmup, self.bounds, self.weight = warmup, (noisy, faulty), weight
        self.register_buffer("_total", torch.zeros(num_pairs, dtype=torch.float64))
        self.register_buffer("_count", torch.zeros(num_pairs, dtype=torch.int64))
        self.register_buffer("_center", torch.zeros((), dtype=torch.float64))
        self.register_buffer("_spread", torch.zeros((), dtype=torch.float64))
        self.register_buffer("_side", torch.zeros(num_pairs, dtype=torch.int8))  # -1 noisy, 1 faulty
        self.register_buffer("_epoch", torch.tensor(-1))

    @property
    def mean_losses(self) -> Tensor:
        """(num_pairs,) float64 m, nan for a pair that had no loss yet."""
        return self._total / self._count

    @property
    def noisy(self) -> Tensor:
        """(num_pairs,) bool, as the last start of an epoch flagged them."""
        return self._side == -1

    @property
    def faulty(self) -> Tensor:
        """(num_pairs,) bool, the same."""
        return self._side == 1

    def start_epoch(self) -> None:
        """Flag pairs by the epochs before this one; not by this one, where flagged pairs would chase their weight."""
        self._epoch += 1
        means, seen = self.mean_losses, self._count > 0
        if self._epoch < self.warmup or not seen.any():
            return
        self._center, self._spread = means[seen].mean(), means[seen].std(unbiased=False)
        low, high = (self._spread * bound for bound in self.bounds)
        side = (means >= self._center + high).to(torch.int8) - (means <= self._center - low).to(torch.int8)
        self._side = side if self._spread > 0 else torch.zeros_like(side)

    def forward(self, losses: Any, rows: Any) -> Tensor:
        """Remember the losses (n,) of the pairs `rows` (n,), no pair twice, and return them weighted; weights are held
        constant."""
        losses, rows = (
            as_tensor("BadPairMining", name, given) for name, given in (("losses", losses), ("rows", rows))
        )
        if losses.ndim != 1 or rows.shape != losses.shape or rows.is_floating_point():
            raise InputError(
                "BadPairMining: losses must be (n,) with integer rows (n,), one loss for each pair (reduction none), "
                f"got {tuple(losses.shape)} and {tuple(rows.shape)}"
            )
        seen = losses.detach().double()
        self._total.index_add_(0, rows, seen)
        self._count.index_add_(0, rows, torch.ones_like(rows, dtype=torch.int64))
        bad = self._side[rows] != 0
        if not bad.any():
            return cast(Tensor, losses)
        weight = (-(((seen - self._center) / self._spread) ** 2) / 2).exp()
        if self.weight == "density":
            weight = weight / (self._spread * (2 * pi) ** 0.5)
        return cast(Tensor, losses * torch.where(bad, weight, 1.0).to(losses))
