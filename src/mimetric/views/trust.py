"""When estimates of information cannot be trusted, said in words that do not change with every draw of rows.

The limits were read off `bench/estimators.py`: where they are passed an estimate is off by a tenth or more there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import exp, inf, isnan, log, log2

import torch
from torch import Tensor

_FEW_ROWS = 8  # of a class: a probe and its neighbors have little to go by
_SATURATED = 0.98  # of H(Y)
_COLLAPSED = 1e-6  # variance of all rows, over their mean squared length: about what float32 rounds to
_DIMENSIONS = 1.5  # times log2 of the rows: with more, the near neighbors of a class are not near


def doubts(
    rows: Tensor, labels: Tensor, found: Mapping[str, float], generative_high: float
) -> tuple[str, ...]:
    """Every reason there is not to trust what was `found` of rows (n, d) and labels (n,), none of them -1."""
    if not len(rows):
        return ("no labelled rows: there is nothing to measure",)
    counts = torch.unique(labels, return_counts=True)[1]
    if len(counts) == 1:
        return ("one class only: H(Y) is 0, and with it the information",)
    return (
        *_of_classes(counts, found["label_entropy"]),
        *_of_shape(rows, labels, found["entropy"]),
        *_of_values(found, generative_high),
    )


def _of_classes(counts: Tensor, label_entropy: float) -> Iterator[str]:
    alone, few = int((counts == 1).sum()), int((counts < _FEW_ROWS).sum())
    if alone:
        yield f"{alone} of {len(counts)} classes have one row, which neither probe nor neighbors can use"
    if few > alone:
        yield (
            f"{few} of {len(counts)} classes have fewer than {_FEW_ROWS} rows: "
            "both views come out too small, most of all the probe"
        )
    total = int(counts.sum())
    if total < 3 * exp(label_entropy):
        yield (
            f"H(Y) = {label_entropy:.2f} is near log n = {log(total):.2f}, the most that {total:,} rows can show: "
            "with more rows of the same classes all estimates would move"
        )


def _of_shape(rows: Tensor, labels: Tensor, entropy: float) -> Iterator[str]:
    rows = rows.double()
    centered = rows - rows.mean(0)
    spread, length = float(centered.square().sum(1).mean()), float(rows.square().sum(1).mean())
    if spread <= _COLLAPSED * length:
        yield "embeddings have collapsed to one point: what is left between rows is rounding"
        return
    if entropy == -inf:
        yield "some rows are copies of others, on which H(Z) or H(Z|Y) is -inf: leave copies out"
    if _dimensions(centered) < 1.5 and min(rows.shape[1], len(torch.unique(labels))) > 3:
        yield f"embeddings have collapsed to about a line in {rows.shape[1]} dimensions"
    most = _DIMENSIONS * log2(len(rows))
    if _dimensions(_around_centers(rows, labels)) > most:
        yield (
            f"classes fill more than {most:.0f} dimensions, for which {len(rows):,} rows are few: "
            "generative comes out too small"
        )


def _of_values(found: Mapping[str, float], generative_high: float) -> Iterator[str]:
    entropy, lower, near = (found[name] for name in ("label_entropy", "discriminative", "generative"))
    if isnan(lower) or isnan(near):
        yield "no class has two rows: neither view can be measured"
        return
    if lower < 0:
        yield (
            "discriminative is negative: the classifier is sure and wrong more often than the labels' frequencies are, "
            "which says nothing of the embeddings"
        )
    full = [name for name in ("discriminative", "generative") if found[name] > _SATURATED * entropy]
    if full:
        yield f"{' and '.join(full)} at the ceiling H(Y) = {entropy:.2f}: embeddings that hold more look the same"
    if not full and found["kernel_lower"] > _SATURATED * entropy:
        yield (
            f"kernel_lower is at the ceiling H(Y) = {entropy:.2f}, the other views are not: its noise is so small that "
            "every row is told from the others"
        )
    if lower > generative_high and near <= _SATURATED * entropy:
        yield (
            "generative lies below discriminative, a lower bound, by more than chance: it is too small, or the "
            "classifier was fitted to these rows"
        )


def _around_centers(rows: Tensor, labels: Tensor) -> Tensor:
    """(n, d) each row less the mean of its class."""
    index, counts = torch.unique(labels, return_inverse=True, return_counts=True)[1:]
    sums = rows.new_zeros(len(counts), rows.shape[1]).index_add(0, index, rows)
    centers: Tensor = sums / counts[:, None]
    return rows - centers[index]


def _dimensions(centered: Tensor) -> float:
    """How many directions are used about evenly: squared sum of the variances over the sum of their squares."""
    product = centered.T @ centered if centered.shape[1] <= len(centered) else centered @ centered.T
    squares = float(product.square().sum())
    return float(product.trace()) ** 2 / squares if squares else 0.0
