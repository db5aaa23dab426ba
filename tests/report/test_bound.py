from __future__ import annotations

from typing import Any

from mimetric.report.bound import LINES, bounds


def curve(*values: list[float | None]) -> dict[str, Any]:
    return {"step": [0, 10], **dict(zip(LINES, values))}


def test_lines_and_gap_by_hand() -> None:
    # 0 to 8 nats over 130 units, steps over 240.
    seeds = [curve([8.0, 2.0], [4.0, 1.0], [8.0, 3.0]), curve([8.0, 4.0], [4.0, 1.0], [8.0, 3.0])]
    [panel] = bounds({"curves": {"cross-entropy": seeds}}, ["cross-entropy"])
    assert [line.kind for line in panel.lines] == list(LINES)
    assert panel.lines[0].trace.line == "0.0,0.0 240.0,81.2"
    assert panel.lines[0].trace.band == "0.0,0.0 240.0,65.0 240.0,97.5 0.0,0.0"
    assert (panel.lines[1].last, panel.gap) == (1.0, 2.0)


def test_only_of_classifiers_and_not_of_results_from_before() -> None:
    nothing = curve([None, None], [None, None], [None, None])
    assert bounds({"curves": {"supcon": [nothing], "old": [{"step": [0, 10]}]}}, ["supcon", "old"]) == []
