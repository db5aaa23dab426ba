"""Exact nearest references, in blocks of queries and panels of references.

Most of a panel is behind the k nearest found so far: the largest value of each group of 32 columns tells which
groups to look into, and the few values in front are kept and sorted in now and then.  So a search costs little more
than the product of queries and references; nothing is sorted whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import check_choice, check_finite, check_positive, check_rows
from .errors import InputError
from .ranks import check_keys
from .relevance import SameKey
from .search import MOST_ROWS, TILE_ROWS, Search, blocks_of, leave_out_
from .similarity import SIMILARITIES, Similarity

# Columns whose largest value is looked at before any of them.
_GROUP = 32
# A panel has this many columns for each neighbor at least, and a block of queries so few rows that it stays small.
_COLUMNS_PER_NEIGHBOR = 16
_PANEL_ELEMENTS = 1 << 21
# Values in front that wait to be sorted in.
_WAITING = 1 << 20


class Neighbors(NamedTuple):
    """The nearest references of each query, nearest first; of equally near ones the lowest index first."""

    similarities: Tensor  # (q, k) -inf where there are fewer than k
    indices: Tensor  # (q, k) int64 rows of the references; -1 where there are fewer than k


def nearest_neighbors(
    queries: Any,
    references: Any = None,
    k: int = 1,
    *,
    similarity: Similarity = "cosine",
    ids: Any = None,
    reference_ids: Any = None,
    first: int = 0,
    block: int | None = None,
    dtype: torch.dtype | None = None,
) -> Neighbors:
    """The k most similar references of every query, exact, in O(block * m) time and O(q * k) memory.

    On a CPU the same rows give the same similarity wherever they stand, so that copies are equally near, and the
    result does not depend on the block.  Half-precision rows are searched in float32.

    Args:
        queries: (q, d) floating point, finite.  A list or an array will do.
        references: (m, d) what to search; None is the queries themselves, each left out of its own neighbors.
        k: how many, >= 1.
        similarity: by which references are nearer.
        ids: (q,) integer, what each row is of: a reference with the id of a query is left out for it.
        reference_ids: (m,) the same of the references.
        first: the index of the first reference, where these are a part of more: see :func:`merge_neighbors`.
        block: queries at a time; None chooses.  It changes no number.
        dtype: of the products, such as torch.float64 to check float32; None is that of the rows, float32 at least.

    Returns:
        :class:`Neighbors`, (q, k) similarities and (q, k) indices.
    Raises:
        InputError: shapes disagree, a value is not finite, k or block is below 1, or an unknown similarity.

    >>> found = nearest_neighbors([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], k=2)
    >>> found.indices.tolist()
    [[1, 2], [0, 2], [1, 0]]
    """
    where = "nearest_neighbors"
    queries = check_rows(where, "queries", queries)
    check_positive(where, k=k, block=1 if block is None else block)
    check_choice(where, "similarity", similarity, SIMILARITIES)
    check_finite(where, "queries", queries)
    own = references is None
    others = queries if own else _check_others(where, references, queries)
    apart = check_keys(where, "ids", ids, reference_ids, queries, others, own)
    search = Search(similarity, queries, None if own else others, dtype)
    itself = None if apart is None else SameKey(*apart)
    every = torch.arange(len(queries), device=queries.device)
    found = [_nearest(search, query, k, own, itself) for query in blocks_of(every, block or _rows(k))]
    values, index = (torch.cat(each) for each in zip(_nobody(search.rows(every[:0]), k), *found))
    if search.map is not None:
        values = torch.where(index < 0, -torch.inf, search.map.plain(values))
    return Neighbors(values, torch.where(index < 0, -1, index + first))


def merge_neighbors(parts: Sequence[Neighbors], k: int | None = None) -> Neighbors:
    """The k nearest of what several searches for the same queries found in parts of the references.

    Args:
        parts: what :func:`nearest_neighbors` found in each part, with ``first`` its place among all, and k at least
            as many as are asked for here.
        k: how many; None is as many as the first part has.

    Returns:
        :class:`Neighbors` (q, k), those of one search of all.  The similarities of a part are those of the whole by
        cosine and dot; distances are measured from the mean of a part's references, which moves their last digits.
    Raises:
        InputError: no parts, or parts of different queries.

    >>> references = torch.tensor([[3.0], [1.0], [2.0]])
    >>> parts = [
    ...     nearest_neighbors([[1.0]], references[at : at + 2], 2, similarity="dot", first=at) for at in (0, 2)]
    >>> merge_neighbors(parts).indices
    tensor([[0, 2]])
    """
    if not parts or len({len(part.indices) for part in parts}) > 1:
        raise InputError(
            "merge_neighbors: parts must be searches for the same queries, at least one, got "
            f"{[len(part.indices) for part in parts]} queries"
        )
    index, order = torch.cat([part.indices for part in parts], dim=1).sort(dim=1)
    values = torch.cat([part.similarities for part in parts], dim=1).gather(1, order)
    return _first_of(Neighbors(values, index), k=k or parts[0].indices.shape[1])


def _check_others(where: str, references: Any, queries: Tensor) -> Tensor:
    others = check_rows(where, "references", references)
    if others.shape[1] != queries.shape[1]:
        raise InputError(
            f"{where}: references must have {queries.shape[1]} columns to match queries {tuple(queries.shape)}, "
            f"got {tuple(others.shape)}"
        )
    check_finite(where, "references", others)
    return others


def _rows(k: int) -> int:
    """Queries in a block."""
    rows = min(MOST_ROWS, _PANEL_ELEMENTS // (_COLUMNS_PER_NEIGHBOR * k))
    return max(1, rows // TILE_ROWS) * TILE_ROWS


def _nearest(search: Search, query: Tensor, k: int, own: bool, itself: SameKey | None) -> Neighbors:
    """Of a block of queries (b,)."""
    rows = search.rows(query)
    hidden = query[:, None] if own else query.new_empty(len(query), 0)
    if itself is not None:
        listed = itself.of(query)
        hidden = torch.cat((hidden, listed.columns[listed.slot].masked_fill(~listed.member, -1)), dim=1)
    best = _nobody(rows[: len(query)], k)
    waiting: list[_InFront] = []
    seen = due = 0
    for start, panel in search.panels(rows, at_least=_COLUMNS_PER_NEIGHBOR * k):
        panel = panel[: len(query)]
        leave_out_(panel, hidden - start)
        floor = best.similarities[:, -1] if seen else _floor(panel, k)
        waiting.append(_in_front_of(panel, floor, start))
        seen = start + panel.shape[1]
        if seen >= due or sum(len(part.row) for part in waiting) > _WAITING:
            best, waiting, due = _sorted_in(best, waiting), [], 2 * seen
    return _sorted_in(best, waiting)


class _InFront(NamedTuple):
    """Values in front of the k nearest so far, column by column within a row."""

    row: Tensor
    column: Tensor
    value: Tensor


def _nobody(rows: Tensor, k: int) -> Neighbors:
    values = rows.new_full((len(rows), k), -torch.inf)
    return Neighbors(values, torch.full_like(values, -1, dtype=torch.int64))


def _floor(panel: Tensor, k: int) -> Tensor:
    """What the k largest of each row (b, c), and all equal to the last of them, are greater than."""
    if panel.shape[1] < k:
        return panel.new_full(panel.shape[:1], -torch.inf)
    return torch.nextafter(panel.topk(k, dim=1).values[:, -1], panel.new_tensor(-torch.inf))


def _in_front_of(panel: Tensor, floor: Tensor, start: int) -> _InFront:
    """Values of a panel (b, c) greater than the floor (b,) of their row."""
    short = -panel.shape[1] % _GROUP
    panel = F.pad(panel, (0, short), value=-torch.inf) if short else panel  # a copy only if need be
    groups = panel.view(len(panel), panel.shape[1] // _GROUP, _GROUP)
    row, group = (groups.amax(2) > floor[:, None]).nonzero(as_tuple=True)
    values = groups[row, group]
    hit, place = (values > floor[row, None]).nonzero(as_tuple=True)
    return _InFront(row[hit], start + group[hit] * _GROUP + place, values[hit, place])


def _sorted_in(best: Neighbors, waiting: list[_InFront]) -> Neighbors:
    """The k best of what was best and what waits, which stands in later columns."""
    if not waiting:
        return best
    row, column, value = (torch.cat(parts) for parts in zip(*waiting))
    row, order = row.sort(stable=True)
    count = torch.bincount(row, minlength=len(best.indices))
    place = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    more = _nobody(best.similarities, int(count.max()))
    more.similarities[row, place] = value[order]
    more.indices[row, place] = column[order]
    return _first_of(best, more, k=best.indices.shape[1])


def _first_of(*parts: Neighbors, k: int) -> Neighbors:
    """The k largest of each row; of equal ones those of an earlier part, or place in it."""
    values, order = torch.cat([part.similarities for part in parts], dim=1).sort(
        dim=1, descending=True, stable=True
    )
    order = order[:, :k]
    index = torch.cat([part.indices for part in parts], dim=1).gather(1, order)
    short = k - index.shape[1]
    return Neighbors(F.pad(values[:, :k], (0, short), value=-torch.inf), F.pad(index, (0, short), value=-1))
