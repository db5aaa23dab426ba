"""Synthetic negatives, blended from those that were mined."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_choice, check_positive, check_rows
from ..core.errors import InputError
from ..core.similarity import normalized


def mixed_negatives(
    anchors: Any,
    negatives: Any,
    *,
    mode: Literal["pair", "list"] = "pair",
    alpha: float = 2.0,
    temperature: float = 0.05,
) -> Tensor:
    r"""One more negative for each anchor, between its mined ones and, where those are near, nearer.

    .. math::
        \text{pair: } \lambda a + (1 - \lambda) b, \quad \lambda \sim \text{Beta}(\alpha, \alpha) \qquad
        \text{list: } \sum_k w_k x_k, \quad w = \text{softmax}(s / T)

    of unit rows, brought to length 1.  A pair is drawn from the anchor's negatives, a list is all of them, and the
    nearest weighs most.  Gradients go to negatives and, by the weights of a list, to anchors.

    Hand mined and mixed negatives to a loss as references with label -1, beside the positives:
    they are then negatives of every anchor, not of their own alone; for that give it a
    :class:`~mimetric.mining.MaskMining`.

    Args:
        anchors: (n, d) floating point.
        negatives: (n, M, d) mined for each; M >= 2 for pairs.
        mode: pair or list.
        alpha: of the Beta distribution, > 0, drawn from torch's global generator.
        temperature: T > 0 of the list, in cosine units; ours, the paper's is not known.

    Returns:
        (n, d) rows of length 1.
    Raises:
        InputError: shapes disagree, or an option is out of range.

    Reference: Zhao et al., arXiv:2506.20923 (KaLM-Embedding-V2).

    >>> negatives = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> mixed_negatives(torch.tensor([[1.0, 0.0]]), negatives, mode="list", temperature=1.0)
    tensor([[0.9385, 0.3453]])
    """
    where = "mixed_negatives"
    check_choice(where, "mode", mode, ("pair", "list"))
    check_positive(where, alpha=alpha, temperature=temperature)
    anchors, negatives = check_rows(where, "anchors", anchors), as_tensor(where, "negatives", negatives)
    n, width = anchors.shape
    least = 2 if mode == "pair" else 1
    if (
        negatives.ndim != 3
        or (len(negatives), negatives.shape[2]) != (n, width)
        or negatives.shape[1] < least
    ):
        raise InputError(
            f"{where}: negatives must have shape ({n}, M, {width}) with M at least {least}, "
            f"got {tuple(negatives.shape)}"
        )
    negatives = normalized(negatives.flatten(0, 1)).view_as(negatives)
    if mode == "list":
        sim = (negatives @ normalized(anchors)[:, :, None]).squeeze(2)
        weights = (sim / temperature).softmax(1)
        return normalized((weights[:, :, None] * negatives).sum(1))
    drawn = torch.rand(negatives.shape[:2], device=negatives.device).topk(2).indices
    a, b = negatives[torch.arange(n, device=drawn.device)[:, None], drawn].unbind(1)
    share = torch.distributions.Beta(alpha, alpha).sample((n, 1)).to(a)
    return normalized(share * a + (1 - share) * b)
