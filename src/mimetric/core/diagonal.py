r"""Rows beside their partners, row i of one set and row i of another: softmax whose positives stand on the diagonal.

There are no classes to look up.  One exponential of a product serves its row and, both ways, its column; a block of
them times one over the sums is a block of slopes.  One way takes the three products that any pair loss takes.  Both
ways take them once for both; blocks beyond :data:`~mimetric.core.blocks.BLOCK_ELEMENTS` are made again, for one more.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from .blocks import BLOCK_ELEMENTS
from .derivatives import by_formula
from .processes import share_of
from .similarity import inverse_lengths, normalized
from .terms import BITS, SAFE_EXPONENT

_ROWS = 384  # of a block (measured)
_THIN = 48  # below so many, the gradient of all references is passed too often


def suits(anchors: Tensor, references: Tensor, scale: float) -> bool:
    """Whether :func:`partner_cross_entropy` can be had; where not, the pair engine has it."""
    return (
        scale <= SAFE_EXPONENT  # no maximum of rows to subtract
        and _THIN * len(references) <= BLOCK_ELEMENTS
        and share_of(len(anchors)) is None
        and not torch.is_autocast_enabled(anchors.device.type)
    )


def partner_cross_entropy(
    anchors: Tensor, references: Tensor, scale: float | Tensor, *, both: bool = False
) -> Tensor:
    r"""Mean cross-entropy of each row for its partner, among all references; both ways the mean of both.

    .. math:: \frac1n \sum_i \log\Bigl(1 + e^{-z_{ii}} \sum_{j \ne i} e^{z_{ij}}\Bigr), \qquad z = \sigma \cos(x_i, y_j)

    Args:
        anchors: (n, d) of any norm.
        references: (m, d) of the same type, m >= n: partners first, and who is nobody's.  Both ways, partners look for
            their anchors.
        scale: σ > 0 for which :func:`suits` has said yes; a tensor () gets a gradient, and is read, for which an
            accelerator waits.

    >>> partner_cross_entropy(torch.eye(2), torch.eye(2), 1.0)  # log(1 + 1 / e)
    tensor(0.3133)
    """
    return cast(Tensor, _CrossEntropy.apply(anchors, references, scale, both))  # type: ignore[no-untyped-call]


def plain(anchors: Tensor, references: Tensor, scale: float | Tensor, both: bool) -> Tensor:
    """The formula by autograd on the whole matrix."""
    n = len(anchors)
    logits, own = scale * (normalized(anchors) @ normalized(references).T), torch.arange(n).to(anchors.device)
    total = F.cross_entropy(logits, own, reduction="sum")
    if both:
        total = (total + F.cross_entropy(logits[:, :n].T, own, reduction="sum")) / 2
    return total / max(1, n)


class _CrossEntropy(torch.autograd.Function):
    """apply(anchors (n, d), references (m, d), scale, both) -> scalar; the gradient is found on the way forward."""

    @staticmethod
    def forward(ctx: Any, anchors: Tensor, references: Tensor, scale: float | Tensor, both: bool) -> Tensor:
        of_anchors, of_references, of_scale, _ = ctx.needs_input_grad
        inverse = [inverse_lengths(rows) for rows in (anchors, references)]
        units = anchors * inverse[0], references * inverse[1]
        found = _Found(
            torch.empty_like(anchors) if of_anchors or of_scale else None,
            torch.zeros_like(references) if of_references else None,
        )
        ctx.scale, ctx.both, ctx.share = float(scale), both, 1 / (max(1, len(anchors)) * (1 + both))
        total: Tensor = (_both_ways if both else _one_way)(_Masses(*units, ctx.scale * BITS), found)
        to_scale = None if not of_scale else torch.linalg.vecdot(found.anchors, units[0]).sum()
        for unit, gradient in zip(units, found):
            if gradient is not None:  # less what would only make rows longer
                along = torch.linalg.vecdot(gradient, unit)[:, None]
                gradient.addcmul_(unit, along, value=-1)
        given = scale if isinstance(scale, Tensor) else None
        ctx.save_for_backward(anchors, references, given, to_scale, *inverse, *found)
        total *= ctx.share  # last, so that small weights stay normal numbers
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        anchors, references, given, to_scale, *rest = ctx.saved_tensors
        if torch.is_grad_enabled():  # second derivatives are wanted
            inputs = anchors, references, ctx.scale if given is None else given
            return *by_formula(partial(plain, both=ctx.both), inputs, ctx.needs_input_grad, grad), None
        share = grad * ctx.share
        to_rows = (
            gradient * (inverse * (share * ctx.scale)) if need and gradient is not None else None
            for need, inverse, gradient in zip(ctx.needs_input_grad, rest[:2], rest[2:])
        )
        return *to_rows, None if to_scale is None else to_scale * share, None


class _Found(NamedTuple):
    """Sums of slopes times rows, made where they are wanted."""

    anchors: Tensor | None
    references: Tensor | None


class _Masses(NamedTuple):
    """Exponentials of all products (n, m), some rows at a time."""

    anchors: Tensor
    references: Tensor
    power: float  # of 2

    def blocks(self, held: int) -> list[slice]:
        """Of rows, where so many arrays of the size of a block are alive at once."""
        n, m = len(self.anchors), max(1, len(self.references))
        rows = min(_ROWS, max(_THIN, BLOCK_ELEMENTS // (m * held)))
        return [slice(start, min(start + rows, n)) for start in range(0, n, rows)]

    def room(self, rows: int) -> Tensor:
        return self.anchors.new_empty(rows, len(self.references))

    def of(self, block: slice, into: Tensor) -> Tensor:
        """(k, m) for some anchors, in an array of that shape."""
        rows = self.anchors[block]
        return torch.addmm(into, rows, self.references.T, beta=0, alpha=self.power, out=into).exp2_()


def _one_way(masses: _Masses, found: _Found) -> Tensor:
    """The sum over anchors."""
    anchors, references = masses.anchors, masses.references
    total, blocks = anchors.new_zeros(()), masses.blocks(held=1)
    room = masses.room(_height(blocks))
    for block in blocks:
        mass = masses.of(block, room[: block.stop - block.start])
        own = _taken_out_(mass, block)
        far = mass.sum(1)
        total += _cost(own, far).sum()
        weight = (own + far).reciprocal_()[:, None]
        mass.diagonal(block.start).copy_(-far)  # times the weight the slope of the partner
        if found.anchors is not None:
            torch.mm(mass, references, out=found.anchors[block]).mul_(weight)
        if found.references is not None:
            found.references.addmm_(mass.T, anchors[block] * weight)
    return total


def _both_ways(masses: _Masses, found: _Found) -> Tensor:
    """The sum over anchors and over their partners."""
    anchors, references = masses.anchors, masses.references
    n, m = len(anchors), len(references)
    own, across, down = anchors.new_empty(n), anchors.new_empty(n), anchors.new_zeros(n)
    wanted, blocks = any(each is not None for each in found), masses.blocks(held=2)
    kept, height = wanted and n * m <= BLOCK_ELEMENTS, _height(blocks)
    # One array: of several the system takes back the last ones after each call, and zeroes them in the next.
    spare, room = masses.room(height + (n if kept else height)).tensor_split((height,))
    places = [block if kept else slice(0, block.stop - block.start) for block in blocks]
    for block, place in zip(blocks, places):
        mass = masses.of(block, room[place])
        own[block] = _taken_out_(mass, block)
        torch.sum(mass, 1, out=across[block])
        down += mass[:, :n].sum(0)
    total = (_cost(own, across) + _cost(own, down)).sum()
    if not wanted:
        return total
    of_rows, of_columns = (across + own).reciprocal_(), (down + own).reciprocal_()
    pull = across.mul_(of_rows).addcmul_(down, of_columns).neg_()
    of_columns = F.pad(of_columns, (0, m - n))  # who is nobody's looks for nobody
    for block, place in zip(blocks, places):
        slopes = room[place] if kept else masses.of(block, room[place])
        slopes *= torch.add(of_rows[block, None], of_columns, out=spare[: len(slopes)])
        slopes.diagonal(block.start).copy_(pull[block])
        if found.anchors is not None:
            torch.mm(slopes, references, out=found.anchors[block])
        if found.references is not None:
            found.references.addmm_(slopes.T, anchors[block])
    return total


def _height(blocks: list[slice]) -> int:
    return blocks[0].stop if blocks else 0


def _taken_out_(mass: Tensor, block: slice) -> Tensor:
    """(k,) those of the partners of a block of rows, which leave it."""
    diagonal = mass.diagonal(block.start)
    own = diagonal.clone()
    diagonal.zero_()
    return own


def _cost(own: Tensor, far: Tensor) -> Tensor:
    """log(1 + far / own), of any two numbers."""
    return F.softplus(far.log() - own.log(), threshold=50)
