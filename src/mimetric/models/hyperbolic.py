"""The Poincare ball of curvature -c, of radius 1 / sqrt(c): points in it, distances, and a classifier on them.

Ganea et al., NeurIPS 2018, arXiv:1805.09112.  As c goes to 0 distances go to twice the flat ones.
"""

from __future__ import annotations

from math import sqrt
from typing import cast

import torch
from torch import Tensor, nn

_LEAST = 1e-7  # lengths below have no direction
_RIM = 1 - 1e-5  # at the rim distances are infinite


def to_ball(v: Tensor, curvature: float) -> Tensor:
    r"""Rows (n, d) as points of the ball, :math:`\tanh(\sqrt c |v|) v / (\sqrt c |v|)`: the exponential map at 0.

    >>> to_ball(torch.tensor([[1.0, 0.0]]), 0.1)
    tensor([[0.9679, 0.0000]])
    """
    far = sqrt(curvature) * torch.linalg.vector_norm(v, dim=-1, keepdim=True).clamp(min=_LEAST)
    return cast(Tensor, far.tanh() / far * v)


def moebius_sum(x: Tensor, y: Tensor, curvature: float) -> Tensor:
    r"""Points x moved by y, (..., d): :math:`-x \oplus (x \oplus y) = y`, and no sum of vectors.

    >>> moebius_sum(torch.tensor([[-0.5, 0.0]]), torch.tensor([[-0.5, 0.0]]), 1.0)
    tensor([[-0.8000,  0.0000]])
    """
    c = curvature
    xy, xx, yy = ((a * b).sum(-1, keepdim=True) for a, b in ((x, y), (x, x), (y, y)))
    moved = (1 + 2 * c * xy + c * yy) * x + (1 - c * xx) * y
    return moved / (1 + 2 * c * xy + c * c * xx * yy)


def hyperbolic_distances(x: Tensor, y: Tensor, curvature: float) -> Tensor:
    r"""(n,) distances of points and points, :math:`\tfrac2{\sqrt c} \operatorname{artanh}(\sqrt c |{-x} \oplus y|)`.

    >>> hyperbolic_distances(torch.tensor([[0.5, 0.0]]), torch.tensor([[-0.5, 0.0]]), 1.0)
    tensor([2.1972])
    """
    root = sqrt(curvature)
    moved = torch.linalg.vector_norm(moebius_sum(-x, y, curvature), dim=-1).clamp(min=_LEAST)
    return cast(Tensor, 2 / root * (root * moved).clamp(max=_RIM).atanh())


class HyperbolicClassifier(nn.Module):
    r"""Logits (n, C) of points (n, d) of the ball: signed distances from a hyperbolic plane of each class.

    .. math:: \frac{\lambda_p |a|}{\sqrt c} \operatorname{arsinh} \frac{2 \sqrt c \, \langle z, a \rangle}
              {(1 - c |z|^2) |a|}, \qquad z = -p \oplus x, \quad \lambda_p = \frac{2}{1 - c |p|^2}

    with planes through points p, at the middle to begin with, and normals a, which shrink by :math:`2 / \lambda_p`.
    """

    def __init__(self, width: int, num_classes: int, curvature: float) -> None:
        super().__init__()
        self.curvature = curvature
        self.points = nn.Parameter(torch.zeros(num_classes, width))
        self.normals = nn.Parameter(torch.randn(num_classes, width) / width**0.5)

    def forward(self, x: Tensor) -> Tensor:
        c, root = self.curvature, sqrt(self.curvature)
        p = to_ball(self.points, c)
        shrink = 1 - c * p.square().sum(1)
        a = self.normals * shrink[:, None]
        z = moebius_sum(-p, x[:, None], c)  # (n, C, d)
        length = torch.linalg.vector_norm(a, dim=1).clamp(min=_LEAST)
        inner = 2 * root * (z * a).sum(2) / ((1 - c * z.square().sum(2)) * length)
        return cast(Tensor, 2 / shrink * length / root * inner.asinh())
