"""What negatives add to an anchor's far, where other anchors use that sum too.

A push is a term whose slopes wait for the gradient of its sums: first the sums of all anchors are made, then, from
the same blocks made again, the slopes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .reduce import Mean, Near
from .terms import Sums, Term


class Push(Protocol):
    """What negatives add to an anchor's far: one number, or a row of them."""

    @property
    def scale(self) -> float:
        """As of a term."""

    @property
    def blocks_held(self) -> int:
        """As of a term."""

    def far(self, sim: Tensor, near: Near) -> Tensor | Mean:
        """(k,) or (k, r) sums over rows of sim (k, m), by autograd: the definition."""

    def sums_(self, sim: Tensor, near: Near, spread: float) -> Sums:
        """The same sums; the block may be overwritten."""

    def slopes_(self, sim: Tensor, near: Near, spread: float, to_far: Tensor) -> None:
        """The block becomes slopes, 0 where there is no negative, given the gradient of the sums."""


@dataclass(frozen=True)
class OneSum:
    """A term of the engine as a push: one number an anchor."""

    term: Term

    @property
    def scale(self) -> float:
        return self.term.scale

    @property
    def blocks_held(self) -> int:
        return self.term.blocks_held

    def far(self, sim: Tensor, near: Near) -> Tensor | Mean:
        return self.term.far(sim, near)

    def sums_(self, sim: Tensor, near: Near, spread: float) -> Sums:
        return self.term.slopes_(sim, near, spread)

    def slopes_(self, sim: Tensor, near: Near, spread: float, to_far: Tensor) -> None:
        none = (sim == -torch.inf).all(1)
        sums = self.term.slopes_(sim, near, spread)
        sim.mul_(torch.where(none, 0, to_far * sums.factor)[:, None])


@dataclass(frozen=True)
class Nothing:
    """No negatives: for what needs the positives of all anchors first."""

    scale = 1.0
    blocks_held = 1

    def far(self, sim: Tensor, near: Near) -> Tensor:  # noqa: ARG002
        return sim[:, :0].sum(1)

    def sums_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        return Sums(sim.new_zeros(len(sim)), 0.0)

    def slopes_(self, sim: Tensor, near: Near, spread: float, to_far: Tensor) -> None:  # noqa: ARG002
        sim.zero_()


@dataclass(frozen=True)
class Bins:
    r"""A push whose far is a histogram: (k, bins + 1) weights at the nodes :math:`t_r = -1 + 2 r / \text{bins}`.

    A similarity between two nodes adds 1 in all, the more to a node the nearer it is.  The slope of a weighted sum of
    nodes is therefore constant between nodes: the difference of their weights over the step.
    """

    bins: int
    blocks_held = 8

    @property
    def scale(self) -> float:
        return self.bins / 2

    def far(self, sim: Tensor, near: Near) -> Tensor:  # noqa: ARG002
        return self.histogram(sim, sim != -torch.inf)

    def sums_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        return Sums(self.histogram(sim, sim != -torch.inf), 1.0)

    def slopes_(self, sim: Tensor, near: Near, spread: float, to_far: Tensor) -> None:  # noqa: ARG002
        there = sim != -torch.inf
        node, _ = self._place(sim, there)
        torch.gather(to_far.diff(dim=1) * (self.bins / 2), 1, node, out=sim).mul_(there)

    def histogram(self, sim: Tensor, there: Tensor) -> Tensor:
        """(k, m) -> (k, bins + 1), by autograd."""
        node, share = self._place(sim, there)
        weights = sim.new_zeros(len(sim), self.bins + 1)
        weights = weights.scatter_add(1, node, torch.where(there, 1 - share, 0))
        return weights.scatter_add(1, node + 1, torch.where(there, share, 0))

    def _place(self, sim: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """The node below each similarity, and how far it is from there to the next, in 0..1."""
        place = (torch.where(there, sim, 0) + 1) * (self.bins / 2)
        # A product of unit rows may round beyond 1; the last bin goes on.
        node = place.detach().nan_to_num().floor().clamp(0, self.bins - 1)
        return node.long(), place - node
