"""Sums over an anchor's positives, averages not yet divided, and a log-sum that survives an empty set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

FINITE = -1e30  # in place of -inf where it is multiplied by 0


@dataclass(frozen=True)
class Mean:
    """An average not yet divided: totals and counts of any one shape, both summed before dividing.

    What is averaged over everything (all pairs, all non-zero terms) can be taken block by block and
    process by process in this form.
    """

    total: Tensor
    count: Tensor


def masked_logsumexp(x: Tensor, mask: Tensor) -> Tensor:
    r""":math:`\log \sum_{j: m_{ij}} e^{x_{ij}}` for each row of x (n, k); -inf with a zero gradient over none.

    >>> masked_logsumexp(torch.zeros(2, 3), torch.tensor([[True, True, False], [False, False, False]]))
    tensor([0.6931,   -inf])
    """
    # A number so low that its exponential is 0 keeps derivatives of any order finite, which -inf does not.
    found = torch.where(mask, x, FINITE).logsumexp(1)
    return torch.where(found < FINITE / 2, -torch.inf, found)


def log_add(a: Tensor, b: Tensor) -> Tensor:
    """log(e^a + e^b), where -inf stands for nothing and has a zero gradient, of any order."""
    return torch.stack((a, b)).clamp(min=FINITE).logsumexp(0)  # torch.logaddexp has NaN second derivatives


def log_add_to(x: Tensor, far: Tensor) -> Tensor:
    """log(e^x + e^far) where x is finite, and far may be -inf: a third of the operations of :func:`log_add`.

    >>> log_add_to(torch.zeros(2), torch.tensor([0.0, -torch.inf]))
    tensor([0.6931, 0.0000])
    """
    return x + F.softplus(far - x, threshold=50)


def log_add_to_each(x: Tensor, far: Tensor) -> Tensor:
    """The same of each x (k, p) with far (k,) of its row."""
    return log_add_to(x, far[:, None])


class Near:
    """The positives of k anchors, a row each, padded to the longest.

    Rows rather than flat index lists: sums along a row need no scatter, each row has its own maximum, and
    the width is the size of the largest class.  A positive of relevance w counts as w positives, in sums and counts.
    """

    def __init__(
        self, sim: Tensor, valid: Tensor, relevance: Tensor | None = None, *, even: bool = False
    ) -> None:
        self.sim = sim  # (k, p) similarities; any number where not valid
        self.valid = valid  # (k, p) bool
        self.even = even  # all are valid, p > 0, and each counts once: nothing to mask
        self.relevance = None if relevance is None else relevance.to(sim.dtype)  # (k, p) > 0; None is 1

    @cached_property
    def count(self) -> Tensor:
        """(k,) how many there are."""
        if self.even:
            return self.sim.new_full(self.sim.shape[:1], self.sim.shape[1])
        return self.valid.sum(1, dtype=self.sim.dtype) if self.relevance is None else self.sum(self.valid)

    def sum(self, x: Tensor) -> Tensor:
        """(k, p) -> (k,)."""
        if self.even:
            return x.sum(1)
        return torch.where(self.valid, x if self.relevance is None else x * self.relevance, 0).sum(1)

    def mean(self, x: Tensor) -> Tensor:
        """(k, p) -> (k,); 0 over none."""
        if self.even:
            return x.mean(1)
        return self.sum(x) / (self.count + (self.count == 0))

    def logsumexp(self, x: Tensor) -> Tensor:
        """(k, p) -> (k,); -inf over none."""
        if self.even:
            return x.logsumexp(1)
        return masked_logsumexp(x if self.relevance is None else x + self.relevance.log(), self.valid)

    def some(self, x: Tensor) -> Tensor:
        """(k,) as it is where there are any, 0 over none."""
        return x if self.even else torch.where(self.count > 0, x, 0)

    def kept(self, valid: Tensor) -> Near:
        """The same, less what is not valid any more."""
        return Near(self.sim, valid, self.relevance)
