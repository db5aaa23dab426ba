r"""Losses to which an anchor's negatives matter by the largest similarity alone, such as batch-hard triplets.

One negative of a row has a slope, and some positives have: a list of pairs, where other losses have blocks of slopes
and two more products.  A map of products is monotone, so the largest is found before it, and few numbers are mapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from .blocks import BLOCK_ELEMENTS, Found, Problem, by_rows, counts_of
from .classes import Classes, ClassRuns
from .forms import NearFar
from .reduce import Near
from .similarity import Map
from .terms import FullPrecision, Hardest, Term
from .triplets import HardestBelow

_FEWEST = 1 << 17  # pairs from which it pays (measured)
_MOST = 32  # members of a class: beyond, products of blocks cost less than lists of pairs
_MOST_TIES = 4  # equally hard negatives of a row, on average
_AT_ONCE = 512  # pairs
# A row is looked through in so many groups of columns at most, of a multiple of so many (fewer are slow: measured).
_GROUPS, _LANES = 16, 32


def suits(problem: Problem, anchors: Tensor, others: Tensor | None) -> bool:
    """Whether the loss can be had from an anchor's positives and its hardest negative, and that pays."""
    form, classes = problem.form, problem.classes
    # A root makes numbers equal that were not: which negatives are below the positive is to be asked after it.
    push = Hardest | HardestBelow if problem.map is None else Hardest
    return bool(
        isinstance(form, NearFar)
        and form.mined is None
        and isinstance(_inner(form.push), push)
        and isinstance(classes, Classes)
        and classes.longest <= _MOST
        and (problem.product_type, problem.block, problem.share) == (None, None, None)
        and anchors.device.type == "cpu"  # an accelerator would wait for the lists
        and len(anchors) * len(anchors if others is None else others) >= _FEWEST
    )


def by_hardest(
    problem: Problem,
    anchors: Tensor,
    others: Tensor | None,
    tensors: tuple[Tensor, ...],
    needs: Sequence[bool],
) -> Found:
    """The same as :func:`~mimetric.core.blocks.by_rows`, for problems that it :func:`suits`."""
    form, whole = cast(NearFar, problem.form), slice(0, len(anchors))
    references = anchors if others is None else others
    runs = problem.classes.of(whole)
    found = _searched(problem, anchors, references, runs)
    # Each row has one hardest negative; or some have none, or several, or one that is not finite.
    alone = found is not None and torch.equal(found[1].row, torch.arange(len(anchors)))
    if found is None or not (alone or bool((found[0][:, -1] < torch.inf).all())):
        return by_rows(problem, anchors, others, tensors, needs)
    numbers, pairs = found
    steepness = None if problem.map is None else problem.map.apply_(numbers)
    near, far = Near(numbers[:, :-1], runs.positive), numbers[:, -1]
    if not alone:
        pairs = _equal(pairs, far, problem.map)
    with torch.set_grad_enabled(problem.wants_gradient):
        here = tuple(t.detach().requires_grad_() for t in tensors)
        leaves = near.sim.requires_grad_(), far.requires_grad_(), *here
        sides = problem.average.of(form.sides(near, far, *here), whole)
        cost = problem.weighted(sides, problem.divisors([counts_of(sides)], len(anchors)))
    if not problem.wants_gradient:
        return Found(cost, None, None, [None] * len(tensors))
    to_near, to_far, *parts = torch.autograd.grad(cost, leaves, materialize_grads=True)
    to_near = torch.where(runs.positive, to_near, 0)
    if steepness is not None:
        to_near, to_far = to_near / steepness[:, :-1], to_far / steepness[:, -1]
    if not alone:
        to_far = (to_far / torch.bincount(pairs.row, minlength=len(far)))[pairs.row]
    row, place = to_near.nonzero().unbind(1)
    slopes = Pairs(
        torch.cat((row, pairs.row)),
        torch.cat((runs.columns[row, place], pairs.column)),
        torch.cat((to_near[row, place], to_far)),
    )
    to_anchors, to_others = slopes.spread(anchors, others, needs, mirrored=problem.mirrored)
    return Found(
        cost.detach(), to_anchors, to_others, [p if need else None for p, need in zip(parts, needs[2:])]
    )


class Pairs(NamedTuple):
    """Some pairs of a row and a column, and a number of each."""

    row: Tensor
    column: Tensor
    number: Tensor

    def spread(
        self, anchors: Tensor, others: Tensor | None, needs: Sequence[bool], *, mirrored: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of both sides of the products, given those of the products, which the numbers are."""
        references = anchors if others is None else others
        to_anchors = torch.zeros_like(anchors) if needs[0] else None
        if mirrored or others is None:  # both sides are the anchors'
            to_others, into, rows = None, to_anchors, references
        else:
            into = to_others = torch.zeros_like(references) if needs[1] else None
            rows = anchors
        moved = anchors.new_empty(min(_AT_ONCE, len(self.row)), anchors.shape[1])
        for row, column, slope in zip(*(torch.split(each, _AT_ONCE) for each in self)):
            sides = (to_anchors, references, row, column), (into, rows, column, row)
            for gradient, given, here, there in sides:
                if gradient is not None:
                    part = torch.index_select(given, 0, there, out=moved[: len(row)])
                    gradient.index_add_(0, here, part.mul_(slope[:, None]))
        return to_anchors, to_others


def _searched(
    problem: Problem, anchors: Tensor, references: Tensor, runs: ClassRuns
) -> tuple[Tensor, Pairs] | None:
    """(n, p + 1) products of class members and the largest of negatives, and the pairs that have it, or nearly.

    None where there are too many of them, as in a batch of equal rows.
    """
    n, m = len(anchors), len(references)
    rows, width = max(1, BLOCK_ELEMENTS // m), _LANES * -(-m // (_LANES * _GROUPS))
    padded = anchors.new_full((min(rows, n), -(-m // width) * width), -torch.inf)
    numbers = anchors.new_empty(n, runs.columns.shape[1] + 1)
    found = []
    for start in range(0, n, rows):
        at = slice(start, min(start + rows, n))
        sim = problem.product(anchors[at], references, padded[:, :m])
        here = _part(runs, at)
        near = here.near(sim)
        here.fill_(sim, -torch.inf)
        if isinstance(_inner(cast(NearFar, problem.form).push), HardestBelow):
            nearest = near.sim.masked_fill(~near.valid, -torch.inf).amax(1, keepdim=True)
            sim.masked_fill_(sim >= nearest, -torch.inf)
        numbers[at, :-1] = near.sim
        pairs = _largest(padded[: len(sim)].view(len(sim), -1, width), numbers[at, -1], problem.map is None)
        if pairs is None:
            return None
        found.append(pairs._replace(row=pairs.row + start))
    return numbers, Pairs(*(torch.cat(parts) for parts in zip(*found)))


def _part(runs: ClassRuns, at: slice) -> ClassRuns:
    columns, positive, absent = (None if each is None else each[at] for each in runs[1:4])
    return ClassRuns(at, cast(Tensor, columns), cast(Tensor, positive), absent)


def _largest(groups: Tensor, top: Tensor, exact: bool) -> Pairs | None:
    """Where the largest number of each row (k, g, w) stands, or one a little less; nowhere if it is -inf."""
    tops = groups.amax(1)
    torch.amax(tops, 1, out=top)
    if exact:
        floor = top.nextafter(top.new_tensor(-torch.inf))
    else:
        floor = torch.sub(top, top.abs(), alpha=64 * torch.finfo(top.dtype).eps)
    row, place = (tops > floor[:, None]).nonzero().unbind(1)
    if len(row) > _MOST_TIES * len(top):
        return None
    numbers = groups[row, :, place]
    hit, group = (numbers > floor[row, None]).nonzero().unbind(1)
    return Pairs(row[hit], group * groups.shape[2] + place[hit], numbers[hit, group])


def _equal(pairs: Pairs, far: Tensor, map_: Map | None) -> Pairs:
    """Those that are as hard as the hardest of their row: roots of unequal numbers may be equal."""
    if map_ is None:
        return pairs
    map_.apply_(pairs.number)
    these = pairs.number == far[pairs.row]
    return Pairs(*(each[these] for each in pairs))


def _inner(term: Term) -> Term:
    return term.term if isinstance(term, FullPrecision) else term
