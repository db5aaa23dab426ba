"""Batches as they come, and as nobody expects them: tiny, singletons, one class, duplicates, zero rows."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

_COORDINATES = st.integers(-40, 40).map(lambda k: k / 16)  # exact in binary: duplicates and ties do occur


@st.composite
def rows(draw, count, width):
    """(count, width) float64."""
    flat = draw(st.lists(_COORDINATES, min_size=count * width, max_size=count * width))
    return torch.tensor(flat, dtype=torch.float64).reshape(count, width)


@st.composite
def batches(draw, max_size=9, zero_rows=True):
    """Embeddings (n, d) float64 and labels (n,), with -1 among them now and then."""
    n, width = draw(st.integers(1, max_size)), draw(st.integers(1, 4))
    x = draw(rows(n, width))
    if not zero_rows:
        x[:, 0] += 5.0
    classes = draw(st.sampled_from([1, 2, 4, 100]))
    y = draw(st.lists(st.integers(-1 if draw(st.booleans()) else 0, classes - 1), min_size=n, max_size=n))
    return x, torch.tensor(y)


@st.composite
def compared(draw, max_size=7):
    """A batch and references with labels of their own, perhaps none at all."""
    x, y = draw(batches(max_size))
    m = draw(st.integers(0, max_size))
    ry = draw(st.lists(st.integers(-1, 3), min_size=m, max_size=m))
    return x, y, draw(rows(m, x.shape[1])), torch.tensor(ry, dtype=torch.int64)
