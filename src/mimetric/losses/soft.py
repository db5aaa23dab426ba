"""Soft hinges and log-sums over positives and negatives, kept apart or under one outer function."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.checks import check_positive
from ..core.exponentials import CircleLogSumExp, LogSumExp, Softplus
from ..core.objective import Objective
from ..core.pairing import Pairing
from ..core.pairs import PairSums, pair_loss, pair_sums
from ..core.reduce import Mean, Near
from ..core.terms import Counted


@pair_loss
def binomial_deviance_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    scale: float = 2.0,
    base: float = 0.5,
    cost: float = 25.0,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Binomial deviance: a soft hinge on every pair by itself, far steeper on negatives.

    .. math::
        \operatorname{mean}_{i,\, j \in P_i} \log\bigl(1 + e^{-\alpha (s_{ij} - \beta)}\bigr)
        + \operatorname{mean}_{i,\, j \in N_i} \log\bigl(1 + e^{C \alpha (s_{ij} - \beta)}\bigr)

    with cosine similarity s: over all positive pairs, and over all negative pairs.  Tightness is the first mean,
    contrast the second.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) what to compare with; None is the batch itself.
        reference_labels: (m,) their class ids.
        scale: α > 0.
        base: similarity β from which a pair counts.
        cost: C > 0, how much steeper a negative is than a positive.
        pairing: what all pair losses share: ids, mining, similarity, block.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, or scale or cost is not > 0.

    Reference: Yi et al., ICPR 2014, arXiv:1407.4979, with C = 25; others take 10.  Later code by this name divides
    each logarithm by its steepness, α or C α, which takes most of the weight of negatives away.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> binomial_deviance_loss(x, torch.tensor([0, 0, 1]))
    tensor(19.5981)
    """
    check_positive("binomial_deviance_loss", scale=scale, cost=cost)

    def sides(near: Near, far: Mean) -> tuple[Mean, Mean]:
        return Mean(near.sum(F.softplus(-scale * (near.sim - base), threshold=50)), near.count), far

    return pair_sums(
        "binomial_deviance_loss", embeddings, labels, references, reference_labels,
        push=Counted(Softplus(cost * scale, base)), sides=sides, pairing=pairing,
    )  # fmt: skip


class BinomialDevianceLoss(Objective):
    """Module form of :func:`binomial_deviance_loss`."""

    function = staticmethod(binomial_deviance_loss)

    def __init__(
        self, *, scale: float = 2.0, base: float = 0.5, cost: float = 25.0, pairing: Pairing = Pairing()
    ) -> None:
        super().__init__(scale=scale, base=base, cost=cost, pairing=pairing)


@pair_loss
def circle_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    margin: float = 0.4,
    scale: float = 80.0,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Circle loss: each pair is pulled or pushed the harder the farther it is from its optimum.

    .. math::
        \frac1n \sum_i \log\Bigl(1 + \sum_{p \in P_i} e^{-\gamma [1 + m - s_{ip}]_+ (s_{ip} - 1 + m)}
                                     \sum_{j \in N_i} e^{\gamma [s_{ij} + m]_+ (s_{ij} - m)}\Bigr)

    with cosine similarity s.  The weights [.] are constants: no gradient runs through them, so the gradient is not
    the derivative of the value.  An anchor without positives or without negatives adds 0.  Tightness is P, the log of
    the first sum; contrast is softplus(P + N) - P, with N the log of the second.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) what to compare with; None is the batch itself.
        reference_labels: (m,) their class ids.
        margin: m in (0, 1), the relaxation; the paper has 0.4 for fine-grained retrieval, 0.25 for faces and persons.
        scale: γ > 0; in the same order 80, 256 and 128.
        pairing: what all pair losses share; the optima 1 and 0 are those of cosines.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, or margin or scale is not > 0.

    Reference: Sun et al., CVPR 2020, arXiv:2002.10857, equation 6, here of each anchor; code that takes one sum
    over all pairs of a batch has another loss.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> circle_loss(x, torch.tensor([0, 0, 1]))
    tensor(33.1093)
    """
    check_positive("circle_loss", margin=margin, scale=scale)

    def sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        weight = (1 + margin - near.sim).clamp(min=0).detach()
        pull = near.logsumexp(-scale * weight * (near.sim - 1 + margin))
        pull, push = _where_both(pull, far)
        return pull, F.softplus(pull + push, threshold=50) - pull

    return pair_sums(
        "circle_loss", embeddings, labels, references, reference_labels,
        push=CircleLogSumExp(scale, margin), sides=sides, pairing=pairing,
    )  # fmt: skip


class CircleLoss(Objective):
    """Module form of :func:`circle_loss`."""

    function = staticmethod(circle_loss)

    def __init__(self, *, margin: float = 0.4, scale: float = 80.0, pairing: Pairing = Pairing()) -> None:
        super().__init__(margin=margin, scale=scale, pairing=pairing)


@pair_loss
def generalized_lifted_structure_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    margin: float = 1.0,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Generalized lifted structure: a soft maximum over positives beside one over negatives, under one hinge.

    .. math::
        \frac1n \sum_i \Bigl[\log \sum_{p \in P_i} e^{D_{ip}} + \log \sum_{j \in N_i} e^{m - D_{ij}}\Bigr]_+

    with the Euclidean distance D.  An anchor without positives or without negatives adds 0.  Tightness is P, the
    first log-sum, contrast is :math:`[P + N]_+ - P` with N the second.

    Args:
        embeddings: (n, d) floating point; their norm matters.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) what to compare with; None is the batch itself.
        reference_labels: (m,) their class ids.
        margin: m, in units of the similarity.
        pairing: what all pair losses share; its own similarity is -D.

    Returns:
        Scalar >= 0, a distance.
    Raises:
        InputError: shapes disagree, labels are not integers, or margin is not > 0.

    Reference: Hermans et al., arXiv:1703.07737, equation 8, who add it up and do not scale rows to length 1.  The
    lifted structure of Song et al., CVPR 2016, takes the negatives of both ends of a pair and squares.

    >>> x = torch.tensor([[0.], [1.], [3.]])
    >>> generalized_lifted_structure_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.)
    >>> generalized_lifted_structure_loss(x, torch.tensor([0, 0, 1]), margin=2.5)
    tensor(0.6667)
    """
    check_positive("generalized_lifted_structure_loss", margin=margin)

    def sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        pull, push = _where_both(near.logsumexp(-near.sim), far)
        return pull, (pull + push).clamp(min=0) - pull

    return pair_sums(
        "generalized_lifted_structure_loss", embeddings, labels, references, reference_labels,
        push=LogSumExp(1.0, -margin), sides=sides, similarity="negative_euclidean", pairing=pairing,
    )  # fmt: skip


class GeneralizedLiftedStructureLoss(Objective):
    """Module form of :func:`generalized_lifted_structure_loss`."""

    function = staticmethod(generalized_lifted_structure_loss)

    def __init__(self, *, margin: float = 1.0, pairing: Pairing = Pairing()) -> None:
        super().__init__(margin=margin, pairing=pairing)


def _where_both(pull: Tensor, push: Tensor) -> tuple[Tensor, Tensor]:
    """Log-sums of anchors with pairs of both kinds."""
    both = (pull != -torch.inf) & (push != -torch.inf)
    return torch.where(both, pull, 0), torch.where(both, push, -torch.inf)
