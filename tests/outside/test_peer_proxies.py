"""Margins and proxies: value and gradient, of rows and of weights, beside pytorch-metric-learning."""

from __future__ import annotations

from math import degrees, radians

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimetric import losses

peer = pytest.importorskip("pytorch_metric_learning.losses", reason="the extra `peers` is not installed")

WIDTH = 6


SIZE = {"num_classes": 5, "embedding_size": WIDTH}
COUNTERPARTS = {
    "cosface": (losses.cosface_loss, peer.CosFaceLoss(**SIZE)),
    "arcface": (losses.arcface_loss, peer.ArcFaceLoss(margin=degrees(0.5), **SIZE)),
    "arcface, wide": (
        lambda *given: losses.arcface_loss(*given, margin=radians(80), scale=8.0),
        peer.ArcFaceLoss(margin=80, scale=8, **SIZE),
    ),
    "sphereface": (losses.sphereface_loss, peer.SphereFaceLoss(**SIZE)),
    "sphereface, 3": (
        lambda *given: losses.sphereface_loss(*given, margin=3),
        peer.SphereFaceLoss(margin=3, **SIZE),
    ),
    "large-margin-softmax": (losses.large_margin_softmax_loss, peer.LargeMarginSoftmaxLoss(**SIZE)),
    "large-margin-softmax, 2": (
        lambda *given: losses.large_margin_softmax_loss(*given, margin=2),
        peer.LargeMarginSoftmaxLoss(margin=2, **SIZE),
    ),
    "proxy-nca": (
        lambda *given: losses.proxy_nca_loss(*given, denominator="all"),
        peer.ProxyNCALoss(**SIZE),
    ),
    "proxy-nca++": (
        lambda *given: losses.proxy_nca_loss(*given, temperature=1 / 9, denominator="all"),
        peer.ProxyNCALoss(softmax_scale=9, **SIZE),
    ),
    "proxy-anchor": (losses.proxy_anchor_loss, peer.ProxyAnchorLoss(**SIZE)),
    "soft-triple": (
        lambda *given: losses.soft_triple_loss(*given, tau=0.0),
        peer.SoftTripleLoss(centers_per_class=3, **SIZE),
    ),
    "soft-triple, soft": (
        lambda *given: losses.soft_triple_loss(*given, tau=0.0, gamma=1.0, scale=4.0, margin=0.3),
        peer.SoftTripleLoss(centers_per_class=3, la=4, gamma=1.0, margin=0.3, **SIZE),
    ),
    "subcenter-arcface": (
        losses.subcenter_arcface_loss,
        peer.SubCenterArcFaceLoss(margin=degrees(0.5), sub_centers=3, **SIZE),
    ),
}


def ours_of(theirs):
    """Their weights as ours, with a gradient, and how a gradient of ours lies among theirs."""
    [weight] = theirs.parameters()
    rows = weight if hasattr(theirs, "proxies") else weight.T  # they keep a column for each class
    each = len(rows) // 5
    rows = rows.detach().clone()
    return (rows.unflatten(0, (5, each)) if each > 1 else rows).requires_grad_(), weight


@pytest.mark.parametrize("name", COUNTERPARTS)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 12))
@settings(max_examples=15)
def test_same_value_and_gradients(name, seed, n):
    ours, theirs = COUNTERPARTS[name]
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, WIDTH, dtype=torch.float64, generator=generator)
    y = torch.randint(0, 5, (n,), generator=generator)
    theirs = theirs.double()
    with torch.no_grad():
        [weight] = theirs.parameters()
        weight.normal_(generator=generator)
    rows, weight = ours_of(theirs)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    value, expected = ours(a, y, rows), theirs(b, y)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-8)
    value.backward()
    weight.grad = None
    expected.backward()
    of_weight = rows.grad.flatten(0, -2)
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(
        of_weight if hasattr(theirs, "proxies") else of_weight.T, weight.grad, rtol=1e-5, atol=1e-7
    )


@given(seed=st.integers(0, 10**6), n=st.integers(5, 30))
@settings(max_examples=15)
def test_same_outliers(seed, n):
    theirs = peer.SubCenterArcFaceLoss(sub_centers=3, **SIZE)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        theirs.W.normal_(generator=generator)
    x = torch.randn(n, WIDTH, generator=generator)
    y = torch.cat((torch.arange(5), torch.randint(0, 5, (n - 5,), generator=generator)))
    rows, dominant = theirs.get_outliers(x, y)
    centers, _ = ours_of(theirs)
    found = losses.subcenter_outliers(x, y, centers)
    assert found.rows.tolist() == sorted(rows.tolist())
    torch.testing.assert_close(centers[torch.arange(5), found.dominant].T, dominant)
