from __future__ import annotations

from functools import partial
from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score

import reference_estimators_n as reference
from mimetric.core.errors import InputError
from mimetric.estimators import (
    conditional_label_entropy,
    joint_label_entropy,
    label_entropy,
    label_information,
)
from mimetric.estimators.known import Table

CORRECTIONS = ("none", "miller-madow", "jackknife", "chao-shen", "nsb")
SIMPLE = {
    "none": reference.plug_in,
    "miller-madow": lambda y: reference.plug_in(y) + (len(set(y)) - 1) / (2 * len(y)),
    "jackknife": lambda y: reference.jackknife(y) if len(y) > 1 else 0.0,
    "chao-shen": reference.chao_shen,
}
labels = st.lists(st.integers(0, 5), min_size=1, max_size=12)
pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=15)


def spelled(counts):
    """Labels with these counts."""
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


@pytest.mark.parametrize("correction", SIMPLE)
@given(y=labels)
def test_equals_plain_loops(correction, y):
    found = label_entropy(y, correction=correction).item()
    assert found == pytest.approx(SIMPLE[correction](y), abs=1e-12)


def test_golden_by_hand():
    y = [0, 0, 1, 2]
    plain = 1.5 * log(2)  # halves and quarters: 1/2 log 2 + 1/2 log 4
    assert label_entropy(y).item() == pytest.approx(plain)
    assert label_entropy(y, correction="miller-madow").item() == pytest.approx(plain + 2 / 8)
    # Without a 0 three labels alike; without the 1 or the 2, two of three alike.
    less = log(3), log(3) - 2 / 3 * log(2)
    assert label_entropy(y, correction="jackknife").item() == pytest.approx(4 * plain - 3 / 4 * 2 * sum(less))
    # Coverage 1/2: shares 1/4, 1/8, 1/8.
    shao = 0.25 * log(4) / (1 - 0.75**4) + 2 * 0.125 * log(8) / (1 - 0.875**4)
    assert label_entropy(y, correction="chao-shen").item() == pytest.approx(shao)


def test_nsb_equals_the_published_value_of_another_program():
    # https://pypi.org/project/ndd, which integrates on a coarser grid: the quadrature below has 2.80609692.
    counts = [4, 12, 4, 5, 3, 1, 5, 1, 2, 2, 2, 2, 11, 3, 4, 12, 12, 1, 2]
    found = label_entropy(spelled(counts), correction="nsb", num_classes=100).item()
    assert found == pytest.approx(2.8060922529931225, abs=1e-5)


@pytest.mark.parametrize(
    ("counts", "num_classes"),
    [([4, 12, 3, 1, 1], 5), ([4, 12, 3, 1, 1], 40), ([1, 1, 1, 1], 30), ([7], 6), ([50, 50], 2)],
)
def test_nsb_equals_quadrature(counts, num_classes):
    found = label_entropy(spelled(counts), correction="nsb", num_classes=num_classes).item()
    assert found == pytest.approx(reference.nsb(counts, num_classes), rel=1e-5)


@pytest.mark.parametrize("num_classes", [2, 9, 1000])
def test_one_row_leaves_nsb_where_it_was(num_classes):
    # One row is as likely under any concentration and says nothing of H, which was even on 0..log K before.
    found = label_entropy([4], correction="nsb", num_classes=num_classes).item()
    assert found == pytest.approx(log(num_classes) / 2, abs=1e-6)


def test_nsb_keeps_its_digits_with_many_rows():
    y = torch.arange(1_000_000) % 1000
    assert label_entropy(y, correction="nsb").item() == pytest.approx(log(1000), abs=1e-4)
    assert label_entropy(y[:1000], correction="nsb", num_classes=10**6).isfinite()


def test_corrections_take_most_of_the_bias_away():
    # 150 rows of 100 classes, all alike; 20 draws.  Plug-in is about 99 / 300 too low.
    draws = torch.randint(100, (20, 150), generator=torch.Generator().manual_seed(0))
    bias = {
        name: sum(label_entropy(y, correction=name, num_classes=100).item() for y in draws) / 20 - log(100)
        for name in CORRECTIONS
    }
    assert -0.4 < bias["none"] < -0.3
    assert all(abs(bias[name]) < abs(bias["none"]) / 2 for name in CORRECTIONS[1:]), bias
    assert abs(bias["nsb"]) < 0.08
    assert abs(bias["chao-shen"]) < 0.08


@given(rows=pairs)
def test_information_equals_scikit_learn(rows):
    a, b = zip(*rows)
    assert label_information(a, b).item() == pytest.approx(mutual_info_score(a, b), abs=1e-12)


@pytest.mark.parametrize("correction", CORRECTIONS)
@given(rows=pairs)
def test_laws_of_every_correction(correction, rows):
    a, b = zip(*rows)
    of = partial(label_information, correction=correction)
    joint = joint_label_entropy(a, b, correction=correction)
    assert of(a, b).isfinite()
    torch.testing.assert_close(of(a, b), of(b, a))
    torch.testing.assert_close(of([7_000_000_019 * (v + 1) for v in a], [9 - v for v in b]), of(a, b))
    parts = [label_entropy(side, correction=correction) for side in (a, b)]
    torch.testing.assert_close(of(a, b), parts[0] + parts[1] - joint)
    torch.testing.assert_close(conditional_label_entropy(a, b, correction=correction), joint - parts[1])


@given(rows=pairs)
def test_laws_of_the_plug_in(rows):
    a, b = zip(*rows)
    found = label_information(a, b).item()
    assert -1e-12 <= found <= min(label_entropy(a), label_entropy(b)).item() + 1e-12
    assert conditional_label_entropy(a, b).item() >= -1e-12
    merged = label_information(a, [v // 2 for v in b]).item()  # a function of b tells no more
    assert merged <= found + 1e-12
    torch.testing.assert_close(label_information(a, a), label_entropy(a))


def test_miller_madow_of_information():
    a, b = [0, 0, 0, 1, 1, 1], [0, 0, 1, 0, 1, 1]
    change = label_information(a, b, correction="miller-madow") - label_information(a, b)
    assert change.item() == pytest.approx((2 + 2 - 4 - 1) / 12)


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_information_of_a_known_table(correction):
    table = Table(((0.3, 0.05, 0.05), (0.05, 0.25, 0.0), (0.1, 0.0, 0.2)))
    a, b = table.sample(40_000, torch.Generator().manual_seed(0))
    # Standard error of the plug-in value here: about 0.003.
    assert label_information(a, b, correction=correction).item() == pytest.approx(table.information, abs=0.01)


def test_many_small_clusters_seem_to_tell_what_they_do_not():
    a = torch.randint(20, (400,), generator=torch.Generator().manual_seed(0))
    b = torch.randint(20, (400,), generator=torch.Generator().manual_seed(1))
    found = {name: label_information(a, b, correction=name).item() for name in CORRECTIONS}
    assert found["none"] > 0.35
    assert all(abs(found[name]) < found["none"] / 2 for name in CORRECTIONS[1:]), found


def test_unlabelled_rows_are_left_out_on_either_side():
    torch.testing.assert_close(
        label_information([0, 0, 1, 1, -1, 0], [1, 1, 0, 0, 1, -1]), label_entropy([0, 0, 1, 1])
    )
    assert label_information([-1, 0], [0, -1]).isnan()
    assert all(label_entropy([-1], correction=name).isnan() for name in CORRECTIONS)


def test_many_labels_need_no_dense_table():
    a = torch.arange(200_000)  # a table of all pairs would hold 4 * 10^10 cells
    assert label_information(a, a).item() == pytest.approx(log(200_000))


def test_one_class_has_no_entropy():
    for name in CORRECTIONS:
        assert label_entropy([3, 3, 3, 3], correction=name).item() == 0
        assert label_entropy([3], correction=name).item() == 0
        assert label_information([3, 3, 3], [0, 1, 1], correction=name).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: label_entropy([0], correction="grassberger"),
            "correction must be one of none, miller-madow",
        ),
        (
            lambda: label_entropy([0, 1, 2], num_classes=2),
            "num_classes must be at least 3, which occur, got 2",
        ),
        (lambda: label_information([0, 1], [0]), r"b must have shape \(2,\)"),
        (lambda: label_information([0.5, 1.0], [0, 1]), "label_information: a must be integers"),
        (lambda: joint_label_entropy([0, 1], [0, 1], correction="x"), "joint_label_entropy: correction"),
        (
            lambda: conditional_label_entropy([0, 1], [True, False]),
            "conditional_label_entropy: b must be integers",
        ),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
