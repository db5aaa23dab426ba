"""Negatives that are named one by one."""

from __future__ import annotations

from typing import Any

import torch

from .checks import as_tensor
from .errors import InputError
from .mined import Kept, Seen


class MaskMining:
    """Keeps the negatives that a mask has, such as those of an anchor's own; all positives stay.

    What is a positive by its label is none of its negatives, whatever the mask says.

    Args:
        mask: (n, m) bool, which references count as negatives of which anchor.

    Raises:
        InputError: another type or shape than that, as soon as the loss has anchors and references to compare.

    A batch of queries where each has a negative of its own, which is to count for no other query:

    >>> from mimetric.losses import Pairing, explicit_pairs, nt_xent_loss
    >>> from mimetric.mining import MaskMining
    >>> queries, positives = torch.eye(2), torch.eye(2)
    >>> own = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    >>> mask = torch.cat([~torch.eye(2, dtype=torch.bool), torch.eye(2, dtype=torch.bool)], 1)
    >>> pairing = Pairing(mining=MaskMining(mask))
    >>> nt_xent_loss(*explicit_pairs(queries, positives, own), temperature=1.0, pairing=pairing)  # log(1 + 2 / e)
    tensor(0.5514)
    """

    blocks_held = 1

    def __init__(self, mask: Any) -> None:
        self.mask = as_tensor("MaskMining", "mask", mask)
        if self.mask.dtype != torch.bool or self.mask.ndim != 2:
            kind = str(self.mask.dtype).removeprefix("torch.")
            raise InputError(
                f"MaskMining: mask must be bool (anchors, references), got {kind} {tuple(self.mask.shape)}"
            )

    def __call__(self, seen: Seen) -> Kept:
        if not self.mask.shape[1]:  # the engine then has one reference, which is nobody's negative
            return Kept(seen.near.valid)
        shape = seen.data.num_anchors, seen.far.shape[1]
        if self.mask.shape != shape:
            raise InputError(
                f"MaskMining: mask must be {shape}, anchors and references of the loss, got {tuple(self.mask.shape)}"
            )
        return Kept(seen.near.valid, chosen=self.mask[seen.runs.at])
