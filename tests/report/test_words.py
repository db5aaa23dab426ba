from __future__ import annotations

import shlex

import pytest

from mimetric.report import words
from mimetric.train.options import CompareOptions
from sample_results import sample_results, without_validation


def test_verdict_names_best_tied_and_baselines() -> None:
    assert words.verdict(sample_results()) == [
        "multi-similarity finds the right class first for 66.0% of the test items "
        "(95% interval 64.0 to 68.0), the most of 7 objectives.",
        "supcon cannot be told from it: over 3 seeds the paired difference includes zero.",
        "Without training: raw input 20.3%, untrained encoder 5.3%.",
    ]


def test_one_objective_is_not_called_the_most() -> None:
    results = sample_results({"supcon": (0.6, 50)}, seeds=1)
    assert words.verdict(results)[0] == "supcon finds the right class first for 59.0% of the test items."


def test_training_that_does_not_beat_raw_input_is_said_so() -> None:
    results = sample_results({"supcon": (0.15, 50)})
    assert words.verdict(results)[-1].startswith("Training did not help here; without it: raw input 20.3%")


def test_few_classes_are_no_hard_test() -> None:
    results = sample_results()
    assert "are few" not in " ".join(words.verdict(results))
    results["data"]["test"]["classes"] = 10
    assert words.verdict(results)[-1].startswith("10 test classes are few")


def test_advice_names_the_most_pressing_thing() -> None:
    results = sample_results()
    entries = results["objectives"]
    assert words.advice(results) == (
        "normalized-softmax and cross-entropy were still improving: run again with --steps 1500."
    )
    for entry in entries.values():
        entry["still_rising"] = True
    assert words.advice(results).startswith("All objectives were still improving")
    for entry in entries.values():
        entry["still_rising"] = False
    assert "--seeds 6" in words.advice(results)
    for entry in entries.values():
        entry["standing"] = "below"
    assert words.advice(results).endswith("take multi-similarity.")
    results["settings"]["seeds"] = 1
    assert "--seeds 3" in words.advice(results)
    results["baselines"]["raw_input"]["recall_at_1"]["mean"] = 0.7
    assert "more training, run again with --steps 1500" in words.advice(results)


def test_marks_and_legend_agree() -> None:
    results = sample_results()
    entries = results["objectives"]
    assert [words.marks(entries[name]) for name in ("multi-similarity", "supcon", "triplet", "cross-entropy")] == [
        ["best"], ["tied"], [], ["rising"],
    ]  # fmt: skip
    assert [line.partition(":")[0] for line in words.legend(results)] == ["best", "tied", "rising"]


def test_caveats_depend_on_what_was_run() -> None:
    results = without_validation(sample_results(seeds=1))
    said = " ".join(words.caveats(results))
    for part in (
        "One seed",
        "No validation items",
        "still improving",
        "I(Z;Y) is estimated from at most 2,000 rows",
    ):
        assert part in said
    assert "I(Z;Y)" not in " ".join(words.caveats(results | {"information": None}))


def test_what_speaks_against_an_estimate_is_said_once_with_names() -> None:
    results = sample_results()
    for name in ("supcon", "spce"):
        results["objectives"][name]["information_warnings"] = ["few rows"]
    assert words.doubts(results) == ["I(Z;Y) of supcon and spce: few rows."]
    for entry in results["objectives"].values():
        entry["information_warnings"] = ["few rows"]
    assert words.doubts(results) == ["I(Z;Y) of all objectives: few rows."]
    assert words.doubts(results)[0] in words.caveats(results)


def test_both_views_are_explained_modestly() -> None:
    linear, nearest, table = words.views(sample_results())
    assert "on average a lower bound" in linear
    assert "neither bound" in nearest
    assert table == "In the table: on 2,000 test items of 254 classes, with H(Y) = 5.52 nats."


def test_one_seed_has_no_band() -> None:
    assert words.line(sample_results()) == "Line: mean of 3 seeds; band: lowest to highest."
    assert "band" not in words.line(sample_results(seeds=1))


@pytest.mark.parametrize(
    ("select", "part"),
    [
        ("last", "after the last of 500 steps"),
        ("validation", "the best on validation of 6 probes in 500 steps"),
    ],
)
def test_setting_says_which_model_is_judged(select: str, part: str) -> None:
    results = sample_results()
    results["settings"]["select"] = select
    assert part in " ".join(words.setting(results))


def test_command_parses_to_the_same_options() -> None:
    from mimetric.cli import command_line

    results = sample_results()
    results["data"]["spec"] = "npz:/a folder/x.npz"
    tokens = shlex.split(words.command(results))
    assert tokens[0] == "mimetric"
    _, bound, _ = command_line(tokens[1:]).parse_args(tokens[1:], exit_on_error=False, print_error=False)
    options = bound.arguments["options"]
    assert isinstance(options, CompareOptions)
    assert (options.data, options.steps, options.seeds) == ("npz:/a folder/x.npz", 500, 3)
    assert options.objectives == results["settings"]["objectives"]


def test_numbers_without_a_value_are_dashes() -> None:
    assert [words.percent(None), words.interval(None), words.duration(None), words.memory(None)] == [
        "-",
        "",
        "-",
        "-",
    ]
