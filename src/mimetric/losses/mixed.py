"""Pair losses of mixed examples, which are partly of the anchor's class: labels in [0, 1] inside the sums (Metrix)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.checks import as_tensor, check_batch, check_positive
from ..core.errors import InputError
from ..core.similarity import normalized


class Mixing(NamedTuple):
    """Rows of a batch to mix: for an anchor a positive and a negative."""

    anchors: Tensor  # (t,) int64
    positives: Tensor  # (t, k)
    negatives: Tensor  # (t, k)


def rows_to_mix(embeddings: Any, labels: Any, count: int = 3) -> Mixing:
    """For every anchor k pairs of a random positive and one of its hardest negatives.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids, -1 unlabelled.
        count: pairs k of each anchor, >= 1; all its negatives where it has fewer, and those again.

    Returns:
        Indices into the batch of the t anchors with a positive and a negative; positives are drawn from torch's global
        generator.
    Raises:
        InputError: shapes disagree, labels are not integers, or count is below 1.

    Reference: Venkataramanan et al., ICLR 2022, arXiv:2106.04990.  Their code indexes negatives of every anchor but the
    first wrongly.

    >>> rows_to_mix(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [-1.0, 0.0]]), [0, 0, 1, 1], count=1).negatives
    tensor([[2],
            [2],
            [0],
            [1]])
    """
    embeddings, labels = check_batch("rows_to_mix", embeddings, labels)
    check_positive("rows_to_mix", count=count)
    labelled = labels != -1
    same = (labels[:, None] == labels) & labelled & labelled[:, None]
    negative = ~same & labelled & labelled[:, None]
    positive = same.fill_diagonal_(False)
    kept = (positive.any(1) & negative.any(1)).nonzero().flatten()
    if not len(kept):
        none = kept.new_zeros(0, count)
        return Mixing(kept, none, none)
    unit = normalized(embeddings.detach())
    sim = (unit[kept] @ unit.T).masked_fill(~negative[kept], -torch.inf)
    order = sim.argsort(1, descending=True)
    turn = torch.arange(count, device=order.device) % negative[kept].sum(1, keepdim=True)
    return Mixing(
        kept, torch.multinomial(positive[kept].float(), count, replacement=True), order.gather(1, turn)
    )


def mixed_contrastive_loss(similarities: Any, shares: Any, *, negative: float = 0.5) -> Tensor:
    r"""Contrastive loss of anchors and mixed examples.

    .. math:: \frac1n \sum_i \Bigl[ -\sum_k y_{ik} s_{ik} + \sum_k (1 - y_{ik}) [s_{ik} - b]_+ \Bigr]

    Args:
        similarities: s, (n, k) floating point, of each anchor and its own mixed examples.
        shares: y, (n, k) or what broadcasts to it, in [0, 1]: how much of an example is of the anchor's class.
        negative: b, from which a similarity costs.

    Returns:
        Scalar, in units of the similarity; 0 without anchors.
    Raises:
        InputError: similarities are not (n, k), or shares do not broadcast to them or leave [0, 1].

    Reference: Venkataramanan et al., ICLR 2022, arXiv:2106.04990 (Metrix).

    >>> round(mixed_contrastive_loss(torch.tensor([[0.6]]), 0.3).item(), 4)
    -0.11
    """
    sim, share = _checked("mixed_contrastive_loss", similarities, shares)
    costs = (1 - share) * (sim - negative).clamp(min=0) - share * sim
    return costs.sum() / max(1, len(sim))


def mixed_multi_similarity_loss(
    similarities: Any, shares: Any, *, alpha: float = 18.0, beta: float = 75.0, base: float = 0.77
) -> Tensor:
    r"""Multi-similarity loss of anchors and mixed examples.

    .. math::
        \frac1n \sum_i \Bigl[ \tfrac1\alpha \log\bigl(1 + \sum_k y_{ik} e^{-\alpha (s_{ik} - b)}\bigr)
              + \tfrac1\beta \log\bigl(1 + \sum_k (1 - y_{ik}) e^{\beta (s_{ik} - b)}\bigr) \Bigr]

    With shares of 0 and 1 it is :func:`multi_similarity_loss` of these pairs.  An example alone in its sum is pulled
    where :math:`s \le b + \log(y / (1 - y)) / (\alpha + \beta)`, and pushed above.

    Args:
        similarities: s, (n, k) floating point, of each anchor and its own mixed examples.
        shares: y, (n, k) or what broadcasts to it, in [0, 1]: how much of an example is of the anchor's class.
        alpha: sharpness on what is of the class, > 0.
        beta: sharpness on what is not, > 0.
        base: similarity b around which a pair counts.

    Returns:
        Scalar >= 0, in units of the similarity; 0 without anchors.
    Raises:
        InputError: similarities are not (n, k), shares do not broadcast to them or leave [0, 1], or alpha or beta is
            not > 0.

    Reference: Venkataramanan et al., ICLR 2022, arXiv:2106.04990 (Metrix); its defaults are those of the library that
    it builds on.

    >>> mixed_multi_similarity_loss(torch.tensor([[0.77]]), 0.4)
    tensor(0.0250)
    """
    check_positive("mixed_multi_similarity_loss", alpha=alpha, beta=beta)
    sim, share = _checked("mixed_multi_similarity_loss", similarities, shares)
    pull = _log_sum(share, -alpha * (sim - base))
    push = _log_sum(1 - share, beta * (sim - base))
    costs = F.softplus(pull, threshold=50) / alpha + F.softplus(push, threshold=50) / beta
    return costs.sum() / max(1, len(sim))


def _log_sum(weights: Tensor, exponents: Tensor) -> Tensor:
    """Log of the weighted sum of exp over columns; a weight of 0 adds nothing, and gives no nan in the gradient."""
    some = weights > 0
    logs = torch.where(some, weights, 1).log() + exponents
    return logs.masked_fill(~some, -1e30).logsumexp(1)


def _checked(where: str, similarities: Any, shares: Any) -> tuple[Tensor, Tensor]:
    sim, share = as_tensor(where, "similarities", similarities), as_tensor(where, "shares", shares)
    if sim.ndim != 2 or not sim.is_floating_point():
        raise InputError(
            f"{where}: similarities must be (n, k) floating point, got {tuple(sim.shape)} {sim.dtype}"
        )
    try:
        share = share.to(sim).expand_as(sim)
    except RuntimeError:
        raise InputError(
            f"{where}: shares must broadcast to similarities {tuple(sim.shape)}, got {tuple(share.shape)}"
        ) from None
    if share.device.type == "cpu" and not ((share >= 0) & (share <= 1)).all():
        raise InputError(f"{where}: shares must lie in [0, 1], got {share.min():g} to {share.max():g}")
    return sim, share
