r"""Which pairs count: a mining keeps some of an anchor's positives and some of its negatives.

It goes into :class:`mimetric.core.pairing.Pairing`, works inside the blocks of the pair engine, and lets no
gradient through.  Every anchor is mined on its own; a separate set of references changes nothing but its size.  What
measures angles or distances takes those of the rows as given, whatever the similarity of the loss.

Those that draw take random numbers from torch's own generator (``torch.manual_seed``), one for each anchor and call.
They draw systematically: the chances of an anchor's pairs, in the order of the references, are laid end to end, and a
pair is drawn when one of the points u, u + 1, u + 2, ... falls on it.  So each has exactly its chance, none comes
twice, and how many are drawn hardly varies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import radians, tan
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .core.checks import check_choice
from .core.errors import InputError
from .core.guided import GuidedMining as GuidedMining
from .core.masked import MaskMining as MaskMining
from .core.mined import Kept, Seen
from .core.triplets import distance_chances


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
    blocks_held = 1
    by_hardest = True

    def __call__(self, seen: Seen) -> Kept:
        near = seen.near
        easiest = torch.where(near.valid, near.sim, torch.inf).amin(1)
        kept = near.valid & (near.sim < (seen.hardest + self.epsilon)[:, None])
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
    blocks_held = 1
    by_hardest = True

    def __post_init__(self) -> None:
        check_choice("EasyHardMining", "positives", self.positives, ("hard", "easy", "all"))
        check_choice("EasyHardMining", "negatives", self.negatives, ("hard", "semi-hard", "all"))
        if self.positives == "all" and self.negatives == "semi-hard":
            raise InputError(
                "EasyHardMining: semi-hard negatives are told by one positive; take hard or easy positives"
            )

    def __call__(self, seen: Seen) -> Kept:
        near, hardest = seen.near, seen.hardest
        chosen = {
            "hard": torch.where(near.valid, near.sim, torch.inf).amin(1),
            "easy": torch.where(near.valid, near.sim, -torch.inf).amax(1),
            "all": torch.full_like(hardest, torch.inf),
        }[self.positives]
        valid = near.valid & (near.sim == chosen[:, None]) if self.positives != "all" else near.valid
        both = valid.any(1) & (hardest != -torch.inf)
        least = _just_below(hardest) if self.negatives == "hard" else -torch.inf
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
    blocks_held = 1
    by_hardest = True

    def __call__(self, seen: Seen) -> Kept:
        near = seen.near
        return Kept(near.valid & (near.sim < self.positive), torch.full_like(near.sim[:, 0], self.negative))


@dataclass(frozen=True)
class TripletMarginMining:
    r"""Pairs of the triplets of one kind: positive p and negative j of an anchor stay if a triplet has both.

    With similarity s and margin m, ``all`` are the triplets that miss the margin, :math:`s_j > s_p - m`; of these
    ``hard`` have :math:`s_j \ge s_p` and ``semi-hard`` :math:`s_j < s_p`; ``easy`` are all others.  A pair counts once,
    in however many triplets it is: a loss on triplets itself is :func:`mimetric.losses.triplet_margin_loss`.
    ``all`` keeps what :class:`MultiSimilarityMining` keeps, in one pass more for each positive.

    Args:
        margin: m >= 0, in units of the similarity.
        triplets: of which kind.

    Raises:
        InputError: margin is negative, or an unknown word.

    Reference: Schroff et al., CVPR 2015, arXiv:1503.03832, for semi-hard.
    """

    margin: float = 0.2
    triplets: Literal["all", "hard", "semi-hard", "easy"] = "all"
    blocks_held = 2

    def __post_init__(self) -> None:
        check_choice("TripletMarginMining", "triplets", self.triplets, ("all", "hard", "semi-hard", "easy"))
        if not self.margin >= 0:
            raise InputError(f"TripletMarginMining: margin must be >= 0, got {self.margin}")

    def __call__(self, seen: Seen) -> Kept:
        sim = seen.near.sim
        missed, none = sim - self.margin, torch.full_like(sim, torch.inf)
        above, below = {
            "all": (missed, none),
            "hard": (_just_below(sim), none),
            "semi-hard": (missed, sim),
            "easy": (-none, missed.nextafter(none)),
        }[self.triplets]
        return _in_triplets(seen, lambda p: (seen.far > above[:, p, None]) & (seen.far < below[:, p, None]))


@dataclass(frozen=True)
class AngularMining:
    r"""Pairs of the triplets with a wide angle at the negative.

    A triplet of rows of length 1 counts if :math:`\arctan \frac{|x_i - x_p|}{2 |x_j - (x_i + x_p) / 2|} > \alpha`,
    the angle under which a negative sees half of the circle around its anchor and positive.  Of cosines c,
    :math:`c_{ij} + c_{pj} > 1 + \frac{1 + c_{ip}}2 - \frac{1 - c_{ip}}{2 \tan^2 \alpha}`.  Positive p and negative j of
    an anchor stay if a triplet that counts has both.  A product more for each positive, and one for the anchors.

    Args:
        degrees: α in (0, 90).

    Raises:
        InputError: degrees out of range.

    Reference: Wang et al., ICCV 2017, arXiv:1708.01682; as a miner, pytorch-metric-learning.
    """

    degrees: float = 20.0
    blocks_held = 3

    def __post_init__(self) -> None:
        if not 0 < self.degrees < 90:
            raise InputError(f"AngularMining: degrees must lie in (0, 90), got {self.degrees}")

    def __call__(self, seen: Seen) -> Kept:
        to_anchor = seen.cosines()
        to_positives = to_anchor.gather(1, seen.runs.columns)
        least = 1 + (1 + to_positives) / 2 - (1 - to_positives) / (2 * tan(radians(self.degrees)) ** 2)
        to_anchor.masked_fill_(seen.far == -torch.inf, -torch.inf)
        return _in_triplets(seen, lambda p: seen.cosines_of_positive(p).add_(to_anchor) > least[:, p, None])


@dataclass(frozen=True)
class DistanceWeightedMining:
    r"""Negatives drawn evenly over distances: as many as the anchor has positives, all of which stay.

    A negative at distance D, of rows of length 1 and width d, is drawn in proportion to :math:`1 / q(D)`, with
    :math:`q(D) \propto D^{d - 2} (1 - D^2 / 4)^{(d - 3) / 2}` the density of distances of random rows.  An anchor that
    none can be drawn for keeps nothing.  A negative whose share is larger than that of one positive comes once, and
    then fewer are drawn.

    Args:
        nearest: a distance in (0, 2); a nearer negative is drawn like one at it.
        furthest: a distance in (nearest, 2); from it on none is drawn.

    Raises:
        InputError: distances out of range.

    Reference: Wu et al., ICCV 2017, arXiv:1706.07567.  Theirs goes with :func:`mimetric.losses.margin_loss`; for
    triplets :func:`mimetric.losses.distance_weighted_triplet_loss` has the mean over all draws.
    """

    nearest: float = 0.5
    furthest: float = 1.4
    blocks_held = 7

    def __post_init__(self) -> None:
        if not 0 < self.nearest < self.furthest < 2:
            raise InputError(
                f"DistanceWeightedMining: needs 0 < nearest < furthest < 2, got {self.nearest} and {self.furthest}"
            )

    def __call__(self, seen: Seen) -> Kept:
        cosines = seen.cosines().masked_fill_(seen.far == -torch.inf, -torch.inf).to(seen.far.dtype)
        chances = distance_chances(cosines, seen.width, self.nearest, self.furthest)
        chosen = _drawn(chances.mul_(seen.near.valid.sum(1, keepdim=True)).clamp_(max=1), seen.draw)
        return Kept(seen.near.valid & (chances > 0).any(1, keepdim=True), chosen=chosen)


@dataclass(frozen=True)
class UniformHistogramMining:
    """Pairs drawn evenly over similarities: at most so many from each bin.

    The positives of an anchor, and its negatives, lie in bins of one width between the least and the largest
    similarity of theirs; of a bin that holds more than it may, that many are drawn, all alike.

    Args:
        num_bins: how many bins, >= 1.
        positives_per_bin: >= 1.
        negatives_per_bin: >= 1.

    Raises:
        InputError: a number is below 1.

    Reference: ``UniformHistogramMiner`` of pytorch-metric-learning, which draws from all pairs of a batch together.
    """

    num_bins: int = 100
    positives_per_bin: int = 1
    negatives_per_bin: int = 1
    blocks_held = 9

    def __post_init__(self) -> None:
        for name in ("num_bins", "positives_per_bin", "negatives_per_bin"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"UniformHistogramMining: {name} must be at least 1, got {getattr(self, name)}"
                )

    def __call__(self, seen: Seen) -> Kept:
        near, far = seen.near, seen.far
        positives = self._of_bins(near.sim, near.valid, self.positives_per_bin, seen.draw)
        negatives = self._of_bins(far, far != -torch.inf, self.negatives_per_bin, seen.draw)
        return Kept(positives, chosen=negatives)

    def _of_bins(self, sim: Tensor, there: Tensor, most: int, draw: Tensor) -> Tensor:
        least = torch.where(there, sim, torch.inf).amin(1, keepdim=True)
        largest = torch.where(there, sim, -torch.inf).amax(1, keepdim=True)
        place = (sim - least) / (largest - least).clamp(min=torch.finfo(sim.dtype).tiny) * self.num_bins
        bins = torch.where(there, place, 0).long().clamp_(max=self.num_bins - 1)
        counts = sim.new_zeros(len(sim), self.num_bins).scatter_add_(1, bins, there.to(sim.dtype))
        return _drawn((most / counts.gather(1, bins)).clamp_(max=1).mul_(there), draw)


@dataclass(frozen=True)
class HDCMining:
    r"""The hardest share of an anchor's positives and of its negatives, each rounded up; those as hard stay as well.

    Args:
        share: in (0, 1].

    Raises:
        InputError: share out of range.

    Reference: hard-aware deeply cascaded embedding, Yuan et al., ICCV 2017, arXiv:1611.05720, which ranks all pairs
    of a batch together and trains deeper layers on harder shares.
    """

    share: float = 0.5
    blocks_held = 5

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(f"HDCMining: share must lie in (0, 1], got {self.share}")

    def __call__(self, seen: Seen) -> Kept:
        near, far = seen.near, seen.far
        ease = torch.where(near.valid, near.sim, torch.inf)
        valid = near.valid & (ease <= self._last(ease))
        return Kept(valid, _just_below(-self._last(-far)[:, 0]))

    def _last(self, ease: Tensor) -> Tensor:
        """(k, 1) the largest of the share with the least; inf stands for what is not there."""
        count = (ease != torch.inf).sum(1, keepdim=True)
        place = (self.share * count).ceil().long() - 1
        return ease.sort(1).values.gather(1, place.clamp(min=0))


def _in_triplets(seen: Seen, of_positive: Callable[[int], Tensor]) -> Kept:
    """The positives and negatives of triplets, from the negatives (k, m) that make one with the p-th positive."""
    valid, chosen = torch.zeros_like(seen.near.valid), torch.zeros_like(seen.far, dtype=torch.bool)
    for p in range(valid.shape[1]):
        triplets = of_positive(p) & seen.near.valid[:, p, None]
        valid[:, p] = triplets.any(1)
        chosen |= triplets
    return Kept(valid, chosen=chosen)


def _drawn(chances: Tensor, draw: Tensor) -> Tensor:
    """Which of each row (k, m) are drawn, each with its chance <= 1, by one number (k, 1) a row."""
    ends = chances.cumsum(1, dtype=torch.float64).add_(draw).floor_()
    return ends != F.pad(ends[:, :-1], (1, 0))


def _just_below(x: Tensor) -> Tensor:
    return x.nextafter(torch.full_like(x, -torch.inf))
