"""Metrics of queries or samples class by class, and the two averages over all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_shared_labels
from ..core.classes import UNLABELLED


@dataclass(frozen=True)
class PerClass:
    """A metric of queries, class by class."""

    classes: Tensor  # (c,) int64 class ids, ascending; or 0..L-1 of L labels
    mean: Tensor  # (c,) float64 over the class's queries that have a value; nan where none has
    count: Tensor  # (c,) int64 how many have

    @property
    def macro(self) -> Tensor:
        """The mean over classes, which counts a small class as much as a large one."""
        return self.mean.nanmean()

    @property
    def micro(self) -> Tensor:
        """The mean over queries (with several labels each, over queries and labels)."""
        return (self.mean.nan_to_num() * self.count).sum() / self.count.sum()


def per_class(values: Any, labels: Any) -> PerClass:
    """The mean of a metric over the queries of each class.

    Args:
        values: (q,) one value per query, nan where undefined.
        labels: (q,) integer class ids, -1 in no class; or (q, L) bool: a query is in every class it has.

    Returns:
        :class:`PerClass`; its ``macro`` and ``micro`` are the two averages of the whole.
    Raises:
        InputError: shapes disagree, or labels are not integers or bool.

    >>> table = per_class([1.0, 1.0, 1.0, 0.0], [4, 4, 4, 9])
    >>> table.mean.tolist(), table.macro.item(), table.micro.item()
    ([1.0, 0.0], 0.5, 0.75)
    """
    values = as_tensor("per_class", "values", values).double()
    labels = check_shared_labels("per_class", "labels", labels, values)
    if labels.ndim == 2:
        classes = torch.arange(labels.shape[1], device=labels.device)
        query, member = labels.nonzero(as_tuple=True)
    else:
        query = (labels != UNLABELLED).nonzero()[:, 0]
        classes, member = torch.unique(labels[query], return_inverse=True)
    values = values[query]
    known = ~values.isnan()
    count = torch.bincount(member[known], minlength=len(classes))
    total = values.new_zeros(len(classes)).index_add_(0, member[known], values[known])
    return PerClass(classes, total / count, count)
