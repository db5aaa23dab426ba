from __future__ import annotations

from math import isnan, log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_metrics_c as reference
from mimetric.core.errors import InputError
from mimetric.metrics import apply_temperature, ece, fit_temperature, nll


@st.composite
def judged(draw):
    n, classes = draw(st.integers(1, 8)), draw(st.integers(2, 4))
    flat = draw(st.lists(st.integers(-40, 40), min_size=n * classes, max_size=n * classes))
    y = draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n))
    return torch.tensor(flat, dtype=torch.float64).reshape(n, classes) / 8, y


@given(judged())
def test_no_other_temperature_makes_labels_likelier(batch):
    logits, y = batch
    found = fit_temperature(logits, y)
    assert 0.01 <= found <= 100
    best = reference.nll_at(logits.tolist(), y, found)
    for other in (found * 0.999, found * 1.001, 0.1, 0.5, 1.0, 2.0, 10.0, 100.0):
        if 0.01 <= other <= 100:
            assert best <= reference.nll_at(logits.tolist(), y, other) + 1e-12


def test_golden():
    # Two logits 4 apart, 3 of 4 rows right: the likeliest probability is 3/4 = 1 / (1 + e^(-4/T)), T = 4 / log 3.
    logits = torch.tensor([[0.0, 4.0]], dtype=torch.float64).repeat(4, 1)
    assert fit_temperature(logits, [1, 1, 1, 0]) == pytest.approx(4 / log(3), rel=1e-12)
    # The narrow miss of the sheet on correctness-aware calibration: 0.533, with a cross-entropy of .8198.
    miss = torch.tensor([[0.412, 0.455, 0.068, 0.065]], dtype=torch.float64).log()
    found = fit_temperature(miss, [0])
    assert found == pytest.approx(0.533, abs=1e-3)
    assert nll(apply_temperature(miss, found), [0]).item() == pytest.approx(0.8198, abs=5e-5)


def test_ends():
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    assert fit_temperature(logits, [1, 0]) == 0.01  # all right: the sharper the better
    assert fit_temperature(logits, [0, 1]) == 100  # all wrong: the flatter the better
    assert fit_temperature(logits * 1e4, [1, 0]) == 1  # sure already, at any temperature within the range
    assert fit_temperature(torch.zeros(3, 4), [0, 1, 2]) == 1
    assert isnan(fit_temperature(logits, [-1, -1]))
    assert isnan(fit_temperature(torch.zeros(0, 2), []))


def test_undoes_a_scale():
    # Labels drawn from the softmax of z; given 3 z, the temperature is about 3, and calibration error falls.
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(4000, 5, generator=generator) * 2
    y = torch.multinomial(z.softmax(1), 1, generator=generator)[:, 0]
    found = fit_temperature(3 * z, y)
    assert found == pytest.approx(3, rel=0.05)
    assert ece(apply_temperature(3 * z, found), y) < 0.2 * ece((3 * z).softmax(1), y)


def test_unlabelled_rows_are_left_out():
    logits = torch.tensor([[0.0, 4.0]]).repeat(5, 1)
    assert fit_temperature(logits, [1, 1, 1, 0, -1]) == fit_temperature(logits[:4], [1, 1, 1, 0])


def test_temperature_of_each_row():
    logits = torch.randn(3, 4, dtype=torch.float64)
    each = apply_temperature(logits, torch.tensor([0.5, 1.0, 2.0]))
    for row, temperature in enumerate((0.5, 1.0, 2.0)):
        torch.testing.assert_close(each[row], (logits[row] / temperature).softmax(0))
    assert each.argmax(1).tolist() == logits.argmax(1).tolist()


def test_says_what_is_wrong():
    with pytest.raises(
        InputError, match=r"^apply_temperature: temperature must be a number or have shape \(2,\)"
    ):
        apply_temperature(torch.zeros(2, 3), torch.ones(3))
    with pytest.raises(InputError, match=r"^fit_temperature: logits must be finite"):
        fit_temperature(torch.full((1, 2), torch.inf), [0])
