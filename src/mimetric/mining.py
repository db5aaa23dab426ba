"""Which pairs count: a mining keeps some of an anchor's positives and the negatives within a window.

It goes into :class:`mimetric.core.pairs.Pairing`, works inside the blocks of the pair engine, and lets no
gradient through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .core.checks import check_choice
from .core.errors import InputError
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


@dataclass(frozen=True)
class EasyHardMining:
    r"""One positive for each anchor, the hardest or the easiest, and its hardest or semi-hard negatives.

    Hard is least similar for a positive and most similar for a negative; equally hard ones stay together.
    Semi-hard negatives are all that are less similar than the positive kept.  An anchor keeps pairs of both kinds
    or none at all.  Hard with hard is batch-hard (Hermans et al., arXiv:1703.07737), easy with semi-hard
    easy positive (Xuan et al., WACV 2020, arXiv:1904.05370).

    Args:
        positives: which one stays; all of them with "all".
        negatives: the hardest, the semi-hard ones, or all of them with "all".

    Raises:
        InputError: an unknown word, or semi-hard negatives beside all positives.
    """

    positives: Literal["hard", "easy", "all"] = "hard"
    negatives: Literal["hard", "semi-hard", "all"] = "hard"

    def __post_init__(self) -> None:
        check_choice("EasyHardMining", "positives", self.positives, ("hard", "easy", "all"))
        check_choice("EasyHardMining", "negatives", self.negatives, ("hard", "semi-hard", "all"))
        if self.positives == "all" and self.negatives == "semi-hard":
            raise InputError(
                "EasyHardMining: semi-hard negatives are told by one positive; take hard or easy positives"
            )

    def __call__(self, near: Near, hardest: Tensor) -> Kept:
        chosen = {
            "hard": torch.where(near.valid, near.sim, torch.inf).amin(1),
            "easy": torch.where(near.valid, near.sim, -torch.inf).amax(1),
            "all": torch.full_like(hardest, torch.inf),
        }[self.positives]
        valid = near.valid & (near.sim == chosen[:, None]) if self.positives != "all" else near.valid
        both = valid.any(1) & (hardest != -torch.inf)
        least = (
            hardest.nextafter(torch.full_like(hardest, -torch.inf))
            if self.negatives == "hard"
            else -torch.inf
        )
        return Kept(
            valid & both[:, None],
            torch.where(both, least, torch.inf),
            chosen if self.negatives == "semi-hard" else None,
        )


@dataclass(frozen=True)
class MarginMining:
    """Pairs that are not yet where they should be: positives below one similarity, negatives above another.

    Args:
        positive: positives stay below it, in units of the similarity.
        negative: negatives stay above it.
    """

    positive: float = 0.8
    negative: float = 0.2

    def __call__(self, near: Near, hardest: Tensor) -> Kept:
        return Kept(near.valid & (near.sim < self.positive), torch.full_like(hardest, self.negative))
