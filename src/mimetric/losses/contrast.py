"""Softmax over pairs: a positive against everything else."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ..core.checks import check_choice, check_positive
from ..core.objective import Objective
from ..core.pairs import Pairing, PairSums, pair_loss, pair_sums
from ..core.reduce import Near, log_add
from ..core.terms import LogSumExp


@pair_loss
def supcon_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    temperature: float = 0.1,
    form: Literal["outside", "inside"] = "outside",
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Supervised contrastive loss: the positives of an anchor against all others, in one softmax.

    .. math::
        \text{outside: } \frac1n \sum_i \frac{-1}{|P_i|} \sum_{p \in P_i} \log \frac{e^{z_{ip}}}{Z_i} \qquad
        \text{inside: } \frac1n \sum_i -\log \frac1{|P_i|} \sum_{p \in P_i} \frac{e^{z_{ip}}}{Z_i} \qquad
        Z_i = \sum_{a \ne i} e^{z_{ia}}

    with :math:`z = s / T`, cosine similarity s, positives :math:`P_i` and all references a but the
    anchor itself.  An anchor without positives adds 0.  Tightness is the part of the positives, contrast the log of
    the denominator.  Inside is never above outside.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) what to compare with; None is the batch itself.
        reference_labels: (m,) their class ids.
        temperature: T > 0, in cosine units; the paper's 0.1 (its code: 0.07).
        form: where the mean over positives stands, outside the log (the paper's choice) or inside.
        pairing: what all pair losses share: ids, mining, similarity, block.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, temperature is not > 0, unknown form.

    Reference: Khosla et al., NeurIPS 2020, arXiv:2004.11362, equations 2 and 3. Their code multiplies by
    temperature / 0.07.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> supcon_loss(x, torch.tensor([0, 0, 1]), temperature=1.0)
    tensor(0.5625)
    """
    check_positive("supcon_loss", temperature=temperature)
    check_choice("supcon_loss", "form", form, ("outside", "inside"))

    def sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        z = near.sim / temperature
        some = near.count > 0
        among = near.logsumexp(z)
        contrast = torch.where(some, log_add(among, far), 0)
        if form == "outside":
            return -near.mean(z), contrast
        return torch.where(some, near.count.clamp(min=1).log() - among, 0), contrast

    return pair_sums(
        "supcon_loss", embeddings, labels, references, reference_labels,
        push=LogSumExp(1 / temperature), sides=sides, pairing=pairing,
    )  # fmt: skip


class SupConLoss(Objective):
    """Module form of :func:`supcon_loss`."""

    function = staticmethod(supcon_loss)

    def __init__(
        self,
        *,
        temperature: float = 0.1,
        form: Literal["outside", "inside"] = "outside",
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(temperature=temperature, form=form, pairing=pairing)
