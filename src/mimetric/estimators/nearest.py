r"""Entropy and information from Euclidean distances between all pairs of n rows of width d, in nats.

Computed in float64 and in blocks of rows: O(n^2 d) time, O(n d) memory; no gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import lgamma, log, pi
from typing import Any

import torch
from torch import Tensor

from ..core.checks import check_batch, check_finite, check_rows
from ..core.classes import UNLABELLED
from ..core.errors import InputError

_BLOCK_ELEMENTS = 1 << 20  # distances held at once: 8 MiB
_TIED = 1e-6  # relative: squared distances that are equal come out of a product with errors up to about this
_PAIRS = 1 << 14  # near pairs whose differences (pairs, d) are held at once


def ross_information(embeddings: Any, labels: Any, *, k: int = 3) -> Tensor:
    r"""Mutual information of embeddings and labels by nearest neighbors: the generative view of I(Z;Y).

    .. math:: \hat I(Z; Y) = \psi(n) - \overline{\psi(n_{y_i})} + \overline{\psi(k_i)} - \overline{\psi(m_i)}

    :math:`r_i` is the distance of row i to its k-th nearest of its class, :math:`k_i` how many of its class and
    :math:`m_i` how many of all rows lie within :math:`r_i` (:math:`k_i = k` unless distances tie, in their first
    six digits, or the class has fewer others).  It is unchanged by rotation, shift and scale, and can be slightly
    negative where there is no information.  Compare it between embeddings of the same rows; do not read it as the
    truth.

    Direction: an estimate, no bound.
    Bias: it takes the density of a class as constant within :math:`r_i`.  In many dimensions, or with few rows a class,
        that holds badly and mostly makes it too small: of normal classes, 2,000 rows, by 0.1 to 0.4 nats in 16
        dimensions, by 0.5 to 1.2 in 64; in 2 dimensions it is up to 0.1 too large.
    Saturation: at :math:`\psi(n) - \overline{\psi(n_{y_i})}`, about H(Y), where classes are far apart and
        :math:`m_i = k_i`.
    Cost: of n^2 distances; 2,000 rows of width 64: 0.1 s on one core.

    Args:
        embeddings: (n, d) floating point.
        labels: (n,) integer class ids; rows that are unlabelled (-1) or alone in their class are left out.
        k: neighbors of the own class to look at, >= 1.

    Returns:
        Scalar float64 in nats; nan when no class has two rows.
    Raises:
        InputError: shapes disagree, labels are not integers, values are not finite, k < 1.

    Reference: Ross, PLOS ONE 9(2):e87357, 2014.

    >>> z = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
    >>> ross_information(z, [0, 0, 0, 1, 1, 1], k=1)
    tensor(0.7833, dtype=torch.float64)
    """
    return ross_terms(embeddings, labels, k=k).mean()


def ross_terms(embeddings: Any, labels: Any, *, k: int = 3) -> Tensor:
    r"""The (n,) numbers whose mean is :func:`ross_information`, one for each row that is not alone in its class.

    .. math:: \psi(n) - \psi(n_{y_i}) + \psi(k_i) - \psi(m_i)

    Their standard deviation over :math:`\sqrt n` is about its standard error; 20 to 30% too small, as rows near one
    another share their neighbors.
    """
    where = "ross_information"
    if k < 1:
        raise InputError(f"{where}: k must be at least 1, got {k}")
    rows, labels, size = of_shared_classes(where, embeddings, labels)
    rows = rows.detach()
    if not len(rows):
        return rows.new_zeros(0)
    own, within = torch.empty_like(size), torch.empty_like(size)
    for block, squared in _squared_distances(rows):
        same = labels[block, None] == labels
        same.diagonal(block.start).zero_()  # the row itself
        to_own = torch.where(same, squared, torch.inf)
        nearest = to_own.topk(min(k, int(size.max()) - 1), dim=1, largest=False).values
        last = (size[block].clamp(max=k + 1) - 2)[:, None]  # of the k nearest, or of all there are
        radius = nearest.gather(1, last) * (1 + _TIED)
        own[block] = (to_own <= radius).sum(1)
        within[block] = (squared <= radius).sum(1) - 1  # without the row itself
    psi = [torch.digamma(count.double()) for count in (size, own, within)]
    return torch.digamma(rows.new_tensor(float(len(rows)))) - psi[0] + psi[1] - psi[2]


def nearest_neighbor_entropy(embeddings: Any, *, k: int = 3) -> Tensor:
    r"""Differential entropy of embeddings by the distance to the k-th nearest neighbor (Kozachenko and Leonenko).

    .. math:: \hat H(Z) = \psi(n) - \psi(k) + \log V_d + \frac dn \sum_i \log D_i,
              \qquad V_d = \pi^{d/2} / \Gamma(d/2 + 1)

    :math:`D_i` is the Euclidean distance of row i to its k-th nearest.  :math:`\hat H(a Z) = \hat H(Z) + d \log a`
    exactly; unchanged by rotation and shift.

    Direction: an estimate, no bound.
    Bias: nearly none in few dimensions; upwards in many, where neighborhoods reach to where the density has fallen: of
        N(0, I) with 2,000 rows right to 0.1 up to d = 10, 1.0 of 28.4 nats too large at d = 20.
    Saturation: none, and no floor: rows that lie on a surface (unit rows, embeddings that collapse) have no density,
        and the value falls as n grows.
    Cost: of n^2 distances; 2,000 rows of width 64: 0.05 s on one core.

    Args:
        embeddings: (n, d) floating point.
        k: which neighbor, 1 <= k < n.  More: less spread, more bias.

    Returns:
        Scalar float64 in nats; -inf where a row has k copies.
    Raises:
        InputError: not (n, d) floating point, not finite, or n <= k.

    Reference: Kozachenko and Leonenko, Problems of Information Transmission 23(2), 1987; with k,
    Goria et al., Nonparametric Statistics 17(3), 2005.

    >>> nearest_neighbor_entropy([[0.0], [1.0], [2.0], [3.0]], k=1)  # psi(4) - psi(1) + log 2
    tensor(2.5265, dtype=torch.float64)
    """
    where = "nearest_neighbor_entropy"
    given = check_rows(where, "embeddings", embeddings)
    check_finite(where, "embeddings", given)
    check_neighbors(where, "embeddings", given, k)
    rows = given.detach().double()
    total = rows.new_zeros(())
    for block, squared in _squared_distances(rows):
        squared.diagonal(block.start).fill_(torch.inf)
        total += squared.topk(k, dim=1, largest=False).values[:, -1].log().sum() / 2
    n, width = rows.shape
    psi = torch.digamma(rows.new_tensor([float(n), float(k)]))
    return psi[0] - psi[1] + _log_ball(width) + width / n * total


def mean_nn_entropy(embeddings: Any) -> Tensor:
    r"""Differential entropy of embeddings by the mean log distance of all pairs (MeanNN).

    .. math:: \hat H(Z) = \frac{d}{n (n - 1)} \sum_{i \ne j} \log D_{ij} + \log V_d + 1,
              \qquad V_d = \pi^{d/2} / \Gamma(d/2 + 1)

    The average of the k-nearest-neighbor estimates over all k, and so smooth in the rows.
    :math:`\hat H(a Z) = \hat H(Z) + d \log a` exactly.

    Direction: an estimate, no bound.
    Bias: it does not fall with n and grows with d (N(0, I): 1% too small at d = 1, 16% too large at d = 10): read
        differences.  Unit rows fill a sphere and no volume; of them too only differences mean something.
    Saturation: none, and no floor.
    Cost: of n^2 distances and their logarithms; 2,000 rows of width 64: 0.05 s on one core.

    Args:
        embeddings: (n, d) floating point.

    Returns:
        Scalar float64 in nats; -inf where two rows are equal, nan for fewer than two rows.
    Raises:
        InputError: not (n, d) floating point, or not finite.

    Reference: Faivishevsky and Goldberger, NIPS 2008.

    >>> mean_nn_entropy(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]]))
    tensor(2.2270, dtype=torch.float64)
    """
    given = check_rows("mean_nn_entropy", "embeddings", embeddings)
    check_finite("mean_nn_entropy", "embeddings", given)
    rows = given.detach().double()
    return rows.shape[1] * _mean_log_distance(rows) + _log_ball(rows.shape[1]) + 1


def conditional_mean_nn_entropy(embeddings: Any, labels: Any) -> Tensor:
    r"""Differential entropy of embeddings within classes, MeanNN in each, weighted by class size.

    .. math:: \hat H(Z | Y) = \sum_c \frac{n_c}{n} \hat H(\{z_i : y_i = c\})

    Follow it beside :func:`mean_nn_entropy`, to see which of the two moves.

    Direction: an estimate, no bound.
    Bias: not that of :func:`mean_nn_entropy` of the whole set, which has another shape, so
        :math:`\hat H(Z) - \hat H(Z|Y)` is no value of I(Z;Y): in many dimensions it is far too large, nats above H(Y).
    Saturation: none, and no floor.
    Cost: of n_c^2 distances in each class; 2,000 rows of width 64 in 42 classes: 0.02 s on one core.

    Args:
        embeddings: (n, d) floating point.
        labels: (n,) integer class ids; rows that are unlabelled (-1) or alone in their class are left out.

    Returns:
        Scalar float64 in nats; -inf where two rows of a class are equal, nan when no class has two rows.
    Raises:
        InputError: shapes disagree, labels are not integers, values are not finite.

    Reference: as :func:`mean_nn_entropy`.

    >>> z = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    >>> conditional_mean_nn_entropy(z, [0, 0, 1, 1])
    tensor(1.2284, dtype=torch.float64)
    """
    rows, labels, _ = of_shared_classes("conditional_mean_nn_entropy", embeddings, labels)
    rows = rows.detach()
    counts = torch.unique(labels, return_counts=True)[1].tolist()
    classes = torch.split(rows[labels.argsort()], counts) if len(rows) else ()
    mean = sum((len(own) * _mean_log_distance(own) for own in classes), rows.new_zeros(())) / len(rows)
    return rows.shape[1] * mean + _log_ball(rows.shape[1]) + 1


def check_neighbors(where: str, name: str, rows: Tensor, k: int) -> None:
    """Every row must have k others."""
    if len(rows) < 2:
        raise InputError(f"{where}: {name} must have 2 rows at least, got {len(rows)}")
    if not 1 <= k < len(rows):
        raise InputError(f"{where}: k must lie in 1..{len(rows) - 1}, below the {len(rows)} rows, got {k}")


def _mean_log_distance(rows: Tensor) -> Tensor:
    """Over all pairs of two different rows (n, d)."""
    total = rows.new_zeros(())
    for block, squared in _squared_distances(rows):
        squared.diagonal(block.start).fill_(1)
        total += squared.log_().sum() / 2
    return total / (len(rows) * (len(rows) - 1))


def _log_ball(width: int) -> float:
    """log of the volume of the unit ball."""
    return width / 2 * log(pi) - lgamma(width / 2 + 1)


def _squared_distances(rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """(k, n) at a time; exactly 0 between equal rows, of which a row is one of its own."""
    n = len(rows)
    rows = rows - rows.mean(0)
    norms = rows.square().sum(1)
    step = max(1, _BLOCK_ELEMENTS // max(1, n))
    for start in range(0, n, step):
        block = slice(start, min(start + step, n))
        squared = torch.addmm(norms, rows[block], rows.T, alpha=-2).add_(norms[block, None])
        # By a product a distance below 1e-4 of the radius would have fewer than 7 digits, or be negative.
        for pairs in torch.split(torch.nonzero(squared < 1e-8 * norms.max()), _PAIRS):
            i, j = pairs.unbind(1)
            squared[i, j] = (rows[i + start] - rows[j]).square().sum(1)
        yield block, squared


def of_shared_classes(where: str, embeddings: Any, labels: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (n, d) float64 of classes with two rows and more, their labels, and the sizes of their classes."""
    embeddings, labels = check_batch(where, embeddings, labels)
    check_finite(where, "embeddings", embeddings)
    _, index, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    kept = (labels != UNLABELLED) & (counts[index] > 1)
    return embeddings[kept].double(), labels[kept], counts[index][kept]
