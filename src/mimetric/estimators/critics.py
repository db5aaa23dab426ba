r"""Critics: modules that score pairs, for :mod:`mimetric.estimators.bounds`.

Called as ``critic(x, y)`` with rows (n, d_x) and (m, d_y) they return scores (n, m), every x with every y.
"""

from __future__ import annotations

from math import log, pi

import torch
from torch import Tensor, nn

_BLOCK_ELEMENTS = 1 << 22  # hidden values of the joint critic held at once: 16 MiB


class SeparableCritic(nn.Module):
    r"""Product of two embeddings, :math:`f(x, y) = g(x)^T h(y)`; g and h have one hidden layer.

    n + m rows go through networks, whatever the number of pairs.

    >>> SeparableCritic(3, 2)(torch.zeros(5, 3), torch.zeros(4, 2)).shape
    torch.Size([5, 4])
    """

    def __init__(self, x_width: int, y_width: int, *, hidden: int = 64, width: int = 32) -> None:
        super().__init__()
        self.of_x = _network(x_width, hidden, width)
        self.of_y = _network(y_width, hidden, width)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        scores: Tensor = self.of_x(x) @ self.of_y(y).T
        return scores


class BilinearCritic(nn.Module):
    r"""Bilinear form :math:`f(x, y) = x^T W y`; it sees linear dependence alone.

    >>> BilinearCritic(3, 2)(torch.zeros(5, 3), torch.zeros(4, 2)).shape
    torch.Size([5, 4])
    """

    def __init__(self, x_width: int, y_width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(x_width, y_width) / max(1, x_width * y_width) ** 0.5)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        scores: Tensor = x @ self.weight @ y.T
        return scores


class JointCritic(nn.Module):
    """A network with two hidden layers on each pair (x, y) put together.

    The most able one, and the slowest: every pair goes through it, without gradient in blocks of 16 MiB.

    >>> JointCritic(3, 2)(torch.zeros(5, 3), torch.zeros(4, 2)).shape
    torch.Size([5, 4])
    """

    def __init__(self, x_width: int, y_width: int, *, hidden: int = 64) -> None:
        super().__init__()
        self.of_x = nn.Linear(x_width, hidden)  # together the first layer on (x, y)
        self.of_y = nn.Linear(y_width, hidden, bias=False)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        left, right = self.of_x(x), self.of_y(y)
        step = max(1, _BLOCK_ELEMENTS // max(1, right.numel()))
        blocks = [self.rest(part[:, None] + right).squeeze(2) for part in torch.split(left, step)]
        return torch.cat(blocks)


class GaussianCritic(nn.Module):
    r"""Log-density of y given x, normal with a mean and variances that are networks of x: :math:`\log q(y \mid x)`.

    The one whose scores are normalized over y, as CLUB, the leave-one-out bound and Barber and Agakov's need.

    >>> GaussianCritic(3, 2)(torch.zeros(5, 3), torch.zeros(4, 2)).shape
    torch.Size([5, 4])
    """

    def __init__(self, x_width: int, y_width: int, *, hidden: int = 64) -> None:
        super().__init__()
        self.mean = _network(x_width, hidden, y_width)
        self.log_variance = _network(x_width, hidden, y_width)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        mean = self.mean(x)
        log_variance = 8 * torch.tanh(self.log_variance(x) / 8)  # a spread of 1/50 to 50: none vanishes
        precision = (-log_variance).exp()
        squared = (precision * mean.square()).sum(1)[:, None] - 2 * (precision * mean) @ y.T
        squared = squared + precision @ y.square().T
        scores: Tensor = -(squared + log_variance.sum(1)[:, None] + y.shape[1] * log(2 * pi)) / 2
        return scores


def _network(width: int, hidden: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))
