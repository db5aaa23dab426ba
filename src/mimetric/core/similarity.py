"""Similarities as one dot product: lift both sides, multiply, then at most one monotone map.

A lift is differentiable torch code outside the pair engine; the product and the map are inside.
Nearer is always larger.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, NamedTuple, Protocol, cast

import torch
from torch import Tensor

Similarity = Literal[
    "cosine", "dot", "negative_squared_euclidean", "negative_euclidean", "negative_snr", "negative_poincare"
]
SIMILARITIES: tuple[Similarity, ...] = (
    "cosine", "dot", "negative_squared_euclidean", "negative_euclidean", "negative_snr", "negative_poincare",
)  # fmt: skip
# Of rows beside themselves, the references are the anchors with their last two columns exchanged.
MIRRORED: tuple[Similarity, ...] = ("negative_squared_euclidean", "negative_euclidean", "negative_poincare")
_BALL = 1 - 1e-5  # rows beyond it are drawn onto it: at the rim of the ball distances are infinite


class Map(Protocol):
    """A monotone function of products p <= 0, with slope 0 at p = 0: nothing pulls equal rows apart."""

    def plain(self, product: Tensor) -> Tensor:
        """The function by autograd."""

    def apply_(self, product: Tensor) -> Tensor:
        """The same in place; returns 1 / slope, infinite at p = 0."""


class NegativeRoot:
    r""":math:`-\sqrt{-p}`."""

    def plain(self, product: Tensor) -> Tensor:
        apart = product < 0
        return torch.where(apart, -torch.where(apart, -product, 1).sqrt(), 0)

    def apply_(self, product: Tensor) -> Tensor:
        steepness = product.clamp_(max=0).mul(-4).sqrt_()  # d sqrt(u) = du / (2 sqrt(u))
        torch.mul(steepness, -0.5, out=product)
        return torch.threshold_(steepness, 0.0, torch.inf)


class NegativeArcosh:
    r""":math:`-\operatorname{arcosh}(1 - p) = -2 \operatorname{arsinh} \sqrt{-p / 2}`, which keeps small distances."""

    def plain(self, product: Tensor) -> Tensor:
        apart = product < 0
        return torch.where(apart, -2 * (torch.where(apart, -product, 1) / 2).sqrt().asinh(), 0)

    def apply_(self, product: Tensor) -> Tensor:
        product.neg_().clamp_(min=0)
        steepness = product.add(2).mul_(product).sqrt_()  # sinh of the distance
        product.div_(2).sqrt_().asinh_().mul_(-2)
        return steepness.masked_fill_(steepness == 0, torch.inf)


class Lifted(NamedTuple):
    """Both sides of a similarity: sim = anchors @ references.T, then the map where there is one."""

    anchors: Tensor
    references: Tensor  # the very tensor `anchors` where a set is compared with itself by cosine or dot
    bounded: bool = False  # |sim| <= 1
    map: Map | None = None


def lift(similarity: Similarity, anchors: Tensor, references: Tensor | None = None) -> Lifted:
    r"""What to multiply so that the product is the similarity of anchors (n, d) and references (m, d).

    - cosine: :math:`x^T y / (|x| |y|)`, 0 for a zero row (with a zero gradient);
    - dot: :math:`x^T y`;
    - negative_squared_euclidean: :math:`-|x - y|^2`, as (d + 2)-wide rows.  Both sides are first
      moved by the mean reference, which changes no distance and loses fewer digits; still, by a product
      in float32, the distance of two unit rows that are 1e-3 apart is off by 9% (median; half at worst);
    - negative_euclidean: its root, slope 0 at distance 0;
    - negative_snr: :math:`-\operatorname{Var}(x - y) / \operatorname{Var}(x)`, variances over the d numbers of a
      row: the noise that turns the anchor x into y beside its signal (Yuan et al., CVPR 2019).  Not symmetric;
      0, with a zero gradient, for a constant anchor;
    - negative_poincare: minus the hyperbolic distance in the Poincare ball of curvature -1 (Nickel and Kiela, NIPS
      2017), :math:`-\operatorname{arcosh}(1 + 2 |x - y|^2 / ((1 - |x|^2)(1 - |y|^2)))`.  Rows of length above
      1 - 1e-5 are drawn onto that length first.

    ``references=None`` compares the anchors with themselves.
    """
    others = anchors if references is None else references
    if similarity == "dot":
        return Lifted(anchors, others)
    if similarity == "cosine":
        unit = normalized(anchors)
        return Lifted(unit, unit if references is None else normalized(others), bounded=True)
    if similarity == "negative_snr":
        return _signal_to_noise(anchors, others)
    if similarity == "negative_poincare":
        return _poincare(anchors, others)
    left, right = _widened(anchors, others)
    return Lifted(left, right, map=NegativeRoot() if similarity == "negative_euclidean" else None)


def _widened(anchors: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (., d + 2) whose products are minus squared distances."""
    middle = others.detach().mean(0) if len(others) else 0.0
    if others is anchors:
        return cast(tuple[Tensor, Tensor], _WidenedBothWays.apply(anchors, middle))  # type: ignore[no-untyped-call]
    left = _Widened.apply(anchors, middle, -2, -1)  # type: ignore[no-untyped-call]
    return left, _Widened.apply(others, middle, -1, -2)  # type: ignore[no-untyped-call]


def mirrored(rows: Tensor) -> Tensor:
    """Rows (n, w) with their last two columns exchanged."""
    return torch.cat((rows[:, :-2], rows[:, -1:], rows[:, -2:-1]), dim=1)


def _signal_to_noise(anchors: Tensor, others: Tensor) -> Lifted:
    centered = anchors - anchors.mean(1, keepdim=True)
    left, right = _widened(centered, centered if others is anchors else others - others.mean(1, keepdim=True))
    signal = centered.square().sum(1, keepdim=True)
    silent = signal == 0
    return Lifted(left * torch.where(silent, 0, 1 / (signal + silent)), right)


def _poincare(anchors: Tensor, others: Tensor) -> Lifted:
    alone = others is anchors
    anchors = _inside(anchors)
    others = anchors if alone else _inside(others)
    sides = zip(_widened(anchors, others), (anchors, others))
    left, right = (2**0.5 * wide / (1 - x.square().sum(1, keepdim=True)) for wide, x in sides)
    return Lifted(left, right, map=NegativeArcosh())


def _inside(x: Tensor) -> Tensor:
    """Rows in the ball, those outside on its rim."""
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    beyond = length > _BALL
    return torch.where(beyond, x / torch.where(beyond, length, 1) * _BALL, x)


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Where nothing is computed in half precision; outside autocast it costs nothing."""
    kind = device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def full_precision(x: Any) -> Any:
    """Half precision is computed in float32; the gradient comes back in half.  None stays None."""
    return x.float() if x is not None and x.dtype in (torch.float16, torch.bfloat16) else x


def in_one_type(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the wider of their types, float32 at least; gradients come back in their own."""
    x, y = full_precision(x), full_precision(y)
    wide = torch.promote_types(x.dtype, y.dtype)
    return x.to(wide), y.to(wide)


def normalized(x: Tensor) -> Tensor:
    """Rows (n, d) over their lengths; a zero row stays zero and has a zero gradient.

    >>> normalized(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    return cast(Tensor, _Normalized.apply(x))  # type: ignore[no-untyped-call]


def inverse_lengths(rows: Tensor) -> Tensor:
    """(n, 1) one over the length of each row (n, d), 0 of a zero row; by no autograd."""
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return torch.threshold_(length, 0.0, torch.inf).reciprocal_()


def of_directions_(slopes: Tensor, unit: Tensor, inverse: Tensor) -> Tensor:
    """The gradient of rows (n, d) in place of that of their directions, given one over their lengths (n, 1)."""
    along = torch.linalg.vecdot(slopes, unit)[:, None]
    return slopes.addcmul_(unit, along, value=-1).mul_(inverse)


class _Normalized(torch.autograd.Function):
    """Saves the unit rows alone; plain autograd on x / x.norm() keeps three such arrays."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        length.masked_fill_(length == 0, torch.inf)
        unit: Tensor = x / length
        ctx.save_for_backward(x, unit, length)
        return unit

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, unit, length = ctx.saved_tensors
        if torch.is_grad_enabled():  # second derivatives: everything as a function of x
            none = length == torch.inf
            length = torch.where(none, torch.inf, (x.square().sum(1, keepdim=True) + none).sqrt())
            unit = x / length
        along = torch.linalg.vecdot(grad, unit).unsqueeze(1)
        return torch.addcmul(grad, unit, along, value=-1).div_(length)


class _Widened(torch.autograd.Function):
    """Rows [sqrt(2) u, -|u|^2 and 1 in some order] of u = x - middle: their products are -|x - y|^2.

    One array of the size of x and one of its gradient; autograd on the formula keeps five.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, middle: Tensor | float, square: int, one: int) -> Tensor:
        wide = _wide(x, middle, square, one)
        ctx.save_for_backward(wide)
        ctx.square = square
        return wide

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        [wide] = ctx.saved_tensors
        return _to_narrow(wide, grad, ctx.square), None, None, None


class _WidenedBothWays(torch.autograd.Function):
    """The same of a set beside itself: rows of either order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, middle: Tensor | float) -> tuple[Tensor, Tensor]:
        left = _wide(x, middle, -2, -1)
        ctx.save_for_backward(left)
        ctx.set_materialize_grads(False)
        return left, mirrored(left)

    @staticmethod
    def backward(ctx: Any, to_left: Tensor | None, to_right: Tensor | None) -> Any:
        [left] = ctx.saved_tensors
        grad = to_left
        if to_right is not None:
            grad = mirrored(to_right) if grad is None else grad + mirrored(to_right)
        return None if grad is None else _to_narrow(left, grad, -2), None


def _wide(x: Tensor, middle: Tensor | float, square: int, one: int) -> Tensor:
    wide = x.new_empty(len(x), x.shape[1] + 2)
    rows = torch.sub(x, middle, out=wide[:, :-2])
    wide[:, square] = torch.linalg.vecdot(rows, rows).neg_()
    wide[:, one].fill_(1)
    rows.mul_(2**0.5)
    return wide


def _to_narrow(wide: Tensor, grad: Tensor, square: int) -> Tensor:
    """The gradient of x, given that of wide rows."""
    return torch.addcmul(grad[:, :-2], wide[:, :-2], grad[:, square, None], value=-1).mul_(2**0.5)
