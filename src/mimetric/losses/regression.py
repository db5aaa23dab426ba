"""Losses that regress a cosine on whether two rows are of one class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.blocks import BLOCK_ELEMENTS
from ..core.checks import check_batch, check_classes, check_rows
from ..core.class_logits import cosines
from ..core.class_sums import RowCosts, asks_for_more
from ..core.classes import UNLABELLED
from ..core.objective import Objective
from ..core.pairing import Pairing, average_of
from ..core.pairs import Described, pair_loss, pair_sums
from ..core.reduce import Near
from ..core.similarity import in_one_type, normalized
from ..core.terms import Square


@pair_loss
def p2s_grad_loss(embeddings: Any, labels: Any, weight: Any, *, pairing: Pairing = Pairing()) -> Described:
    r"""P2SGrad: squared errors between the cosines to class weights and a one-hot label.

    .. math:: \frac1n \sum_i \tfrac12 (1 - \cos(x_i, \theta_{y_i}))^2
              + \tfrac12 \sum_{c \ne y_i} \cos(x_i, \theta_c)^2

    Tightness is the first term, contrast the second.  There is no temperature and no margin: a slope is
    the error of the cosine itself, where softmax losses have the error of a probability.  Unlabelled rows (-1) add 0 to
    a mean over all n.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids in 0..C-1, or -1.
        weight: (C, d) one row per class, of any norm.
        pairing: what all pair losses share: similarity, block.

    Returns:
        Scalar >= 0, in squared cosines.
    Raises:
        InputError: shapes disagree, or labels are not integers or not below C.

    Reference: Zhang et al., CVPR 2019, arXiv:1905.02479, who give the gradient: of this value it is exactly that.
    pytorch-metric-learning has the mean of all squared errors, 2 / C of this.

    >>> x, weight = torch.eye(2), torch.tensor([[2.0, 0.0], [0.6, 0.8]])
    >>> p2s_grad_loss(x, torch.tensor([0, 1]), weight)
    tensor(0.1000)
    """
    where = "p2s_grad_loss"
    rows, labels = check_batch(where, embeddings, labels)
    weight = check_rows(where, "weight", weight)
    check_classes(where, labels, len(weight))
    if (
        pairing.similarity in (None, "cosine")
        and weight.shape[1] == rows.shape[1]
        and not torch.is_autocast_enabled(rows.device.type)
        and not asks_for_more(pairing, rows, weight)
    ):
        return _Squares(where, *in_one_type(rows, weight), labels, pairing)

    def sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        return near.sum((1 - near.sim).square()) / 2, torch.where(near.count > 0, far / 2, 0)

    return pair_sums(
        where, rows, labels, weight, torch.arange(len(weight), device=weight.device),
        push=Square(), sides=sides, per_class=1, pairing=pairing,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Squares:
    """P2SGrad from all cosines at once, or without them: :math:`|W x|^2 = x^T (W^T W) x`."""

    where: str
    rows: Tensor  # (n, d)
    weight: Tensor  # (C, d)
    labels: Tensor  # (n,)
    pairing: Pairing

    def total(self) -> Tensor:
        if self._is_small():
            found = cosines(self.rows, self.weight)
            wanted = torch.zeros_like(found).scatter_(1, self.labels[:, None], 1)
            return F.mse_loss(found, wanted, reduction="sum") / (2 * len(found))
        squares, own = self._sums()
        costs = squares / 2 - own + 0.5
        return self._averaged(costs, costs.new_zeros(())).total()

    def sides(self) -> tuple[Tensor, Tensor]:
        return self._sides()[0], self._sides()[1]  # each has a gradient of its own

    def _sides(self) -> tuple[Tensor, Tensor]:
        squares, own = self._sums()
        return self._averaged((1 - own).square() / 2, (squares - own.square()) / 2).sides()

    def plain(self) -> Tensor:
        """The total: it is by autograd already."""
        return self.total()

    def _is_small(self) -> bool:
        """Whether all cosines take less than going without, of a plain mean over labelled rows."""
        n, classes, width = len(self.rows), *self.weight.shape
        return (
            n * classes <= min(width * (n + classes), BLOCK_ELEMENTS)
            and self.pairing.reduction in (None, "anchors")
            and self.pairing.weights is None
            and self.rows.device.type == "cpu"  # where labels may be read
            and int(self.labels.min()) != UNLABELLED
        )

    def _sums(self) -> tuple[Tensor, Tensor]:
        """Of each row (n,) the sum of all squared cosines, and the cosine of its class."""
        x, w = normalized(self.rows), normalized(self.weight)
        return torch.linalg.vecdot(x @ (w.T @ w), x), torch.linalg.vecdot(x, w.index_select(0, self._place()))

    def _place(self) -> Tensor:
        return self.labels.clamp(0, len(self.weight) - 1)

    def _averaged(self, tightness: Tensor, contrast: Tensor) -> RowCosts:
        average = average_of(self.where, self.pairing, self.rows)
        return RowCosts(self.where, (tightness, contrast), self.labels == self._place(), average)


class P2SGradLoss(Objective):
    """Class weights (C, width) and :func:`p2s_grad_loss` against them."""

    function = staticmethod(p2s_grad_loss)

    def __init__(self, width: int, num_classes: int, *, pairing: Pairing = Pairing()) -> None:
        super().__init__(pairing=pairing)
        self.weight = nn.Parameter(torch.randn(num_classes, width) / width**0.5)
