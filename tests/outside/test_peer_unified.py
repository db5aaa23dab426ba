"""The softmax on the hypersphere beside pytorch-metric-learning: value and gradients, class weights included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimetric import losses

peer = pytest.importorskip("pytorch_metric_learning.losses", reason="the extra `peers` is not installed")

THEIRS = {
    "normalized softmax": lambda classes, width, scale: peer.NormalizedSoftmaxLoss(
        classes, width, temperature=1 / scale
    ),
    "CosFace at margin 0": lambda classes, width, scale: peer.CosFaceLoss(
        classes, width, margin=0, scale=scale
    ),
    "ArcFace at margin 0": lambda classes, width, scale: peer.ArcFaceLoss(
        classes, width, margin=0, scale=scale
    ),
}


@pytest.mark.parametrize("name", THEIRS)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 7), scale=st.sampled_from([1.0, 10.0, 20.0]))
@settings(max_examples=15)
def test_hyperspherical(name, seed, classes, scale):
    torch.manual_seed(seed)
    theirs = THEIRS[name](classes, 6, scale).double()
    weight = next(theirs.parameters())  # (6, classes)
    x = torch.randn(12, 6, dtype=torch.float64, requires_grad=True)
    y = torch.randint(0, classes, (12,))
    expected = theirs(x, y)
    value = losses.hyperspherical_loss(x, y, weight.T, scale=scale)
    assert value.item() == pytest.approx(expected.item(), rel=1e-9)
    ours, others = (torch.autograd.grad(loss, (x, weight)) for loss in (value, expected))
    torch.testing.assert_close(ours, others, rtol=1e-6, atol=1e-9)
