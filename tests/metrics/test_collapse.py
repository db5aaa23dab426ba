from __future__ import annotations

from math import isnan, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_metrics_c as reference
from mimetric.core.errors import InputError
from mimetric.metrics import StreamingCollapse, center_mismatch, neural_collapse
from strategies import batches


def simplex(classes):
    """Corners of a simplex about the origin, (C, C)."""
    return torch.eye(classes, dtype=torch.float64) - 1 / classes


def by_numpy(x, y, w):
    """The formulas on dense covariances, by numpy's pseudo-inverse; classes 0..C-1 all have rows."""
    classes = range(len(w))
    means = np.stack([x[y == c].mean(0) for c in classes])
    centered = means - means.mean(0)
    within = sum(np.outer(row - means[c], row - means[c]) for row, c in zip(x, y)) / len(x)
    between = centered.T @ centered / len(w)
    inverse = np.linalg.pinv(between, rcond=1e-9, hermitian=True)

    def norms(rows):
        lengths = np.linalg.norm(rows, axis=1)
        return lengths.std(ddof=1) / lengths.mean()

    def angles(rows):
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        cosines = [unit[i] @ unit[j] for i, j in reference.pairs(len(unit))]
        return np.mean([abs(cosine + 1 / (len(unit) - 1)) for cosine in cosines])

    duality = w / np.linalg.norm(w) - centered / np.linalg.norm(centered)
    decided = (x @ w.T).argmax(1)
    nearest = [reference.nearest_center(row.tolist(), means.tolist()) for row in x]
    return {
        "nc1": np.trace(within @ inverse) / len(w),
        "nc2_norms": norms(centered),
        "nc2_angles": angles(centered),
        "nc2_weight_norms": norms(w),
        "nc2_weight_angles": angles(w),
        "nc3": np.linalg.norm(duality) ** 2,
        "nc4": np.mean(decided != nearest),
    }


@given(st.integers(2, 5), st.integers(1, 6), st.integers(0, 99))
def test_equals_dense_formulas(classes, width, seed):
    generator = torch.Generator().manual_seed(seed)
    y = torch.cat((torch.arange(classes), torch.randint(classes, (20,), generator=generator)))
    x = torch.randn(len(y), width, generator=generator, dtype=torch.float64) + y[:, None]
    w = torch.randn(classes, width, generator=generator, dtype=torch.float64)
    expected = by_numpy(x.numpy(), y.numpy(), w.numpy())
    assert neural_collapse(x, y, w) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(batches(max_size=12), st.lists(st.integers(0, 12), max_size=3))
def test_any_batches_and_merged_streams_equal_one_call(batch, cuts):
    x, y = batch
    y = y.clamp(max=3)
    w = torch.arange(4.0 * x.shape[1], dtype=torch.float64).reshape(4, -1).sin()
    streams = [StreamingCollapse(4, x.shape[1], w) for _ in range(2)]
    for at, part in enumerate(zip(x.tensor_split(sorted(cuts)), y.tensor_split(sorted(cuts)))):
        streams[at % 2].update(*part)
    streams[0].merge(streams[1])
    whole = neural_collapse(x, y, w)
    mismatch = center_mismatch(x, streams[0].centers(), w)[y >= 0].mean().item()
    assert streams[0].compute() | {"nc4": mismatch} == pytest.approx(whole, nan_ok=True, rel=1e-6, abs=1e-9)


def test_full_collapse_is_zero():
    corners = simplex(4)
    y = torch.arange(40) % 4
    found = neural_collapse(corners[y] + 5, y, 3 * corners)  # features may lie anywhere
    assert found == pytest.approx(dict.fromkeys(found, 0), abs=1e-12)
    assert len(found) == 7


def test_golden():
    # Classes at -1 and 1 on a line, rows at +-d of their mean: Sigma_W = d^2, Sigma_B = 1, NC1 = d^2 / 2.
    x = torch.tensor([[-1.5], [-0.5], [0.5], [1.5]], dtype=torch.float64)
    assert neural_collapse(x, [0, 0, 1, 1])["nc1"] == pytest.approx(0.125)
    # Three classes at (0, 0), (3, 0), (0, 3), mean (1, 1): lengths sqrt 2, sqrt 5, sqrt 5; cosines of the pairs
    # -1/sqrt 10, -1/sqrt 10, -4/5.
    corners = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    found = neural_collapse(corners, [0, 1, 2])
    lengths = np.array([sqrt(2), sqrt(5), sqrt(5)])
    assert found["nc1"] == pytest.approx(0, abs=1e-12)
    assert found["nc2_norms"] == pytest.approx(lengths.std(ddof=1) / lengths.mean())
    assert found["nc2_angles"] == pytest.approx((2 * (0.5 - 1 / sqrt(10)) + 0.3) / 3)


def test_weights_opposite_to_the_means():
    corners = simplex(3)
    found = neural_collapse(corners, [0, 1, 2], -corners)
    assert found["nc3"] == pytest.approx(4)
    assert found["nc4"] == 1


@given(batches(), st.integers(1, 4))
def test_nearest_centers_equal_plain_loops(batch, classes):
    x, _ = batch
    centers = torch.linspace(-2, 2, classes * x.shape[1], dtype=torch.float64).reshape(classes, -1).sin()
    centers[::3] = torch.nan
    held = [None if c[0] != c[0] else c for c in centers.tolist()]
    # A classifier that always decides for one class: bias alone.
    for c in range(classes):
        bias = torch.eye(classes, dtype=torch.float64)[c]
        found = center_mismatch(x, centers, torch.zeros_like(centers), bias)
        nearest = [reference.nearest_center(row, held) for row in x.tolist()]
        expected = [float(n != c) for n in nearest] if classes > 1 else [torch.nan] * len(x)
        assert found.tolist() == pytest.approx(expected, nan_ok=True)


def test_classes_without_rows_are_left_out():
    x, w = torch.randn(30, 5), torch.randn(6, 5)
    y = torch.arange(30) % 3 * 2  # 0, 2, 4
    found = neural_collapse(x, y, w)
    dense = neural_collapse(x, y // 2, w[::2])
    for name in ("nc1", "nc2_norms", "nc2_angles", "nc2_weight_norms", "nc2_weight_angles", "nc3"):
        assert found[name] == pytest.approx(dense[name])


def test_undefined():
    for x, y in ((torch.zeros(0, 2), []), (torch.randn(3, 2), [0, 0, 0]), (torch.randn(2, 2), [-1, -1])):
        assert all(isnan(value) for value in neural_collapse(x, y).values())
    collapsed = neural_collapse(torch.ones(6, 3), [0, 1, 2, 0, 1, 2])
    assert isnan(collapsed["nc1"])
    assert isnan(collapsed["nc2_norms"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: neural_collapse(torch.ones(2, 2), [0, 1], bias=torch.ones(2)), "bias came without weight"),
        (
            lambda: neural_collapse(torch.ones(2, 2), [0, 1], torch.ones(2, 3)),
            r"weight must have shape \(2, 2\)",
        ),
        (lambda: neural_collapse(torch.ones(2, 2), [0, 2], torch.ones(2, 2)), "labels must lie in 0..1"),
        (lambda: center_mismatch(torch.ones(2, 2), torch.ones(2, 2), torch.ones(3, 2)), "centers must have"),
        (
            lambda: center_mismatch(torch.ones(2, 2), torch.ones(3, 2), torch.ones(3, 2), [1.0]),
            "bias must have",
        ),
    ],
)
def test_says_what_is_wrong(call, message):
    with pytest.raises(InputError, match=message):
        call()
