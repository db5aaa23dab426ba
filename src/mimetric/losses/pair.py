"""Losses on single pairs of a batch: hinges and soft hinges."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ..core.checks import check_not_negative, check_positive, check_rows
from ..core.errors import InputError
from ..core.exponentials import LogSumExp
from ..core.hinges import Hinge, SquaredHinge
from ..core.objective import Objective
from ..core.pairing import Pairing, check_unit_pairs
from ..core.pairs import PairSums, pair_loss, pair_sums
from ..core.reduce import Mean, Near
from ..core.similarity import full_precision


@pair_loss
def contrastive_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    positive: float = 1.0,
    negative: float = 0.5,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Contrastive loss: positives above one similarity, negatives below another.

    .. math::
        \operatorname{mean}_{i,\, j \in P_i}\, [a - s_{ij}]_+
        + \operatorname{mean}_{i,\, j \in N_i,\, s_{ij} > b}\, (s_{ij} - b)

    with cosine similarity s: over all positive pairs, and over the negative pairs that cost something (most
    cost nothing and would dilute the rest); nothing to average is 0.  Tightness is the first mean, contrast
    the second.  On unit rows :math:`1 - s` is half the squared distance.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) what to compare with; None is the batch itself.
        reference_labels: (m,) their class ids.
        positive: similarity a that positives should reach; 1 in cosine units is all of it.
        negative: similarity b that negatives should stay below, < `positive`.
        pairing: what all pair losses share: ids, mining, similarity, block.

    Returns:
        Scalar >= 0, in units of the similarity.
    Raises:
        InputError: shapes disagree, labels are not integers, or negative is not < positive.

    Reference: Hadsell et al., CVPR 2006, who square the hinges and measure distances
    (:func:`squared_contrastive_loss`); the linear form on cosines is the usual one of retrieval code.

    >>> import torch
    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> contrastive_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.7800)
    """
    if not negative < positive:
        raise InputError(f"contrastive_loss: negative must be below positive, got {negative} and {positive}")

    def sides(near: Near, far: Mean) -> tuple[Mean, Mean]:
        return Mean(near.sum((positive - near.sim).clamp(min=0)), near.count), far

    return pair_sums(
        "contrastive_loss", embeddings, labels, references, reference_labels,
        push=Hinge(negative), sides=sides, pairing=pairing,
    )  # fmt: skip


class ContrastiveLoss(Objective):
    """Module form of :func:`contrastive_loss`."""

    function = staticmethod(contrastive_loss)

    def __init__(self, *, positive: float = 1.0, negative: float = 0.5, pairing: Pairing = Pairing()) -> None:
        super().__init__(positive=positive, negative=negative, pairing=pairing)


@pair_loss
def squared_contrastive_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    margin: float = 1.0,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Contrastive loss as first written: squared distances, and squared hinges on them.

    .. math::
        \frac1n \sum_i \sum_{j \in P_i} D_{ij}^2 + \frac1n \sum_i \sum_{j \in N_i} [m - D_{ij}]_+^2

    with the Euclidean distance D of rows scaled to length 1, in 0..2.  Tightness is the first sum, contrast the
    second.  Both are sums over an anchor's pairs, so that negatives outweigh positives in a large batch;
    :func:`contrastive_loss` averages each over its pairs, and its hinges are linear in the cosine.  A
    negative at distance 0 has no direction to go, and a zero gradient.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) what to compare with; None is the batch itself.
        reference_labels: (m,) their class ids.
        margin: distance m > 0 from which a negative costs nothing.
        pairing: ids, mining and block; mining sees similarities -D.

    Returns:
        Scalar >= 0, in squared distances.
    Raises:
        InputError: shapes disagree, labels are not integers, margin is not > 0, or another similarity is asked.

    Reference: Hadsell et al., CVPR 2006; in this form Boudiaf et al., ECCV 2020, arXiv:2003.08983, table 2.

    >>> import torch
    >>> z = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    >>> squared_contrastive_loss(z, torch.tensor([0, 0, 1, 1]))
    tensor(0.4056)
    """
    where = "squared_contrastive_loss"
    check_positive(where, margin=margin)

    def sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        return near.sum(near.sim.square()), far

    return pair_sums(
        where, *check_unit_pairs(where, embeddings, labels, references, reference_labels, pairing),
        push=SquaredHinge(-margin), sides=sides, similarity="negative_euclidean", pairing=pairing,
    )  # fmt: skip


class SquaredContrastiveLoss(Objective):
    """Module form of :func:`squared_contrastive_loss`."""

    function = staticmethod(squared_contrastive_loss)

    def __init__(self, *, margin: float = 1.0, pairing: Pairing = Pairing()) -> None:
        super().__init__(margin=margin, pairing=pairing)


@pair_loss
def snr_contrastive_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    margin: float = 1.0,
    mean_weight: float = 0.005,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Signal-to-noise contrastive loss: the noise that turns the anchor into the other, beside the anchor's signal.

    .. math::
        \operatorname{mean}_{i,\, j \in P_i}\, \bigl(d_{ij} + \lambda |\textstyle\sum_k x_{ik}|\bigr)
        + \operatorname{mean}_{i,\, j \in N_i,\, d_{ij} < m}\, (m - d_{ij}), \qquad
        d_{ij} = \frac{\operatorname{Var}(x_i - x_j)}{\operatorname{Var}(x_i)}

    with variances over the d numbers of a row: over all positive pairs, and over the negative pairs that cost
    something.  λ keeps the numbers of a row around 0, which the variances do not see.  Tightness is the first mean,
    contrast the second.

    Args:
        embeddings: (n, d) floating point; their norm and their axes matter.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) what to compare with; None is the batch itself.
        reference_labels: (m,) their class ids.
        margin: d from which a negative costs nothing, m > 0.
        mean_weight: λ >= 0.
        pairing: what all pair losses share; its own similarity is -d.

    Returns:
        Scalar >= 0; d has no unit.
    Raises:
        InputError: shapes disagree, labels are not integers, margin is not > 0, or mean_weight is negative.

    Reference: Yuan et al., CVPR 2019, arXiv:1904.02616.  λ = 0.005 is that of Roth et al., ICML 2020, arXiv:2002.08473.

    >>> import torch
    >>> x = torch.tensor([[1., -1.], [0.5, -0.5], [1., 1.]])
    >>> snr_contrastive_loss(x, torch.tensor([0, 0, 1]))
    tensor(1.6250)
    """
    where = "snr_contrastive_loss"
    check_positive(where, margin=margin)
    check_not_negative(where, mean_weight=mean_weight)
    offsets = full_precision(check_rows(where, "embeddings", embeddings)).sum(1).abs()

    def sides(near: Near, far: Mean, offset: Tensor) -> tuple[Mean, Mean]:
        return Mean(near.sum(mean_weight * offset[:, None] - near.sim), near.count), far

    return pair_sums(
        where, embeddings, labels, references, reference_labels,
        push=Hinge(-margin), sides=sides, tensors=(offsets,), similarity="negative_snr", pairing=pairing,
    )  # fmt: skip


class SNRContrastiveLoss(Objective):
    """Module form of :func:`snr_contrastive_loss`."""

    function = staticmethod(snr_contrastive_loss)

    def __init__(
        self, *, margin: float = 1.0, mean_weight: float = 0.005, pairing: Pairing = Pairing()
    ) -> None:
        super().__init__(margin=margin, mean_weight=mean_weight, pairing=pairing)


@pair_loss
def multi_similarity_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    alpha: float = 2.0,
    beta: float = 50.0,
    base: float = 0.5,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Multi-similarity loss: soft hinges on positives and negatives around one base.

    .. math::
        \frac1n \sum_i \tfrac1\alpha \log\bigl(1 + \sum_{j \in P_i} e^{-\alpha (s_{ij} - b)}\bigr)
                     + \tfrac1\beta  \log\bigl(1 + \sum_{j \in N_i} e^{\beta (s_{ij} - b)}\bigr)

    with cosine similarity s, positives :math:`P_i` (the label of i, without i itself) and
    negatives :math:`N_i`.  An empty set adds 0.  Tightness is the first term, contrast the second.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) what to compare with, such as a memory bank; None is the batch itself.
        reference_labels: (m,) their class ids.
        alpha: sharpness on positives, > 0.
        beta: sharpness on negatives, > 0.
        base: similarity b from which a pair counts, in cosine units.
        pairing: what all pair losses share: ids, mining, similarity, block.

    Returns:
        Scalar >= 0, in cosine units.
    Raises:
        InputError: shapes disagree, labels are not integers, or alpha or beta is not > 0.

    Reference: Wang et al., CVPR 2019, arXiv:1904.06627.  Their code has beta = 40, mines pairs
    (:class:`mimetric.mining.MultiSimilarityMining`), and drops an anchor that is left with pairs of one kind, as the
    mining does; with ``epsilon=inf`` it drops such anchors and nothing else.  It also drops positives above 1 - 1e-5.

    >>> import torch
    >>> x = torch.tensor([[1., 0.], [0., 1.], [1., 1.]])
    >>> multi_similarity_loss(x, torch.tensor([0, 0, 1]), beta=40.0)
    tensor(0.6506)
    """
    check_positive("multi_similarity_loss", alpha=alpha, beta=beta)

    def sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        pull = near.logsumexp(-alpha * (near.sim - base))
        return F.softplus(pull, threshold=50) / alpha, F.softplus(far, threshold=50) / beta

    return pair_sums(
        "multi_similarity_loss", embeddings, labels, references, reference_labels,
        push=LogSumExp(beta, base), sides=sides, pairing=pairing,
    )  # fmt: skip


class MultiSimilarityLoss(Objective):
    """Module form of :func:`multi_similarity_loss`."""

    function = staticmethod(multi_similarity_loss)

    def __init__(
        self, *, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5, pairing: Pairing = Pairing()
    ) -> None:
        super().__init__(alpha=alpha, beta=beta, base=base, pairing=pairing)
