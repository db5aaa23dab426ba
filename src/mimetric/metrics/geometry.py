"""How embeddings lie: pairs of one class, pairs of all, the spread within and between classes.

Alignment, uniformity, tolerance and anisotropy are of directions: rows are scaled to length 1 first, and a zero row
stays at the origin.  Pairs are of two different rows; copies are pairs like any other.  What is a mean of squares or
cosines comes from sums of rows in O(n d); only uniformity, and alignment with another exponent, look at each pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..core.checks import (
    check_batch,
    check_choice,
    check_classes,
    check_finite,
    check_positive,
    check_rows,
)
from ..core.classes import UNLABELLED
from ..core.errors import InputError
from ..core.moments import ClassMoments, class_moments
from ..core.similarity import full_precision, lift, normalized
from .streaming import Streaming

_ROWS, _COLUMNS = 512, 2048  # of a tile of pairs, at least as wide as high
_TILE_ELEMENTS = _ROWS * _COLUMNS


def alignment(embeddings: Any, labels: Any, *, exponent: float = 2.0) -> Tensor:
    r"""How far rows of one class are from each other, on the unit sphere.

    .. math:: \frac1{|P|} \sum_{(i, j) \in P} \lVert x_i - x_j \rVert^{\alpha}, \qquad
              P = \{i \ne j,\ y_i = y_j\}

    For views of the same instance let labels be instance ids.  0 for embeddings that collapsed, so read
    :func:`uniformity` beside it.  At exponent 2 it is 2 - 2 times :func:`tolerance`.

    Args:
        embeddings: (n, d) floating point, finite.
        labels: (n,) integer class ids; rows with -1, unlabelled, are left out.
        exponent: alpha > 0; 2 costs O(n d), any other a look at each pair of a class.

    Returns:
        Scalar float64 in [0, 2^alpha]; nan where no class has two rows.
    Raises:
        InputError: shapes disagree, labels are not integers, a value is not finite, or exponent is not > 0.

    Reference: Wang and Isola, ICML 2020, arXiv:2005.10242.

    >>> alignment(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), [0, 0, 1]).round(decimals=6)
    tensor(2., dtype=torch.float64)
    """
    check_positive("alignment", exponent=exponent)
    rows, labels = _labelled("alignment", embeddings, labels)
    if exponent == 2:
        return _alignment(_moments(rows, labels, unit=True)[1])
    return _mean_power(rows, labels, exponent)


def tolerance(
    embeddings: Any, labels: Any, *, over: Literal["same_class", "all_pairs"] = "same_class"
) -> Tensor:
    r"""The mean cosine of pairs of one class: how much a set allows its classes to be near.

    .. math:: \frac1{|P|} \sum_{(i, j) \in P} x_i^T x_j, \qquad P = \{i \ne j,\ y_i = y_j\}

    1 for embeddings that collapsed, so read :func:`uniformity` beside it.

    Args:
        embeddings, labels: as :func:`alignment` has them.
        over: ``same_class`` divides by the pairs of one class, as its authors describe it; ``all_pairs`` by all
            pairs of labelled rows, as their formula has it.

    Returns:
        Scalar float64 in [-1, 1]; nan where there is no such pair.
    Raises:
        InputError: shapes disagree, labels are not integers, a value is not finite, or an unknown word.

    Reference: Wang and Liu, CVPR 2021, arXiv:2012.09740.

    >>> x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
    >>> tolerance(x, [0, 0, 1]), tolerance(x, [0, 0, 1], over="all_pairs")
    (tensor(0.6000, dtype=torch.float64), tensor(0.2000, dtype=torch.float64))
    """
    check_choice("tolerance", "over", over, ("same_class", "all_pairs"))
    moments = _moments(*_labelled("tolerance", embeddings, labels), unit=True)[1]
    n = moments.rows.sum()
    return _cosines(moments).sum() / (moments.pairs.sum() if over == "same_class" else n * (n - 1))


def uniformity(embeddings: Any, *, t: float = 2.0) -> Tensor:
    r"""How evenly rows cover the unit sphere: log of the mean Gaussian potential of all pairs.

    .. math:: \log \frac{1}{n (n - 1)} \sum_{i \ne j} e^{-t \lVert x_i - x_j \rVert^2}

    Lower is more even; many papers print its negative.  Over pairs of different rows: with each row beside
    itself as well, which some code has, it is larger for few rows.  Half of the pairs are looked at, a tile at a
    time, in O(n d) memory.

    Args:
        embeddings: (n, d) floating point, finite; half precision is compared in float32.
        t: sharpness, > 0.

    Returns:
        Scalar float64 in [-4 t, 0], in nats, to about 1e-6 for float32 input; nan for fewer than two rows.
    Raises:
        InputError: not (n, d) floating point and finite, or t is not > 0.

    Reference: Wang and Isola, ICML 2020, arXiv:2005.10242.

    >>> uniformity(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]))
    tensor(-4.3963, dtype=torch.float64)
    """
    check_positive("uniformity", t=t)
    rows = full_precision(finite_rows("uniformity", "embeddings", embeddings))
    n = len(rows)
    total = torch.tensor(-torch.inf if n > 1 else torch.nan, dtype=torch.float64, device=rows.device)
    for tile in _pair_tiles(normalized(rows)):
        total = torch.logaddexp(total, tile.mul_(t).flatten().logsumexp(0).double())
    return total - total.new_tensor(max(1, n * (n - 1) // 2)).log()


def anisotropy(embeddings: Any) -> Tensor:
    r"""The mean cosine of all pairs: near 0 where directions are spread, 1 where they are one.

    .. math:: \frac{1}{n (n - 1)} \sum_{i \ne j} x_i^T x_j
              = \frac{\lVert \sum_i x_i \rVert^2 - \sum_i \lVert x_i \rVert^2}{n (n - 1)}

    Exact, over all pairs and not a sample of them.

    Args:
        embeddings: (n, d) floating point, finite.

    Returns:
        Scalar float64 in [-1 / (n - 1), 1]; nan for fewer than two rows.
    Raises:
        InputError: not (n, d) floating point, or not finite.

    Reference: Ethayarajh, EMNLP 2019, arXiv:1909.00512.

    >>> anisotropy(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])).round(decimals=4)
    tensor(0.3333, dtype=torch.float64)
    """
    rows = finite_rows("anisotropy", "embeddings", embeddings)
    together = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    return _mean_cosine(class_moments(rows, together, 1, unit=True))


class ClassScatter(NamedTuple):
    """One number for each of C classes."""

    classes: Tensor  # (C,) int64 their ids, ascending
    rows: Tensor  # (C,) float64 how many rows
    within: Tensor  # (C,) mean squared distance of its rows to its center; nan without rows
    between: Tensor  # (C,) squared distance of its center to the mean of all rows; nan without rows


def class_scatter(embeddings: Any, labels: Any) -> ClassScatter:
    r"""The spread of each class about its center, and of the centers.

    .. math:: w_c = \frac1{n_c} \sum_{i:\, y_i = c} \lVert x_i - \mu_c \rVert^2, \qquad
              b_c = \lVert \mu_c - \mu \rVert^2

    Weighted by the numbers of rows, w + b is the total variance, the mean squared distance to the mean of all rows.
    Rows are taken as they are: scale them to length 1 first where only directions matter.

    Args:
        embeddings: (n, d) floating point, finite.
        labels: (n,) integer class ids; rows with -1, unlabelled, are left out.

    Returns:
        :class:`ClassScatter`, in squared units of the embeddings.
    Raises:
        InputError: shapes disagree, labels are not integers, or a value is not finite.

    >>> found = class_scatter(torch.tensor([[0.0], [2.0], [7.0]]), [5, 5, 9])
    >>> found.within.tolist(), found.between.tolist()
    ([1.0, 0.0], [4.0, 16.0])
    """
    classes, moments = _moments(*_labelled("class_scatter", embeddings, labels))
    return _scatter(classes, moments)


class StreamingAlignment(Streaming):
    """:func:`alignment` at exponent 2, :func:`tolerance` and :func:`anisotropy` of batches, in O(C d) memory.

    Pairs are of all labelled rows so far, not of those of one batch.

    Args:
        num_classes: C; labels are in 0..C-1, or -1.
        width: d.

    >>> stream = StreamingAlignment(num_classes=2, width=2)
    >>> stream.update(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), [0, 1])
    >>> stream.update(torch.tensor([[0.0, 1.0]]), [0])
    >>> {name: round(value, 6) for name, value in stream.compute().items()}
    {'alignment': 2.0, 'tolerance': 0.0, 'anisotropy': -0.333333}
    """

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__(**ClassMoments.zeros(num_classes, width)._asdict())

    def update(self, embeddings: Any, labels: Any) -> None:
        """Embeddings (n, d) and labels (n,) of some rows."""
        add_moments(self, embeddings, labels, unit=True)

    def compute(self) -> dict[str, float]:
        """``alignment``, ``tolerance`` and ``anisotropy``."""
        moments = ClassMoments(**self.totals)
        values = {
            "alignment": _alignment(moments),
            "tolerance": _cosines(moments).sum() / moments.pairs.sum(),
            "anisotropy": _mean_cosine(moments),
        }
        return {name: value.item() for name, value in values.items()}


class StreamingScatter(Streaming):
    """:func:`class_scatter` of batches, in O(C d) memory.

    Args:
        num_classes: C; labels are in 0..C-1, or -1.
        width: d.

    >>> stream = StreamingScatter(num_classes=2, width=1)
    >>> stream.update(torch.tensor([[0.0]]), [0])
    >>> stream.update(torch.tensor([[2.0], [7.0]]), [0, 1])
    >>> stream.compute().within.tolist()
    [1.0, 0.0]
    """

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__(**ClassMoments.zeros(num_classes, width)._asdict())

    def update(self, embeddings: Any, labels: Any) -> None:
        """Embeddings (n, d) and labels (n,) of some rows."""
        add_moments(self, embeddings, labels)

    def compute(self) -> ClassScatter:
        """As :func:`class_scatter`, of all C classes."""
        moments = ClassMoments(**self.totals)
        return _scatter(torch.arange(len(moments.rows), device=moments.rows.device), moments)


def add_moments(stream: Streaming, embeddings: Any, labels: Any, *, unit: bool = False) -> Tensor:
    """Add rows (n, d) with labels in 0..C-1 to the class moments of a stream; returns those that are labelled."""
    where, (num_classes, width) = type(stream).__name__, stream.totals["sum"].shape
    rows, labels = _labelled(where, embeddings, labels)
    check_classes(where, labels, num_classes)
    if rows.shape[1] != width:
        raise InputError(f"{where}: embeddings must have {width} columns, got {tuple(rows.shape)}")
    stream.add(**class_moments(rows, labels, num_classes, unit=unit)._asdict())
    return rows[labels != UNLABELLED]


def finite_rows(where: str, name: str, rows: Any) -> Tensor:
    """Finite rows (n, d), without a gradient."""
    given = check_rows(where, name, rows)
    check_finite(where, name, given)
    return given.detach()


def _labelled(where: str, embeddings: Any, labels: Any) -> tuple[Tensor, Tensor]:
    embeddings, labels = check_batch(where, embeddings, labels)
    return finite_rows(where, "embeddings", embeddings), labels


def numbered(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The classes there are (C,), and labels (n,) by their place among them, -1 as before."""
    known = labels != UNLABELLED
    classes, index = torch.unique(labels[known], return_inverse=True)
    return classes, labels.masked_scatter(known, index)


def _moments(rows: Tensor, labels: Tensor, *, unit: bool = False) -> tuple[Tensor, ClassMoments]:
    """The classes there are, and their moments."""
    classes, places = numbered(labels)
    return classes, class_moments(rows, places, len(classes), unit=unit)


def _alignment(moments: ClassMoments) -> Tensor:
    return 2 * (moments.rows * moments.scatter).sum() / moments.pairs.sum()


def _cosines(moments: ClassMoments) -> Tensor:
    """(C,) sums over ordered pairs."""
    return moments.sum.square().sum(1) - moments.square


def _scatter(classes: Tensor, moments: ClassMoments) -> ClassScatter:
    mean = moments.sum.sum(0) / moments.rows.sum()
    between = (moments.centers - mean).square().sum(1)
    return ClassScatter(classes, moments.rows, moments.scatter / moments.rows, between)


def _mean_cosine(moments: ClassMoments) -> Tensor:
    """Over all pairs, of one class or not."""
    together = ClassMoments(*(part.sum(0, keepdim=True) for part in moments))
    return (_cosines(together) / together.pairs)[0]


def _mean_power(rows: Tensor, labels: Tensor, exponent: float) -> Tensor:
    """Over pairs of one class, in order of class: those of a block of rows are a run of columns."""
    order = labels.argsort(stable=True)
    order = order[labels[order] != UNLABELLED]
    y, x = labels[order], normalized(rows[order].double())
    first, last = torch.searchsorted(y, y), torch.searchsorted(y, y, right=True)
    size = last - first
    step = max(1, min(_ROWS, _TILE_ELEMENTS // max(1, int(size.max()) if len(size) else 1)))
    total = x.new_zeros(())
    for start in range(0, len(y), step):
        block = slice(start, start + step)
        run = slice(int(first[start]), int(last[block][-1]))
        same = y[block, None] == y[run]
        same.diagonal(start - run.start).zero_()  # the row itself
        # By differences: a product leaves 1e-8 between copies, which a small exponent makes large.
        apart = torch.cdist(x[block], x[run], compute_mode="donot_use_mm_for_euclid_dist")
        total += torch.where(same, apart.pow_(exponent), 0).sum()
    return total / (size - 1).sum()


def _pair_tiles(rows: Tensor) -> Iterator[Tensor]:
    """Minus the squared distances (k, c) of all pairs, each once; -inf at what is no pair of its own."""
    left, right, _, _ = lift("negative_squared_euclidean", rows)
    seen = torch.ones(_ROWS, _COLUMNS, dtype=torch.bool, device=rows.device).tril()
    for i in range(0, len(rows), _ROWS):
        for j in range(i, len(rows), _COLUMNS):
            tile = left[i : i + _ROWS] @ right[j : j + _COLUMNS].T
            if i == j:
                tile.masked_fill_(seen[: tile.shape[0], : tile.shape[1]], -torch.inf)
            yield tile
