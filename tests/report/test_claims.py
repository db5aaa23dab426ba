from __future__ import annotations

import copy
import io
from typing import Any

import pytest
from rich.console import Console

from mimetric.report.claims import command, markdown, print_headers, print_recipe


def metric(*values: float) -> dict[str, Any]:
    """As results hold it; the interval is made up."""
    mean, spread = sum(values) / len(values), 0.02
    alone = len(values) == 1
    return {"mean": mean, "low": None if alone else mean - spread, "high": None if alone else mean + spread,
            "values": list(values)}  # fmt: skip


NOTHING = {"mean": None, "low": None, "high": None, "values": [None, 0.5]}
RESULT = {
    "schema_version": 1,
    "name": "nobody1999",
    "header": {"title": "A title.", "Claim": "A is better than B.", "Here": "Small.", "Differs": "In size.",
               "Expect": "Much.", "Run": "mimetric reproduce nobody1999"},
    "settings": {"data": "npz:a b.npz", "toy_steps": 70},
    "seeds": [0, 1],
    "measured": {"recall_a": metric(0.8, 0.82), "recall_b": metric(0.5, 0.52), "rank": metric(0.9, 1.0),
                 "lost": NOTHING, "aside": metric(2.25, 2.75)},
    "claims": [
        {"text": "A is 20 points better than B.", "method": "recall_a", "baseline": "recall_b", "at_least": 0.2,
         "percent": True, "source": "paper", "difference": metric(0.3, 0.3), "verdict": "holds"},
        {"text": "A moves with |B|.", "method": "rank", "baseline": 0.97, "at_least": 0.0, "percent": False,
         "source": "ours", "difference": metric(-0.07, 0.03), "verdict": "inconclusive"},
        {"text": "Nothing is lost.", "method": "lost", "baseline": "rank", "at_least": 0.0, "percent": False,
         "source": "paper", "difference": NOTHING, "verdict": "inconclusive"},
    ],
    "seconds": 125.0,
    "environment": {"packages": {"torch": "2.13.0"}},
}  # fmt: skip


def printed(result: dict[str, Any]) -> list[str]:
    text = io.StringIO()
    print_recipe(result, Console(file=text, width=80))
    return text.getvalue().splitlines()


def words_after(lines: list[str], start: str, count: int) -> list[list[str]]:
    first = lines.index(start) + 1
    return [line.split() for line in lines[first : first + count]]


def test_a_claim_shows_method_baseline_difference_and_verdict() -> None:
    assert words_after(printed(RESULT), "holds: A is 20 points better than B.", 3) == [
        ["method", "recall_a", "(%)", "81.0", "79.0", "to", "83.0"],
        ["baseline", "recall_b", "(%)", "51.0", "49.0", "to", "53.0"],
        ["difference", "needed:", "20.0", "points", "or", "more", "30.0", "28.0", "to", "32.0"],
    ]


def test_a_constant_and_whose_claim_it_is() -> None:
    assert words_after(printed(RESULT), "inconclusive: A moves with |B|. (Our claim, at this scale.)", 3) == [
        ["method", "rank", "0.950", "0.930", "to", "0.970"],
        ["baseline", "constant", "0.970"],
        ["difference", "needed:", "0.000", "or", "more", "-0.020", "-0.040", "to", "0.000"],
    ]


def test_what_could_not_be_measured_is_a_dash() -> None:
    assert words_after(printed(RESULT), "inconclusive: Nothing is lost.", 1) == [["method", "lost", "-"]]


def test_numbers_that_no_claim_uses_follow_and_the_count_ends_it() -> None:
    lines = printed(RESULT)
    assert words_after(lines, "Also measured:", 2) == [["aside", "2.500", "2.480", "to", "2.520"], []]
    assert "Differs: In size." in lines
    assert lines[-1] == "nobody1999: holds: 1, inconclusive: 2 (of 3 claims)"


def test_one_seed_says_how_to_get_more() -> None:
    one = copy.deepcopy(RESULT) | {"seeds": [0]}
    one["measured"] = {name: metric(0.5) for name in RESULT["measured"]}  # type: ignore[attr-defined]
    text = "\n".join(printed(one))
    assert "one seed has no interval, run again with --seeds 3" in " ".join(text.split())
    assert words_after(printed(one), "Also measured:", 1) == [["aside", "0.500"]]


def test_is_plain_text_of_80_columns() -> None:
    lines = printed(RESULT)
    assert max(map(len, lines)) <= 80
    assert "\n".join(lines).isascii()


def test_the_command_gives_the_same_again() -> None:
    assert command(RESULT) == "mimetric reproduce nobody1999 --data 'npz:a b.npz' --toy-steps 70 --seeds 2"


def test_markdown_tables_are_whole() -> None:
    page = markdown({"nobody1999": RESULT, "other2001": RESULT | {"name": "other2001"}})
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## nobody1999", "## other2001"]
    rows = [line for line in page.splitlines() if line.startswith("|")]
    columns = [line.replace("\\|", "").count("|") - 1 for line in rows]
    assert columns == 2 * ([5] * 5 + [3] * 7)
    assert "A moves with \\|B\\|." in page
    assert "| 81.0 (79.0 to 83.0), recall_a (%) | 51.0 (49.0 to 53.0), recall_b (%) |" in page
    assert "Differs: In size." in page
    assert "2.1 min" in page


@pytest.mark.parametrize("width", [40, 80])
def test_the_list_names_each_recipe_and_its_claim(width: int) -> None:
    text = io.StringIO()
    print_headers({"nobody1999": RESULT["header"]}, Console(file=text, width=width))  # type: ignore[dict-item]
    assert " ".join(text.getvalue().split()) == "nobody1999 A title. A is better than B."
