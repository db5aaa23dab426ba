from __future__ import annotations

from math import nan

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_metrics_r as reference
from mimetric.core.errors import InputError
from mimetric.metrics import per_class

VALUES = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 1.0, nan]), st.integers(-1, 3)), max_size=12)


@given(VALUES)
def test_equals_plain_loops(queries):
    values, labels = [v for v, _ in queries], [c for _, c in queries]
    table, want = per_class(values, labels), reference.per_class(values, labels)
    assert table.classes.tolist() == list(want)
    assert table.mean.tolist() == pytest.approx([mean for mean, _ in want.values()], nan_ok=True)
    assert table.count.tolist() == [count for _, count in want.values()]


@given(VALUES)
def test_the_two_averages(queries):
    values, labels = [v for v, _ in queries], [c for _, c in queries]
    table, labelled = per_class(values, labels), torch.tensor([v for v, c in queries if c != -1])
    assert table.micro.item() == pytest.approx(labelled.nanmean().item(), nan_ok=True)
    means = torch.tensor([mean for mean, _ in reference.per_class(values, labels).values()])
    assert table.macro.item() == pytest.approx(means.nanmean().item(), nan_ok=True)


def test_several_labels_golden():
    # Label 0 has queries 0 and 1, label 1 has query 1 and the undefined one, label 2 nobody.
    table = per_class([1.0, 0.0, nan], torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 0]]).bool())
    assert table.mean.tolist() == pytest.approx([0.5, 0.0, nan], nan_ok=True)
    assert table.count.tolist() == [2, 1, 0]
    assert table.macro.item() == 0.25
    assert table.micro.item() == pytest.approx(1 / 3)


def test_says_what_is_wrong():
    with pytest.raises(InputError, match=r"^per_class: labels must have shape \(2,\)"):
        per_class([1.0, 0.0], [0])
