"""Similarities as one dot product: lift both sides, multiply, then at most one monotone map.

A lift is differentiable torch code outside the pair engine; the product and the map are inside.
Nearer is always larger.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor

Similarity = Literal["cosine", "dot", "negative_squared_euclidean", "negative_euclidean"]
SIMILARITIES: tuple[Similarity, ...] = (
    "cosine", "dot", "negative_squared_euclidean", "negative_euclidean",
)  # fmt: skip


class Lifted(NamedTuple):
    """Both sides of a similarity: sim = anchors @ references.T, then -sqrt(-sim) where `root`."""

    anchors: Tensor
    references: (
        Tensor  # the very same tensor as `anchors` where a set is compared with itself by cosine or dot
    )
    bounded: bool  # |sim| <= 1
    root: bool


def lift(similarity: Similarity, anchors: Tensor, references: Tensor | None = None) -> Lifted:
    r"""What to multiply so that the product is the similarity of anchors (n, d) and references (m, d).

    - cosine: :math:`x^T y / (|x| |y|)`, 0 for a zero row (with a zero gradient);
    - dot: :math:`x^T y`;
    - negative_squared_euclidean: :math:`-|x - y|^2`, as (d + 2)-wide rows.  Both sides are first
      moved by the mean reference, which changes no distance and loses fewer digits; still, by a product
      in float32, the distance of two unit rows that are 1e-3 apart is off by 9% (median; half at worst);
    - negative_euclidean: its root, slope 0 at distance 0.

    ``references=None`` compares the anchors with themselves.
    """
    others = anchors if references is None else references
    if similarity == "dot":
        return Lifted(anchors, others, bounded=False, root=False)
    if similarity == "cosine":
        unit = normalized(anchors)
        return Lifted(unit, unit if references is None else normalized(others), True, False)
    middle = others.detach().mean(0) if len(others) else 0.0
    left = _Widened.apply(anchors, middle, -2, -1)  # type: ignore[no-untyped-call]
    right = _Widened.apply(others, middle, -1, -2)  # type: ignore[no-untyped-call]
    return Lifted(left, right, bounded=False, root=similarity == "negative_euclidean")


def full_precision(x: Any) -> Any:
    """Half precision is computed in float32; the gradient comes back in half.  None stays None."""
    return x.float() if x is not None and x.dtype in (torch.float16, torch.bfloat16) else x


def normalized(x: Tensor) -> Tensor:
    """Rows (n, d) over their lengths; a zero row stays zero and has a zero gradient.

    >>> normalized(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    return cast(Tensor, _Normalized.apply(x))  # type: ignore[no-untyped-call]


class _Normalized(torch.autograd.Function):
    """Saves the unit rows alone; plain autograd on x / x.norm() keeps three such arrays."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        inverse = torch.where(length == 0, 0, 1 / length)
        unit = x * inverse
        ctx.save_for_backward(x, unit, inverse)
        return unit

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, unit, inverse = ctx.saved_tensors
        if torch.is_grad_enabled():  # second derivatives: everything as a function of x
            length = (x.square().sum(1, keepdim=True) + (inverse == 0)).sqrt()
            unit, inverse = x / length, (inverse != 0) / length
        along = torch.linalg.vecdot(grad, unit)[:, None]
        return torch.addcmul(grad, unit, along, value=-1).mul(inverse)


class _Widened(torch.autograd.Function):
    """Rows [sqrt(2) u, -|u|^2 and 1 in some order] of u = x - middle: their products are -|x - y|^2.

    One array of the size of x and one of its gradient; autograd on the formula keeps five.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, middle: Tensor | float, square: int, one: int) -> Tensor:
        wide = x.new_empty(len(x), x.shape[1] + 2)
        torch.sub(x, middle, out=wide[:, :-2])
        wide[:, square] = -torch.linalg.vecdot(wide[:, :-2], wide[:, :-2])
        wide[:, one] = 1
        wide[:, :-2] *= 2**0.5
        ctx.save_for_backward(wide)
        ctx.square = square
        return wide

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        [wide] = ctx.saved_tensors
        to_x = torch.addcmul(grad[:, :-2], wide[:, :-2], grad[:, ctx.square, None], value=-1).mul_(2**0.5)
        return to_x, None, None, None
