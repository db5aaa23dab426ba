"""Hinges over tuples that reach across anchors, counted and never listed: swapped triplets, quadruplets.

The positives of all anchors come first; a pass over the blocks then says for each positive which tuples miss the
margin: how many, and the sum of their similarities.  Backward makes the blocks again with the weights of these sums.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .blocks import Gradients
from .coupled import Data
from .passes import again, blocks
from .reduce import FINITE


def swapped(data: Data, limits: Tensor) -> tuple[Tensor, Tensor]:
    r"""Triplets whose negative comes near to the anchor or to the positive.

    Args:
        data: with the references as rows.
        limits: (n, p) of each positive; no gradient; inf where there is none.

    Returns:
        (n,) the sum of :math:`h_{ipj} = \max(s_{ij}, s_{pj})` over p and :math:`j \in N_i` with h above the limit of p,
        and (n, p) how many such j there are.
    """
    partners = data.rows_of_positives()
    if not data.plain:
        total, count = _Swapped.apply(data, limits, partners, data.rows, data.references)  # type: ignore[no-untyped-call]
        return total, count
    return _swapped_plain(data, limits, partners, data.rows, data.references)


def _swapped_plain(
    data: Data, limits: Tensor, partners: Tensor, rows: Tensor, references: Tensor | None
) -> tuple[Tensor, Tensor]:
    sim = data.problem.similarities(rows, rows if references is None else references)
    far = data.problem.classes.of(slice(None)).rows(sim).far
    harder = torch.maximum(far[: data.anchors, None], far[partners])  # (n, p, m)
    missed = harder > limits[:, :, None]
    return torch.where(missed, harder, 0).sum((1, 2)), missed.sum(2).to(rows.dtype)


class _Swapped(torch.autograd.Function):
    """apply(data, limits (n, p), partners (n, p), rows, references) -> sums (n,), counts (n, p).

    In blocks of references against all rows: there a negative stands beside an anchor and all its positives.
    """

    @staticmethod
    def forward(
        ctx: Any, data: Data, limits: Tensor, partners: Tensor, rows: Tensor, references: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        total, count = rows.new_zeros(data.anchors), torch.zeros_like(limits)
        across = replace(data.problem, classes=data.across())
        for block in blocks(across, rows if references is None else references, rows):
            of_anchor = block.sim[:, : data.anchors]
            for p, (limit, partner) in enumerate(zip(limits.unbind(1), partners.unbind(1))):
                harder = torch.maximum(of_anchor, block.sim[:, partner])
                missed = harder > limit
                count[:, p] += missed.sum(0)
                total += harder.clamp_(min=FINITE).mul_(missed).sum(0)
        ctx.data = data
        ctx.save_for_backward(limits, partners, rows, references)
        ctx.mark_non_differentiable(count)
        return total, count

    @staticmethod
    def backward(ctx: Any, to_total: Tensor, _: Tensor) -> Any:
        data: Data = ctx.data
        limits, partners, rows, references = ctx.saved_tensors
        needs = ctx.needs_input_grad[3:]
        if torch.is_grad_enabled():  # second derivatives are wanted
            total, _ = _swapped_plain(data, limits, partners, rows, references)
            return None, None, None, *again((total,), (to_total,), (rows, references), needs)
        own = references is None
        gradients = Gradients(rows, None, needs) if own else Gradients(references, rows, needs[::-1])
        for block in blocks(replace(data.problem, classes=data.across()), rows if own else references, rows):
            of_anchor = block.sim[:, : data.anchors]
            slopes = torch.zeros_like(block.sim)
            for limit, partner in zip(limits.unbind(1), partners.unbind(1)):
                of_positive = block.sim[:, partner]
                # Of equals the pair (p, i) pushes the other.
                first = ((of_anchor >= of_positive) & (of_anchor > limit)).to(to_total.dtype)
                second = ((of_anchor < of_positive) & (of_positive > limit)).to(to_total.dtype)
                slopes[:, : data.anchors].add_(first.mul_(to_total))
                slopes.index_add_(1, partner, second.mul_(to_total))
            block.sim.copy_(slopes)
            gradients.add_(block.at, block.slopes_())
        if own:
            return None, None, None, gradients.to_anchors, None
        return None, None, None, gradients.to_others, gradients.to_anchors


class Thresholds(NamedTuple):
    """The limits of all positives in two orders: by value, and by value within each class."""

    place: Tensor  # (P,) where in (n, p), flat, by value
    value: Tensor  # (P,) in order
    key: Tensor  # (P,) class * (P + 1) + rank by value, in order
    rank: Tensor  # (P,) the rank of each key
    first: Tensor  # (C + 1,) where each class starts among the keys
    row_class: Tensor  # (n,)
    column_class: Tensor  # (m,)

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
        return cls(place, value, key, rank, first, row_class, column_class)

    def passed(self, sim: Tensor, at: slice) -> tuple[Tensor, Tensor, Tensor]:
        """(k, m) how many thresholds each similarity passes, and up to which key it does in the class of either row."""
        passed = torch.searchsorted(self.value, sim)
        step = len(self.value) + 1
        by_row = torch.searchsorted(self.key, self.row_class[at, None] * step + passed)
        return passed, by_row, torch.searchsorted(self.key, self.column_class * step + passed)

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
        for block in blocks(data.problem, rows, data.others):
            what = torch.stack((block.sim.clamp(min=FINITE), torch.ones_like(block.sim))).double().flatten(1)
            what[:, block.sim.flatten() == -torch.inf] = 0
            passed, by_row, by_column = thresholds.passed(block.sim, block.at)
            sums[0].index_add_(1, passed.flatten(), what)
            for up_to, start in zip((by_row, by_column), thresholds.starts(block.at)):
                within = (up_to > start).flatten()
                sums[1].index_add_(1, (up_to.flatten() - 1).clamp(min=0), what * within)
        total, count = (thresholds.spread(sums[0, k], sums[1, k], limits.shape) for k in (0, 1))
        ctx.data, ctx.thresholds = data, thresholds
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
            total, _ = _quadruplets_plain(data, limits, valid, rows, references)
            return None, None, None, None, *again((total,), (to_total,), (rows, references), needs)
        weights = to_total.flatten()[thresholds.place]
        of_passed = F.pad(weights.cumsum(0), (1, 0))
        of_keys = F.pad(weights[thresholds.rank].cumsum(0), (1, 0))
        gradients = Gradients(rows, references, needs)
        for block in blocks(data.problem, rows, rows if references is None else references):
            passed, by_row, by_column = thresholds.passed(block.sim, block.at)
            first_row, first_column = thresholds.starts(block.at)
            slopes = of_passed[passed]
            slopes -= of_keys[by_row] - of_keys[first_row]
            slopes -= of_keys[by_column] - of_keys[first_column]
            block.sim.copy_(slopes)
            gradients.add_(block.at, block.slopes_())
        return None, None, None, None, gradients.to_anchors, gradients.to_others
