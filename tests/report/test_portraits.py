from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mimetric.report.portraits import HUES, heats, maps, marks, merged, read_examples, scores, weights
from sample_results import LABELS, sample_examples

NAMES = ["supcon", "spce"]


def test_classes_differ_in_hue_or_shape() -> None:
    many = marks({"classes": [str(number) for number in range(20)]})
    assert len({(mark.hue, mark.shape) for mark in many}) == 20
    assert (many[HUES].hue, many[HUES].shape) == (0, 1)


def test_items_lie_on_the_map_and_say_what_they_are_taken_for() -> None:
    # x from -3.5 to 3.5 over 300 units, y from -1 to 1 over 240.
    first, _ = maps(sample_examples(NAMES, text="psi"), NAMES)
    assert (first.spots[0].at, first.spots[-1].at) == ((0, 0), (300, 240))
    assert (first.wrong, first.spots[-1].wrong) == (1, True)
    assert first.spots[0].said == f"psi ({LABELS[0]}); nearest is of its class"
    assert first.spots[-1].said == f"{LABELS[3]}; nearest is {LABELS[0]}"


def test_classes_share_one_scale() -> None:
    examples = sample_examples(NAMES)
    examples["models"] = {"supcon": examples["models"]["supcon"], "spce": {**examples["models"]["spce"]}}
    examples["models"]["spce"]["similarity"] = [[None] * 4, *[[-1.0] * 4] * 3]
    (first, other), low, high = heats(examples, NAMES)
    assert (low, high) == (-1.0, 1.0)
    assert (first.cells[0].share, first.cells[3].share) == (1.0, 0.55)  # 1 and 0.1 between -1 and 1
    assert len(other.cells) == 12


def test_histograms_are_shares_with_steps_at_the_ends_of_bins() -> None:
    # Four bins from -1 to 1; shares up to 100% over 110 units.
    [panel] = scores(sample_examples(["supcon"]), ["supcon"])
    assert (panel.plot.x.low, panel.plot.x.high, panel.plot.y.high) == (-1, 1, 1)
    assert (
        panel.same == "0.0,110.0 0.0,110.0 60.0,110.0 120.0,110.0 180.0,110.0 180.0,0.0 240.0,0.0 240.0,110.0"
    )
    assert [(one.rate, one.at.x) for one in panel.thresholds] == [(0.1, 168.0), (0.01, 192.0)]


def test_weights_are_shares_of_the_largest() -> None:
    [panel] = weights(sample_examples(["supcon"]), ["supcon"])
    assert (panel.same, panel.different) == ("M0.0 130.0h0", "M240.0 32.5h0")
    assert panel.zero == (0, 65)


def test_what_a_model_lacks_is_left_out() -> None:
    examples = sample_examples(["supcon"])
    examples["models"]["supcon"] |= {"pair_weights": None, "scores": None}
    assert (weights(examples, NAMES), scores(examples, NAMES)) == ([], [])
    assert weights(sample_examples(["spce"]), ["supcon"]) == []
    silent = sample_examples(["supcon"])
    silent["models"]["supcon"]["pair_weights"] = [0.0] * 6
    assert weights(silent, NAMES) == []


def test_runs_are_merged_under_new_names_where_they_saw_the_same() -> None:
    one, same, other = sample_examples(["supcon"]), sample_examples(["supcon"]), sample_examples(["spce"])
    same["batch"] = {**same["batch"], "seen_by": "spce"}
    other["items"] = other["items"][:1]
    found = merged([None, one, same, other], [{}, {"supcon": "supcon (a)"}, {"supcon": "supcon (b)"}, {}])
    assert found is not None
    assert list(found["models"]) == ["supcon (a)", "supcon (b)"]
    assert found["models"]["supcon (a)"]["pair_weights"] is not None
    assert found["models"]["supcon (b)"]["pair_weights"] is None
    assert merged([None], [{}]) is None


def test_reads_what_fits_together_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "examples.json"

    def read(change: dict[str, Any]) -> bool:
        path.write_text(json.dumps(sample_examples(["supcon"]) | change), encoding="utf-8")
        return read_examples(path) is not None

    assert read({})
    assert not read({"items": []})
    assert not read({"classes": ["a"]})
    assert not read({"batch": {"similarity": [0.1]}})
    assert not read({"models": [1]})
