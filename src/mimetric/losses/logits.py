"""Softmax over class weights, with what is known of how often each class occurs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.checks import check_batch, check_classes, check_prior, check_rows
from ..core.errors import InputError
from ..core.objective import Objective
from ..core.pairs import Pairing, PairSums, pair_loss, pair_sums
from ..core.reduce import Near, log_add
from ..core.similarity import full_precision
from ..core.terms import LogSumExp


@pair_loss
def pc_softmax_loss(
    embeddings: Any,
    labels: Any,
    weight: Any,
    bias: Tensor | None = None,
    *,
    prior: Tensor | Sequence[float] | None = None,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Probability-corrected softmax loss: cross-entropy whose log-sum counts each class by its prior.

    .. math:: \frac1n \sum_i -f_{i y_i} + \log \sum_c \pi_c e^{f_{ic}}, \qquad f_{ic} = \theta_c^T x_i + b_c

    Tightness is the first term, contrast the second.  Minus the loss on other rows is a lower bound of I(X;Y)
    (:func:`~mimetric.estimators.softmax_information`) whatever the prior; the scores f favor no frequent class.
    Predict by the largest f where classes are to count alike, by the largest :math:`f + \log \pi` where they come as
    in training.  The gradient is that of the balanced softmax and of logit adjustment with τ = 1, which have
    :math:`\log \pi_{y_i}` less.  Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        embeddings: (n, d) floating point.
        labels: (n,) integer class ids in 0..C-1, or -1.
        weight: (C, d) one row per class.
        bias: (C,) or None.
        prior: (C,) π > 0, how often **the batches** hold each class; its sum is 1.  None is 1 / C each, as
            class-balanced batches have it: cross-entropy less log C.
        pairing: block and similarity (its own is the dot product).

    Returns:
        Scalar of any sign, in nats, at least :math:`\frac1n \sum_i \log \pi_{y_i}`.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, or a prior that is no distribution, or
            has a 0.

    Reference: Qin et al., 2021, arXiv:2106.10471.  Not the post-compensated softmax of Hong et al., CVPR 2021, which
    is cross-entropy in training and corrected at test.

    >>> x, weight = torch.eye(2), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> pc_softmax_loss(x, torch.tensor([0, 1]), weight, prior=[0.9, 0.1])
    tensor(-0.4659)
    """
    where = "pc_softmax_loss"
    if pairing.similarity not in (None, "dot"):
        raise InputError(f"{where}: a linear classifier takes dot products; leave similarity out")
    embeddings, labels = check_batch(where, embeddings, labels)
    weight = check_rows(where, "weight", weight)
    check_classes(where, labels, len(weight))
    embeddings, weight = full_precision(embeddings), full_precision(weight)
    log_prior = shift = check_prior(where, prior, len(weight), weight)
    if bias is not None:
        if bias.shape != weight.shape[:1]:
            raise InputError(f"{where}: bias must have shape ({len(weight)},), got {tuple(bias.shape)}")
        shift = log_prior + bias
    # What is added to a score is the weight of a constant.  An unlabelled row takes any class; the sides leave it out.
    rows = torch.cat((embeddings, embeddings.new_ones(len(embeddings), 1)), dim=1)
    columns = torch.cat((weight, shift[:, None]), dim=1)
    rarity = log_prior[labels.clamp(0, len(weight) - 1)]

    def sides(near: Near, far: Tensor, rarity: Tensor) -> tuple[Tensor, Tensor]:
        own, known = near.sum(near.sim), near.count > 0
        return torch.where(known, rarity - own, 0), torch.where(known, log_add(own, far), 0)

    return pair_sums(
        where, rows, labels, columns, torch.arange(len(weight), device=weight.device),
        push=LogSumExp(1.0), sides=sides, tensors=(rarity,), similarity="dot", pairing=pairing,
    )  # fmt: skip


class PCSoftmaxLoss(Objective):
    """A linear classifier (weight (C, width) and bias) and :func:`pc_softmax_loss` on it."""

    function = staticmethod(pc_softmax_loss)

    def __init__(
        self,
        width: int,
        num_classes: int,
        *,
        prior: Tensor | Sequence[float] | None = None,
        pairing: Pairing = Pairing(),
    ) -> None:
        check_prior("PCSoftmaxLoss", prior, num_classes, torch.zeros(()))
        super().__init__(prior=prior, pairing=pairing)
        classifier = nn.Linear(width, num_classes)
        self.weight, self.bias = classifier.weight, classifier.bias
