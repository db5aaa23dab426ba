"""Learning to rank: an anchor's references as one list, their relevance given by labels or in grades.

Floating-point relevance in `Pairing(related=...)` is a grade here: 2 is more relevant than 1, and not the
same as two positives.  They are functions of whole rows, without tightness and contrast.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ..core.checks import check_choice, check_positive
from ..core.classes import Rows
from ..core.objective import Objective
from ..core.pairing import Pairing, check_pairs, check_takes_no
from ..core.pairs import PairSums, pair_loss
from ..core.plackett_luce import plackett_luce
from ..core.reduce import masked_logsumexp
from ..core.soft_ranks import SharpRows

Weighting = Literal["uniform", "position", "relevant"]


@pair_loss
def listnet_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    temperature: float = 1.0,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""ListNet: cross-entropy of who stands first, by relevance and by similarity.

    .. math::
        -\frac1n \sum_i \sum_j \frac{e^{y_{ij}}}{\sum_k e^{y_{ik}}} \log \frac{e^{s_{ij} / T}}{\sum_k e^{s_{ik} / T}}

    over all references of anchor i but itself, with cosine similarity s and relevance y: 1 for a positive, 0 for a
    negative, or as graded.  It is least where s / T is y plus a constant.  An anchor without positives adds 0.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) the list of every anchor; None is the batch itself.
        reference_labels: (m,) their class ids.
        temperature: T > 0, in cosine units.
        pairing: ids, related (bool or grades), similarity, reduction, weights and block; no mining.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, temperature is not > 0, or mining.

    Reference: Cao et al., ICML 2007, the top-one form.  Where relevance over its sum is the target, as in the softmax
    loss of TensorFlow Ranking, the loss is :func:`~mimetric.losses.supcon_loss`.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> listnet_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.5123)
    """
    where = "listnet_loss"
    check_positive(where, temperature=temperature)

    def cost(rows: Rows) -> Tensor:
        found = listed(rows)
        some = rows.near.valid.any(1)
        z = torch.where(found.valid, found.sim, 0) / temperature
        aim = torch.where(found.valid, found.relevance, -torch.inf)
        aim = torch.where(some[:, None], aim, 0).softmax(1)  # a softmax over nothing is nan
        return torch.where(some, masked_logsumexp(z, found.valid) - (aim * z).sum(1), 0)

    return over_lists(where, embeddings, labels, references, reference_labels, cost, 1 / temperature, pairing)


class ListNetLoss(Objective):
    """Module form of :func:`listnet_loss`."""

    function = staticmethod(listnet_loss)
    sides = None  # type: ignore[assignment]  # whole rows have none

    def __init__(self, *, temperature: float = 1.0, pairing: Pairing = Pairing()) -> None:
        check_positive("ListNetLoss", temperature=temperature)
        super().__init__(temperature=temperature, pairing=pairing)


@pair_loss
def listmle_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    temperature: float = 1.0,
    weighting: Weighting = "uniform",
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""ListMLE: likelihood of the ranking by relevance, drawn place by place by softmax over similarities.

    .. math::
        \frac1n \sum_i \sum_k w_k \Bigl(\log \sum_{l \ge k} e^{s_{i \pi_l} / T} - \frac{s_{i \pi_k}}T\Bigr)

    with cosine similarity s, over all references of anchor i but itself, :math:`\pi` their ranking by falling
    relevance.  References of one relevance (with labels, all positives, and all negatives) stand with the least similar
    first: of all rankings that agree with the relevance this is the least likely, a bound that holds for any order of
    them and stays convex, while the nearest first would teach the order there is by chance.  An anchor without
    positives adds 0.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) the list of every anchor; None is the batch itself.
        reference_labels: (m,) their class ids.
        temperature: T > 0, in cosine units.
        weighting: ``"uniform"`` is w = 1; ``"position"``, of p-ListMLE, :math:`w_k \propto 2^{m_i - k} - 1` with sum 1
            over the :math:`m_i` places of a list; ``"relevant"`` is 1 at the places of positives and 0 at those of
            negatives, whose order then does not matter: the better choice with labels.
        pairing: ids, related (bool or grades), similarity, reduction, weights and block; no mining.

    Returns:
        Scalar >= 0, in nats; a sum over the places of a list, or the mean by position.
    Raises:
        InputError: shapes disagree, labels are not integers, temperature is not > 0, an unknown weighting, or mining.

    Reference: Xia et al., ICML 2008; position: Lan et al., UAI 2014, whose weights do not sum to 1 and overflow on long
    lists; relevant: the top-k form of Xia et al., NIPS 2009.  allRank and TensorFlow Ranking break ties at random.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])
    >>> listmle_loss(x, torch.tensor([0, 0, 1]))
    tensor(0.5625)
    """
    where = "listmle_loss"
    check_positive(where, temperature=temperature)
    check_choice(where, "weighting", weighting, get_args(Weighting))

    def cost(rows: Rows) -> Tensor:
        found = listed(rows)
        farthest = found.sim.detach().argsort(dim=1, stable=True)
        by_relevance = found.relevance.gather(1, farthest).argsort(dim=1, descending=True, stable=True)
        order = farthest.gather(1, by_relevance)
        weights = _of_places(weighting, found.relevance.gather(1, order))
        scores = torch.where(found.valid, found.sim, 0) / temperature
        likelihood = plackett_luce(scores, order, weights, found.valid.gather(1, order))
        return torch.where(rows.near.valid.any(1), likelihood, 0)

    return over_lists(where, embeddings, labels, references, reference_labels, cost, inf, pairing)


class ListMLELoss(Objective):
    """Module form of :func:`listmle_loss`."""

    function = staticmethod(listmle_loss)
    sides = None  # type: ignore[assignment]  # whole rows have none

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        weighting: Weighting = "uniform",
        pairing: Pairing = Pairing(),
    ) -> None:
        check_positive("ListMLELoss", temperature=temperature)
        check_choice("ListMLELoss", "weighting", weighting, get_args(Weighting))
        super().__init__(temperature=temperature, weighting=weighting, pairing=pairing)


def over_lists(
    where: str,
    embeddings: Any,
    labels: Any,
    references: Any,
    reference_labels: Any,
    cost: Callable[[Rows], Tensor],
    scale: float,
    pairing: Pairing,
) -> PairSums:
    """As :func:`~mimetric.core.pairs.over_anchors`, for a cost that takes grades.

    Its scale says how fast it moves with a similarity: inf where the order counts, and a rounding jumps.
    """
    check_takes_no(where, pairing, "mining")
    data = check_pairs(where, embeddings, labels, references, reference_labels, pairing)
    return PairSums(where, SharpRows(cost, scale, blocks_held=16), *data, (), "cosine", pairing)


class Lists(NamedTuple):
    """The references of k anchors."""

    sim: Tensor  # (k, m) -inf where not valid
    relevance: Tensor  # (k, m) -1 where not valid
    valid: Tensor  # (k, m) bool: not the anchor itself


def listed(rows: Rows) -> Lists:
    """Positives and negatives in one row each."""
    near = rows.near
    grades = torch.ones_like(near.sim) if near.relevance is None else near.relevance
    relevance = torch.zeros_like(rows.sim)  # added, as columns are filled up with one that is there
    relevance.scatter_add_(1, rows.runs.columns, torch.where(near.valid, grades, 0))
    valid = (rows.far != -torch.inf) | (relevance > 0)
    return Lists(torch.where(valid, rows.sim, -torch.inf), torch.where(valid, relevance, -1), valid)


def _of_places(weighting: Weighting, relevance: Tensor) -> Tensor | None:
    """What each place weighs, from relevance in the order of places; -1 is no place."""
    if weighting == "uniform":
        return None
    if weighting == "relevant":
        return (relevance > 0).to(relevance.dtype)
    length = (relevance >= 0).sum(1, keepdim=True)
    place = torch.arange(1, relevance.shape[1] + 1, dtype=relevance.dtype, device=relevance.device)
    weights = (torch.exp2(-place) - torch.exp2(-length.to(place))).clamp(min=0)
    return weights / torch.where(length > 1, weights.sum(1, keepdim=True), 1)
