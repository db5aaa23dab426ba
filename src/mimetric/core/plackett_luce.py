"""The likelihood of a ranking that is drawn place by place, each time by a softmax over what is left."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


def plackett_luce(
    scores: Tensor, order: Tensor, weights: Tensor | None = None, valid: Tensor | None = None
) -> Tensor:
    r"""Weighted negative log-likelihood of rankings under the Plackett-Luce model.

    .. math:: \sum_{k=1}^{C} w_k \Bigl(\log \sum_{l \ge k} e^{s_{\pi_l}} - s_{\pi_k}\Bigr)

    Place k is a choice among what no earlier place took; weights (1, 0, ..., 0) make it cross-entropy.  The gradient
    of a score is :math:`\sum_{k \le r} w_k e^{s_{\pi_r} - \log \sum_{l \ge k} e^{s_{\pi_l}}} - w_r` at its place r:
    O(C) time and memory a row, and derivatives of any order.

    Args:
        scores: (n, C) floating point; half precision is computed in float32.
        order: (n, C) integer, the ranking pi: which column of its row stands at each place.
        weights: (n, C) or what expands to it, w >= 0 of each *place*; None is 1.  They may have a gradient.
        valid: (n, C) bool, which *places* there are: another is neither chosen nor chosen from.  None is all.

    Returns:
        (n,) in nats, >= 0; 0 for an empty row.

    Reference: Xia et al., ICML 2008 (ListMLE, weights 1).

    >>> scores = torch.tensor([[0.0, 1.0, -1.0]])
    >>> plackett_luce(scores, torch.tensor([[0, 1, 2]]))
    tensor([1.5345])
    """
    with torch.autocast(scores.device.type, enabled=False):
        ranked = scores.to(torch.promote_types(scores.dtype, torch.float32)).gather(1, order)
        w = torch.ones_like(ranked) if weights is None else weights.to(ranked).expand_as(ranked)
        if valid is not None:
            ranked, w = torch.where(valid, ranked, _low(ranked)), torch.where(valid, w, 0)
        return cast(Tensor, _Chosen.apply(ranked, w))  # type: ignore[no-untyped-call]


class _Chosen(torch.autograd.Function):
    """apply(ranked (n, C), weights (n, C)) -> (n,) costs of choosing each place among itself and those after it."""

    @staticmethod
    def forward(ctx: Any, ranked: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(ranked, weights)
        return (weights * (_left(ranked) - ranked)).sum(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        ranked, weights = ctx.saved_tensors  # plain operations on these have a graph where one is wanted
        left = _left(ranked)
        # Every exponent is at most log w: what is left at an earlier place includes the score itself.
        drawn = (weights.log().clamp(min=_low(ranked)) - left).logcumsumexp(1)
        to_ranked = grad[:, None] * ((ranked + drawn).exp() - weights)
        return to_ranked, grad[:, None] * (left - ranked) if ctx.needs_input_grad[1] else None


def _left(ranked: Tensor) -> Tensor:
    """Log-sum of each place and all after it."""
    return ranked.flip(1).logcumsumexp(1).flip(1)


def _low(like: Tensor) -> float:
    """Stands for -inf, whose differences are nan; two of them still are a number."""
    return torch.finfo(like.dtype).min / 4
