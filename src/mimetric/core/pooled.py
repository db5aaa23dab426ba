"""One log-sum over all negative pairs of a batch, outliers left out: in blocks, exact in value and gradient.

Which pairs are outliers is told by quartiles of all negative similarities, found by counting in passes over the blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log
from typing import Any

import torch
from torch import Tensor

from .exponentials import LogSumExp
from .pairing import Pairing
from .pairs import PairSums, pair_sums
from .passes import blocks, near_and_far
from .pushes import OneSum
from .reduce import Mean, Near, masked_logsumexp
from .terms import Sums, Term

_ROUNDING = 8  # of the last digit of 1: equal similarities differ by it, and stay or go together
_DIGIT = 16  # bits that one pass tells


def pooled_logsumexp(
    where: str, rows: Any, labels: Any, *, scale: float, whisker: float = inf, pairing: Pairing = Pairing()
) -> Tensor:
    r"""The log of the sum of :math:`e^{\alpha s_{ij}}` over the pairs i < j of two classes; -inf over none.

    With a whisker r only similarities from :math:`Q_1 - r (Q_3 - Q_1)` to :math:`Q_3 + r (Q_3 - Q_1)` enter, with the
    quartiles of all those l similarities in order: places 0.25 l and 0.75 l, rounded down, from 0.  No gradient runs
    through the quartiles.

    Args:
        where: name of the loss, for messages.
        rows: (n, d) floating point.
        labels: (n,) integer class ids; an unlabelled row (-1) is of a class of its own.
        scale: α > 0.
        whisker: r >= 0, in interquartile ranges; inf leaves nothing out, and needs no quartiles.
        pairing: similarity and block are taken from it.

    Returns:
        0-dimensional, with a gradient.

    >>> x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> pooled_logsumexp("here", x, [0, 1, 2], scale=1.0)  # log(e^0.6 + e^0.8 + e^0)
    tensor(1.6189)
    """
    shared = Pairing(similarity=pairing.similarity, block=pairing.block)

    def described(push: Term) -> PairSums:
        return pair_sums(where, rows, labels, push=push, sides=_no_sides, pairing=shared)

    push: Term = LogSumExp(scale)
    if whisker < inf:
        push = Within(push, *_whiskers(described(push), whisker))
    problem, lifted, _ = described(push).problem((1.0, 1.0))
    with torch.autocast(lifted.device.type, enabled=False):
        _, each, _ = near_and_far(problem, OneSum(push), lifted, None, plain=False)
        twice = masked_logsumexp(each[None], each[None] != -inf)[0]
    return twice - log(2)


def _no_sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
    """Of a description that is asked for its rows, classes and blocks alone: what is summed here is no anchor's own."""
    raise NotImplementedError


@dataclass(frozen=True)
class Within:
    """Another term, over the negatives from one similarity to another, both included."""

    term: Term
    low: Tensor | float
    high: Tensor | float

    @property
    def scale(self) -> float:
        return self.term.scale

    @property
    def blocks_held(self) -> int:
        return self.term.blocks_held + 1

    def far(self, sim: Tensor, near: Near) -> Tensor | Mean:
        return self.term.far(torch.where(self._outside(sim), -inf, sim), near)

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:
        return self.term.slopes_(sim.masked_fill_(self._outside(sim), -inf), near, spread)

    def _outside(self, sim: Tensor) -> Tensor:
        return (sim < self.low) | (sim > self.high)  # NaN stays, and shows


def _whiskers(pairs: PairSums, whisker: float) -> tuple[Tensor, Tensor]:
    first, third = negative_order(pairs, (0.25, 0.75))
    reach = whisker * (third - first) + _ROUNDING * torch.finfo(first.dtype).eps
    return first - reach, third + reach


@torch.no_grad()
def negative_order(pairs: PairSums, shares: Sequence[float]) -> Tensor:
    """Numbers out of the l similarities of a batch's negative pairs in order: at the places share * l, rounded down.

    Exact, by radix selection: each pass over the blocks tells 16 bits of the numbers asked for (8 in a small batch), so
    two passes do in float32; sorting would hold all pairs.  Any numbers where there is no negative pair.
    """
    problem, rows, _ = pairs.problem((0.0, 0.0))
    digit = _DIGIT if len(rows) ** 2 > 1 << _DIGIT else _DIGIT // 2
    base = torch.full((1,), -(1 << digit - 1), device=rows.device)  # where the numbers that are counted begin
    places = found = torch.empty(0)
    for shift in range(8 * rows.element_size() - digit, -1, -digit):
        counts = torch.zeros(len(base), (1 << digit) + 2, dtype=torch.int64, device=rows.device)
        for block in blocks(problem, rows, rows):
            _count(_ordered(block.sim).bitwise_right_shift_(shift), base, counts)
        counts = counts[:, 1:-1]
        if not len(places):
            counts[0, (_ordered(rows.new_tensor(-inf)) >> shift) - base[0]] = 0  # where there is no negative
            negatives = counts.sum() // 2  # each was met twice
            places = 2 * (torch.tensor(shares, dtype=torch.float64, device=rows.device) * negatives).long()
        below = counts.cumsum(1).expand(len(shares), -1).contiguous()
        at = torch.searchsorted(below, places[:, None], right=True).clamp(max=(1 << digit) - 1)
        places = places - (below - counts).gather(1, at)[:, 0]
        found = base + at[:, 0]
        base = found << digit
    return _ordered(found.to(_integers(rows.dtype)).view(rows.dtype)).view(rows.dtype)


def _count(keys: Tensor, base: Tensor, counts: Tensor) -> None:
    """Adds how often each number from a base on is there; what lies below and above goes to the two ends."""
    last = counts.shape[1] - 1
    for count, first in zip(counts, base):
        count += torch.bincount((keys - (first - 1)).clamp_(0, last).flatten(), minlength=last + 1)


def _ordered(x: Tensor) -> Tensor:
    """Integers in the order of floating point numbers; of their bits as a number, the bits of that number."""
    bits = x.view(_integers(x.dtype))
    flipped = (bits >> (8 * x.element_size() - 1)).bitwise_and_(torch.iinfo(bits.dtype).max)
    return flipped.bitwise_xor_(bits)


def _integers(dtype: torch.dtype) -> torch.dtype:
    return torch.int64 if dtype == torch.float64 else torch.int32
