"""Counts, sums and squares of rows, by class and of all, in float64: they add up over batches and processes.

Spreads come out of them by subtraction, so one below 1e-7 of the rows' lengths is lost in rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .classes import UNLABELLED
from .similarity import normalized

_ROWS = 1 << 14  # held in float64 at once


class ClassMoments(NamedTuple):
    """Of the rows of each of C classes."""

    rows: Tensor  # (C,) how many
    sum: Tensor  # (C, d)
    square: Tensor  # (C,) sum of squared lengths

    @classmethod
    def zeros(cls, num_classes: int, width: int) -> ClassMoments:
        """Of no rows."""
        zeros = torch.zeros(num_classes, width + 2, dtype=torch.float64)
        return cls(zeros[:, 0].clone(), zeros[:, 1:-1].clone(), zeros[:, -1].clone())

    @property
    def centers(self) -> Tensor:
        """(C, d) means; nan for a class without rows."""
        return self.sum / self.rows[:, None]

    @property
    def scatter(self) -> Tensor:
        """(C,) sums of squared distances to the center; 0 for a class without rows."""
        of_centers = self.sum.square().sum(1) / self.rows.clamp(min=1)
        return (self.square - of_centers).clamp(min=0)

    @property
    def pairs(self) -> Tensor:
        """(C,) ordered pairs of two different rows."""
        return self.rows * (self.rows - 1)


def class_moments(rows: Tensor, labels: Tensor, num_classes: int, *, unit: bool = False) -> ClassMoments:
    """Moments of rows (n, d) by labels (n,) in 0..C-1, rows with -1 left out.

    Args:
        unit: of the rows scaled to length 1.

    >>> found = class_moments(torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 5.0]]), torch.tensor([0, 0, 1]), 2)
    >>> found.centers.tolist(), found.scatter.tolist()
    ([[2.0, 0.0], [0.0, 5.0]], [2.0, 0.0])
    """
    count, total, square = (x.to(rows.device) for x in ClassMoments.zeros(num_classes, rows.shape[1]))
    for x, y in zip(_blocks(rows, unit=unit), torch.split(labels, _ROWS)):
        known = y != UNLABELLED
        x, y = x[known], y[known]
        count += torch.bincount(y, minlength=num_classes)
        total.index_add_(0, y, x)
        square.index_add_(0, y, x.square().sum(1))
    return ClassMoments(count, total, square)


def second_moment(rows: Tensor) -> Tensor:
    """(d, d) sum of the products of each row with itself.

    >>> second_moment(torch.tensor([[1.0, 2.0], [0.0, 1.0]])).tolist()
    [[1.0, 2.0], [2.0, 5.0]]
    """
    total = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
    for x in _blocks(rows):
        total.addmm_(x.T, x)
    return total


def _blocks(rows: Tensor, *, unit: bool = False) -> Iterator[Tensor]:
    """Some rows at a time, in float64."""
    for block in torch.split(rows.detach(), _ROWS):
        yield normalized(block.double()) if unit else block.double()
