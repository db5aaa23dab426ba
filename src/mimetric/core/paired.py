"""Rows in pairs, each with one other row: the next of its class, the reference of its label, or the nearest one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from .checks import check_batch, check_references
from .classes import UNLABELLED
from .derivatives import by_formula
from .search import MOST_ROWS, Search, blocks_of, leave_out_
from .similarity import Similarity, in_one_type, inverse_lengths, normalized, without_autocast


class Views(NamedTuple):
    """Two rows of each pair."""

    first: Tensor  # (p, d)
    second: Tensor  # (p, d)


@dataclass(frozen=True)
class TwoSides:
    """A loss described by its sides, computed already."""

    tightness: Tensor
    contrast: Tensor

    def total(self) -> Tensor:
        return self.tightness + self.contrast

    def sides(self) -> tuple[Tensor, Tensor]:
        return self.tightness, self.contrast


def paired_rows(
    where: str,
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    in_order: bool = False,
) -> Views:
    """Rows and their partners by :func:`partners`, in float32 at least and one type; `where` opens messages.

    Pairs are in order of label where `in_order`, in any order else: rows beside references of the same labels, two
    views, are then taken as they stand.
    """
    rows, labels = check_batch(where, embeddings, labels)
    others, other_labels = check_references(where, rows, labels, references, reference_labels)
    if others is not None and not in_order and _same(labels, other_labels):
        return Views(*in_one_type(rows, others))
    row, partner = partners(labels, None if others is None else other_labels)
    rows, others = in_one_type(rows, rows if others is None else others)
    return Views(rows.index_select(0, row), others.index_select(0, partner))


def _same(labels: Tensor, others: Tensor) -> bool:
    """Whether the k-th row and the k-th reference of each label stand in one place, all of them labelled."""
    return torch.equal(labels, others) and not bool((labels == UNLABELLED).any())


def partners(labels: Tensor, reference_labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Pairs of one label: (row (p,), partner (p,)), in order of label.

    With references, the k-th row of a label is paired with its k-th reference, and after the last with the first
    again: where labels are instances, 0, 1, ..., row and reference are two views of one.  Without, each row is paired
    with the next row of its label, the last with the first.  What is unlabelled, or has nobody of its label, is in
    no pair.

    >>> [each.tolist() for each in partners(torch.tensor([5, 3, 5, -1, 5]))]
    [[0, 2, 4], [2, 4, 0]]
    >>> [each.tolist() for each in partners(torch.tensor([5, 3, 5]), torch.tensor([3, 4, 5]))]
    [[1, 0, 2], [0, 2, 2]]
    """
    step = 1 if reference_labels is None else 0
    label, row = labels.sort(stable=True)
    other_label, other = (label, row) if reference_labels is None else reference_labels.sort(stable=True)
    place = torch.arange(len(label), device=label.device) - torch.searchsorted(label, label)
    start = torch.searchsorted(other_label, label)
    size = torch.searchsorted(other_label, label, right=True) - start
    there = (size > step) & (label != UNLABELLED)
    at = start + (place + step) % size.clamp(min=1)
    return row[there], other[at[there]]


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """(n,) of row i of one (n, d) and row i of the other; 0, with a zero gradient, where either is a zero row.

    >>> cosines(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[2.0, 0.0], [1.0, 1.0]]))
    tensor([0.6000, 0.0000])
    """
    with without_autocast(first.device):
        return cast(Tensor, _Cosines.apply(*in_one_type(first, second)))  # type: ignore[no-untyped-call]


class _Cosines(torch.autograd.Function):
    """Three sums over rows, and no array of unit rows."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        inverse = [inverse_lengths(rows)[:, 0] for rows in (first, second)]
        found: Tensor = torch.linalg.vecdot(first, second).mul_(inverse[0]).mul_(inverse[1])
        ctx.save_for_backward(first, second, found, *inverse)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        first, second, found, *inverse = ctx.saved_tensors
        needs = ctx.needs_input_grad
        if torch.is_grad_enabled():  # second derivatives are wanted
            return (*by_formula(_cosines_of_unit_rows, (first, second), needs, grad),)
        across, along = (grad * inverse[0] * inverse[1])[:, None], (-grad * found)[:, None]
        return tuple(
            torch.mul(other, across).addcmul_(x, along * length[:, None].square()) if need else None
            for x, other, length, need in zip((first, second), (second, first), inverse, needs)
        )


def _cosines_of_unit_rows(first: Tensor, second: Tensor) -> Tensor:
    return (normalized(first) * normalized(second)).sum(1)


def are_partners(labels: Tensor, others: Tensor) -> bool:
    """Whether row i of either set has one positive, row i of the other; no on an accelerator, which would wait."""
    if labels.device.type != "cpu" or labels.ndim > 1 or not torch.equal(labels, others):
        return False
    in_order = labels.sort().values
    return not bool((in_order[1:] == in_order[:-1]).any() or (in_order == UNLABELLED).any())


def nearest_other(rows: Tensor, similarity: Similarity) -> Tensor:
    """(n,) for each of the rows (n, d) the most similar other one, the first of equal ones; no gradient.

    In panels of similarities, never n x n.  A single row is its own.

    >>> nearest_other(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]), "cosine")
    tensor([2, 2, 1])
    """
    search = Search(similarity, rows)
    every = torch.arange(len(rows), device=rows.device)
    parts = [_nearest_other(search, query) for query in blocks_of(every, MOST_ROWS)]
    return torch.cat(parts) if parts else every


def _nearest_other(search: Search, query: Tensor) -> Tensor:
    rows = search.rows(query)
    best = rows.new_full((len(query),), -torch.inf)
    where = torch.zeros_like(query)
    for start, panel in search.panels(rows):
        panel = panel[: len(query)]
        leave_out_(panel, query[:, None] - start)
        value, column = panel.max(dim=1)
        where = torch.where(value > best, column + start, where)
        best = torch.maximum(best, value)
    return where
