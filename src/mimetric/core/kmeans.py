r"""k-means: exact steps of Lloyd, in blocks, that compare a row only with what may be nearer than before.

A row x is nearest to the center c with the highest score :math:`x \cdot c - |c|^2 / 2`: one matrix product.  Of each
row it is known what no center but its own can score, from when it was last compared.  While its own scores as much,
only the centers that moved since are compared with it; else all are.
"""

from __future__ import annotations

from math import log
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import check_finite, check_not_negative, check_rows
from .errors import InputError
from .moments import class_moments

# Scores held at once, 32 MiB in float32: to few rows a product with many centers costs twice the time.
_SCORES = 1 << 23
# On an accelerator, where a step costs the same however small.
_SCORES_LARGE = 1 << 26
# Scores of which the largest is found first: a maximum alone takes a tenth of the time of one with its place.
_GROUP = 64


class Clusters(NamedTuple):
    """Rows, each with the nearest of the centers."""

    own: Tensor  # (n,) int64, the center of each row
    centers: Tensor  # (k, d)
    inertia: float  # sum of the squared distances of rows to their centers


def kmeans(rows: Any, centers: Any, *, iterations: int = 300) -> Clusters:
    r"""Clusters of rows, from given centers, by Lloyd's steps.

    .. math:: \min_{c_1 .. c_k} \sum_i \min_j |x_i - c_j|^2

    A step moves every center to the mean of the rows that are nearest to it.  It ends where no row changes its
    center, which is a local minimum, or after that many steps.  No step makes the sum larger, but for rounding.

    Every row has its nearest center, whatever was not compared on the way; of several as near, one of them.  A center
    without rows goes to the row that is farthest from its own center (of several such centers, each to another row; of
    several as far, the first), unless only rounding parts that row from it.  So a center is left empty where there are
    fewer rows that differ than centers.

    The first step takes O(n k d) time, a later one less, the fewer rows and centers are still in doubt.  Memory is
    O(n d + k d) and a block of scores.  On a CPU the same input gives the same clusters.

    Args:
        rows: (n, d) floating point, finite, n > 0; half precision is computed in float32.
        centers: (k, d) to start from, such as :func:`random_rows` or :func:`spread_rows`.
        iterations: steps at most, >= 0; 0 finds the nearest of the given centers.

    Returns:
        Which center each row has, the centers, and the sum above.
    Raises:
        InputError: shapes disagree, there is no row or no center, or a value is not finite.

    Reference: Lloyd, IEEE Transactions on Information Theory 28(2), 1982, which leaves open what becomes of
    a center without rows.

    >>> kmeans([[0.0], [1.0], [9.0], [11.0]], [[0.0], [1.0]])
    Clusters(own=tensor([0, 0, 1, 1]), centers=tensor([[ 0.5000],
            [10.0000]]), inertia=2.5)
    """
    rows = _checked("kmeans", "rows", rows)
    centers = _checked("kmeans", "centers", centers).to(rows)
    check_not_negative("kmeans", iterations=iterations)
    if centers.shape[1] != rows.shape[1]:
        raise InputError(
            f"kmeans: centers must have {rows.shape[1]} columns to match rows {tuple(rows.shape)}, "
            f"got {tuple(centers.shape)}"
        )
    origin = rows.mean(0)  # scores lose digits far from 0
    rows, centers = rows - origin, centers - origin
    known = _Known.nothing(rows)
    moved = torch.arange(len(centers), device=rows.device)
    while len(changed := _assign_(rows, centers, moved, known)) and iterations:
        means = _means(rows, centers, known.own, changed)
        moved = (means != centers).any(1).nonzero().squeeze(1)
        centers, iterations = means, iterations - 1
    own = known.own
    inertia = (rows - centers[own]).square().sum(dtype=torch.float64).item()
    return Clusters(own, centers + origin, inertia)


def random_rows(rows: Any, num_clusters: int, generator: torch.Generator) -> Tensor:
    """Different rows (k, d), all alike likely, to start k-means from.

    Args:
        rows: (n, d) floating point, finite.
        num_clusters: k, in 1..n.
        generator: on the CPU; its seed decides.

    Raises:
        InputError: k is not in 1..n, or a value is not finite.

    >>> random_rows([[1.0], [2.0]], 2, torch.Generator().manual_seed(0)).sort(dim=0).values.tolist()
    [[1.0], [2.0]]
    """
    x = _checked("random_rows", "rows", rows)
    _check_clusters("random_rows", num_clusters, x)
    return x[torch.randperm(len(x), generator=generator)[:num_clusters].to(x.device)]


def spread_rows(rows: Any, num_clusters: int, generator: torch.Generator) -> Tensor:
    r"""Rows (k, d) far from each other, to start k-means from: k-means++.

    One after the other, of 2 + ln k rows drawn with chances like the squared distances to the nearest row chosen
    before, that which leaves the smallest sum of them.  O(n k d log k) time, O(n d) memory.

    Args, Raises: as :func:`random_rows` has them.

    Reference: Arthur and Vassilvitskii, SODA 2007; several rows to choose from are their remark in section 7.

    >>> spread_rows([[0.0], [0.1], [9.0]], 2, torch.Generator().manual_seed(0)).sort(dim=0).values[1].item()
    9.0
    """
    given = _checked("spread_rows", "rows", rows)
    _check_clusters("spread_rows", num_clusters, given)
    x = given - given.mean(0)
    squares = x.square().sum(1)
    trials = 2 + int(log(num_clusters))
    chosen = [torch.randint(len(x), (), generator=generator).to(x.device)]
    far = (x - x[chosen[0]]).square().sum(1)
    apart = x.new_empty(trials, len(x))
    for _ in range(num_clusters - 1):
        chances = far.cumsum(0, dtype=torch.float64)
        drawn = torch.rand(trials, dtype=torch.float64, generator=generator).to(x.device) * chances[-1]
        tried = torch.searchsorted(chances, drawn, right=True).clamp(max=len(x) - 1)
        torch.addmm(squares, x[tried], x.T, alpha=-2, out=apart)  # autocast leaves `out=` alone
        left = torch.minimum(far, apart.add_(squares[tried, None]).clamp_(min=0))
        best = left.sum(1).argmin()
        chosen.append(tried[best])
        far = left[best]
    return given[torch.stack(chosen)]


class _Known(NamedTuple):
    """Of each row (n,)."""

    own: Tensor  # its center
    score: Tensor  # of that, when last compared
    others: Tensor  # what no other center can score, unless it has moved since

    @classmethod
    def nothing(cls, rows: Tensor) -> _Known:
        """So that each row is compared with all centers."""
        score = rows.new_full((len(rows),), torch.inf)
        return cls(torch.full_like(score, -1, dtype=torch.int64), score.clone(), score)


def _assign_(rows: Tensor, centers: Tensor, moved: Tensor, known: _Known) -> Tensor:
    """Gives rows their nearest centers after some have moved; the centers that lost (at first -1) or gained rows."""
    before = known.own.clone()
    at = _members(moved, len(centers), known.own)
    own = centers[known.own[at]]
    known.score[at] = (rows[at] * own).sum(1) - own.square().sum(1) / 2
    sure = known.score >= known.others
    _compare_all_(rows, centers, (~sure).nonzero().squeeze(1), known)
    if len(moved):
        _compare_moved_(rows, centers, moved, sure.nonzero().squeeze(1), known)
    changed = known.own != before
    return torch.cat((before[changed], known.own[changed]))


def _compare_all_(rows: Tensor, centers: Tensor, at: Tensor, known: _Known) -> None:
    """Some rows with all centers."""
    top, known.own[at] = _nearest(rows, at, centers)
    known.score[at], known.others[at] = top.unbind(1)


def _compare_moved_(rows: Tensor, centers: Tensor, moved: Tensor, at: Tensor, known: _Known) -> None:
    """Rows that are sure of the centers that stayed, with those that moved."""
    top, found = _nearest(rows, at, centers[moved])
    (first, second), found = top.unbind(1), moved[found]
    own, score, others = (x[at] for x in known)
    stays = found == own
    changes = ~stays & (first > score)
    rival = torch.where(changes, torch.maximum(score, second), torch.where(stays, second, first))
    known.own[at] = torch.where(changes, found, own)
    known.score[at] = torch.where(changes, first, score)
    known.others[at] = torch.maximum(others, rival)


def _nearest(rows: Tensor, at: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """The two highest scores (m, 2) of some rows, and the center (m,) of the first, the lowest if there are several."""
    spare = _GROUP - len(centers) % _GROUP  # there is always a second score
    bias = F.pad(-centers.square().sum(1) / 2, (0, spare), value=-torch.inf)
    columns = F.pad(centers, (0, 0, 0, spare)).T
    most = max(1, (_SCORES if rows.device.type == "cpu" else _SCORES_LARGE) // len(bias))
    buffer = rows.new_empty(min(most, len(at)), len(bias))
    top, found = rows.new_empty(len(at), 2), torch.empty_like(at)
    for start in range(0, len(at), most):
        part = slice(start, min(start + most, len(at)))
        block = torch.addmm(bias, rows[at[part]], columns, out=buffer[: part.stop - start])
        groups = block.view(len(block), -1, _GROUP)
        largest = groups.amax(2)
        first, group = largest.max(1)
        row = torch.arange(len(block), device=rows.device)
        within = groups[row, group]
        place = within.argmax(1)
        within[row, place] = largest[row, group] = -torch.inf
        top[part] = torch.stack((first, torch.maximum(within.amax(1), largest.amax(1))), 1)
        found[part] = group * _GROUP + place
    return top, found


def _means(rows: Tensor, centers: Tensor, own: Tensor, changed: Tensor) -> Tensor:
    """What the centers move to, where those that changed have other rows than before."""
    at = _members(changed, len(centers), own)
    found = class_moments(rows[at], own[at], len(centers))
    means = torch.where(found.rows[:, None] > 0, found.centers.to(centers), centers)
    empty = (own.bincount(minlength=len(centers)) == 0).nonzero().squeeze(1)
    if len(empty):
        far = (rows - means[own]).square().sum(1)
        far[far <= torch.finfo(rows.dtype).eps * rows.square().sum(1)] = 0  # less than scores can tell
        far, at = (x[: len(empty)] for x in far.sort(descending=True, stable=True))
        means[empty[: len(at)][far > 0]] = rows[at[far > 0]]
    return means


def _members(some: Tensor, clusters: int, own: Tensor) -> Tensor:
    """Which rows belong to some of the centers."""
    marks = torch.zeros(clusters, dtype=torch.bool, device=own.device)
    marks[some] = True
    return marks[own].nonzero().squeeze(1)


def _checked(where: str, name: str, rows: Any) -> Tensor:
    x = check_rows(where, name, rows).detach()
    check_finite(where, name, x)
    if not len(x):
        raise InputError(f"{where}: {name} must have at least one row, got {tuple(x.shape)}")
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _check_clusters(where: str, num_clusters: int, rows: Tensor) -> None:
    if not 1 <= num_clusters <= len(rows):
        raise InputError(
            f"{where}: num_clusters must lie in 1..{len(rows)}, the number of rows, got {num_clusters}"
        )
