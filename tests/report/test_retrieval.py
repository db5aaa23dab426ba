from __future__ import annotations

from typing import Any

from mimetric.report.retrieval import Found, classes, retrieval_grids, rows
from sample_results import FINAL, LABELS, sample_results


def small() -> dict[str, Any]:
    near = [
        [{"row": 7, "label": "a", "similarity": 0.9}, {"row": 3, "label": "b", "similarity": 0.5}],
        [{"row": 3, "label": "b", "similarity": 0.8}],
    ]
    queries = [{"row": 5, "label": "a"}, {"row": 9, "label": "a"}]
    return {"retrieval": {"seed": 0, "queries": queries, "neighbors": {"supcon": near}}}


def test_what_is_of_the_class_of_the_query_is_right() -> None:
    [grid] = retrieval_grids(small(), ["supcon"])
    worst, query = grid.queries
    assert query.found == (Found(7, "a", None, 0.9, True), Found(3, "b", None, 0.5, False))
    assert (worst.row, grid.right(drawn=True), grid.hard) == (9, "1 of 2", False)
    assert classes([grid]) == ["a"]
    assert rows([grid]) == [3, 5, 7, 9]


def test_the_farther_down_the_first_right_item_the_earlier_the_query() -> None:
    results = small()
    results["retrieval"] |= {"drawn": 1, "first_right": {"supcon": [9, 40]}}
    [grid] = retrieval_grids(results, ["supcon"])
    assert [(query.row, query.first_right, query.drawn) for query in grid.queries] == [
        (9, 40, False),
        (5, 9, True),
    ]
    assert (grid.right(drawn=True), grid.right(drawn=False), grid.hard) == ("1 of 1", "0 of 1", True)


def test_runs_reported_together_keep_their_own_queries() -> None:
    other = {"queries": [{"row": 2, "label": "c"}], "neighbors": {"spce": [[]]}, "seed": 0}
    grids = retrieval_grids(
        {"runs": [small(), {"retrieval": other}, {"retrieval": None}]}, ["spce", "supcon"]
    )
    assert [(grid.name, len(grid.queries)) for grid in grids] == [("spce", 1), ("supcon", 2)]


def test_the_best_objective_comes_first_and_unknown_ones_are_left_out() -> None:
    results = sample_results()
    del results["retrieval"]["neighbors"]["triplet"]
    names = [grid.name for grid in retrieval_grids(results, list(FINAL))]
    assert names == [name for name in FINAL if name != "triplet"]
    assert len(retrieval_grids(results, list(FINAL))[0].queries) == len(LABELS)


def test_nothing_recorded() -> None:
    assert retrieval_grids({"retrieval": None}, ["supcon"]) == []
    assert (
        retrieval_grids({"retrieval": {"seed": 0, "queries": [], "neighbors": {"supcon": []}}}, ["supcon"])
        == []
    )
