r"""Few anchors against very many references, such as 10^6 class weights: blocks of columns in place of rows.

A block of whole rows would be a few rows high, and each would read and write the gradient of all references.  Here all
anchors meet some references at a time: first for the sums over negatives, then, from the same blocks made again, for
the slopes.  That is one product more, and every other array is passed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import torch
from torch import Tensor

from .average import Side
from .blocks import BLOCK_ELEMENTS, Found, Problem, counts_of
from .class_parallel import exchanged
from .class_terms import HarderClasses, NearestCenters, SoftCenters
from .classes import ClassRuns
from .errors import InputError
from .exponentials import CircleLogSumExp, LogSumExp, Softplus
from .forms import NearFar
from .hinges import Hinge, RootHinge, SquaredHinge
from .reduce import Mean, Near
from .terms import Counted, FullPrecision, Square, Sums, Term, Total

_THIN = 48  # rows of a block, below which all references and their gradient are passed too often (measured)
_ELEMENTS = 1 << 19  # numbers of a block of columns; a block is made twice, and rests in the cache meanwhile

# Terms whose sum over all columns is made of those over some and over others.  Any other takes blocks of rows.
_SUMS = (Hinge, SquaredHinge, RootHinge, Softplus, Square, Total)
_LOGS_OF_SUMS = (LogSumExp, CircleLogSumExp, NearestCenters, SoftCenters, HarderClasses)


def suits(problem: Problem, anchors: Tensor, others: Tensor) -> bool:
    """Whether columns are the better blocks, and the loss can be had from them."""
    form = problem.form
    possible = (
        isinstance(form, NearFar)
        and form.mined is None
        and isinstance(_inner(form.push), _SUMS + _LOGS_OF_SUMS)
    )
    if problem.classes_cut:
        if not possible or problem.classes.longest > 1:
            raise InputError("class weights cut among processes: this loss needs whole rows of similarities")
        return True
    thin = _THIN * len(others) * problem.blocks_held > BLOCK_ELEMENTS
    few_positives = len(anchors) * problem.classes.longest * anchors.shape[1] <= BLOCK_ELEMENTS
    return possible and problem.block is None and thin and few_positives


def by_columns(
    problem: Problem, anchors: Tensor, others: Tensor, tensors: tuple[Tensor, ...], needs: Sequence[bool]
) -> Found:
    """The same as :func:`~mimetric.core.blocks.by_rows`, for problems that it :func:`suits`."""
    columns = _columns(problem, anchors, others)
    opened = columns.opened(tensors)
    with torch.set_grad_enabled(problem.wants_gradient):
        divisors = problem.divisors([counts_of(opened.sides)], len(anchors))
        cost = problem.weighted(opened.sides, divisors)
    if not problem.wants_gradient:
        return Found(cost, None, None, [None] * len(tensors))
    near, total = opened.near, opened.total
    to_near, to_far, *parts = torch.autograd.grad(
        cost, (opened.seen.sim, total, *opened.tensors), materialize_grads=True
    )
    to_near = torch.where(near.valid, to_near, 0)
    to_near = to_near if opened.steepness is None else to_near / opened.steepness
    to_mine, to_others = columns.gradients(near, total.detach(), to_far, to_near, needs)
    to_tensors = [
        _in_place(tensor, columns.runs.at, part) if need else None
        for tensor, part, need in zip(tensors, parts, needs[2:])
    ]
    to_anchors = None if to_mine is None else _in_place(anchors, columns.runs.at, to_mine)
    return Found(cost.detach(), to_anchors, to_others, to_tensors)


def values_by_columns(
    problem: Problem, anchors: Tensor, others: Tensor, tensors: tuple[Tensor, ...]
) -> Tensor:
    """(n,) one number per anchor, without gradients."""
    valued = replace(problem, wants_gradient=False)
    return valued.values(_columns(valued, anchors, others).opened(tensors).sides)


class Opened(NamedTuple):
    """The sides of all anchors, and what their gradient is asked for."""

    near: Near  # the positives among the own references
    steepness: Tensor | None  # 1 / slope of their similarities in the products
    seen: Near  # the positives among all references
    total: Tensor  # (k,) far
    tensors: tuple[Tensor, ...]
    sides: tuple[Side, Side]


@dataclass(frozen=True, eq=False)
class _Columns:
    """Anchors (k, w) beside all references (m, w), some of these at a time."""

    problem: Problem
    anchors: Tensor
    others: Tensor
    runs: ClassRuns

    @property
    def push(self) -> Term:
        return cast(NearFar, self.problem.form).push

    @property
    def logs(self) -> bool:
        return isinstance(_inner(self.push), _LOGS_OF_SUMS)

    @property
    def spread(self) -> float:
        return 2.0 if self.problem.bounded else float("inf")

    def opened(self, tensors: tuple[Tensor, ...]) -> Opened:
        """One pass over all columns."""
        problem, mine = self.problem, self.runs.at
        near, steepness = self._near()
        sums = self._sums(near)
        seen = near
        if problem.classes_cut:
            seen, sums = exchanged(near, sums, self.logs)
        with torch.set_grad_enabled(problem.wants_gradient):
            here = tuple((t if t.ndim == 0 else t[mine]).detach().requires_grad_() for t in tensors)
            seen.sim.requires_grad_()
            total = sums.total.requires_grad_()
            far = total if sums.count is None else Mean(total, sums.count)
            sides = problem.average.of(cast(NearFar, problem.form).sides(seen, far, *here), mine)
        return Opened(near, steepness, seen, total, here, sides)

    def _near(self) -> tuple[Near, Tensor | None]:
        sim = torch.linalg.vecdot(self.anchors[:, None], self.others[self.runs.columns])
        steepness = None if self.problem.map is None else self.problem.map.apply_(sim)
        return Near(sim, self.runs.positive, self.runs.relevance), steepness

    def _sums(self, near: Near) -> Sums:
        """Those over all negatives, from those over parts of them."""
        logs = self.logs
        total = self.anchors.new_full((len(self.anchors),), -torch.inf if logs else 0.0)
        count = None
        for _, sim, _ in self._slices():
            part = self.push.slopes_(sim, near, self.spread)
            total = torch.logaddexp(total, part.total) if logs else total + part.total
            if part.count is not None:
                count = part.count if count is None else count + part.count
        return Sums(total, 1.0, count)

    def gradients(
        self, near: Near, total: Tensor, to_far: Tensor, to_near: Tensor, needs: Sequence[bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Of anchors and references, given those of far and near."""
        to_anchors = torch.zeros_like(self.anchors) if needs[0] else None
        to_others = torch.empty_like(self.others) if needs[1] else None
        for at, sim, steepness in self._slices():
            part = self.push.slopes_(sim, near, self.spread)
            weight = to_far * part.factor
            if self.logs:  # a part's share in the log-sum of all
                none = part.total == -torch.inf
                weight = torch.where(none, 0, weight * (part.total - total).exp())
            sim.mul_(weight[:, None])
            self._fill_(sim, at, 0.0)
            if steepness is not None:
                sim.div_(steepness)
            if to_anchors is not None:
                to_anchors.addmm_(sim, self.others[at])
            if to_others is not None:
                torch.mm(sim.T, self.anchors, out=to_others[at])
        columns = self.runs.columns
        if to_anchors is not None:
            to_anchors += (to_near[:, :, None] * self.others[columns]).sum(1)
        if to_others is not None:
            pulled = to_near[:, :, None] * self.anchors[:, None]
            to_others.index_add_(0, columns.flatten(), pulled.flatten(0, 1))
        return to_anchors, to_others

    def _slices(self) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        """Columns, similarities of all anchors to them in one buffer, 1 / slope; members of a class at -inf."""
        k, m, width = len(self.anchors), len(self.others), self._width()
        buffer = self.anchors.new_empty(k * min(width, m))
        for start in range(0, m, width):
            at = slice(start, min(start + width, m))
            block = buffer[: k * (at.stop - start)].view(k, at.stop - start)
            sim = self.problem.product(self.anchors, self.others[at], block)
            steepness = None if self.problem.map is None else self.problem.map.apply_(sim)
            self._fill_(sim, at, -torch.inf)
            yield at, sim, steepness

    def _width(self) -> int:
        """Columns of a block, whole groups."""
        held = max(1, len(self.anchors)) * self.problem.blocks_held
        return self._group * max(1, _ELEMENTS // (held * self._group))

    @property
    def _group(self) -> int:
        """How many columns belong together: the centers of a class stand side by side."""
        return int(getattr(_inner(self.push), "centers", 1))

    def _fill_(self, sim: Tensor, at: slice, value: float) -> None:
        """Puts -inf or 0 in the place of every member of the anchor's class, itself included."""
        columns = self.runs.columns
        inside = (columns >= at.start) & (columns < at.stop)
        if self.runs.absent is not None:
            inside &= ~self.runs.absent
        place = (columns - at.start).clamp(0, at.stop - at.start - 1)
        # Places outside share a column with others: what is kept there must not overwrite.
        if value:
            kept = torch.where(inside, value, torch.inf).to(sim.dtype)
            sim.scatter_reduce_(1, place, kept, "amin")
        else:
            sim.scatter_reduce_(1, place, (~inside).to(sim.dtype), "prod")


def _columns(problem: Problem, anchors: Tensor, others: Tensor) -> _Columns:
    mine = problem.mine(len(anchors))
    return _Columns(problem, anchors[mine], others, problem.classes.of(mine))


def _in_place(whole: Tensor, mine: slice, part: Tensor) -> Tensor:
    """The gradient of all anchors' numbers, of which some have one."""
    if whole.ndim == 0 or len(part) == len(whole):
        return part
    found = torch.zeros_like(whole)
    found[mine] = part
    return found


def _inner(term: Term) -> Term:
    return _inner(term.term) if isinstance(term, FullPrecision | Counted) else term
