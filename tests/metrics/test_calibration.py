from __future__ import annotations

from math import isnan, log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_metrics_c as reference
from mimetric.core.errors import InputError
from mimetric.metrics import (
    StreamingCalibration,
    StreamingClasswiseCalibration,
    apply_temperature,
    brier,
    calibration_metrics,
    classwise_ece,
    ece,
    mce,
    nll,
    reliability_curve,
    top1_brier,
)


@st.composite
def believed(draw, max_size=9):
    """Probabilities (n, C) in sixteenths, exact and often tied, and labels with -1 among them."""
    n, classes = draw(st.integers(0, max_size)), draw(st.integers(1, 4))
    rows = []
    for _ in range(n):
        cuts = sorted(draw(st.lists(st.integers(0, 16), min_size=classes - 1, max_size=classes - 1)))
        rows.append([(b - a) / 16 for a, b in zip([0, *cuts], [*cuts, 16])])
    y = draw(st.lists(st.integers(-1, classes - 1), min_size=n, max_size=n))
    p = torch.tensor(rows, dtype=torch.float64).reshape(n, classes)
    return p, torch.tensor(y, dtype=torch.int64)


def labelled(p, y):
    kept = [(row, label) for row, label in zip(p.tolist(), y.tolist()) if label >= 0]
    return [row for row, _ in kept], [label for _, label in kept]


@given(believed(), st.integers(1, 6))
def test_errors_over_bins_equal_plain_loops(batch, bins):
    p, y = labelled(*batch)
    confidence = [max(row) for row in p]
    right = [float(reference.argmax(row) == label) for row, label in zip(p, y)]
    for binning, places in (
        ("equal_width", reference.bins_of_equal_width(confidence, bins)),
        ("equal_mass", reference.bins_of_equal_mass(confidence, bins)),
    ):
        for metric, plain in ((ece, reference.ece), (mce, reference.mce)):
            found = metric(*batch, bins=bins, binning=binning).item()
            assert found == pytest.approx(plain(places, confidence, right, bins), nan_ok=True, abs=1e-12)
    expected = reference.classwise_ece(p, y, bins) if p else [torch.nan] * batch[0].shape[1]
    assert classwise_ece(*batch, bins=bins).tolist() == pytest.approx(expected, nan_ok=True, abs=1e-12)


@given(believed())
def test_scores_of_rows_equal_plain_loops(batch):
    p, y = batch
    rows = list(zip(p.tolist(), y.tolist()))
    own = [reference.brier(row, label) if label >= 0 else torch.nan for row, label in rows]
    assert brier(p, y).tolist() == pytest.approx(own, nan_ok=True, abs=1e-12)
    top = [
        (max(row) - (reference.argmax(row) == label)) ** 2 if label >= 0 else torch.nan for row, label in rows
    ]
    assert top1_brier(p, y).tolist() == pytest.approx(top, nan_ok=True)
    of_label = [
        torch.nan if label < 0 else -log(row[label]) if row[label] else torch.inf for row, label in rows
    ]
    assert nll(p, y).tolist() == pytest.approx(of_label, nan_ok=True)


@given(believed(max_size=12), st.lists(st.integers(0, 12), max_size=3), st.integers(1, 4))
def test_any_batches_and_merged_streams_equal_one_call(batch, cuts, bins):
    p, y = batch
    streams = [StreamingCalibration(bins=bins) for _ in range(2)]
    by_class = [StreamingClasswiseCalibration(p.shape[1], bins=bins) for _ in range(2)]
    for at, part in enumerate(zip(p.tensor_split(sorted(cuts)), y.tensor_split(sorted(cuts)))):
        streams[at % 2].update(*part)
        by_class[at % 2].update(*part)
    streams[0].merge(streams[1])
    by_class[0].merge(by_class[1])
    whole = calibration_metrics(p, y, bins=bins)
    assert streams[0].compute() == pytest.approx(whole, nan_ok=True, abs=1e-12)
    assert streams[0].curve().rows.tolist() == reliability_curve(p, y, bins=bins).rows.tolist()
    torch.testing.assert_close(by_class[0].compute(), classwise_ece(p, y, bins=bins), equal_nan=True)
    assert whole["ece"] == pytest.approx(ece(p, y, bins=bins).item(), nan_ok=True)
    assert whole["brier"] == pytest.approx(brier(p, y).nanmean().item(), nan_ok=True)


@given(believed(max_size=12))
def test_the_order_of_rows_does_not_matter(batch):
    p, y = batch
    for binning in ("equal_width", "equal_mass"):
        forward, backward = (
            ece(p, y, bins=3, binning=binning),
            ece(p.flip(0), y.flip(0), bins=3, binning=binning),
        )
        torch.testing.assert_close(forward, backward, equal_nan=True)


def test_golden():
    # Confidences .9 right, .8 right, .6 wrong, .55 right.  Two bins of equal width hold all in (.5, 1]:
    # |3/4 - 2.85/4| = .0375.  Of equal mass: {.6, .55} |1/2 - .575| = .075, {.9, .8} |1 - .85| = .15.
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.55, 0.45]], dtype=torch.float64)
    y = [0, 1, 1, 0]
    assert ece(p, y, bins=2).item() == pytest.approx(0.0375)
    assert ece(p, y, bins=2, binning="equal_mass").item() == pytest.approx((0.075 + 0.15) / 2)
    assert mce(p, y, bins=2, binning="equal_mass").item() == pytest.approx(0.15)
    # Class 0, two bins: (0, .5] holds .2 of a row of class 1; (.5, 1] holds .9, .6, .55, two of three of class 0:
    # (.2 + |2 - 2.05|) / 4.
    assert classwise_ece(p, y, bins=2)[0].item() == pytest.approx(0.25 / 4)


def test_bins_are_open_below_and_closed_above():
    # .2 in float32 is on the edge of two of five bins, and belongs below it; 0 belongs to the first.
    p = torch.tensor([[0.2, 0.2, 0.2, 0.2, 0.2], [0.0, 0.0, 1.0, 0.0, 0.0]])
    assert reliability_curve(p, [0, 2], bins=5).rows.tolist() == [1, 0, 0, 0, 1]
    assert isnan(reliability_curve(p, [0, 2], bins=5).accuracy[1])


def test_a_constant_confidence_that_is_the_accuracy_is_calibrated_and_tells_nothing():
    p = torch.tensor([[0.75, 0.25]]).repeat(4, 1)
    found = calibration_metrics(p, [0, 0, 0, 1])
    assert found["ece"] == found["mce"] == 0
    assert found["accuracy"] == found["confidence"] == 0.75


def test_sheet_of_correctness_aware_calibration():
    # Truth .412, winner .455: .455^2 = .207025; with a right row of confidence .7, .09: mean .1485125.
    p = torch.tensor([[0.412, 0.455, 0.068, 0.065], [0.7, 0.1, 0.1, 0.1]], dtype=torch.float64)
    assert top1_brier(p, [0, 0]).tolist() == pytest.approx([0.207025, 0.09])
    # At temperatures .5, 1, 2, 5 cross-entropy asks for a sharper wrong winner, the correctness-aware loss for
    # a flatter one.
    for temperature, cross_entropy, correctness in (
        (0.5, 0.8206, 0.2882),
        (1, 0.8867, 0.2070),
        (2, 1.0488, 0.1356),
        (5, 1.2263, 0.0895),
    ):
        calibrated = apply_temperature(p[:1].log(), temperature)
        assert nll(calibrated, [0]).item() == pytest.approx(cross_entropy, abs=5e-5)
        assert top1_brier(calibrated, [0]).item() == pytest.approx(correctness, abs=5e-5)


def test_top1_brier_trains_a_calibrator():
    # Rows of two kinds, right or wrong by their second feature: a temperature for each row can tell them apart.
    torch.manual_seed(0)
    right = torch.arange(200) % 4 != 0
    logits, y = torch.tensor([[2.0, 0.0]]).repeat(200, 1), (~right).long()
    calibrator = torch.nn.Linear(1, 1)
    optimizer = torch.optim.Adam(calibrator.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        temperature = torch.nn.functional.softplus(calibrator(right.float()[:, None]))[:, 0] + 0.05
        loss = top1_brier(apply_temperature(logits, temperature), y).nanmean()
        loss.backward()
        optimizer.step()
    confidence = apply_temperature(logits, temperature.detach()).amax(1)
    assert confidence[right].min() > 0.95
    assert confidence[~right].max() < 0.6


def test_unlabelled_rows_send_no_gradient():
    z = torch.tensor([[1.0, 0.0], [3.0, 1.0]], requires_grad=True)
    top1_brier(z.softmax(1), [0, -1]).nanmean().backward()
    assert z.grad[0].abs().sum() > 0
    assert z.grad[1].tolist() == [0, 0]


def test_takes_half_precision():
    p = torch.randn(40, 100).softmax(1)
    y = torch.arange(40)
    for dtype in (torch.bfloat16, torch.float16):
        assert ece(p.to(dtype), y).item() == pytest.approx(ece(p, y).item(), abs=2e-2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ece(torch.tensor([[2.0, -1.0]]), [0]), "row 0 has sum 1 and least -1; of logits give"),
        (lambda: brier(torch.tensor([[1.0, 0.0], [3.0, 1.0]]), [0, 0]), "row 1 has sum 4"),
        (lambda: nll(torch.full((1, 2), torch.nan), [0]), "sum nan"),
        (lambda: nll(torch.zeros(0, 0), []), "probabilities must have a column"),
        (lambda: mce(torch.ones(1, 1), [0], bins=0), "bins must be > 0"),
        (lambda: ece(torch.ones(1, 1), [0], binning="quantile"), "binning must be one of"),
        (lambda: ece(torch.ones(1, 1), [1]), "labels must lie in"),
        (lambda: StreamingClasswiseCalibration(3).update(torch.ones(1, 1), [0]), "for each of 3 classes"),
    ],
)
def test_says_what_is_wrong(call, message):
    with pytest.raises(InputError, match=message):
        call()
