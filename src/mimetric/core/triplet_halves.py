"""All triplets of a batch beside itself: a similarity is made once, and held against the positives of both of its rows.

What a triplet weighs is known at once, but for the count that divides all of them.  So value and gradient take one pass
over the upper triangle, in tiles, with one and a half products where blocks of rows take three.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor

from .average import Average
from .blocks import Found, Problem, counts_of
from .classes import Classes, InOrder
from .forms import NearFar
from .reduce import FINITE, Mean, Near
from .triplets import TripletHinge, over_triplets, pass_each

_FEWEST = 1536  # rows from which it pays, on two threads (measured)
_MOST = 16  # members of a class: each takes a pass over tiles, and one over the rows
_HEIGHT, _WIDTH = 256, 1024  # of a tile (measured); no class is higher


def suits(problem: Problem, anchors: Tensor) -> bool:
    """Whether the loss is over all triplets of a batch that is its own reference, and halves are its better blocks."""
    form = problem.form
    return bool(
        isinstance(form, NearFar)
        and form.mined is None
        and isinstance(form.push, TripletHinge)
        and not form.push.semi_hard  # copies must tie to the last bit, which products of several shapes do not promise
        and form.sides is over_triplets
        and problem.average == Average()
        and isinstance(problem.classes, Classes)
        and problem.classes.longest <= _MOST
        and (problem.map, problem.product_type, problem.block, problem.share) == (None, None, None, None)
        and anchors.device.type == "cpu"  # an accelerator would wait for many small kernels
        and len(anchors) >= _FEWEST
    )


def by_triplet_halves(problem: Problem, anchors: Tensor, needs: Sequence[bool]) -> Found:
    """The same as :func:`~mimetric.core.blocks.by_rows`, for problems that it :func:`suits`."""
    form, classes = cast(NearFar, problem.form), cast(Classes, problem.classes).in_order()
    push = cast(TripletHinge, form.push)
    rows = anchors.index_select(0, classes.order)
    sim = torch.stack([torch.linalg.vecdot(rows, rows.index_select(0, j)) for j in classes.columns.T], dim=1)
    near = Near(sim, classes.positive)
    limits, order = push.limits(near)
    total, count, found = _passed(rows, classes, limits, wants_gradient=needs[0])
    count = torch.zeros_like(sim).scatter_(1, order, count)
    total += push.margin * near.sum(count)
    with torch.set_grad_enabled(problem.wants_gradient):
        leaves = sim.requires_grad_(), total.requires_grad_()
        sides = form.sides(near, Mean(total, count))
        cost = problem.weighted(sides, problem.divisors([counts_of(sides)], len(anchors)))
    if not needs[0]:
        return Found(cost.detach(), None, None, [])
    to_near, to_total = torch.autograd.grad(cost, leaves, materialize_grads=True)
    found *= to_total[0]  # the same of all
    place = torch.arange(len(rows)) - classes.first
    to_both = torch.where(classes.positive, to_near + to_near[classes.columns, place[:, None]], 0)
    for to_each, j in zip(to_both.T, classes.columns.T):
        found.addcmul_(rows.index_select(0, j), to_each[:, None])
    return Found(cost.detach(), found.index_select(0, classes.order.argsort()), None, [])


def _passed(
    rows: Tensor, classes: InOrder, limits: list[Tensor], *, wants_gradient: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums (n,) of what passes a limit, in either row; how many pass each limit (n, p); slopes times rows (n, w)."""
    total, count, found = rows.new_zeros(len(rows)), torch.zeros_like(limits[0]), torch.zeros_like(rows)
    for here, there in _tiles(classes):
        sim = rows[here] @ rows[there].T
        if here == there:
            sim.scatter_(1, classes.columns[here] - here.start, -torch.inf)
        passed, counted = pass_each(sim, [limit[here] for limit in limits], None)
        count[here] += counted
        if here != there:
            of_others, counted = pass_each(sim.T, [limit[there] for limit in limits], None)
            count[there] += counted
            passed += of_others.T
        total[here] += torch.linalg.vecdot(passed, sim.clamp_(min=FINITE))
        if wants_gradient:
            found[here].addmm_(passed, rows[there])
            found[there].addmm_(passed.T, rows[here])
    return total, count, found


def _tiles(classes: InOrder) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the upper triangle: strips of whole classes, the first tile of each on the diagonal."""
    first, n, top = classes.first.tolist(), len(classes.first), 0
    while top < n:
        bottom = first[top + _HEIGHT] if top + _HEIGHT < n else n
        here = slice(top, bottom)
        yield here, here
        for left in range(bottom, n, _WIDTH):
            yield here, slice(left, min(left + _WIDTH, n))
        top = bottom
