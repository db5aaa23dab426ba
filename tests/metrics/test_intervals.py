"""Bootstrap intervals: by hand, against plain loops and scipy, and whether they cover what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimetric.core.errors import InputError
from mimetric.metrics.intervals import Interval, bootstrap_interval, paired_difference

VALUES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan]), max_size=12)


def plain(values: list[float], groups: list[int], average: str) -> tuple[list[list[float]], float]:
    """The defined values of each group, and their mean."""
    held: dict[int, list[float]] = {}
    for value, group in zip(values, groups):
        if not math.isnan(value):
            held.setdefault(group, []).append(value)
    parts = [held[group] for group in sorted(held)]
    if average == "macro":
        parts = [[sum(part) / len(part)] for part in parts]
    flat = [value for part in parts for value in part]
    return parts, sum(flat) / len(flat) if flat else math.nan


@given(VALUES, st.data(), st.sampled_from(["micro", "macro"]))
def test_equals_plain_loops(values, data, average):
    groups = data.draw(st.lists(st.integers(-1, 3), min_size=len(values), max_size=len(values)))
    found = bootstrap_interval(values, groups, average=average, resamples=40, seed=3)
    parts, mean = plain(values, groups, average)
    assert found.mean == pytest.approx(mean, nan_ok=True)
    if len(parts) < 2:
        assert math.isnan(found.low)
        assert math.isnan(found.high)
        return
    means = []
    for drawn in np.random.default_rng(3).integers(len(parts), size=(40, len(parts))):
        flat = [value for group in drawn for value in parts[group]]
        means.append(sum(flat) / len(flat))
    assert (found.low, found.high) == pytest.approx(np.quantile(means, (0.025, 0.975)))


def test_golden_of_two_classes():
    # Draws of two classes, one all found and one not: means 0, 1/2 and 1 with chances 1/4, 1/2 and 1/4, so the
    # 95% interval is [0, 1] and the 40% interval [1/2, 1/2].
    hits, classes = [1, 1, 1, 0, 0, 0], [7, 7, 7, 9, 9, 9]
    assert bootstrap_interval(hits, classes) == Interval(0.5, 0.0, 1.0)
    assert bootstrap_interval(hits, classes, level=0.4) == Interval(0.5, 0.5, 0.5)


def test_macro_counts_every_class_the_same():
    values, classes = [1.0, 1.0, 1.0, 0.0], [0, 0, 0, 1]
    assert bootstrap_interval(values, classes).mean == 0.75
    assert bootstrap_interval(values, classes, average="macro").mean == 0.5


def test_drawing_queries_gives_the_normal_interval():
    # 4,000 hits, 30% found: 1.96 standard errors are 1.96 sqrt(.3 * .7 / 4000) = 0.0142; the quantile of 4,000
    # resamples is itself uncertain by some 3% of that.
    hits = torch.arange(4000) % 10 < 3
    found = bootstrap_interval(hits, resamples=4000)
    assert found.mean == pytest.approx(0.3)
    assert found.mean - found.low == pytest.approx(0.0142, rel=0.08)
    assert found.high - found.mean == pytest.approx(0.0142, rel=0.08)


def test_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(0).exponential(size=200)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1)
    ours = bootstrap_interval(values, resamples=20_000)
    width = ours.high - ours.low
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.03 * width)


def test_classes_cover_what_queries_do_not():
    """40 classes of 25 queries that succeed together: 95% intervals over classes hold the truth, over queries not."""
    rng, trials, held = np.random.default_rng(0), 200, {"classes": 0, "queries": 0}
    classes = np.repeat(np.arange(40), 25)
    for _ in range(trials):
        hits = rng.random(1000) < rng.beta(2, 2, 40)[classes]  # the truth is 1/2
        for kind, groups in (("classes", classes), ("queries", None)):
            found = bootstrap_interval(hits, groups, resamples=200)
            held[kind] += found.low <= 0.5 <= found.high
    assert (
        held["classes"] / trials > 0.89
    )  # 0.95 less what 40 classes cost, and 2.5 standard errors of 200 trials
    assert held["queries"] / trials < 0.7


def test_the_pairing_finds_a_small_difference():
    rng = np.random.default_rng(0)
    hard = rng.random(500)
    better = paired_difference(hard + 0.01 + 0.02 * rng.standard_normal(500), hard)
    assert better.mean == pytest.approx(0.01, abs=0.003)
    assert not better.includes_zero
    apart = bootstrap_interval(hard), bootstrap_interval(hard + 0.01)
    assert apart[0].high > apart[1].low  # alone, their intervals overlap


def test_a_run_is_like_itself_and_nan_in_either_is_left_out():
    values = [0.1, math.nan, 0.7, 0.3]
    assert paired_difference(values, values) == Interval(0.0, 0.0, 0.0)
    assert paired_difference(values, values).includes_zero
    assert paired_difference(values, [0.0, 0.0, math.nan, 0.0]).mean == pytest.approx(0.2)


def test_without_an_interval_nothing_is_told_apart():
    assert paired_difference([0.9], [0.1]).includes_zero
    assert bootstrap_interval([0.5, 0.7], [3, 3]).mean == pytest.approx(0.6)
    assert math.isnan(bootstrap_interval([0.5, 0.7], [3, 3]).low)
    assert math.isnan(bootstrap_interval([]).mean)
    assert math.isnan(bootstrap_interval([math.nan], [1]).mean)


def test_the_seed_decides():
    values = torch.rand(50, generator=torch.Generator().manual_seed(0))
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval([[1.0]]), r"values must be one number per query, \(n,\), got shape \(1, 1\)"),
        (lambda: bootstrap_interval([1.0], [0, 1]), r"groups must have shape \(1,\)"),
        (lambda: bootstrap_interval([1.0], [0.5]), "groups must be integers"),
        (lambda: bootstrap_interval([1.0], average="macro"), "macro averages over groups; give groups"),
        (lambda: bootstrap_interval([1.0], average="mean"), "average must be one of micro, macro, got 'mean'"),
        (lambda: bootstrap_interval([1.0], level=95), "level must lie between 0 and 1, got 95; try 0.95"),
        (lambda: bootstrap_interval([1.0], resamples=0), "resamples must be > 0"),
        (lambda: bootstrap_interval("abc"), "values must be a tensor, an array or a list of numbers, got str"),
        (lambda: paired_difference([1.0, 2.0], [1.0]), r"of the same queries as values, \(2,\), got \(1,\)"),
    ],
)  # fmt: skip
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
