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
    left = _widened(anchors - middle, squares_first=True)
    right = _widened(others - middle, squares_first=False)
    return Lifted(left, right, bounded=False, root=similarity == "negative_euclidean")


def _widened(x: Tensor, *, squares_first: bool) -> Tensor:
    """Rows [sqrt(2) x, -|x|^2, 1] or [sqrt(2) x, 1, -|x|^2]: their products are -|x - y|^2."""
    squares = -x.square().sum(1, keepdim=True)
    ones = torch.ones_like(squares)
    tail = (squares, ones) if squares_first else (ones, squares)
    return torch.cat((x * 2**0.5, *tail), dim=1)


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
