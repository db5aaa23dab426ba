"""Copies by hash are copies by plain comparison of bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimetric.core.copies import first_of_copies


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=12), st.integers(0, 12))
def test_equals_plain_loops(rows, cut):
    want = [rows.index(row) for row in rows]
    table = np.array(rows, np.int16).reshape(len(rows), 2)
    assert first_of_copies(table).tolist() == want
    assert first_of_copies(table[:cut], table[cut:]).tolist() == want


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float64, bool])
def test_any_shape_type_and_stride(dtype):
    images = np.random.default_rng(0).random((6, 2, 3, 4)) * 3
    images[4] = images[1]
    images = images.astype(dtype)
    want = [images.tolist().index(row) for row in images.tolist()]
    assert first_of_copies(images).tolist() == want
    assert first_of_copies(np.asfortranarray(images)).tolist() == want
