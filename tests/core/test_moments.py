from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimetric.core import moments
from strategies import batches


@given(batches(max_size=12), st.integers(1, 5), st.booleans())
def test_blocks_and_classes_equal_one_class_at_a_time(batch, rows, unit):
    x, y = batch
    y = y.clamp(max=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moments, "_ROWS", rows)
        found, second = moments.class_moments(x, y, 5, unit=unit), moments.second_moment(x)
    torch.testing.assert_close(second, x.T @ x)
    x = torch.nn.functional.normalize(x) if unit else x
    for c in range(5):
        own = x[y == c]
        assert found.rows[c] == len(own)
        torch.testing.assert_close(found.centers[c], own.mean(0), equal_nan=True)
        spread = (own - own.mean(0)).square().sum() if len(own) else x.new_zeros(())
        torch.testing.assert_close(found.scatter[c], spread, rtol=1e-9, atol=1e-9)


def test_small_spreads_far_from_the_origin_keep_digits():
    # Rows of length 10 with a spread of 1e-4 in float32 input: lengths squared lose ten digits.
    x = torch.full((1000, 4), 5.0) + 1e-4 * torch.randn(1000, 4)
    found = moments.class_moments(x, torch.zeros(1000, dtype=torch.int64), 1)
    exact = (x.double() - x.double().mean(0)).square().sum()
    torch.testing.assert_close(found.scatter[0], exact, rtol=1e-5, atol=0)
