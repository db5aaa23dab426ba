r"""Every negative against every positive, across anchors: sums of :math:`\text{softplus}((z - s) / T)` over the pairs.

There are far more pairs than similarities.  But what a negative z costs is one smooth function of one number,
:math:`F(z) = \sum_s \text{softplus}((z - s) / T)` over all positives s.  Its poles lie :math:`\pi T` off the real
axis, so between Chebyshev nodes in cells of width T a polynomial has it to the last digits: of degree 5 in float32,
13 in float64, with errors of :math:`(1 / 4 \pi)^{d + 1}`.  So F is computed at the nodes, which costs positives times
nodes, and looked up at negatives.  Gradients go the same way: the slope of F is another such function, and what the
negatives weigh is gathered at the nodes.  Where there are fewer negatives than nodes, they are compared one by one.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, cached_property
from math import inf, pi
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from .blocks import Gradients, Problem
from .derivatives import by_formula
from .passes import blocks
from .processes import share_of

BLOCKS_HELD = 10  # arrays of the size of a block that looking up keeps alive, places as integers among them

_ELEMENTS = 1 << 20  # comparisons made at once
_DEGREES = {torch.float32: 5, torch.float64: 13}
_BELOW, _ABOVE = 100.0, 40.0  # softplus is 0 so far below, in units of T, and linear so far above


def compared(
    problem: Problem,
    rows: Tensor,
    references: Tensor | None,
    positives: Tensor,
    temperature: float,
    *,
    plain: bool,
) -> tuple[Tensor, Tensor]:
    r"""What the negatives of each row cost beside all positives, and how many negatives it has.

    Args:
        problem, rows, references: as :func:`~mimetric.core.passes.near_and_far` takes them.
        positives: (P,) similarities, with a gradient of their own.
        temperature: T > 0.
        plain: by autograd, all comparisons at once: the formula.

    Returns:
        (n,) :math:`\sum_{j \in N_i} \sum_s \text{softplus}((z_{ij} - s) / T)`, and (n,) counts.
    """
    if not plain:
        problem = replace(problem, share=share_of(len(rows)))
        parts = _OfRows.apply(problem, temperature, rows, references, positives)  # type: ignore[no-untyped-call]
        total, count = parts if problem.share is None else problem.share.collected(parts, len(rows))
        return total, count
    sim = problem.similarities(rows, rows if references is None else references)
    far = problem.classes.of(slice(None)).rows(sim).far
    return _softplus((far[..., None] - positives) / temperature).sum((1, 2)), _there(far).sum(1).to(far.dtype)


def compared_scores(negatives: Tensor, positives: Tensor, temperature: float) -> Tensor:
    r"""The same of given numbers (N,) and (P,): :math:`\sum_z \sum_s \text{softplus}((z - s) / T)`.

    >>> compared_scores(torch.tensor([0.5, -1.0]), torch.tensor([1.0, 0.0]), 1.0)
    tensor(1.8883)
    """
    return cast(Tensor, _OfScores.apply(temperature, negatives, positives))  # type: ignore[no-untyped-call]


class _OfRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        problem: Problem,
        temperature: float,
        rows: Tensor,
        references: Tensor | None,
        positives: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.problem, ctx.temperature = problem, temperature
        ctx.save_for_backward(rows, references, positives)
        others = rows if references is None else references
        against = _against(positives, temperature, len(rows) * len(others), bounded=problem.bounded)
        costs, counts = [rows.new_zeros(0)], [rows.new_zeros(0)]
        for block in blocks(problem, rows, others):
            there = _there(block.sim)
            costs.append(torch.where(there, against.costs(block.sim), 0).sum(1))
            counts.append(there.sum(1).to(rows.dtype))
        count = torch.cat(counts)
        ctx.mark_non_differentiable(count)
        return torch.cat(costs), count

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> Any:
        rows, references, positives = ctx.saved_tensors
        needs, mine = ctx.needs_input_grad[2:], ctx.problem.mine(len(rows))
        if torch.is_grad_enabled():  # second derivatives are wanted

            def formula(rows: Tensor, references: Tensor | None, positives: Tensor) -> Tensor:
                return compared(ctx.problem, rows, references, positives, ctx.temperature, plain=True)[0][
                    mine
                ]

            return None, None, *by_formula(formula, (rows, references, positives), needs, grad)
        others = rows if references is None else references
        against = _against(positives, ctx.temperature, len(rows) * len(others), bounded=ctx.problem.bounded)
        gradients = Gradients(rows, references, needs[:2])
        for block in blocks(ctx.problem, rows, others):
            here = slice(block.at.start - mine.start, block.at.stop - mine.start)
            weights = torch.where(_there(block.sim), grad[here, None], 0)
            block.sim.copy_(against.slopes(block.sim, weights)).mul_(weights)
            gradients.add_(block.at, block.slopes_())
        return None, None, gradients.to_anchors, gradients.to_others, against.to_positives()


class _OfScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, temperature: float, negatives: Tensor, positives: Tensor) -> Tensor:
        ctx.temperature = temperature
        ctx.save_for_backward(negatives, positives)
        against = _against(positives, temperature, len(negatives))
        parts = [against.costs(part).sum() for part in torch.split(negatives, _ELEMENTS)]
        return torch.stack([negatives.new_zeros(()), *parts]).sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        negatives, positives = ctx.saved_tensors
        if torch.is_grad_enabled():

            def formula(negatives: Tensor, positives: Tensor) -> Tensor:
                return _softplus((negatives[:, None] - positives) / ctx.temperature).sum()

            return None, *by_formula(formula, (negatives, positives), ctx.needs_input_grad[1:], grad)
        against = _against(positives, ctx.temperature, len(negatives))
        parts = [against.slopes(part, grad.expand_as(part)) for part in torch.split(negatives, _ELEMENTS)]
        return None, torch.cat([negatives[:0], *parts]) * grad, against.to_positives()


class _Against(Protocol):
    """All positives, as what negatives are compared with."""

    def costs(self, z: Tensor) -> Tensor:
        """F at each number, of any shape; anything where it is -inf."""

    def slopes(self, z: Tensor, weights: Tensor) -> Tensor:
        """The slope of F at each number; what it weighs counts in the gradient of the positives."""

    def to_positives(self) -> Tensor:
        """(P,) the gradient of the sum of weights times F, once all numbers have had their slopes."""


def _against(positives: Tensor, temperature: float, negatives: int, *, bounded: bool = False) -> _Against:
    """Looking up where that is less work.  Reads the range of the positives, which makes an accelerator wait."""
    low, high = positives.aminmax() if len(positives) else (inf, -inf)
    low, high = float(low) - _BELOW * temperature, float(high) + _ABOVE * temperature
    if bounded:
        low, high = max(low, -1.0), min(high, 1.0)
    cells = (high - low) / temperature
    if not 0 <= cells * (_DEGREES[positives.dtype] + 1) < negatives:  # also none, nan, and infinitely wide
        return _OneByOne(positives, temperature)
    return _Table(positives, temperature, low, int(cells) + 1)


class _OneByOne:
    """Comparisons as they are."""

    def __init__(self, positives: Tensor, temperature: float) -> None:
        self.positives, self.temperature = positives, temperature
        self.gradient = torch.zeros_like(positives)

    def costs(self, z: Tensor) -> Tensor:
        return _sums(z.flatten(), self.positives, self.temperature).view_as(z)

    def slopes(self, z: Tensor, weights: Tensor) -> Tensor:
        slopes, to_positives = _steps(z.flatten(), weights.flatten(), self.positives, self.temperature)
        self.gradient += to_positives
        return slopes.view_as(z)

    def to_positives(self) -> Tensor:
        return self.gradient


class _Table:
    """F and its slope as polynomials, one in each of the cells of width T from a lowest number on."""

    def __init__(self, positives: Tensor, temperature: float, low: float, cells: int) -> None:
        self.positives, self.temperature, self.low, self.cells = positives, temperature, low, cells
        nodes, series = _chebyshev(_DEGREES[positives.dtype])
        self.series = series.to(positives)  # values at the nodes of a cell to its coefficients
        starts = torch.arange(cells, dtype=positives.dtype, device=positives.device)
        self.nodes = (low + temperature * (starts[:, None] + (nodes.to(positives) + 1) / 2)).flatten()
        # Sums of millions of small numbers.
        self.weights = positives.new_zeros(len(series), cells, dtype=torch.float64)

    @cached_property
    def of_costs(self) -> Tensor:
        return self._coefficients(_sums(self.nodes, self.positives, self.temperature))

    @cached_property
    def of_slopes(self) -> Tensor:
        nothing = torch.zeros_like(self.nodes)
        return self._coefficients(_steps(self.nodes, nothing, self.positives, self.temperature)[0])

    def costs(self, z: Tensor) -> Tensor:
        place = self._place(z)
        above = (place - self.cells).clamp_(min=0)  # where F is linear
        return self._polynomial(self.of_costs, *self._cell(place)).add_(above, alpha=len(self.positives))

    def slopes(self, z: Tensor, weights: Tensor) -> Tensor:
        cell, x = self._cell(self._place(z))
        before, term = x, torch.ones_like(x)  # T_{-1} and T_0 of Chebyshev's polynomials
        for gathered in self.weights:
            gathered.scatter_add_(0, cell, (term * weights).flatten().double())
            before, term = term, 2 * x * term - before
        return self._polynomial(self.of_slopes, cell, x)

    def to_positives(self) -> Tensor:
        weights = (self.weights.T @ self.series.double()).flatten().to(self.nodes)
        return _steps(self.nodes, weights, self.positives, self.temperature)[1]

    def _place(self, z: Tensor) -> Tensor:
        return (z - self.low).div_(self.temperature)

    def _cell(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """Which cell, flat, and where in it from -1 to 1."""
        place.clamp_(0, self.cells)
        cell = place.long().clamp_(0, self.cells - 1)  # also of nan
        return cell.flatten(), place.sub_(cell).mul_(2).sub_(1)

    def _coefficients(self, values: Tensor) -> Tensor:
        """(degree + 1, cells) of Chebyshev's polynomials, from values at all nodes."""
        return self.series @ values.view(self.cells, -1).T

    def _polynomial(self, coefficients: Tensor, cell: Tensor, x: Tensor) -> Tensor:
        """Clenshaw's recurrence."""
        first, second = torch.zeros_like(x), torch.zeros_like(x)
        for each in coefficients[1:].flip(0):
            here = each.index_select(0, cell).view_as(x)
            first, second = here.addcmul_(x, first, value=2).sub_(second), first
        return coefficients[0].index_select(0, cell).view_as(x).addcmul_(x, first).sub_(second)


@cache
def _chebyshev(degree: int) -> tuple[Tensor, Tensor]:
    """Nodes (d + 1,) in -1..1, and (d + 1, d + 1) from values there to coefficients."""
    angles = (torch.arange(degree + 1, dtype=torch.float64) + 0.5) * (pi / (degree + 1))
    orders = torch.arange(degree + 1, dtype=torch.float64)
    series = torch.cos(orders[:, None] * angles) * (2 / (degree + 1))
    series[0] /= 2
    return angles.cos(), series


def _sums(points: Tensor, positives: Tensor, temperature: float) -> Tensor:
    """F at points (N,)."""
    total = torch.zeros_like(points)
    for part in _parts(points, positives):
        total += _softplus((points[:, None] - part).div_(temperature)).sum(1)
    return total


def _steps(points: Tensor, weights: Tensor, positives: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The slope of F at points (N,), and (P,) the gradient of the sum of weights times F."""
    slopes, to_positives = torch.zeros_like(points), torch.empty_like(positives)
    for part, into in zip(_parts(points, positives), _parts(points, to_positives)):
        step = (points[:, None] - part).div_(temperature).sigmoid_()
        slopes += step.sum(1)
        torch.mv(step.T, weights, out=into)
    return slopes.div_(temperature), to_positives.div_(-temperature)


def _parts(points: Tensor, positives: Tensor) -> tuple[Tensor, ...]:
    return torch.split(positives, max(1, _ELEMENTS // max(1, len(points))))


def _softplus(x: Tensor) -> Tensor:
    return F.softplus(x, threshold=50)  # exact to the last digit, which 20 is not


def _there(sim: Tensor) -> Tensor:
    return sim != -torch.inf
