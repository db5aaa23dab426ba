r"""Are two rows of one class?  The error rates of one threshold on similarity, over given or over all pairs.

A curve (:class:`Roc`) is made once, by :func:`roc_curve` from scores or by :func:`pair_roc` from embeddings; every
metric is a few lines over it.  A pair is accepted, a match, where its score is at least the threshold.

The words of the field: the share of different pairs accepted is the false match rate (FMR, also FAR); the share of
same pairs accepted is the true match rate (TMR, also TAR), and 1 - TMR is the false non-match rate (FNMR, FRR).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.checks import as_tensor, check_positive
from ..core.errors import InputError
from ..core.similarity import Similarity
from .all_pairs import AllPairs
from .streaming import Streaming

# Cells of a grid that finds most scores their place: 2^22 counts and flags are 36 MiB.
_GRID_BITS = 22


@dataclass(frozen=True)
class Roc:
    """How many pairs lie at or above each threshold, at every corner of the curve; counts are exact.

    Between two thresholds that are not listed the curve is straight.  The first threshold is inf (nothing is
    accepted), the last -inf.
    """

    thresholds: Tensor  # (k,) descending
    same: Tensor  # (k,) int64 pairs of one class accepted
    different: Tensor  # (k,) int64 pairs of two classes accepted

    @property
    def true_match_rate(self) -> Tensor:
        """(k,) float64 in [0, 1]; nan without a pair of one class."""
        return self.same.double() / self.same[-1]

    @property
    def false_match_rate(self) -> Tensor:
        """(k,) float64 in [0, 1]; nan without a pair of two classes."""
        return self.different.double() / self.different[-1]


def roc_curve(scores: Any, same: Any) -> Roc:
    """The curve of given pairs.

    Args:
        scores: (p,) finite, larger is more similar (give minus a distance).
        same: (p,) bool: the pair is of one class.

    Returns:
        The corners: for each score s of a same pair, "above s" and "at s".
    Raises:
        InputError: shapes disagree, same is not bool, or a score is not finite.

    >>> roc = roc_curve([0.9, 0.8, 0.8, 0.1], [True, True, False, False])
    >>> roc.true_match_rate.tolist(), roc.false_match_rate.tolist()
    ([0.0, 0.0, 0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.5, 1.0])
    """
    scores, same = _check_scores("roc_curve", scores, same)
    different = scores[~same]
    return _corners(scores[same], [different], len(different))


def pair_roc(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    similarity: Similarity = "cosine",
) -> Roc:
    """The curve of all pairs of embeddings, or of all embeddings with all references; exact.

    The similarities of same pairs are held and sorted; those of different pairs are made a panel at a time and
    counted between them, in one pass.  Memory is O(n d), some 100 MiB, and some 100 bytes for each same pair: with
    few, large classes those are many, and :meth:`StreamingRoc.update_pairs` counts in bins.  Half precision is
    computed in float32; float64 stays.

    Args:
        embeddings: (n, d) floating point, finite.  A list or an array will do.
        labels: (n,) integer class ids; a row with -1, unlabelled, is of another class than every other row.
        references: (m, d) what to compare with; None compares the embeddings with one another, each pair once
            and no row with itself.
        reference_labels: (m,) their class ids.
        similarity: of a pair; negative_snr, which is not symmetric, needs references.

    Raises:
        InputError: shapes disagree, labels are not integers, a value is not finite, or an unknown word.

    >>> x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    >>> roc = pair_roc(x, [0, 0, 1, 1])  # same .8, .8; different 0, -.6, .6, 0
    >>> roc.same.tolist(), roc.different.tolist()
    ([0, 0, 2, 2], [0, 0, 0, 4])
    """
    pairs = AllPairs("pair_roc", embeddings, labels, references, reference_labels, similarity)
    near = torch.cat(
        [torch.empty(0, dtype=pairs.dtype, device=pairs.order.device), *(s for _, s in pairs.same())]
    )
    return _corners(near, (panel.sim.flatten() for panel in pairs.different()), pairs.total_different)


def _corners(near: Tensor, far: Iterable[Tensor], num_far: int) -> Roc:
    """The curve of the scores of same pairs and parts of those of different pairs, which may be filled with -inf."""
    level, count = torch.unique(near, return_counts=True)
    # At each level and just above it: what lies between the two is tied with the level.
    edges = torch.stack((level, level.nextafter(level.new_tensor(torch.inf))), dim=1).flatten()
    between = _counts_between(edges, far) if len(edges) else count.new_zeros(1)
    accepted = count.flip(0).cumsum(0)
    return _ends(
        edges.flip(0),
        torch.stack((accepted - count.flip(0), accepted), dim=1).flatten(),
        between.flip(0).cumsum(0)[:-1],
        (len(near), num_far),
    )


def _ends(thresholds: Tensor, same: Tensor, different: Tensor, totals: tuple[int, int]) -> Roc:
    """With the ends where nothing and everything is accepted."""
    none, everything = thresholds.new_tensor([torch.inf]), thresholds.new_tensor([-torch.inf])
    counts = [
        torch.cat((count.new_zeros(1), count, count.new_tensor([total])))
        for count, total in zip((same, different), totals)
    ]
    return Roc(torch.cat((none, thresholds, everything)), counts[0], counts[1])


def _counts_between(edges: Tensor, parts: Iterable[Tensor]) -> Tensor:
    """How many numbers lie below, between and above ascending edges (e,), as (e + 1,); exact.

    Cells of a fine grid first: which cell a number is in rises with the number, so in a cell without an edge
    there is nothing to look up.  That is three times faster than looking up all.
    """
    size = 1 << min(_GRID_BITS, (32 * len(edges)).bit_length())
    scale = size / (edges[-1] - edges[0]).clamp(1e-30, torch.finfo(edges.dtype).max)

    def cell_of(x: Tensor) -> Tensor:
        return ((x - edges[0]) * scale).clamp_(0, size - 1).long()

    of_edges, in_cell = cell_of(edges), torch.zeros(size, dtype=torch.int64, device=edges.device)
    has_edge = torch.zeros(size, dtype=torch.bool, device=edges.device).index_fill_(0, of_edges, True)
    between = torch.zeros(len(edges) + 1, dtype=torch.int64, device=edges.device)
    for part in parts:
        cell = cell_of(part)
        in_cell.scatter_add_(0, cell, torch.ones_like(cell))
        place = torch.bucketize(_sorted(part[has_edge[cell]]), edges, right=True)
        between.scatter_add_(0, place, torch.ones_like(place))
    free = (~has_edge).nonzero()[:, 0]
    return between.scatter_add_(0, torch.searchsorted(of_edges, free), in_cell[free])


def _sorted(scores: Tensor) -> Tensor:
    """Neighbors in order are looked up several times faster."""
    if scores.device.type == "cpu":  # numpy sorts floats several times faster than torch
        return torch.from_numpy(np.sort(scores.numpy()))
    return scores.sort().values


def _check_scores(where: str, scores: Any, same: Any) -> tuple[Tensor, Tensor]:
    """Flat scores, float32 at least, and flat flags."""
    scores, same = as_tensor(where, "scores", scores), as_tensor(where, "same", same)
    if same.dtype != torch.bool and same.numel():
        kind = str(same.dtype).removeprefix("torch.")
        raise InputError(f"{where}: same must be bool, got {kind}; write labels[i] == labels[j]")
    if scores.shape != same.shape:
        raise InputError(
            f"{where}: same must have shape {tuple(scores.shape)} to match scores, got {tuple(same.shape)}"
        )
    scores = scores.detach().flatten()
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if not scores.isfinite().all():
        raise InputError(f"{where}: scores must be finite; leave out the pairs that have none")
    return scores, same.flatten().bool().to(scores.device)


def auc(roc: Roc) -> float:
    """The chance that a same pair is more similar than a different pair, a tie counted half: the area under the curve.

    In [0, 1], 0.5 for a random order; nan without pairs of both kinds.

    >>> auc(roc_curve([0.9, 0.8, 0.8, 0.1], [True, True, False, False]))  # 1, 1, a tie, 1
    0.875
    """
    height = (roc.true_match_rate[1:] + roc.true_match_rate[:-1]) / 2
    return float((height * roc.false_match_rate.diff()).sum())


def eer(roc: Roc) -> float:
    """The equal error rate: FMR and FNMR where they are equal, on the curve drawn straight between its corners.

    In [0, 1], nan without pairs of both kinds.

    >>> eer(roc_curve([0.9, 0.6, 0.7, 0.1], [True, True, False, False]))
    0.5
    """
    false_match = roc.false_match_rate
    gap = false_match - (1 - roc.true_match_rate)  # from -1 to 1, never falling
    if gap.isnan().any():
        return float("nan")
    after = int((gap >= 0).nonzero()[0])
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(false_match[after - 1].lerp(false_match[after], share))


def tar_at_far(roc: Roc, far: float) -> float:
    """The greatest true match rate of any threshold whose false match rate is at most `far`.

    In [0, 1], nan without pairs of both kinds.  Below one over the number of different pairs, `far` allows none.

    >>> tar_at_far(roc_curve([0.9, 0.6, 0.7, 0.1], [True, True, False, False]), 0.1)
    0.5
    """
    return _best("tar_at_far", roc, far)


def fnmr_at_fmr(roc: Roc, fmr: float) -> float:
    """The least false non-match rate of any threshold whose false match rate is at most `fmr`: 1 - TAR@FAR."""
    return 1 - _best("fnmr_at_fmr", roc, fmr)


def threshold_at_fmr(roc: Roc, fmr: float) -> float:
    """The best threshold at a false match rate of at most `fmr`.

    Of all thresholds that accept as many same pairs as that rate allows, the highest: it accepts the fewest
    different pairs.  It is the similarity of a same pair; inf where no same pair can be accepted, nan without
    pairs of both kinds.

    >>> threshold_at_fmr(roc_curve([0.75, 0.5, 0.625, 0.125], [True, True, False, False]), 0.5)
    0.5
    """
    best = _best("threshold_at_fmr", roc, fmr)
    reached = roc.thresholds[roc.true_match_rate >= best]
    return float(reached[0]) if len(reached) else best


def _best(where: str, roc: Roc, fmr: float) -> float:
    if not 0 <= fmr <= 1:
        raise InputError(f"{where}: a rate must lie in 0..1, got {fmr}")
    allowed = roc.true_match_rate[roc.false_match_rate <= fmr]
    return float(allowed[-1]) if len(allowed) else float("nan")


def verification_metrics(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    far: Sequence[float] = (1e-3, 1e-2),
    similarity: Similarity = "cosine",
) -> dict[str, float]:
    """AUC, EER and TAR@FAR over all pairs: :func:`pair_roc`, which has the options and the errors, once.

    Returns:
        ``auc``, ``eer`` and ``tar_at_far_0.001`` and so on for each rate, in [0, 1]; nan without pairs of both kinds.

    >>> x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    >>> verification_metrics(x, [0, 0, 1, 1], far=(0.01,))
    {'auc': 1.0, 'eer': 0.0, 'tar_at_far_0.01': 1.0}
    """
    return _summary(pair_roc(embeddings, labels, references, reference_labels, similarity=similarity), far)


def _summary(roc: Roc, far: Sequence[float]) -> dict[str, float]:
    return {"auc": auc(roc), "eer": eer(roc)} | {
        f"tar_at_far_{rate:g}": tar_at_far(roc, rate) for rate in far
    }


class StreamingRoc(Streaming):
    """The curve of pairs that come in batches, from counts in bins of equal width over [-1, 1].

    At the edges of the bins the counts are exact; what lies within one bin is not told apart.  So each point of
    the curve is a point of the exact one, TAR@FAR is never above the exact one, and AUC is off by at most
    ``auc_error``: half the chance that a same and a different pair share a bin.  Scores that are no cosines are
    scaled into [-1, 1] first, which changes no rate; those beyond share the outermost cells.

    Args:
        bins: 4,096 of them are cosines to 0.0005.

    Raises:
        InputError: bins is below 1.

    >>> stream = StreamingRoc()
    >>> stream.update([0.9, 0.8], [True, False])
    >>> stream.update([0.7, 0.1], [True, False])
    >>> stream.compute()
    {'auc': 0.75, 'auc_error': 0.0, 'eer': 0.5, 'tar_at_far_0.001': 0.5, 'tar_at_far_0.01': 0.5}
    """

    def __init__(self, bins: int = 4096) -> None:
        check_positive("StreamingRoc", bins=bins)
        self._edges = torch.linspace(-1, 1, bins + 1, dtype=torch.float64)
        cells = torch.zeros(bins + 2, dtype=torch.int64)  # from below all edges to above all
        super().__init__(same=cells, different=cells.clone())

    def update(self, scores: Any, same: Any) -> None:
        """Count more pairs: scores and flags of any one shape, as :func:`roc_curve` has them."""
        scores, same = _check_scores("StreamingRoc", scores, same)
        edges = self._edges.to(scores.device)
        self.add(
            same=_counts_between(edges, [scores[same].double()]),
            different=_counts_between(edges, [scores[~same].double()]),
        )

    def update_pairs(
        self, embeddings: Any, labels: Any, references: Any = None, reference_labels: Any = None
    ) -> None:
        """Count all pairs of embeddings, or of embeddings with references, by cosine, as :func:`pair_roc` has them.

        Memory is O(n d) however many pairs are of one class.  Batches of embeddings against the same references
        add up to all; batches without references are compared within themselves alone.
        """
        pairs = AllPairs("StreamingRoc", embeddings, labels, references, reference_labels)
        edges = self._edges.to(pairs.order.device)
        same = _counts_between(edges, (sim.double() for _, sim in pairs.same()))
        different = _counts_between(edges, (panel.sim.flatten().double() for panel in pairs.different()))
        different[0] = pairs.total_different - different[1:].sum()  # panels are filled up with -inf
        self.add(same=same, different=different)

    def roc(self) -> Roc:
        """The curve at the edges."""
        same, different = self.totals["same"], self.totals["different"]
        accepted = [count.flip(0).cumsum(0)[:-1] for count in (same, different)]
        totals = (int(same.sum()), int(different.sum()))
        return _ends(self._edges.flip(0).to(same.device), accepted[0], accepted[1], totals)

    def compute(self, far: Sequence[float] = (1e-3, 1e-2)) -> dict[str, float]:
        """As :func:`verification_metrics`, and ``auc_error``."""
        same, different = self.totals["same"].double(), self.totals["different"].double()
        error = float((same / same.sum() * different / different.sum()).sum() / 2)
        found = _summary(self.roc(), far)
        return {"auc": found.pop("auc"), "auc_error": error} | found
