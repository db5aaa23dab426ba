from __future__ import annotations

from itertools import product
from math import isnan, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_metrics_v as reference
from mimetric.core.errors import InputError
from mimetric.metrics import all_pairs, calibration_range, class_rates, opis
from mimetric.metrics.opis import inconsistency, utility_of
from mimetric.metrics.rates import ClassRates

# Rows of length 1 whose cosines are 0, +-1/2 or +-1, exact in binary: ties do occur.
UNIT = [*torch.eye(4).tolist(), *(-torch.eye(4)).tolist(), *map(list, product((0.5, -0.5), repeat=4))]


@st.composite
def unit_batches(draw, max_size=10):
    """Rows of lengths 1, 2 and 1/2, and labels with -1 among them."""
    n = draw(st.integers(0, max_size))
    rows = draw(st.lists(st.sampled_from(UNIT), min_size=n, max_size=n))
    lengths = draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=n, max_size=n))
    labels = draw(st.lists(st.integers(-1, 3), min_size=n, max_size=n))
    x = torch.tensor(rows, dtype=torch.float64).reshape(n, 4) * torch.tensor(lengths)[:, None]
    return x, torch.tensor(labels, dtype=torch.int64)


RANGES = st.sampled_from([(1e-2, 1e-1), (0.1, 0.5), (0.5, 1.0), (1.0, 1.0)])


@given(unit_batches(), RANGES, st.sampled_from(["range", "threshold"]), st.sampled_from([0.1, 0.5, 1.0]))
def test_equals_plain_loops(batch, far_range, order, epsilon):
    found = opis(*batch, far_range=far_range, num_thresholds=7, c=2.0, epsilon=epsilon, order=order)
    want = reference.opis(*(t.tolist() for t in batch), far_range, 7, 2.0, epsilon, order)
    assert (found.opis, found.epsilon_opis) == pytest.approx(want, nan_ok=True, abs=1e-12)


def test_golden_two_classes_of_constant_utility():
    # U = .9 and .7 at all t: the mean is .8, OPIS .1^2; the gap of worst and best is .2, squared .04.
    utility = torch.tensor([[0.9] * 5, [0.7] * 5], dtype=torch.float64)
    assert inconsistency(utility) == pytest.approx((0.01, 0.04))


def test_golden_crossing_classes():
    # Three classes, .1 of them rounded up: one at each end.
    even = torch.tensor([[0.8, 0.4], [0.6, 0.6], [0.4, 0.8]], dtype=torch.float64)
    assert inconsistency(even, order="threshold") == pytest.approx((2 * 0.2**2 / 3, 0.4**2))
    steeper = torch.tensor([[0.9, 0.1], [0.5, 0.4]], dtype=torch.float64)  # means .5 and .45
    assert inconsistency(steeper)[1] == pytest.approx((0.4**2 + 0.3**2) / 2)
    mixed = torch.tensor([[0.9, 0.1], [0.5, 0.4], [0.3, 0.3]], dtype=torch.float64)
    assert inconsistency(mixed)[1] == pytest.approx(
        (0.6**2 + 0.2**2) / 2
    )  # .3 against .5, both times class 2
    assert inconsistency(mixed, order="threshold")[1] == pytest.approx((0.6**2 + 0.3**2) / 2)


def test_golden_utility():
    # psi = .5, phi = 1: harmonic mean 2/3; with c = 2, 5 * .5 / 4.5.  Nothing right is 0, not 0 by 0.
    one = torch.ones(1, dtype=torch.float64)
    rates = ClassRates(torch.tensor([0, 1]), torch.stack((one / 2, one * 0)), torch.stack((one * 0, one)))
    assert utility_of(rates).flatten().tolist() == pytest.approx([2 / 3, 0])
    assert utility_of(rates, c=2.0).flatten().tolist() == pytest.approx([2.5 / 4.5, 0])


def test_golden_by_hand():
    # Rows e1, e1 of class 0; e2, -e2 of class 1.  Different pairs: four at sqrt(2).  Both ends are sqrt(2), where
    # phi = 0 for both, so U = 0.  Just below, at 1.4, phi = 1: psi = 1 for class 0 and 0 for class 1, U = 1 and 0.
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    y = [0, 0, 1, 1]
    assert calibration_range(x, y) == (sqrt(2), sqrt(2))
    assert opis(x, y).opis == 0
    found = opis(x, y, calibration=(1.4, 1.4))
    assert (found.opis, found.epsilon_opis) == (0.25, 1.0)
    assert found.utility.tolist() == [[1.0] * 101, [0.0] * 101]


def test_classes_alike_are_consistent():
    x = torch.tensor([[1.0, 0, 0], [1, 0.2, 0], [0, 1, 0], [0, 1, 0.2], [0, 0, 1], [0.2, 0, 1]])
    assert opis(x, [0, 0, 1, 1, 2, 2]).opis == pytest.approx(0, abs=1e-12)


def test_one_loose_class_is_seen():
    generator = torch.Generator().manual_seed(0)
    centers = torch.nn.functional.normalize(torch.randn(10, 16, generator=generator), dim=1)
    noise = torch.randn(10, 20, 16, generator=generator) * 0.05
    y = torch.arange(10).repeat_interleave(20)
    even = opis((centers[:, None] + noise).flatten(0, 1), y)
    noise[3] *= 8
    odd = opis((centers[:, None] + noise).flatten(0, 1), y)
    assert odd.opis > 10 * even.opis
    assert odd.utility.mean(1).argmin() == 3


def test_free_of_rotation_lengths_and_names():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 6, generator=generator, dtype=torch.float64), torch.arange(60) % 7
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    lengths = torch.rand(60, 1, generator=generator, dtype=torch.float64) + 0.5
    far_range = (0.11111, 0.55555)
    want = opis(x, y, far_range=far_range, num_thresholds=51)
    got = opis(x @ turn * lengths, 9 - y, far_range=far_range, num_thresholds=51)
    assert (got.opis, got.epsilon_opis) == pytest.approx((want.opis, want.epsilon_opis))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_panels_equal_class_rates_at_the_quantiles(monkeypatch, dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(400, 8, generator=generator, dtype=dtype), dim=1)
    y = torch.randint(0, 40, (400,), generator=generator)
    whole = opis(x, y)
    monkeypatch.setattr(all_pairs, "_ROWS", 96)
    monkeypatch.setattr(all_pairs, "_COLUMNS", 96)
    parts = opis(x, y)
    assert parts.utility.equal(whole.utility)
    assert parts.distances.equal(whole.distances)
    apart = torch.cdist(x.double(), x.double())[(y[:, None] != y).triu()]
    ends = np.quantile(apart, [0.01, 0.1], method="inverted_cdf")
    assert calibration_range(x, y) == pytest.approx(ends.tolist(), rel=1e-6)
    assert utility_of(class_rates(x, y, 1 - whole.distances**2 / 2)).sub(whole.utility).abs().mean() < 1e-3


def test_singletons_are_left_out_and_counted():
    x = torch.nn.functional.normalize(torch.randn(9, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    found = opis(x, [5, 5, 2, 2, 2, 7, 8, -1, -1])
    assert found.classes.tolist() == [2, 5]
    assert found.num_left_out == 2
    assert found.utility.shape == (2, 101)


@pytest.mark.parametrize(
    ("x", "y"),
    [(torch.ones(0, 2), []), (torch.ones(1, 2), [0]), (torch.eye(3), [0, 0, 0]), (torch.eye(3), [0, 1, 2])],
    ids=["no rows", "one row", "one class", "singletons"],
)
def test_undefined_is_nan(x, y):
    found = opis(x, y)
    assert isnan(found.opis)
    assert isnan(found.epsilon_opis)


def test_a_given_range_is_used():
    x, y = torch.randn(30, 5, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 4
    found = opis(x, y)
    again = opis(x, y, calibration=calibration_range(x, y))
    assert again.opis == pytest.approx(found.opis, rel=1e-3)


def test_collapsed_embeddings_are_consistently_useless():
    found = opis(torch.ones(12, 3), torch.arange(12) % 3)
    assert (found.opis, found.epsilon_opis) == (0, 0)
    assert found.utility.max() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"far_range": (0.1, 0.01)}, r"far_range must be two rates, ascending.*got \(0.1, 0.01\)"),
        ({"far_range": (0.0, 0.1)}, "far_range must be two rates"),
        ({"num_thresholds": 1}, "num_thresholds must be at least 2, got 1"),
        ({"c": 0}, "c must be > 0"),
        ({"epsilon": 0}, "epsilon must lie above 0"),
        ({"order": "best"}, "order must be one of range, threshold"),
        ({"calibration": (1.0, 3.0)}, r"calibration must be two distances, ascending, in 0\.\.2"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(InputError, match=f"^opis: {message}"):
        opis(torch.eye(4), [0, 0, 1, 1], **options)
