from __future__ import annotations

from math import isnan

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import skew

import reference_metrics_c as reference
from mimetric.core.errors import InputError
from mimetric.metrics import hubness, occurrences, utilization
from strategies import compared


@given(compared())
def test_utilization_equals_plain_loops(sets):
    queries, _, references, _ = sets
    expected = reference.utilization(queries.tolist(), references.tolist())
    assert utilization(queries, references).tolist() == pytest.approx(expected, nan_ok=True, abs=1e-9)


def test_sheet_of_metrix():
    # Squared distances 1 and .25 to the origin: .625.  A subset of the references is at distance 0.
    found = utilization(torch.tensor([[1.0, 0.0], [0.0, 0.5]]), torch.zeros(1, 2))
    assert found.mean().item() == pytest.approx(0.625)
    x = torch.randn(50, 8)
    assert utilization(x[:10], x).tolist() == [0] * 10


@given(st.integers(2, 9), st.integers(1, 10), st.integers(0, 99))
def test_occurrences_equal_plain_loops(n, k, seed):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert occurrences(x, k=k).tolist() == reference.occurrences(x.tolist(), k)


def test_hubness_is_scipy_s_skewness():
    x = torch.randn(300, 40, generator=torch.Generator().manual_seed(0))
    counts = occurrences(x, k=5)
    assert counts.sum() == 300 * 5
    assert hubness(x, k=5).item() == pytest.approx(skew(counts.numpy()))
    assert hubness(x, k=5) > hubness(x[:, :2], k=5)  # hubs come with width


def test_golden_star():
    # The first row is nearest to all others, and of its own the lowest: counts 3, 1, 0, 0, mean 1, second
    # moment 6/4, third (8 - 1 - 1) / 4: 1.5 / 1.5^1.5.
    star = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.5, 0.0], [1.0, -0.5, 0.0], [1.0, 0.0, 0.5]])
    assert occurrences(star, k=1).tolist() == [3, 1, 0, 0]
    assert hubness(star, k=1).item() == pytest.approx(1.5**-0.5)


def test_undefined():
    assert isnan(hubness(torch.randn(5, 2), k=9))  # all are neighbors of all
    assert isnan(hubness(torch.zeros(0, 2)))
    assert occurrences(torch.ones(1, 2)).tolist() == [0]
    assert utilization(torch.zeros(0, 2), torch.zeros(3, 2)).tolist() == []


def test_says_what_is_wrong():
    with pytest.raises(InputError, match="references must have 2 columns"):
        utilization(torch.ones(1, 2), torch.ones(1, 3))
    with pytest.raises(InputError, match="k must be > 0"):
        occurrences(torch.ones(3, 2), k=0)
    with pytest.raises(InputError, match=r"^occurrences: embeddings must be finite"):
        hubness(torch.full((3, 2), torch.nan))
