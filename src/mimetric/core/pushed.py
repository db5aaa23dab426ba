"""Whole rows in which positives stand one by one and negatives in the sums of a push: no autograd on a block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .average import Side
from .classes import ClassRuns, Rows
from .forms import Slopes, WholeRows
from .pairing import Pairing
from .pairs import PairSums, over_anchors
from .pushes import Push
from .reduce import Mean, Near


def over_push(
    where: str,
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    push: Push,
    cost: Callable[[Near, Tensor], Side],
    pairing: Pairing = Pairing(),
) -> PairSums:
    """A loss `cost(near, far)` of an anchor's positives and the sums that a push makes of its negatives.

    Unlike the far of :func:`~mimetric.core.pairs.pair_sums`, these may be several numbers and may depend on the
    positives.  No tightness and contrast, no mining.  Other arguments as there.
    """

    def of_rows(rows: Rows) -> Side:
        far = push.far(rows.far, rows.near)
        return cost(rows.near, far.total if isinstance(far, Mean) else far)

    sums = over_anchors(
        where, embeddings, labels, references, reference_labels, cost=of_rows, pairing=pairing
    )
    return replace(sums, form=PushedRows(of_rows, push, cost, push.scale, push.blocks_held))


@dataclass(frozen=True)
class PushedRows(WholeRows):
    """The formula on whole rows, and the same from the sums of a push."""

    push: Push
    of_sums: Callable[[Near, Tensor], Side]
    scale: float
    blocks_held: int

    def opened_(
        self,
        sim: Tensor,
        runs: ClassRuns,
        tensors: tuple[Tensor, ...],  # noqa: ARG002
        spread: float,
    ) -> tuple[Side, Side, Slopes]:
        near = runs.near(sim)
        runs.fill_(sim, -torch.inf)
        sums = self.push.sums_(sim, near, spread)
        leaves = near.sim.requires_grad_(), sums.total.requires_grad_()
        cost_of_rows = self.of_sums(near, sums.total)

        def slopes_(cost: Tensor) -> tuple[Tensor, ...]:
            to_near, to_far = torch.autograd.grad(cost, leaves, materialize_grads=True)
            more = self.push.slopes_(sim, near, sums, to_far)
            to_near = to_near if more is None else to_near + more
            sim.scatter_add_(1, runs.columns, torch.where(near.valid, to_near, 0))
            return ()

        return cost_of_rows, sim.new_zeros(len(sim)), slopes_
