from __future__ import annotations

from typing import Any

from mimetric.report.retrieval import Found, retrieval_grids, rows
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
    assert grid.queries[0].found == (Found(7, "a", 0.9, True), Found(3, "b", 0.5, False))
    assert grid.first_right == 1
    assert rows([grid]) == [3, 5, 7, 9]


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
