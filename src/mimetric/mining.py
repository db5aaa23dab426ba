"""Which pairs count: a mining keeps some of an anchor's positives and the negatives above a similarity.

It goes into :class:`mimetric.core.pairs.Pairing`, works inside the blocks of the pair engine, and lets no
gradient through.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .core.forms import Kept
from .core.reduce import Near


@dataclass(frozen=True)
class MultiSimilarityMining:
    r"""Pairs that are hard beside the hardest opposite pair of their anchor.

    A positive stays if :math:`s_{ij} < \max_{k \in N_i} s_{ik} + \epsilon`, a negative if
    :math:`s_{ij} > \min_{k \in P_i} s_{ik} - \epsilon`; both strict.  An anchor keeps pairs of both kinds or
    none at all.

    Args:
        epsilon: how much easier than the hardest opposite pair a pair may be, in cosine units.

    Reference: Wang et al., CVPR 2019, arXiv:1904.06627, equations 10 and 11.
    """

    epsilon: float = 0.1

    def __call__(self, near: Near, hardest: Tensor) -> Kept:
        easiest = torch.where(near.valid, near.sim, torch.inf).amin(1)
        kept = near.valid & (near.sim < (hardest + self.epsilon)[:, None])
        # Both conditions are easiest < hardest + epsilon at the hardest pairs; one rounding decides for both.
        return Kept(kept, torch.where(kept.any(1), easiest - self.epsilon, torch.inf))
