r"""How well groups found without labels agree with the classes.

Every score is a function of the table of counts :math:`n_{ij}`, how many rows of class i are in cluster j, of which
only the cells that are not 0 are held: O(n) memory for any number of classes and clusters.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_batch, check_finite, check_labels
from ..core.classes import UNLABELLED
from ..core.kmeans import kmeans, random_rows, spread_rows
from ..core.similarity import Similarity, normalized

# What seeding costs is n * c * d.  One k-means++ seeding up to here (half a second on one core), several up to a tenth
# of it, random rows above: at 20,000 x 128 with 4,000 classes all takes 0.7 s with them and 16 s with k-means++, for an
# NMI of 0.89 in place of 0.97.
_SEEDED_WORK = 5e8


def nmi(embeddings: Any, labels: Any, *, similarity: Similarity = "cosine", seed: int = 0) -> float:
    r"""Normalized mutual information between the classes and as many k-means clusters.

    .. math:: \mathrm{NMI} = \frac{I(Y; C)}{(H(Y) + H(C)) / 2}

    It is not corrected for chance: many small classes give a high value even to random embeddings.  Compare
    it between embeddings of the same data only.

    The clusters are those of :func:`mimetric.core.kmeans.kmeans`, until no row changes, 300 steps at most: the best of
    three starts by k-means++ where n c d <= 5e7, one such start where it is <= 5e8, else one start at random rows.

    Args:
        embeddings: (n, d) floating point, finite.
        labels: (n,) integer class ids; rows with -1, unlabelled, are left out.
        similarity: "cosine" clusters rows of length 1; any other, the rows as they are.
        seed: of where k-means starts; the same seed gives the same clusters on a CPU.

    Returns:
        In [0, 1]; nan with fewer than two classes.
    Raises:
        InputError: shapes disagree, labels are not integers, or a value is not finite.

    >>> nmi([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]], [0, 0, 1, 1])
    1.0
    """
    return _scores(*_clustered("nmi", embeddings, labels, similarity, seed))["nmi"]


def clustering_metrics(
    embeddings: Any, labels: Any, *, similarity: Similarity = "cosine", seed: int = 0
) -> dict[str, float]:
    """The scores of :func:`clustering_scores` between the classes and as many k-means clusters, from one k-means.

    Args, Raises: as :func:`nmi` has them.

    >>> found = clustering_metrics([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]], [0, 0, 1, 1])
    >>> found["nmi"], found["ari"], found["pairwise_f1"]
    (1.0, 1.0, 1.0)
    """
    return _scores(*_clustered("clustering_metrics", embeddings, labels, similarity, seed))


def clustering_scores(labels: Any, clusters: Any) -> dict[str, float]:
    r"""How well any clusters agree with the classes; names of either do not matter.

    - ``homogeneity`` :math:`I(Y;C) / H(Y)`: a cluster holds one class.  ``completeness`` :math:`I(Y;C) / H(C)`: a class
      is in one cluster; 1 where there is one cluster.
    - ``nmi``, ``v_measure``: their harmonic mean, which is :math:`I(Y;C)` over the mean of both entropies: one number
      by two names (Rosenberg and Hirschberg, EMNLP 2007).
    - ``ami``: the same corrected for chance, :math:`(I - E) / ((H(Y) + H(C)) / 2 - E)` with E the mean information of
      all tables with these sizes of classes and clusters (Vinh et al., JMLR 2010): 0 on average for random clusters.
    - ``pairwise_precision``: the share of pairs within a cluster that are of one class; ``pairwise_recall``: the share
      of pairs of one class that are within a cluster; ``pairwise_f1``: their harmonic mean.
    - ``ari``: the adjusted Rand index, the share of pairs that agree, corrected for chance (Hubert and Arabie, 1985).

    Args:
        labels: (n,) integer class ids; rows with -1, unlabelled, are left out.
        clusters: (n,) integers; -1 is a cluster like any other.

    Returns:
        name -> value in [0, 1]; ami and ari may be below 0.  All nan with fewer than two classes; ami nan where every
        row is a class and a cluster of its own; a pairwise score nan where it has no pair.
    Raises:
        InputError: shapes disagree, or labels or clusters are not integers.

    >>> found = clustering_scores([0, 0, 1, 1], [0, 0, 1, 2])
    >>> {name: round(value, 2) for name, value in found.items()}
    {'nmi': 0.8, 'ami': 0.57, 'ari': 0.57, 'homogeneity': 1.0, 'completeness': 0.67, 'v_measure': 0.8,
     'pairwise_precision': 1.0, 'pairwise_recall': 0.5, 'pairwise_f1': 0.67}
    """
    rows = as_tensor("clustering_scores", "labels", labels)
    labels = check_labels("clustering_scores", "labels", rows, rows)
    clusters = check_labels("clustering_scores", "clusters", clusters, rows)
    labelled = labels != UNLABELLED
    return _scores(labels[labelled], clusters[labelled])


def _clustered(
    where: str, embeddings: Any, labels: Any, similarity: Similarity, seed: int
) -> tuple[Tensor, Tensor]:
    """The labels of the labelled rows, and their clusters."""
    embeddings, labels = check_batch(where, embeddings, labels)
    check_finite(where, "embeddings", embeddings)
    labelled = labels != UNLABELLED
    rows, labels = embeddings.detach()[labelled], labels[labelled]
    classes = len(torch.unique(labels))
    if classes < 2:
        return labels, labels
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    return labels, _clusters(normalized(rows) if similarity == "cosine" else rows, classes, seed)


def _clusters(rows: Tensor, clusters: int, seed: int) -> Tensor:
    """Those of the smallest inertia, of one or three k-means from different rows."""
    generator = torch.Generator().manual_seed(seed)
    work = rows.numel() * clusters
    start = spread_rows if work <= _SEEDED_WORK else random_rows
    starts = 3 if work <= _SEEDED_WORK / 10 else 1
    found = (kmeans(rows, start(rows, clusters, generator)) for _ in range(starts))
    return min(found, key=lambda each: each.inertia).own


class _Table(NamedTuple):
    """Counts of rows, as float64."""

    cells: Tensor  # (t,) those that are not 0
    classes: Tensor  # (c,) sums of rows
    clusters: Tensor  # (k,) sums of columns


def _scores(labels: Tensor, clusters: Tensor) -> dict[str, float]:
    _, row, classes = torch.unique(labels, return_inverse=True, return_counts=True)
    _, column, sizes = torch.unique(clusters, return_inverse=True, return_counts=True)
    _, cells = (row * len(sizes) + column).unique(return_counts=True)
    table = _Table(cells.double(), classes.double(), sizes.double())
    found = _information_scores(table) | _pair_scores(table)
    known = len(classes) > 1
    order = (
        "nmi", "ami", "ari", "homogeneity", "completeness", "v_measure",
        "pairwise_precision", "pairwise_recall", "pairwise_f1",
    )  # fmt: skip
    return {name: float(found[name]) if known else float("nan") for name in order}


def _information_scores(table: _Table) -> dict[str, Tensor]:
    of_classes, of_clusters = _entropy(table.classes), _entropy(table.clusters)
    shared = (of_classes + of_clusters - _entropy(table.cells)).clamp(min=0)
    mean = (of_classes + of_clusters) / 2
    chance = _chance_information(table.classes, table.clusters)
    room = mean - chance
    room = room.where(room > 1e-9 * mean, torch.nan)  # every row a class and a cluster of its own: 0 by 0
    return {
        "nmi": shared / mean,
        "v_measure": shared / mean,
        "ami": (shared - chance) / room,
        "homogeneity": shared / of_classes,
        "completeness": torch.where(of_clusters == 0, 1.0, shared / of_clusters),
    }


def _pair_scores(table: _Table) -> dict[str, Tensor]:
    both, same_class, same_cluster = (_pairs(counts).sum() for counts in table)
    chance = same_class * same_cluster / _pairs(table.cells.sum())
    return {
        "pairwise_precision": both / same_cluster,
        "pairwise_recall": both / same_class,
        "pairwise_f1": 2 * both / (same_class + same_cluster),
        "ari": (both - chance) / ((same_class + same_cluster) / 2 - chance),
    }


def _pairs(counts: Tensor) -> Tensor:
    return counts * (counts - 1) / 2


def _entropy(counts: Tensor) -> Tensor:
    """In nats; the order of the counts does not matter to the last digit, so equal tables cancel."""
    share = counts.sort().values / counts.sum()
    return -torch.xlogy(share, share).sum()


def _chance_information(classes: Tensor, clusters: Tensor) -> Tensor:
    r"""Mean information of all tables with these sums: each cell :math:`n_{ij}` is hypergeometric.

    Only sizes that differ are computed: there are fewer than sqrt(2 n) of them, whatever the number of classes.
    """
    n = int(classes.sum())
    log_factorial = torch.arange(1, n + 2, dtype=torch.float64, device=classes.device).lgamma()
    sizes, times = torch.unique(clusters.long(), return_counts=True)
    total = classes.new_zeros(())
    for a, count in zip(*(x.tolist() for x in torch.unique(classes.long(), return_counts=True))):
        least = (a + sizes - n).clamp(min=1)
        length = sizes.clamp(max=a) - least + 1  # possible cells that are not 0; at most n for all sizes
        start = length.cumsum(0) - length
        b = sizes.repeat_interleave(length)
        k = torch.arange(len(b), device=b.device) + (least - start).repeat_interleave(length)
        log_chance = (
            log_factorial[a] + log_factorial[n - a] + log_factorial[b] + log_factorial[n - b]
            - log_factorial[n] - log_factorial[k] - log_factorial[a - k] - log_factorial[b - k]
            - log_factorial[n - a - b + k]
        )  # fmt: skip
        share = k.double() / n
        information = share * (share * n / a * n / b).log() * log_chance.exp()
        total += count * (information * times.repeat_interleave(length)).sum()
    return total
