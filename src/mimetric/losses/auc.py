"""The area under the ROC curve as a loss: every positive pair of a batch against every negative pair."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_choice, check_positive, check_rows
from ..core.compared import BLOCKS_HELD, compared, compared_scores
from ..core.coupled import Data, Parts, coupled_sums
from ..core.errors import InputError
from ..core.objective import Bound, Objective
from ..core.pairing import Pairing
from ..core.pairs import PairSums, pair_loss
from ..core.pushes import Nothing
from ..core.reduce import Mean
from ..core.similarity import full_precision

Form = Literal["mean", "paper"]


@pair_loss
def mann_whitney_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    temperature: float = 0.01,
    form: Form = "mean",
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Mann-Whitney loss: each positive pair should be more similar than each negative pair, also of other anchors.

    .. math:: \frac1{|P| |N|} \sum_{p \in P} \sum_{q \in N} \log\bigl(1 + e^{(s_q - s_p) / T}\bigr)

    over all positive pairs P and all negative pairs N of the batch, with cosine similarity s.  It bounds the area over
    the ROC curve of all pairs, ``1 - AUC <= loss / log 2``, so that one threshold serves all anchors: a softmax over an
    anchor's own list does not see what is added to all of it.  0 without positive or without negative pairs.  It has
    no tightness and contrast.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        references: (m, d) what anchors are paired with; None is the batch itself.
        reference_labels: (m,) their class ids.
        temperature: T > 0, in cosine units.
        form: ``"mean"`` is over pairs of pairs; ``"paper"`` is equation 3, averaged over P and summed over N: it grows
            with the number of negative pairs, and so do its gradients.
        pairing: what all pair losses share but mining.  An anchor's own cost is over its negatives and all of P.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, temperature is not > 0, an unknown form, or mining.

    Reference: Sheikholeslami et al., arXiv:2510.00137, who train with T = 0.01.  All |P| |N| comparisons are in the
    value and the gradient, to rounding, but few are made (:mod:`mimetric.core.compared`): time grows as |N| and
    as |P| / T, and memory is one block.

    >>> x = torch.tensor([[1., 0.], [0.6, 0.8], [0.8, 0.6]])  # positives 0.6; negatives 0.8 and 0.96
    >>> mann_whitney_loss(x, torch.tensor([0, 0, 1]), temperature=1.0)
    tensor(0.8437)
    """
    where = "mann_whitney_loss"
    check_positive(where, temperature=temperature)
    check_choice(where, "form", form, get_args(Form))

    def parts(data: Data) -> Parts:
        near, _, _ = data.near_and_far(Nothing())
        positives = near.sim[near.valid.nonzero(as_tuple=True)]
        far, count = compared(
            data.problem, data.rows, data.references, positives, temperature, plain=data.plain
        )
        # The counts of all anchors add up to what the sum over pairs is divided by.
        counts = count if form == "mean" else torch.full_like(count, 1 / max(1, len(count)))
        return [
            (Mean(far / max(1, len(positives)), counts), Mean(torch.zeros_like(far), torch.ones_like(far)))
        ]

    return coupled_sums(
        where, embeddings, labels, references, reference_labels,
        parts=parts, scale=1 / temperature, blocks_held=BLOCKS_HELD, divided=False, pairing=pairing,
    )  # fmt: skip


class MannWhitneyLoss(Objective):
    """Module form of :func:`mann_whitney_loss`."""

    function = staticmethod(mann_whitney_loss)
    sides = None  # type: ignore[assignment]

    def __init__(
        self,
        *,
        temperature: float = 0.01,
        form: Form = "mean",
        pairing: Pairing = Pairing(),
    ) -> None:
        check_positive("MannWhitneyLoss", temperature=temperature)
        check_choice("MannWhitneyLoss", "form", form, get_args(Form))
        super().__init__(temperature=temperature, form=form, pairing=pairing)


def mann_whitney_scores_loss(
    scores: Any,
    positive_mask: Any,
    ignore_mask: Any = None,
    *,
    temperature: float = 1.0,
    form: Form = "mean",
) -> Tensor:
    r""":func:`mann_whitney_loss` of given scores, such as those of queries and passages.

    Args:
        scores: (n, m) floating point.
        positive_mask: (n, m) bool, which scores are of positive pairs; the others are of negative ones.
        ignore_mask: (n, m) bool, which are neither, such as passages whose relevance nobody knows: here a false
            negative stands against all positives.
        temperature: T > 0, in units of the scores.
        form: ``"mean"`` over pairs of pairs, or ``"paper"``.

    Returns:
        Scalar >= 0, in nats; 0 without positives or without negatives.
    Raises:
        InputError: shapes disagree, scores are not floating point, a mask is not bool, or an option out of range.

    Reference: Sheikholeslami et al., arXiv:2510.00137.

    >>> mann_whitney_scores_loss(torch.tensor([[1.0, 0.2], [0.5, 0.4]]), torch.eye(2, dtype=torch.bool))
    tensor(0.5469)
    """
    where = "mann_whitney_scores_loss"
    check_positive(where, temperature=temperature)
    check_choice(where, "form", form, get_args(Form))
    given = full_precision(check_rows(where, "scores", scores))
    positive = _mask(where, "positive_mask", positive_mask, given)
    ignored = (
        torch.zeros_like(positive) if ignore_mask is None else _mask(where, "ignore_mask", ignore_mask, given)
    )
    positives, negatives = given[positive & ~ignored], given[~positive & ~ignored]
    pairs = len(positives) * (len(negatives) if form == "mean" else 1)
    return compared_scores(negatives, positives, temperature) / max(1, pairs)


def _mask(where: str, name: str, mask: Any, scores: Tensor) -> Tensor:
    given = as_tensor(where, name, mask)
    if given.dtype != torch.bool or given.shape != scores.shape:
        raise InputError(
            f"{where}: {name} must be bool of shape {tuple(scores.shape)} to match scores, "
            f"got {str(given.dtype).removeprefix('torch.')} of shape {tuple(given.shape)}"
        )
    return given.to(scores.device)


class MannWhitneyScoresLoss(Bound):
    """Module form of :func:`mann_whitney_scores_loss`."""

    function = staticmethod(mann_whitney_scores_loss)

    def __init__(self, *, temperature: float = 1.0, form: Form = "mean") -> None:
        check_positive("MannWhitneyScoresLoss", temperature=temperature)
        check_choice("MannWhitneyScoresLoss", "form", form, get_args(Form))
        super().__init__(temperature=temperature, form=form)

    def forward(self, scores: Any, positive_mask: Any, ignore_mask: Any = None) -> Tensor:
        return mann_whitney_scores_loss(scores, positive_mask, ignore_mask, **self.options)
