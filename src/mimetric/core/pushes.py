"""What negatives add to an anchor's far, where other anchors use that sum too.

A push is a term whose slopes wait for the gradient of its sums: first the sums of all anchors are made, then, from
the same blocks made again, the slopes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .reduce import Mean, Near
from .terms import Sums, Term

_PART = 1 << 18  # numbers of some rows of a block (measured)


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
        """The same sums; the block becomes what its slopes are made of."""

    def slopes_(self, sim: Tensor, near: Near, sums: Sums, to_far: Tensor) -> Tensor | None:
        """That block becomes slopes, 0 where there is no negative, given the gradient of the sums.

        Returns (k, p) the gradient of the positives, None where the sums do not depend on them.
        """


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

    def slopes_(self, sim: Tensor, near: Near, sums: Sums, to_far: Tensor) -> None:  # noqa: ARG002
        sim.mul_(torch.where(sums.total == -torch.inf, 0, to_far * sums.factor)[:, None])


@dataclass(frozen=True)
class Nothing:
    """No negatives: for what needs the positives of all anchors first."""

    scale = 1.0
    blocks_held = 1

    def far(self, sim: Tensor, near: Near) -> Tensor:  # noqa: ARG002
        return sim[:, :0].sum(1)

    def sums_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        return Sums(sim.new_zeros(len(sim)), 0.0)

    def slopes_(self, sim: Tensor, near: Near, sums: Sums, to_far: Tensor) -> None:  # noqa: ARG002
        sim.zero_()


@dataclass(frozen=True)
class Bins:
    r"""A push whose far is a histogram: (k, bins + 1) weights at the nodes :math:`t_r = -1 + 2 r / \text{bins}`.

    A similarity between two nodes adds 1 in all, the more to a node the nearer it is.  The slope of a weighted sum of
    nodes is therefore constant between nodes: the difference of their weights over the step.
    """

    bins: int
    blocks_held = 1

    @property
    def scale(self) -> float:
        return self.bins / 2

    def far(self, sim: Tensor, near: Near) -> Tensor:  # noqa: ARG002
        return self.histogram(sim, sim != -torch.inf)

    def histogram(self, sim: Tensor, there: Tensor) -> Tensor:
        """(k, m) -> (k, bins + 1), by autograd."""
        place = (torch.where(there, sim, 0) + 1) * (self.bins / 2)
        # A product of unit rows may round beyond 1; the last bin goes on.
        node = place.detach().nan_to_num().floor().clamp(0, self.bins - 1)
        share, node = place - node, node.long()
        weights = sim.new_zeros(len(sim), self.bins + 1)
        weights = weights.scatter_add(1, node, torch.where(there, 1 - share, 0))
        return weights.scatter_add(1, node + 1, torch.where(there, share, 0))

    def sums_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        return Sums(torch.cat([self._weights_(part) for part in _parts(sim)]), 1.0)

    def slopes_(self, sim: Tensor, near: Near, sums: Sums, to_far: Tensor) -> None:  # noqa: ARG002
        steps = F.pad(to_far.diff(dim=1) * (self.bins / 2), (1, 1), mode="replicate")
        steps, start = F.pad(steps, (1, 0)), 0
        for part in _parts(sim):
            torch.gather(steps[start : start + len(part)], 1, _cells(part), out=part)
            start += len(part)

    def _weights_(self, sim: Tensor) -> Tensor:
        """(k, bins + 1) of some rows, whose similarities become places."""
        sim.add_(1).mul_(self.bins / 2).add_(2).clamp_(0, self.bins + 2)
        cells = _cells(sim)
        counts, shares = sim.new_zeros(2, len(sim), self.bins + 3)
        counts.scatter_add_(1, cells, sim.new_ones(()).expand_as(sim))
        shares.scatter_add_(1, cells, sim.frac())
        lower = counts.sub_(shares)  # what counts at the node below; below the first, at the first
        weights: Tensor = lower[:, 2:] + shares[:, 1:-1] + shares[:, :1]  # the last of them 0, or nan
        weights[:, 0] += lower[:, 1]
        return weights


def _parts(sim: Tensor) -> list[Tensor]:
    """Rows that stay in a core's cache with their cells; an accelerator takes all at once."""
    rows = max(1, _PART // max(1, sim.shape[1])) if sim.device.type == "cpu" else max(1, len(sim))
    return list(torch.split(sim, rows))


def _cells(place: Tensor) -> Tensor:
    """Of places: 0 is nowhere, 1 below the first node, 2 up to the second, and so on; the last is the last node."""
    return place.long().clamp_(min=0)  # nan is nowhere
