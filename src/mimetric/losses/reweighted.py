"""NT-Xent that minds how hard a pair is: negatives tilted towards the hard ones, or whole terms weighted."""

from __future__ import annotations

from math import log
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.checks import check_choice, check_not_negative, check_positive
from ..core.errors import InputError
from ..core.exponentials import LogSumExp, TiltedMean
from ..core.objective import Objective
from ..core.pairing import Pairing
from ..core.pairs import PairSums, pair_loss, pair_sums
from ..core.reduce import Mean, Near


@pair_loss
def hard_negative_nt_xent_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    temperature: float = 0.5,
    beta: float = 1.0,
    tau_plus: float = 0.1,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""NT-Xent with negatives weighted by how hard they are, and corrected for false ones.

    .. math::
        \frac1n \sum_i \frac1{|P_i|} \sum_{p \in P_i} -\log \frac{e^{z_{ip}}}{e^{z_{ip}} + |N_i| g_{ip}} \qquad
        g_{ip} = \max\Bigl(\frac{h_i - \tau^+ e^{z_{ip}}}{1 - \tau^+}, e^{-1 / T}\Bigr) \qquad
        h_i = \frac{\sum_{j \in N_i} e^{(1 + \beta) z_{ij}}}{\sum_{j \in N_i} e^{\beta z_{ij}}}

    with :math:`z = s / T` and cosine similarity s: :math:`h_i` is the mean of :math:`e^z` over negatives drawn in
    proportion to :math:`e^{\beta z}`.  With β = 0 it is the plain mean: debiased contrastive learning (Chuang et al.).
    With τ+ = 0 as well it is :func:`nt_xent_loss`.  An anchor without positives adds 0.
    Tightness is the part of the positives, contrast the log of the denominators.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled; instance ids where classes are not known.
        references: (m, d) what to compare with, such as the other view; None is the batch itself.
        reference_labels: (m,) their class ids.
        temperature: T > 0, in cosine units.
        beta: concentration β >= 0; larger means harder negatives.
        tau_plus: τ+ in [0, 1), the chance that a negative is a positive after all; 0 suits labels of
            classes.
        pairing: what all pair losses share: ids, mining, similarity, block.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, or an option is out of range.

    Reference: Robinson et al., ICLR 2021, arXiv:2010.04592, whose code lets gradients run through the weights, as here;
    Chuang et al., NeurIPS 2020, arXiv:2007.00224.  The floor of g is that of cosines.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> hard_negative_nt_xent_loss(x, torch.tensor([0, 0, 1]), temperature=1.0)
    tensor(0.5727)
    """
    where = "hard_negative_nt_xent_loss"
    check_positive(where, temperature=temperature)
    check_not_negative(where, beta=beta)
    if not 0 <= tau_plus < 1:
        raise InputError(f"{where}: tau_plus must lie in [0, 1), got {tau_plus}")

    def sides(near: Near, far: Mean) -> tuple[Tensor, Tensor]:
        z, log_mean = near.sim / temperature, far.total[:, None]
        if tau_plus:
            log_mean = _debiased(z, log_mean, tau_plus, -1 / temperature)
        log_sum = far.count[:, None].log() + log_mean
        return -near.mean(z), near.mean(z + F.softplus(log_sum - z, threshold=50))

    return pair_sums(
        where, embeddings, labels, references, reference_labels,
        push=TiltedMean(1 / temperature, beta), sides=sides, pairing=pairing,
    )  # fmt: skip


def _debiased(z: Tensor, log_mean: Tensor, tau_plus: float, floor: float) -> Tensor:
    r""":math:`\log \max((e^m - \tau^+ e^z) / (1 - \tau^+), e^{floor})`, which no exponent overflows."""
    gap = z + log(tau_plus) - log_mean
    left = gap < 0
    share = (-torch.where(left, gap, -1.0).expm1()).log()  # of the mean that is left
    estimate = log_mean + share - log(1 - tau_plus)
    return torch.where(left, estimate, floor).clamp(min=floor)


class HardNegativeNTXentLoss(Objective):
    """Module form of :func:`hard_negative_nt_xent_loss`."""

    function = staticmethod(hard_negative_nt_xent_loss)

    def __init__(
        self,
        *,
        temperature: float = 0.5,
        beta: float = 1.0,
        tau_plus: float = 0.1,
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(temperature=temperature, beta=beta, tau_plus=tau_plus, pairing=pairing)


@pair_loss
def focal_nt_xent_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    temperature: float = 0.01,
    gamma: float = 0.5,
    gradient: Literal["detached", "full"] = "detached",
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Focal NT-Xent: positives that are found already weigh less.

    .. math::
        \frac1n \sum_i \frac1{|P_i|} \sum_{p \in P_i} -(1 - P_{ip})^\gamma \log P_{ip}, \qquad
        P_{ip} = \frac{e^{z_{ip}}}{e^{z_{ip}} + \sum_{j \in N_i} e^{z_{ij}}}

    with :math:`z = s / T` and cosine similarity s.  The mean is over positives and not over the sum of weights.
    With γ = 0 it is :func:`nt_xent_loss`.  An anchor without positives adds 0.  Tightness is the weighted part of the
    positives, contrast the weighted log of the denominators.

    The weight is taken as the logistic function of :math:`\log \sum_N e^z - z_{ip}`: exact, and with a finite slope
    where P is 1 and a power of 1 - P would have none.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) what to compare with, such as the other view and mined negatives (with labels of
            -1); None is the batch itself.
        reference_labels: (m,) their class ids.
        temperature: T > 0, in cosine units.
        gamma: γ >= 0.
        gradient: detached holds the weights constant; full is the gradient of the value.
        pairing: what all pair losses share: ids, mining, similarity, block.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, or an option is out of range.

    Reference: Zhao et al., arXiv:2506.20923 (KaLM-Embedding-V2); Lin et al., ICCV 2017, arXiv:1708.02002, for
    the weight.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> focal_nt_xent_loss(x, torch.tensor([0, 0, 1]), temperature=1.0)
    tensor(0.4248)
    """
    where = "focal_nt_xent_loss"
    check_positive(where, temperature=temperature)
    check_choice(where, "gradient", gradient, ("detached", "full"))
    check_not_negative(where, gamma=gamma)

    def sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        z = near.sim / temperature
        gap = far[:, None].clamp(min=-1e30) - z  # a number over no negatives: 0 * inf is none
        weight = (-gamma * F.softplus(-gap, threshold=50)).exp()  # 1 - P is the logistic function of the gap
        if gradient == "detached":
            weight = weight.detach()
        return -near.mean(weight * z), near.mean(weight * (z + F.softplus(gap, threshold=50)))

    return pair_sums(
        where, embeddings, labels, references, reference_labels,
        push=LogSumExp(1 / temperature), sides=sides, pairing=pairing,
    )  # fmt: skip


class FocalNTXentLoss(Objective):
    """Module form of :func:`focal_nt_xent_loss`."""

    function = staticmethod(focal_nt_xent_loss)

    def __init__(
        self,
        *,
        temperature: float = 0.01,
        gamma: float = 0.5,
        gradient: Literal["detached", "full"] = "detached",
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(temperature=temperature, gamma=gamma, gradient=gradient, pairing=pairing)
