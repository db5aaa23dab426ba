"""What a teacher says of the candidates of each anchor: margins, and a distribution."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_choice, check_positive, check_rows
from ..core.errors import InputError
from ..core.objective import Bound
from ..core.similarity import full_precision, normalized

# Neither is in the catalog of `compare`, nor on the pair engine: an anchor has a few candidates of its own and a
# teacher's score for each, and no labels.


def margin_mse_loss(
    anchors: Any, positives: Any, negatives: Any, scores: Any, *, similarity: Literal["dot", "cosine"] = "dot"
) -> Tensor:
    r"""Margin-MSE: by how much positives beat negatives, as a teacher has it.

    .. math:: \frac1{nh} \sum_{i, k} \bigl((s_{i0} - s_{ik}) - (t_{i0} - t_{ik})\bigr)^2

    with similarity s of an anchor and its candidates, the positive (0) and its own negatives (1..h), and the teacher's
    scores t, in units of s.

    Args:
        anchors: (n, d) floating point.
        positives: (n, d), one for each anchor.
        negatives: (n, h, d), those of each anchor, or (n, d), one each.
        scores: (n, 1 + h) of the teacher, the positive first.
        similarity: s.

    Returns:
        Scalar >= 0, in squared units of s.
    Raises:
        InputError: shapes disagree, rows or scores are not floating point, or an unknown similarity.

    Reference: Hofstätter et al., arXiv:2010.02666, one negative each.  ``MarginMSELoss`` of sentence-transformers takes
    the teacher's margins, which are scores of 0 and -margin.

    >>> anchor, positive, negative = torch.tensor([[1., 0.]]), torch.tensor([[2., 1.]]), torch.tensor([[0.5, 2.]])
    >>> margin_mse_loss(anchor, positive, negative, [[3.0, 1.0]])  # a margin of 1.5, the teacher's 2
    tensor(0.2500)
    """
    where = "margin_mse_loss"
    found, wanted = _scores(where, anchors, positives, negatives, scores, similarity)
    margins = (found[:, :1] - found[:, 1:]) - (wanted[:, :1] - wanted[:, 1:])
    return margins.square().sum() / max(1, margins.numel())


class MarginMSELoss(Bound):
    """Module form of :func:`margin_mse_loss`."""

    function = staticmethod(margin_mse_loss)

    def __init__(self, *, similarity: Literal["dot", "cosine"] = "dot") -> None:
        super().__init__(similarity=similarity)

    def forward(self, anchors: Any, positives: Any, negatives: Any, scores: Any) -> Tensor:
        return margin_mse_loss(anchors, positives, negatives, scores, **self.options)


def kl_distillation_loss(
    anchors: Any,
    positives: Any,
    negatives: Any,
    scores: Any,
    *,
    temperature: float = 1.0,
    similarity: Literal["dot", "cosine"] = "dot",
) -> Tensor:
    r"""Distillation of scores: the teacher's softmax over an anchor's candidates, and ours.

    .. math:: \frac{T^2}n \sum_i \sum_{k=0}^h p_{ik} \log \frac{p_{ik}}{q_{ik}}, \qquad p_i = \text{softmax}(t_i / T),
              \quad q_i = \text{softmax}(s_i / T)

    with similarity s of an anchor and its candidates, the positive (0) and its own negatives (1..h), and the teacher's
    scores t.  The factor T² keeps the size of gradients at any temperature.  For the logits of a classifier over its
    classes, the usual knowledge distillation, there is :func:`soft_target_loss`.

    Args:
        anchors: (n, d) floating point.
        positives: (n, d), one for each anchor.
        negatives: (n, h, d), those of each anchor, or (n, d), one each.
        scores: (n, 1 + h) of the teacher, the positive first.
        temperature: T > 0, in units of s.
        similarity: s.

    Returns:
        Scalar >= 0, in nats times T².
    Raises:
        InputError: shapes disagree, rows or scores are not floating point, temperature is not > 0, or an unknown
            similarity.

    Reference: Hinton et al., arXiv:1503.02531; of rankers Lin et al., arXiv:2010.11386.  Defaults are those of
    ``DistillKLDivLoss`` of sentence-transformers.

    >>> anchor, positive, negative = torch.tensor([[1., 0.]]), torch.tensor([[2., 1.]]), torch.tensor([[2., 2.]])
    >>> kl_distillation_loss(anchor, positive, negative, [[3.0, 1.0]])  # one half each, the teacher's 0.881 and 0.119
    tensor(0.3278)
    """
    where = "kl_distillation_loss"
    check_positive(where, temperature=temperature)
    found, wanted = _scores(where, anchors, positives, negatives, scores, similarity)
    ours, teachers = (found / temperature).log_softmax(1), (wanted / temperature).log_softmax(1)
    return temperature**2 * (teachers.exp() * (teachers - ours)).sum() / max(1, len(ours))


class KLDistillationLoss(Bound):
    """Module form of :func:`kl_distillation_loss`."""

    function = staticmethod(kl_distillation_loss)

    def __init__(self, *, temperature: float = 1.0, similarity: Literal["dot", "cosine"] = "dot") -> None:
        super().__init__(temperature=temperature, similarity=similarity)

    def forward(self, anchors: Any, positives: Any, negatives: Any, scores: Any) -> Tensor:
        return kl_distillation_loss(anchors, positives, negatives, scores, **self.options)


def _scores(
    where: str, anchors: Any, positives: Any, negatives: Any, scores: Any, similarity: str
) -> tuple[Tensor, Tensor]:
    """(n, 1 + h) similarities of each anchor and its candidates, and the teacher's scores of the same."""
    check_choice(where, "similarity", similarity, ("dot", "cosine"))
    anchors, positives = check_rows(where, "anchors", anchors), check_rows(where, "positives", positives)
    negatives = as_tensor(where, "negatives", negatives)
    own = negatives[:, None] if negatives.ndim == 2 else negatives
    n, width = anchors.shape
    if positives.shape != (n, width) or own.ndim != 3 or own.shape[::2] != (n, width):
        raise InputError(
            f"{where}: positives and negatives must have shapes {(n, width)} and ({n}, negatives of each, {width}) to "
            f"match anchors, got {tuple(positives.shape)} and {tuple(negatives.shape)}"
        )
    wanted = check_rows(where, "scores", scores).detach()
    if wanted.shape != (n, 1 + own.shape[1]):
        raise InputError(
            f"{where}: scores must have shape {(n, 1 + own.shape[1])}, the positive and the negatives of each anchor, "
            f"got {tuple(wanted.shape)}"
        )
    x = full_precision(anchors)
    candidates = full_precision(torch.cat((positives[:, None], own), 1))
    if similarity == "cosine":
        x, candidates = normalized(x), normalized(candidates.flatten(0, 1)).view_as(candidates)
    # A sum of products, which autocast leaves in full precision.
    found = (x[:, None] * candidates).sum(2)
    return found, wanted.to(found)
