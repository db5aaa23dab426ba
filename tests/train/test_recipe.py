from __future__ import annotations

import json
import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimetric.core.errors import InputError
from mimetric.train.recipe import Claim, Recipe, judged, reproduce


def claim(method, baseline=0.0, at_least=0.0):
    """A claim on made-up numbers over seeds, judged."""
    measured = {"method": {"values": method}, "baseline": {"values": baseline}}
    constant = isinstance(baseline, float)
    return judged(Claim("Better.", "method", baseline if constant else "baseline", at_least), measured)


@pytest.mark.parametrize(
    ("method", "baseline", "at_least", "verdict"),
    [
        # Differences 0.29, 0.30, 0.31: mean 0.30, half a width 4.3027 * 0.01 / sqrt(3) = 0.0248.
        ([0.79, 0.80, 0.81], [0.5, 0.5, 0.5], 0.27, "holds"),
        ([0.79, 0.80, 0.81], [0.5, 0.5, 0.5], 0.28, "inconclusive"),
        ([0.79, 0.80, 0.81], [0.5, 0.5, 0.5], 0.32, "inconclusive"),
        ([0.79, 0.80, 0.81], [0.5, 0.5, 0.5], 0.33, "does not hold"),
        # Far apart over seeds, but the same difference in each: judged in pairs.
        ([0.25, 0.5, 1.0], [0.125, 0.375, 0.875], 0.125, "holds"),
        ([0.25, 0.5, 1.0], [0.125, 0.375, 0.875], 0.25, "does not hold"),
        # The method may be below: no more than 0.5.
        ([0.25, 0.25], [0.5, 0.5], -0.5, "holds"),
        ([0.25, 0.25], [0.5, 0.5], -0.25, "holds"),
        ([0.25, 0.25], [0.5, 0.5], -0.125, "does not hold"),
        # Against a constant.
        ([0.9, 0.9], 0.75, 0.0, "holds"),
        ([0.5, 1.0], 0.75, 0.0, "inconclusive"),
        # One seed says nothing, whatever it says.
        ([1.0], [0.0], 0.5, "inconclusive"),
        ([0.0], [1.0], 0.5, "inconclusive"),
    ],
)
def test_verdicts(method, baseline, at_least, verdict):
    assert claim(method, baseline, at_least)["verdict"] == verdict


def test_what_is_judged_is_shown():
    found = claim([0.79, 0.80, 0.81], [0.5, 0.5, 0.5], 0.27)
    assert found["difference"]["mean"] == pytest.approx(0.30)
    assert found["difference"]["low"] == pytest.approx(0.30 - 4.302653 * 0.01 / math.sqrt(3))
    assert found["difference"]["values"] == pytest.approx([0.29, 0.30, 0.31])
    assert {name: found[name] for name in ("text", "method", "baseline", "at_least", "percent", "source")} == {
        "text": "Better.", "method": "method", "baseline": "baseline", "at_least": 0.27, "percent": False,
        "source": "paper",
    }  # fmt: skip


@given(
    st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=1, max_size=6),
    st.floats(-10, 10),
)
def test_a_verdict_is_where_the_interval_lies(pairs, at_least):
    found = claim([a for a, _ in pairs], [b for _, b in pairs], at_least)
    low, high = found["difference"]["low"], found["difference"]["high"]
    assert {
        "holds": lambda: low >= at_least,
        "does not hold": lambda: high < at_least,
        "inconclusive": lambda: low is None or low < at_least <= high,
    }[found["verdict"]]()


@dataclass(frozen=True)
class Options:
    """Made up."""

    gap: float = 0.25
    """By how much the method is better."""


def made_up(measure, claims=(Claim("Better.", "method", "baseline"),)):
    header = {"title": "Made up.", "Claim": "Better."}
    return Recipe("nobody1999", header, Options, Options, claims, measure)


def gap(options, seed):
    torch.manual_seed(seed)
    baseline = torch.rand(()).item()
    return {"method": baseline + options.gap, "baseline": baseline, "other": torch.tensor(2.0).item()}


def test_the_result_is_json_and_complete():
    found = reproduce(made_up(gap), Options(gap=0.5), seeds=4)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found) == [
        "schema_version", "name", "header", "settings", "seeds", "measured", "claims", "seconds", "environment",
    ]  # fmt: skip
    assert found["settings"] == {"gap": 0.5}
    assert found["seeds"] == [0, 1, 2, 3]
    assert found["measured"]["other"] == {"mean": 2.0, "low": 2.0, "high": 2.0, "values": [2.0] * 4}
    [one] = found["claims"]
    assert one["difference"]["values"] == pytest.approx([0.5] * 4)
    assert one["verdict"] == "holds"


def test_three_seeds_and_the_defaults_unless_told_and_random_numbers_left_alone():
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    found = reproduce(made_up(gap))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert found["settings"] == {"gap": 0.25}
    assert len(set(found["measured"]["baseline"]["values"])) == 3


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_one_seed_cannot_measure_decides_nothing(bad):
    found = reproduce(made_up(lambda _, seed: {"method": bad if seed == 1 else 1.0, "baseline": 0.0}))
    nothing = {"mean": None, "low": None, "high": None, "values": [1.0, None, 1.0]}
    assert found["measured"]["method"] == nothing
    assert found["claims"][0]["difference"] == nothing
    assert found["claims"][0]["verdict"] == "inconclusive"
    json.dumps(found, allow_nan=False)


def test_a_line_for_each_seed():
    class Heard:
        lines: tuple[str, ...] = ()
        total = done = 0

        def started(self, label, total):
            self.label, self.total = label, total

        def advanced(self, steps):
            self.done += steps

        def said(self, line):
            self.lines += (line,)

    heard = Heard()
    reproduce(made_up(gap), seeds=2, progress=heard)
    assert (heard.label, heard.total, heard.done) == ("nobody1999: 2 seeds", 2, 2)
    assert [line.partition(":")[0] for line in heard.lines] == ["nobody1999, seed 0", "nobody1999, seed 1"]


def test_no_seeds_is_an_error():
    with pytest.raises(InputError, match=r"^seeds must be a whole number, at least 1, got 0; try 3$"):
        reproduce(made_up(gap), seeds=0)
