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
    text: str | None
    similarity: float
    right: bool


@dataclass(frozen=True)
class Query:
    """A test item, and what was found for it, nearest first.

    `first_right` is how far down the first item of its class is, 0 where that is not known; `drawn` one at random.
    """

    row: int
    label: str
    text: str | None
    found: tuple[Found, ...]
    first_right: int
    drawn: bool


@dataclass(frozen=True)
class Grid:
    """What one objective finds, with one seed; the queries with the worst answers first."""

    name: str
    queries: tuple[Query, ...]

    def right(self, *, drawn: bool) -> str:
        """For how many of the queries drawn at random, or of the others, the nearest item is right."""
        nearest = [query.found[0].right for query in self.queries if query.found and query.drawn == drawn]
        return f"{sum(nearest)} of {len(nearest)}"

    @property
    def hard(self) -> bool:
        """Whether there are others than those drawn at random."""
        return not all(query.drawn for query in self.queries)


def retrieval_grids(results: Mapping[str, Any], names: Sequence[str]) -> list[Grid]:
    """One grid per objective, best first; none where nothing was recorded."""
    recorded = [run.get("retrieval") for run in results.get("runs", [results])]
    found = {
        name: _grid(name, one) for one in recorded if one and one["queries"] for name in one["neighbors"]
    }
    return [found[name] for name in names if name in found]


def rows(grids: Sequence[Grid]) -> list[int]:
    """All rows that occur, once each."""
    queries = [query for grid in grids for query in grid.queries]
    return sorted({query.row for query in queries} | {item.row for query in queries for item in query.found})


def classes(grids: Sequence[Grid]) -> list[str]:
    """The classes of the queries, once each, in order."""
    return sorted({query.label for grid in grids for query in grid.queries})


def _grid(name: str, recorded: Mapping[str, Any]) -> Grid:
    queries = recorded["queries"]
    ranks = recorded.get("first_right", {}).get(name, [0] * len(queries))
    drawn = recorded.get("drawn", len(queries))
    near = zip(queries, recorded["neighbors"][name], ranks)
    answered = [_query(*one, place < drawn) for place, one in enumerate(near)]
    return Grid(name, tuple(sorted(answered, key=_goodness)))


def _goodness(query: Query) -> tuple[int, int]:
    """Lowest where the first right item is farthest down."""
    return -query.first_right, sum(item.right for item in query.found)


def _query(
    query: Mapping[str, Any], found: Sequence[Mapping[str, Any]], first_right: int, drawn: bool
) -> Query:
    items = tuple(
        Found(
            item["row"], item["label"], item.get("text"), item["similarity"], item["label"] == query["label"]
        )
        for item in found
    )
    return Query(query["row"], query["label"], query.get("text"), items, first_right, drawn)
