from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mimetric.core.errors import InputError
from mimetric.report import words
from mimetric.report.page import render
from mimetric.train.across import across, read_results
from sample_results import sample_results

TWO = {"supcon": (0.6, 60), "spce": (0.4, 60)}


def other(**settings: Any) -> dict[str, Any]:
    results = sample_results({"supcon": (0.5, 60), "triplet": (0.3, 60)})
    results["settings"] |= settings
    return results


def test_an_objective_of_several_runs_has_their_names() -> None:
    found = across({"a": sample_results(TWO), "b": other()})
    assert (
        list(found["objectives"]) == list(found["curves"]) == ["supcon (a)", "spce", "supcon (b)", "triplet"]
    )
    assert found["runs"][1]["names"] == {"supcon": "supcon (b)", "triplet": "triplet"}
    assert list(found["runs"][1]["retrieval"]["neighbors"]) == ["supcon (b)", "triplet"]
    assert found["differing"] == {}


def test_standing_is_by_paired_differences_again() -> None:
    # Recalls of a seed differ by the same amount, so that every difference is certain.
    found = across({"a": sample_results(TWO), "b": other()})
    standing = {name: entry["standing"] for name, entry in found["objectives"].items()}
    assert standing == {"supcon (a)": "best", "spce": "below", "supcon (b)": "below", "triplet": "below"}


def test_of_other_seeds_nothing_is_said_but_the_best() -> None:
    found = across({"a": sample_results(TWO), "b": sample_results({"triplet": (0.3, 60)}, seeds=1)})
    assert [entry["standing"] for entry in found["objectives"].values()] == ["best", None, None]
    assert found["differing"]["seeds"] == {"a": "0 and 1 and 2", "b": "0"}


def test_other_settings_are_told_and_every_command_is_given() -> None:
    found = across({"a": sample_results(TWO), "b": other(steps=900, lr=0.1)})
    assert found["differing"] == {"steps": {"a": 500, "b": 900}, "lr": {"a": 0.002, "b": 0.1}}
    assert "steps 500 (a), 900 (b); lr 0.002 (a), 0.1 (b)" in " ".join(words.caveats(found))
    assert [" --steps 900 " in command for command in words.commands(found)] == [False, True]
    text = render(found)
    assert "mimetric report" in text
    assert text.count("<pre") == 2


def test_other_data_are_an_error() -> None:
    results = other()
    results["data"]["sha256"] = "0"
    with pytest.raises(
        InputError, match=r"^b: was measured on other data or another split than a; report them apart$"
    ):
        across({"a": sample_results(TWO), "b": results})
    renamed = other()
    renamed["data"] |= {"spec": "npz:elsewhere.npz", "name": "npz:elsewhere.npz"}
    across({"a": sample_results(TWO), "b": renamed})


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff"])
def test_damaged_results_are_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"no results\.json there"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(InputError, match="damaged; run again"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps(sample_results(TWO)), encoding="utf-8")
    assert read_results(tmp_path)["schema_version"] == 1
