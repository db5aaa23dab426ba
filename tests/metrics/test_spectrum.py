from __future__ import annotations

from math import exp, inf, isnan, log

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimetric.core.errors import InputError
from mimetric.metrics import StreamingSpectrum, effective_rank, spectral_decay
from strategies import batches


def shares(x):
    """Singular values by numpy's own decomposition of the rows, over their sum."""
    values = np.linalg.svd(np.asarray(x), compute_uv=False)
    return values / values.sum()


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 99))
def test_equals_numpy(n, d, seed):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    p = shares(x)
    assert effective_rank(x).item() == pytest.approx(exp(-sum(p * np.log(p))), rel=1e-5)
    assert spectral_decay(x).item() == pytest.approx(-np.log(p * len(p)).mean(), rel=1e-4, abs=1e-9)


@given(batches(max_size=12), st.lists(st.integers(0, 12), max_size=3))
def test_any_batches_and_merged_streams_equal_one_call(batch, cuts):
    x = batch[0]
    streams = [StreamingSpectrum(x.shape[1]) for _ in range(2)]
    for at, part in enumerate(x.tensor_split(sorted(cuts))):
        streams[at % 2].update(part)
    streams[0].merge(streams[1])
    found = streams[0].compute()
    assert found["effective_rank"] == pytest.approx(effective_rank(x).item(), nan_ok=True)
    assert found["spectral_decay"] == pytest.approx(spectral_decay(x).item(), nan_ok=True, abs=1e-9)


def test_golden():
    # Singular values 3 and 1: p = 3/4, 1/4; H = 2 log 2 - (3/4) log 3; KL(U || p) = -(log 1.5 + log 0.5) / 2.
    x = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    assert effective_rank(x).item() == pytest.approx(4 / 3**0.75)
    assert spectral_decay(x).item() == pytest.approx(-log(0.75) / 2)
    assert effective_rank(torch.eye(7)).item() == pytest.approx(7)
    assert spectral_decay(torch.eye(7)).item() == pytest.approx(0, abs=1e-12)


def test_collapsed_embeddings_use_one_direction():
    x = torch.full((30, 16), 0.25) * torch.linspace(1, 2, 30)[:, None]
    assert effective_rank(x).item() == pytest.approx(1, abs=1e-4)
    assert spectral_decay(x.new_ones(30, 16)).item() == inf


def test_undefined():
    for x in (torch.zeros(4, 3), torch.zeros(0, 3)):
        assert isnan(effective_rank(x))
        assert isnan(spectral_decay(x))


def test_says_what_is_wrong():
    with pytest.raises(InputError, match=r"^effective_rank: embeddings must be finite"):
        effective_rank(torch.full((2, 2), torch.inf))
    with pytest.raises(InputError, match="must have 3 columns"):
        StreamingSpectrum(3).update(torch.ones(2, 2))
