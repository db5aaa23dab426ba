"""Two sets of rows, each the other's references, under a temperature that is learned: CLIP and SigLIP.

Without references a batch is compared with itself, by labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import log
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.checks import check_choice
from ..core.diagonal import partner_cross_entropy, suits
from ..core.errors import InputError
from ..core.exponentials import LogSumExp, Softplus
from ..core.objective import Objective
from ..core.paired import are_partners
from ..core.pairing import Pairing, check_pairs, check_pairs_apart
from ..core.pairs import PairSums, pair_loss, pair_sums
from ..core.reduce import Near, log_add_to_each
from ..core.similarity import full_precision, in_one_type, normalized
from ..core.terms import FullPrecision

_MOST_LOG_SCALE = log(100)


@pair_loss
def symmetric_nt_xent_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    log_scale: float | Tensor = log(1 / 0.07),
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""InfoNCE both ways: rows among references, and references among rows (CLIP).

    .. math:: \tfrac12 L(x \to y) + \tfrac12 L(y \to x)

    with L of :func:`nt_xent_loss` at temperature :math:`e^{-\text{log\_scale}}`: one softmax for each pair of the same
    label.  Images and their captions are rows and references with labels 0, 1, ..., where it is the mean of two
    cross-entropies over the rows and columns of one matrix of logits.  Without references both ways are one, and the
    loss is NT-Xent.  Tightness and contrast are the means of those of both ways.

    Where both sets have the same ids, each once, both ways come from the same products, in blocks (cosines on a CPU,
    T >= 1 / 70, nothing else asked of the pairing).  Else they are two runs of the pair engine.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer ids of instances or classes, -1 unlabelled.
        references: (m, d) the other set; None is the batch itself.
        reference_labels: (m,) their ids.
        log_scale: log of 1 / T, a number or a tensor () with a gradient.  The module learns it, from 1 / 0.07 on, and
            holds it to T >= 0.01 as CLIP does.
        pairing: what all pair losses share; similarity is cosine or dot, and mining sees s / T.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, or another similarity.

    Reference: Radford et al., ICML 2021, arXiv:2103.00020, figure 3.

    >>> image, text = torch.tensor([[1., 0.], [0.6, 0.8]]), torch.tensor([[0.8, 0.6], [0., 1.]])
    >>> symmetric_nt_xent_loss(image, [0, 1], text, [0, 1], log_scale=0.0)
    tensor(0.5737)
    """
    where = "symmetric_nt_xent_loss"
    check_choice(where, "similarity", pairing.similarity or "cosine", ("cosine", "dot"))
    x, labels, y, others = check_pairs(where, embeddings, labels, references, reference_labels, pairing)
    scale = _number(log_scale, full_precision(x)).exp()
    each_way = partial(_each_way, where, x, labels, y, others, scale, pairing)
    if y is None or _asks_for_more(pairing) or not are_partners(labels, others):
        return each_way()
    if not suits(x, y, float(scale.detach())):
        return each_way()
    return cast(PairSums, _Partners(*in_one_type(x, y), scale, each_way))


@pair_loss
def sigmoid_pair_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    log_scale: float | Tensor = log(10),
    bias: float | Tensor = -10.0,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Sigmoid pair loss: every pair a binary decision of its own (SigLIP).

    .. math:: \frac1n \sum_i \Bigl[\sum_{p \in P_i} \log(1 + e^{-(t s_{ip} + b)})
              + \sum_{j \in N_i} \log(1 + e^{t s_{ij} + b})\Bigr]

    with cosine similarity s and scale :math:`t = e^{\text{log\_scale}}`.  A sum over pairs over the number of rows:
    there is no softmax, and both ways are the same sum.  The bias b starts low because nearly all pairs are
    negatives.  Tightness is the sum over positives, contrast that over negatives.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer ids of instances or classes, -1 unlabelled.
        references: (m, d) the other set; None is the batch itself, without pairs of a row and itself.
        reference_labels: (m,) their ids.
        log_scale: log t, a number or a tensor () with a gradient.  The module learns it, from log 10 on.
        bias: b, the same, from -10 on.
        pairing: what all pair losses share; similarity is cosine or dot, and mining sees t s + b.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, or another similarity.

    Reference: Zhai et al., ICCV 2023, arXiv:2303.15343, algorithm 1.

    >>> image, text = torch.tensor([[1., 0.], [0.6, 0.8]]), torch.tensor([[0.8, 0.6], [0., 1.]])
    >>> sigmoid_pair_loss(image, [0, 1], text, [0, 1], log_scale=0.0, bias=0.0)
    tensor(1.3598)
    """
    where = "sigmoid_pair_loss"
    check_choice(where, "similarity", pairing.similarity or "cosine", ("cosine", "dot"))
    x, labels, y, others, pairing = check_pairs_apart(
        where, embeddings, labels, references, reference_labels, pairing
    )
    boundary = _number(bias, x).expand(len(x), 1)
    anchors = torch.cat((x * _number(log_scale, x).exp(), boundary), 1)

    def sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        return near.sum(F.softplus(-near.sim, threshold=50)), far

    return pair_sums(
        where, anchors, labels, F.pad(y, (0, 1), value=1.0), others,
        push=FullPrecision(Softplus(1.0)), sides=sides, rows=(x, y), pairing=pairing,
    )  # fmt: skip


class SymmetricNTXentLoss(Objective):
    """Module form of :func:`symmetric_nt_xent_loss`; owns and learns `log_scale`, never above log 100."""

    function = staticmethod(symmetric_nt_xent_loss)

    def __init__(self, *, log_scale: float | Tensor = log(1 / 0.07), pairing: Pairing = Pairing()) -> None:
        super().__init__(log_scale=log_scale, pairing=pairing)
        self.log_scale = _learned(log_scale)

    def forward(
        self, embeddings: Any, labels: Any, references: Any = None, reference_labels: Any = None
    ) -> Tensor:
        with torch.no_grad():  # CLIP clamps the number itself after a step, so that it can come back
            self.log_scale.clamp_(max=_MOST_LOG_SCALE)
        return super().forward(embeddings, labels, references, reference_labels)


class SigmoidPairLoss(Objective):
    """Module form of :func:`sigmoid_pair_loss`; owns and learns `log_scale` and `bias`."""

    function = staticmethod(sigmoid_pair_loss)

    def __init__(
        self,
        *,
        log_scale: float | Tensor = log(10),
        bias: float | Tensor = -10.0,
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(log_scale=log_scale, bias=bias, pairing=pairing)
        self.log_scale, self.bias = _learned(log_scale), _learned(bias)


def _each_way(
    where: str, x: Tensor, labels: Tensor, y: Tensor | None, others: Tensor, scale: Tensor, pairing: Pairing
) -> PairSums:
    """The loss on the pair engine, one way after the other."""
    # Half of the scale on either side, so that a batch stays its own reference.
    root = scale.sqrt()
    unit = full_precision if pairing.similarity == "dot" else lambda rows: normalized(full_precision(rows))
    x, y, shared = unit(x) * root, None if y is None else unit(y) * root, replace(pairing, similarity="dot")

    def sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        return -near.mean(near.sim), near.mean(log_add_to_each(near.sim, far))

    def way(*data: Any, pairing: Pairing) -> PairSums:
        return pair_sums(where, *data, push=FullPrecision(LogSumExp(1.0)), sides=sides, pairing=pairing)

    if y is None:
        return way(x, labels, pairing=shared)
    if len(x) != len(y) and (pairing.weights is not None or pairing.reduction == "none"):
        raise InputError(
            f"{where}: both ways have an anchor for each weight or result only if both sets have as many rows, "
            f"got {len(x)} and {len(y)}; call nt_xent_loss once each way"
        )
    related = None if pairing.related is None else pairing.related.T
    turned = replace(shared, ids=pairing.reference_ids, reference_ids=pairing.ids, related=related)
    ways = way(x, labels, y, others, pairing=shared), way(y, others, x, labels, pairing=turned)
    return cast(PairSums, _Halved(*ways))


@dataclass(frozen=True)
class _Halved:
    """Half of one loss and half of another."""

    one: PairSums
    other: PairSums

    def total(self) -> Tensor:
        return (self.one.total() + self.other.total()) / 2

    def plain(self) -> Tensor:
        return (self.one.plain() + self.other.plain()) / 2

    def sides(self) -> tuple[Tensor, Tensor]:
        tightness, contrast = ((a + b) / 2 for a, b in zip(self.one.sides(), self.other.sides()))
        return tightness, contrast


@dataclass(frozen=True)
class _Partners:
    """Both ways at once, where row i of either set has one positive, row i of the other."""

    first: Tensor
    second: Tensor
    scale: Tensor
    each_way: Callable[[], PairSums]

    def total(self) -> Tensor:
        return partner_cross_entropy(self.first, self.second, self.scale, both=True)

    def plain(self) -> Tensor:
        return self.each_way().plain()

    def sides(self) -> tuple[Tensor, Tensor]:
        return self.each_way().sides()


def _asks_for_more(pairing: Pairing) -> bool:
    """Whether cosines of partners are not all that is asked for."""
    asked = (pairing.ids, pairing.related, pairing.mining, pairing.reduction, pairing.weights, pairing.block)
    return pairing.similarity == "dot" or any(option is not None for option in asked)


def _learned(value: float | Tensor) -> nn.Parameter:
    return nn.Parameter(torch.as_tensor(value, dtype=torch.get_default_dtype()).clone())


def _number(value: float | Tensor, like: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)
