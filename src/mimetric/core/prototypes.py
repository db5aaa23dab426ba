"""Means of classes as references, and the mean of an anchor's own class without the anchor itself."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .classes import UNLABELLED
from .pairs import PairSums
from .similarity import full_precision


class Prototypes(NamedTuple):
    """Of the classes of a loss's references."""

    means: Tensor  # (k, d)
    classes: Tensor  # (k,) their ids, in order, without the unlabelled
    own: Tensor  # (n, d) of each anchor's positives; any row where there are none
    positives: Tensor  # (n,) how many these are


def prototypes(batch: PairSums) -> Prototypes:
    """Means by autograd, in O((n + m) d): the mean of positives is that of the class less the anchor itself.

    The batch has one class id a row.
    """
    anchors = full_precision(batch.embeddings)
    rows = anchors if batch.references is None else full_precision(batch.references)
    classes, index, sizes = torch.unique(batch.reference_labels, return_inverse=True, return_counts=True)
    sums = rows.new_zeros(len(classes), rows.shape[1]).index_add(0, index, rows)

    place = torch.searchsorted(classes, batch.labels.contiguous()).clamp(max=len(classes) - 1)
    known = (classes[place] == batch.labels) & (batch.labels != UNLABELLED)
    size = torch.where(known, sizes[place], 0)
    # What is of the class and no positive is the anchor itself, under whatever ids.
    runs = batch.relation().of(slice(None))
    inside = torch.arange(runs.columns.shape[1], device=size.device) < size[:, None]
    anchor, at = (inside & ~runs.positive).nonzero().unbind(1)
    itself = rows[runs.columns[anchor, at]]
    own = torch.where(known[:, None], sums[place], 0).index_add(0, anchor, -itself)
    count = size.index_add(0, anchor, torch.ones_like(anchor), alpha=-1)

    labelled = (classes != UNLABELLED).nonzero().squeeze(1)
    return Prototypes(
        (sums / sizes[:, None])[labelled], classes[labelled], own / count.clamp(min=1)[:, None], count
    )
