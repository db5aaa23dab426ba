"""Losses that regress a cosine on whether two rows are of one class."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..core.checks import check_batch, check_classes, check_rows
from ..core.objective import Objective
from ..core.pairs import Pairing, PairSums, pair_loss, pair_sums
from ..core.reduce import Near
from ..core.terms import Square


@pair_loss
def p2s_grad_loss(embeddings: Any, labels: Any, weight: Any, *, pairing: Pairing = Pairing()) -> PairSums:
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
    embeddings, labels = check_batch(where, embeddings, labels)
    weight = check_rows(where, "weight", weight)
    check_classes(where, labels, len(weight))

    def sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        return near.sum((1 - near.sim).square()) / 2, torch.where(near.count > 0, far / 2, 0)

    return pair_sums(
        where, embeddings, labels, weight, torch.arange(len(weight), device=weight.device),
        push=Square(), sides=sides, per_class=1, pairing=pairing,
    )  # fmt: skip


class P2SGradLoss(Objective):
    """Class weights (C, width) and :func:`p2s_grad_loss` against them."""

    function = staticmethod(p2s_grad_loss)

    def __init__(self, width: int, num_classes: int, *, pairing: Pairing = Pairing()) -> None:
        super().__init__(pairing=pairing)
        self.weight = nn.Parameter(torch.randn(num_classes, width) / width**0.5)
