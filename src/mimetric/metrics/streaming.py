"""Metrics whose parts add up: over batches, over other streams, over processes."""

from __future__ import annotations

from typing import Self

import torch.distributed
from torch import Tensor

from ..core.errors import InputError


class Streaming:
    """Totals that add up; a metric says what a batch adds (`update`) and what they amount to (`compute`).

    A stream of batches gives the numbers of one call on all of them, whatever the batches, up to the rounding of
    sums in float64; counts are exact.

    Args:
        totals: what adds up, by name, at its start: zeros.
    """

    def __init__(self, **totals: Tensor) -> None:
        self.totals = totals

    def add(self, **parts: Tensor | int) -> None:
        """What a batch adds to totals of these names; they move to its device."""
        for name, part in parts.items():
            total = self.totals[name]
            self.totals[name] = (total.to(part.device) if isinstance(part, Tensor) else total) + part

    def merge(self, other: Self) -> None:
        """Take in what another stream of the same kind has seen.

        Raises:
            InputError: totals of another kind or shape, as with other options.
        """
        mine = {name: tuple(total.shape) for name, total in self.totals.items()}
        theirs = {name: tuple(total.shape) for name, total in other.totals.items()}
        if type(self) is not type(other) or mine != theirs:
            raise InputError(
                f"{type(self).__name__}: merges with its like alone, of the same options; "
                f"got {type(other).__name__} with totals {theirs} for {mine}"
            )
        for name, total in other.totals.items():
            self.totals[name] = self.totals[name] + total.to(self.totals[name].device)

    def synchronize(self) -> None:
        """Add up what all processes have seen, once, after the last batch; without processes nothing happens.

        Afterwards every process has the same totals, so `compute` says the same in each.
        """
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for total in self.totals.values():
                torch.distributed.all_reduce(total)
