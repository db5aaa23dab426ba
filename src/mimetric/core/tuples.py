"""Hinges over tuples that reach across anchors, counted and never listed: swapped triplets, quadruplets.

The positives of all anchors come first; a pass over the blocks then says for each positive which tuples miss the
margin: how many, and the sum of their similarities.  Backward makes the blocks again with the weights of these sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .blocks import Gradients
from .coupled import Data, Pairs
from .derivatives import by_formula
from .passes import Block, blocks
from .reduce import FINITE


def swapped(data: Data, pairs: Pairs, limits: Tensor) -> tuple[Tensor, Tensor]:
    r"""Triplets whose negative comes near to the anchor or to the positive.

    Args:
        data: with the references as rows.
        pairs: P of an anchor i and a positive p.
        limits: (P,) of each pair; no gradient.

    Returns:
        (P,) the sum of :math:`h_{ipj} = \max(s_{ij}, s_{pj})` over :math:`j \in N_i` with h above the limit, and how
        many such j there are.
    """
    second = pairs.second if data.places is None else data.places[pairs.second]
    given = data, limits, pairs.first, second, data.rows, data.references
    total, count = _swapped_plain(*given) if data.plain else _Swapped.apply(*given)  # type: ignore[no-untyped-call]
    return total, count


def _swapped_plain(
    data: Data, limits: Tensor, first: Tensor, second: Tensor, rows: Tensor, references: Tensor | None
) -> tuple[Tensor, Tensor]:
    sim = data.problem.similarities(rows, rows if references is None else references)
    far = data.problem.classes.of(slice(None)).rows(sim).far
    harder = torch.maximum(far[first], far[second])  # (P, m)
    missed = harder > limits[:, None]
    return torch.where(missed, harder, 0).sum(1), missed.sum(1).to(rows.dtype)


class _Swapped(torch.autograd.Function):
    """apply(data, limits (P,), first rows (P,), second rows (P,), rows, references) -> sums (P,), counts (P,).

    In blocks of references against all rows: there a negative stands beside both rows of every pair.
    """

    @staticmethod
    def forward(
        ctx: Any,
        data: Data,
        limits: Tensor,
        first: Tensor,
        second: Tensor,
        rows: Tensor,
        references: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        over, count, ctx.gradients = _one_pass(
            data, limits, first, second, rows, references, None, ctx.needs_input_grad[4:]
        )
        ctx.data = data
        ctx.save_for_backward(limits, first, second, rows, references)
        ctx.mark_non_differentiable(count)
        return over.addcmul_(limits, count), count

    @staticmethod
    def backward(ctx: Any, to_total: Tensor, _: Tensor) -> Any:
        data: Data = ctx.data
        limits, first, second, rows, references = ctx.saved_tensors
        needs = ctx.needs_input_grad[4:]
        if torch.is_grad_enabled():  # second derivatives are wanted

            def formula(*inputs: Tensor) -> Tensor:
                return _swapped_plain(data, limits, first, second, *inputs)[0]

            return None, None, None, None, *by_formula(formula, (rows, references), needs, to_total)
        gradients, weight = ctx.gradients, to_total[0] if len(to_total) else 0.0
        if bool((to_total != weight).any()):  # no plain mean
            _, _, gradients = _one_pass(data, limits, first, second, rows, references, to_total, needs)
            weight = 1.0
        return None, None, None, None, *(None if g is None else g * (weight / 2) for g in gradients)


def _one_pass(
    data: Data,
    limits: Tensor,
    first: Tensor,
    second: Tensor,
    rows: Tensor,
    references: Tensor | None,
    weights: Tensor | None,
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, tuple[Tensor | None, Tensor | None]]:
    """(P,) what lies above each limit, and how many; twice the gradients of the weighted sums, weights 1 with None."""
    over, count = torch.zeros_like(limits), torch.zeros_like(limits)
    given = (rows, None, needs) if references is None else (references, rows, needs[::-1])
    gradients = Gradients(*given)
    for block in _beside_all_rows(data, rows, references):
        slopes = torch.zeros_like(block.sim.T)
        for part in _parts(block, limits):
            of_first, of_second = (block.sim.T.index_select(0, ends[part]) for ends in (first, second))
            nearer = torch.sub(of_first, of_second).sign_()  # equals share
            missed = _excess_(torch.maximum(of_first, of_second, out=of_first), limits[part])
            over[part] += missed.sum(1)
            count[part] += missed.sign_().sum(1)
            if not any(needs):
                continue
            if weights is not None:
                missed *= weights[part, None]
            torch.mul(missed, nearer, out=of_second)
            slopes.index_add_(0, first[part], torch.add(missed, of_second, out=nearer))
            slopes.index_add_(0, second[part], missed.sub_(of_second))
        if any(needs):
            block.sim.copy_(slopes.T)
            gradients.add_(block.at, block.slopes_())
    found = gradients.to_anchors, gradients.to_others
    return over, count, found if references is None else found[::-1]


def _beside_all_rows(data: Data, rows: Tensor, references: Tensor | None) -> Iterator[Block]:
    """Blocks of references against rows, by columns, with numbers that may be subtracted from each other."""
    across = replace(data.problem, classes=data.across())
    for block in blocks(across, rows if references is None else references, rows, by_columns=True):
        block.sim.clamp_(min=FINITE)
        yield block


def _parts(block: Block, pairs: Tensor) -> list[slice]:
    """Pairs of which at most as many are at hand at once as there are rows."""
    rows = block.sim.shape[1]
    return [slice(start, start + rows) for start in range(0, len(pairs), max(1, rows))]


def _excess_(sim: Tensor, limits: Tensor) -> Tensor:
    return sim.sub_(limits[:, None]).clamp_(min=0)


class Passed(NamedTuple):
    """Of a block of similarities (k, m)."""

    thresholds: Tensor  # how many each passes
    keys: list[
        Tensor
    ]  # up to which key it does in the class of its row, and of its column where that is another story


class Thresholds(NamedTuple):
    """The limits of all positives in two orders: by value, and by value within each class."""

    place: Tensor  # (P,) where in (n, p), flat, by value
    value: Tensor  # (P,) in order
    key: Tensor  # (P,) class * (P + 1) + rank by value, in order
    rank: Tensor  # (P,) the rank of each key
    first: Tensor  # (C + 1,) where each class starts among the keys
    row_class: Tensor  # (n,)
    column_class: Tensor  # (m,)
    symmetric: bool  # what a row passes in its class is in all what a column passes in its own

    @classmethod
    def of(cls, data: Data, limits: Tensor, valid: Tensor) -> Thresholds:
        both = torch.cat((data.row_labels, data.reference_labels))
        names, index = torch.unique(both, return_inverse=True)
        row_class, column_class = index[: len(data.row_labels)], index[len(data.row_labels) :]
        place = valid.flatten().nonzero()[:, 0]
        value, order = limits.flatten()[place].sort()
        place = place[order]
        step = len(place) + 1
        classes = row_class[place // limits.shape[1]]
        key, rank = (classes * step + torch.arange(len(place), device=classes.device)).sort()
        first = torch.searchsorted(key, torch.arange(len(names) + 1, device=key.device) * step)
        return cls(place, value, key, rank, first, row_class, column_class, data.symmetric)

    def passed(self, sim: Tensor, at: slice) -> Passed:
        """What each similarity passes."""
        passed = torch.searchsorted(self.value, sim, out_int32=True)
        by_row = self._up_to(self.row_class[at, None], passed)
        return Passed(
            passed, [by_row] if self.symmetric else [by_row, self._up_to(self.column_class, passed)]
        )

    @property
    def times(self) -> int:
        """How often what passes keys counts."""
        return 2 if self.symmetric else 1

    def _up_to(self, of_class: Tensor, passed: Tensor) -> Tensor:
        return torch.searchsorted(self.key, of_class * (len(self.value) + 1) + passed, out_int32=True)

    def starts(self, at: slice) -> tuple[Tensor, Tensor]:
        """The first keys of the classes of rows (k, 1) and of columns (m,)."""
        return self.first[self.row_class[at, None]], self.first[self.column_class]

    def spread(self, by_value: Tensor, by_key: Tensor, shape: torch.Size) -> Tensor:
        """Per threshold, what those above it add up to less what their own class adds: (n, p)."""
        above = _from_the_end(by_value)[1:]
        within = _from_the_end(by_key)
        classes = torch.searchsorted(
            self.first, torch.arange(len(self.key), device=self.key.device), right=True
        )
        of_class = within[:-1] - within[self.first[classes.clamp(max=len(self.first) - 1)]]
        found = above.index_add(0, self.rank, -of_class)
        return by_value.new_zeros(shape).flatten().index_add(0, self.place, found).reshape(shape)


def _passed(
    data: Data, thresholds: Thresholds, rows: Tensor, references: Tensor | None
) -> Iterator[tuple[Block, Passed]]:
    for block in blocks(data.problem, rows, rows if references is None else references):
        yield block, thresholds.passed(block.sim, block.at)


def _from_the_end(x: Tensor) -> Tensor:
    return x.flip(0).cumsum(0).flip(0)


def quadruplets(data: Data, limits: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    r"""Negative pairs that come nearer than a positive pair of a third class.

    Args:
        data: of any coupled loss by class ids.
        limits: (n, p) of each positive pair; no gradient.
        valid: (n, p) which are there.

    Returns:
        For each positive pair the sum of :math:`s_{lk}` above its limit over all negative pairs of which neither row is
        of its class, and how many there are: (n, p) each.
    """
    if not data.plain:
        thresholds = Thresholds.of(data, limits, valid)
        total, count = _Quadruplets.apply(  # type: ignore[no-untyped-call]
            data, thresholds, limits, valid, data.rows, data.references
        )
        return total, count
    return _quadruplets_plain(data, limits, valid, data.rows, data.references)


def _quadruplets_plain(
    data: Data, limits: Tensor, valid: Tensor, rows: Tensor, references: Tensor | None
) -> tuple[Tensor, Tensor]:
    sim = data.problem.similarities(rows, rows if references is None else references)
    far = data.problem.classes.of(slice(None)).rows(sim).far
    third = (data.row_labels[:, None] != data.row_labels)[:, None, :, None]
    third = third & (data.row_labels[:, None] != data.reference_labels)[:, None, None, :]
    missed = valid[:, :, None, None] & third & (far > limits[:, :, None, None])  # (n, p, n, m)
    return torch.where(missed, far, 0).sum((2, 3)), missed.sum((2, 3)).to(rows.dtype)


class _Quadruplets(torch.autograd.Function):
    """apply(data, thresholds, limits, valid, rows, references) -> sums (n, p), counts (n, p)."""

    @staticmethod
    def forward(
        ctx: Any,
        data: Data,
        thresholds: Thresholds,
        limits: Tensor,
        valid: Tensor,
        rows: Tensor,
        references: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        many = len(thresholds.value) + 1
        # Sums and counts of what passes exactly so many thresholds, and up to exactly such a key of its class.
        sums = torch.zeros(2, 2, many, dtype=torch.float64, device=rows.device)
        ctx.data, ctx.thresholds, ctx.only = data, thresholds, None
        for block, passed in _passed(data, thresholds, rows, references):
            what = block.sim.masked_fill_(block.sim == -torch.inf, 0).flatten().double()
            one = what.new_ones(()).expand_as(what)
            for into, x in zip(sums[0], (what, one)):
                into.index_add_(0, passed.thresholds.flatten(), x)
            for up_to, start in zip(passed.keys, thresholds.starts(block.at)):
                key = (up_to - 1).masked_fill_(up_to <= start, many - 1).flatten()  # the last is of no class
                for into, x in zip(sums[1], (what, one)):
                    into.index_add_(0, key, x, alpha=thresholds.times)
            if len(block.sim) == len(rows) and any(ctx.needs_input_grad):
                ctx.only = [(block, passed)]
        total, count = (thresholds.spread(sums[0, k], sums[1, k], limits.shape) for k in (0, 1))
        ctx.save_for_backward(limits, valid, rows, references)
        count = count.to(rows.dtype)
        ctx.mark_non_differentiable(count)
        return total.to(rows.dtype), count

    @staticmethod
    def backward(ctx: Any, to_total: Tensor, _: Tensor) -> Any:
        data: Data = ctx.data
        thresholds: Thresholds = ctx.thresholds
        limits, valid, rows, references = ctx.saved_tensors
        needs = ctx.needs_input_grad[4:]
        if torch.is_grad_enabled():  # second derivatives are wanted

            def formula(*inputs: Tensor) -> Tensor:
                return _quadruplets_plain(data, limits, valid, *inputs)[0]

            return None, None, None, None, *by_formula(formula, (rows, references), needs, to_total)
        weights = to_total.flatten()[thresholds.place]
        of_passed = F.pad(weights.cumsum(0), (1, 0))
        of_keys = F.pad(weights[thresholds.rank].cumsum(0), (1, 0))
        gradients = Gradients(rows, references, needs)
        only, ctx.only = ctx.only, None  # its slopes can be made once
        for block, passed in only or _passed(data, thresholds, rows, references):
            torch.index_select(of_passed, 0, passed.thresholds.flatten(), out=block.sim.view(-1))
            for up_to, start in zip(passed.keys, thresholds.starts(block.at)):
                block.sim.sub_(of_keys[up_to].sub_(of_keys[start]), alpha=thresholds.times)
            gradients.add_(block.at, block.slopes_())
        return None, None, None, None, gradients.to_anchors, gradients.to_others
