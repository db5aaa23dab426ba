"""The retrieval grid: the same queries for every objective, each with its nearest test items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Found:
    """A test item near a query; right if it is of the query's class."""

    row: int
    label: str
    similarity: float
    right: bool


@dataclass(frozen=True)
class Query:
    """A test item, and what was found for it, nearest first."""

    row: int
    label: str
    found: tuple[Found, ...]


@dataclass(frozen=True)
class Grid:
    """What one objective finds, with one seed."""

    name: str
    queries: tuple[Query, ...]

    @property
    def first_right(self) -> int:
        """For how many queries the nearest item is right."""
        return sum(query.found[0].right for query in self.queries if query.found)


def retrieval_grids(results: Mapping[str, Any], names: Sequence[str]) -> list[Grid]:
    """One grid per objective, best first; none where nothing was recorded."""
    recorded = results.get("retrieval")
    if not recorded or not recorded["queries"]:
        return []
    near = recorded["neighbors"]
    return [_grid(name, recorded["queries"], near[name]) for name in names if name in near]


def rows(grids: Sequence[Grid]) -> list[int]:
    """All rows that occur, once each."""
    queries = [query for grid in grids for query in grid.queries]
    return sorted({query.row for query in queries} | {item.row for query in queries for item in query.found})


def _grid(name: str, queries: Sequence[Mapping[str, Any]], near: Sequence[Any]) -> Grid:
    return Grid(name, tuple(_query(query, found) for query, found in zip(queries, near)))


def _query(query: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> Query:
    items = tuple(
        Found(item["row"], item["label"], item["similarity"], item["label"] == query["label"])
        for item in found
    )
    return Query(query["row"], query["label"], items)
