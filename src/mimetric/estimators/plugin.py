"""Entropy of labels from their frequencies, in nats."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_labels
from ..core.classes import UNLABELLED


def label_entropy(labels: Any) -> Tensor:
    r"""Plug-in entropy of class ids.

    .. math:: \hat H(Y) = -\sum_c \hat p_c \log \hat p_c, \qquad \hat p_c = n_c / n

    Biased low by about (C - 1) / 2n for C classes.  At most log C, reached when all are equally frequent.

    Args:
        labels: (n,) integers; rows with -1, unlabelled, are left out.

    Returns:
        Scalar float64 in nats; nan over no row.
    Raises:
        InputError: labels are not one row of integers.

    >>> label_entropy([0, 0, 1, 1])
    tensor(0.6931, dtype=torch.float64)
    """
    given = as_tensor("label_entropy", "labels", labels)
    given = check_labels("label_entropy", "labels", given, given)
    counts: Tensor = torch.unique(given[given != UNLABELLED], return_counts=True)[1].double()
    share = counts / counts.sum()
    return 0 - (share * share.log()).sum() if len(share) else counts.new_tensor(torch.nan)
