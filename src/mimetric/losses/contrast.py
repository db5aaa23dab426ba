"""Softmax over pairs: a positive against everything else."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from ..core.checks import check_choice, check_positive
from ..core.exponentials import LogSumExp
from ..core.objective import Objective
from ..core.pairing import Pairing
from ..core.pairs import PairSums, pair_loss, pair_sums
from ..core.reduce import Near, log_add_to, log_add_to_each


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

    >>> import torch
    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> supcon_loss(x, torch.tensor([0, 0, 1]), temperature=1.0)
    tensor(0.5625)
    """
    check_positive("supcon_loss", temperature=temperature)
    check_choice("supcon_loss", "form", form, ("outside", "inside"))

    def sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        z = near.sim / temperature
        among = near.logsumexp(z)
        contrast = near.some(log_add_to(among, far))
        if form == "outside":
            return -near.mean(z), contrast
        return near.some(near.count.log() - among), contrast

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


@pair_loss
def nt_xent_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    temperature: float = 0.1,
    denominator: Literal["negatives", "all"] = "negatives",
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Normalized temperature-scaled cross-entropy: a softmax of each positive against the negatives.

    .. math::
        \frac1n \sum_i \frac1{|P_i|} \sum_{p \in P_i}
        -\log \frac{e^{z_{ip}}}{e^{z_{ip}} + \sum_{j \in N_i} e^{z_{ij}}}

    with :math:`z = s / T` and cosine similarity s.  An anchor without positives adds 0.  Tightness is the part of the
    positives, contrast the log of the denominators.  The name stands for two losses where an anchor has several
    positives: the formula leaves its other positives out of the denominator, as Sohn's and pytorch-metric-learning's
    ``NTXentLoss`` do; with ``denominator="all"`` they are in it, and the loss is :func:`supcon_loss`, outside.

    InfoNCE is the case of one positive each: two views are rows and references, with instance ids as labels.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) what to compare with, such as the other view; None is the batch itself.
        reference_labels: (m,) their class ids.
        temperature: T > 0, in cosine units.
        denominator: what a positive stands against, the negatives or all others.  With one positive each, as two
            views have it, both are the same.
        pairing: what all pair losses share: ids, mining, similarity, block.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, temperature is not > 0, or unknown denominator.

    Reference: Chen et al., ICML 2020, arXiv:2002.05709 (two views); van den Oord et al., arXiv:1807.03748
    (InfoNCE); Sohn, NeurIPS 2016, for one softmax per positive.

    >>> import torch
    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> nt_xent_loss(x, torch.tensor([0, 0, 1]), temperature=1.0)
    tensor(0.5625)

    Two views of three instances, as InfoNCE:

    >>> view = torch.tensor([[1., 1.], [0., 1.], [1., 0.]])
    >>> ids = torch.arange(3)
    >>> nt_xent_loss(x, ids, view, ids, temperature=1.0)
    tensor(1.0857)
    >>> from torch.nn.functional import cross_entropy, normalize
    >>> cross_entropy(normalize(x) @ normalize(view).T, ids)
    tensor(1.0857)
    """
    check_positive("nt_xent_loss", temperature=temperature)
    check_choice("nt_xent_loss", "denominator", denominator, ("negatives", "all"))

    def sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        z = near.sim / temperature
        if denominator == "all":
            return -near.mean(z), near.some(log_add_to(near.logsumexp(z), far))
        return -near.mean(z), near.mean(log_add_to_each(z, far))

    return pair_sums(
        "nt_xent_loss", embeddings, labels, references, reference_labels,
        push=LogSumExp(1 / temperature), sides=sides, pairing=pairing,
    )  # fmt: skip


class NTXentLoss(Objective):
    """Module form of :func:`nt_xent_loss`."""

    function = staticmethod(nt_xent_loss)

    def __init__(
        self,
        *,
        temperature: float = 0.1,
        denominator: Literal["negatives", "all"] = "negatives",
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(temperature=temperature, denominator=denominator, pairing=pairing)


@pair_loss
def snca_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    temperature: float = 0.05,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Scalable neighborhood component analysis: the chance that a random neighbor shares the anchor's class.

    .. math::
        \frac1n \sum_i -\log \sum_{p \in P_i} e^{z_{ip}} + \log \sum_{a \ne i} e^{z_{ia}}

    with :math:`z = s / T`, cosine similarity s, positives :math:`P_i` and all references a but the anchor
    itself.  Tightness is the first term, contrast the second.  An anchor without positives adds 0.  The loss
    is :func:`supcon_loss`, inside, less the constant mean of :math:`\log |P_i|`: the same gradient.
    With ``Pairing(similarity="negative_squared_euclidean")`` and temperature 1 it is neighborhood component
    analysis (Goldberger et al., NeurIPS 2004), in its log form.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) what to compare with, such as a memory bank; None is the batch itself.
        reference_labels: (m,) their class ids.
        temperature: T > 0, in cosine units; the paper has 0.05 to 0.1.
        pairing: what all pair losses share: ids, mining, similarity, block.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, or temperature is not > 0.

    Reference: Wu et al., ECCV 2018, arXiv:1808.04699.

    >>> import torch
    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> snca_loss(x, torch.tensor([0, 0, 1]), temperature=1.0)
    tensor(0.5625)
    """
    check_positive("snca_loss", temperature=temperature)

    def sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        among = near.logsumexp(near.sim / temperature)
        return near.some(-among), near.some(log_add_to(among, far))

    return pair_sums(
        "snca_loss", embeddings, labels, references, reference_labels,
        push=LogSumExp(1 / temperature), sides=sides, pairing=pairing,
    )  # fmt: skip


class SNCALoss(Objective):
    """Module form of :func:`snca_loss`."""

    function = staticmethod(snca_loss)

    def __init__(self, *, temperature: float = 0.05, pairing: Pairing = Pairing()) -> None:
        super().__init__(temperature=temperature, pairing=pairing)
