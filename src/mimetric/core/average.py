"""Over what the sides of a loss are averaged: its own way, anchors, those that cost something, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from .reduce import Mean

Side = Tensor | Mean
"""(k,) one number per anchor, averaged over all anchors; or a total and a count of its own per anchor."""

Reduction = Literal["anchors", "active", "sum", "none"]
REDUCTIONS: tuple[Reduction, ...] = ("anchors", "active", "sum", "none")


@dataclass(frozen=True)
class Average:
    """How the sides of blocks of anchors become numbers that add up, and what the sum is divided by."""

    reduction: Reduction | None = None  # None is the loss's own
    weights: Tensor | None = None  # (n,) how much each anchor counts

    def of(self, sides: tuple[Side, Side], block: slice) -> tuple[Side, Side]:
        """The sides of a block in the form that adds up."""
        if self.reduction is not None:
            tightness, contrast = per_anchor(sides[0]), per_anchor(sides[1])
            sides = tightness, contrast
            if self.reduction == "active":
                active = ((tightness + contrast).detach() != 0).to(tightness.dtype)
                sides = Mean(tightness, active), Mean(contrast, active)
        if self.weights is None:
            return sides
        weights = self.weights[block]
        first, second = _weighted(sides[0], weights), _weighted(sides[1], weights)
        if isinstance(first, Mean) and isinstance(second, Mean) and are_counted_alike(*sides):
            return first, Mean(second.total, first.count)
        return first, second

    def divisor(self, anchors: int) -> Tensor | int:
        """What a side of one number per anchor is divided by; one with counts is divided by their sum."""
        if self.reduction in ("sum", "none"):
            return 1
        return anchors if self.weights is None else self.weights.sum()


def per_anchor(side: Side) -> Tensor:
    """(k,) one number per anchor: its total over its own count, 0 over none."""
    return side.total / side.count.where(side.count != 0, 1) if isinstance(side, Mean) else side


def are_counted_alike(first: Side, second: Side) -> bool:
    """Whether one number divides both: they count anchors, or share their count."""
    if isinstance(first, Mean) and isinstance(second, Mean):
        return first.count is second.count
    return not isinstance(first, Mean) and not isinstance(second, Mean)


def _weighted(side: Side, weights: Tensor) -> Side:
    if isinstance(side, Mean):
        return Mean(side.total * weights, side.count * weights)
    return side * weights
