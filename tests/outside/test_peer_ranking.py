"""Lists, distributions and class weights beside pytorch-metric-learning, where both compute the same thing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mimetric import losses

peer = pytest.importorskip("pytorch_metric_learning.losses", reason="the extra `peers` is not installed")


def batch_of(seed, classes, each):
    y = torch.arange(classes).repeat_interleave(each)
    return torch.randn(len(y), 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), y


def with_itself(loss, **options):
    """Their anchor is the first of its own positives: so is ours among references without ids."""
    return lambda x, y: loss(x, y, x, y, **options)


def hardest_triplets(x, y):
    """Every anchor with each of its positives and its nearest negative, as their index tuples are."""
    apart = torch.cdist(torch.nn.functional.normalize(x.detach()), torch.nn.functional.normalize(x.detach()))
    same = y[:, None] == y
    anchor, positive = (same & ~torch.eye(len(y), dtype=torch.bool)).nonzero().unbind(1)
    return anchor, positive, apart.masked_fill(same, torch.inf).argmin(1)[anchor]


class Dynamic(peer.DynamicSoftMarginLoss):
    """Theirs without a gradient through the histogram, as in the authors' code."""

    def update_histogram(self, data):
        super().update_histogram(data.detach())


def dynamic(x, y):
    # Their histogram has no edge at the end: 10 bins of width 0.4 are 11 of ours.
    return Dynamic(num_bins=10)(x, y, hardest_triplets(x, y))


def dynamic_where_it_works(x, y):
    apart = torch.cdist(*(2 * [torch.nn.functional.normalize(x.detach())]))
    anchor, positive, negative = hardest_triplets(x, y)
    assume((apart[anchor, positive] - apart[anchor, negative]).max() < 1.6)
    return dynamic(x, y)


COUNTERPARTS = {
    "ranked-list": (
        losses.RankedListLoss(weighting="differentiated"),
        peer.RankedListLoss(margin=0.4, Tn=10),
        1e-3,  # they add 1e-5 to every weight
    ),
    "ranked-list, sharp positives": (
        losses.RankedListLoss(
            alpha=1.4, margin=1.0, positive_scale=3, negative_scale=2, balance=0.3, weighting="differentiated"
        ),
        peer.RankedListLoss(margin=1.0, Tn=2, Tp=3, alpha=1.4, imbalance=0.3),
        1e-3,
    ),
    "dynamic-soft-margin": (losses.DynamicSoftMarginLoss(num_bins=11), dynamic_where_it_works, 1e-6),
    "fast-ap": (losses.fast_ap_loss, peer.FastAPLoss(), 1e-6),
    "smooth-ap": (with_itself(losses.smooth_ap_loss), peer.SmoothAPLoss(), 1e-6),
    "smooth-ap, warm": (with_itself(losses.smooth_ap_loss, temperature=0.1), peer.SmoothAPLoss(0.1), 1e-6),
} | {
    f"pnp, {variant}": (
        with_itself(losses.pnp_loss, variant=variant, b=3.0, alpha=4.0),
        peer.PNPLoss(variant=variant, b=3, alpha=4),
        1e-6,
    )
    for variant in ("O", "Iu", "Ib", "Ds", "Dq")
}


@pytest.mark.parametrize("name", COUNTERPARTS)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 5), each=st.integers(2, 4))
@settings(max_examples=15)
def test_same_value_and_gradient(name, seed, classes, each):
    ours, theirs, tolerance = COUNTERPARTS[name]
    if name.startswith("smooth-ap"):
        each = classes  # theirs mixes up classes of another size than their number
    x, y = batch_of(seed, classes, each)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    if isinstance(ours, losses.DynamicSoftMarginLoss):
        ours.histogram.zero_()
    value, expected = ours(a, y), theirs(b, y)
    assert value.item() == pytest.approx(expected.item(), rel=tolerance, abs=tolerance)
    value.backward()
    expected.backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=10 * tolerance, atol=tolerance)


def test_dynamic_soft_margin_moves_its_histogram_as_theirs():
    # Theirs mixes shares of the past with counts of the batch: 24 triplets at 0.01 stand against 0.99.
    ours = losses.DynamicSoftMarginLoss(num_bins=11, momentum=0.24 / (0.24 + 0.99)).double()
    theirs = Dynamic(num_bins=10, momentum=0.01)
    for seed in range(4):
        x, y = batch_of(seed, 4, 3)
        assert ours(x, y).item() == pytest.approx(theirs(x, y, hardest_triplets(x, y)).item())
        torch.testing.assert_close(ours.histogram[:10], theirs.hist_)


def test_p2s_grad():
    theirs = peer.P2SGradLoss(6, 7).double()
    x, y = batch_of(0, 7, 3)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    value, expected = losses.p2s_grad_loss(a, y, theirs.weight.detach().T), theirs(b, y)
    assert value.item() * 2 / 7 == pytest.approx(
        expected.item()
    )  # theirs is a mean over classes, without the 1/2
    value.backward()
    expected.backward()
    torch.testing.assert_close(a.grad * 2 / 7, b.grad)


def test_their_dynamic_soft_margin_fails_where_a_triplet_is_as_hard_as_can_be():
    # A positive at the other end and a negative at distance 0: a difference of 2, in their bin 10 of 0..9.
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    y = torch.tensor([0, 0, 1])
    with pytest.raises(RuntimeError, match="out of bounds"):
        dynamic(x, y)
    assert losses.dynamic_soft_margin_loss(x, y).item() == pytest.approx((2 * 1 + 0 * 0.5) / 2)


def test_their_smooth_ap_mixes_classes_up_where_there_are_more_of_them_than_rows_in_each():
    # Four classes of two, each a point of its own: every list is perfect.
    y = torch.arange(4).repeat_interleave(2)
    x = torch.eye(4, dtype=torch.float64)[y]
    assert losses.smooth_ap_loss(x, y).item() == pytest.approx(0, abs=1e-9)
    assert peer.SmoothAPLoss()(x, y).item() > 0.1
