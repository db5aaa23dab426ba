"""The bounds of the unifying view: theorems as properties, the approximate one only reported."""

from __future__ import annotations

from math import log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st

from mimetric.core.errors import InputError
from mimetric.losses import (
    cross_entropy_loss,
    multi_similarity_loss,
    pce_loss,
    snca_loss,
    spce_loss,
)
from mimetric.views import Inequality, bounds
from strategies import batches

# The set of the unifying-view sheet.
Z = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]], dtype=torch.float64)
TWO_CLASSES = torch.tensor([0, 0, 1, 1])
SIZES = st.sampled_from([1e-3, 0.1, 1.0, 10.0])


@st.composite
def classified(draw):
    """A batch with labels 0..C-1, class weights for all of them and a lam."""
    x, y = draw(batches())
    y = torch.unique(y, return_inverse=True)[1]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    classes = int(y.max()) + 1 + draw(st.integers(0, 2))
    weight = torch.randn(classes, x.shape[1], generator=generator, dtype=torch.float64)
    return x, y, draw(SIZES) * weight, draw(SIZES)


@st.composite
def balanced(draw):
    """Unit rows (n, d) and labels, every class with as many rows, at least two."""
    classes, each, width = draw(st.integers(2, 4)), draw(st.integers(2, 4)), draw(st.integers(2, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    rows = torch.randn(classes * each, width, generator=generator, dtype=torch.float64)
    return F.normalize(rows, dim=1), torch.arange(classes * each) % classes


def test_golden():
    # Weights 0: all classes equally likely.  PCE at lam = 1: T = -0.225, C = 0.80564718, SPCE 0.49592160, by the sheet.
    found = bounds(Z, TWO_CLASSES, torch.zeros(2, 2))
    assert found.ce == pytest.approx(log(2))
    assert (found.f1, found.f2) == pytest.approx((0, log(2)))
    assert (found.pce_tightness, found.pce_contrast) == pytest.approx((-0.225, 0.80564718))
    assert (found.pce, found.spce) == pytest.approx((0.58064718, 0.49592160))
    assert [one.holds for one in found.inequalities] == [True, False, True, False]
    # The rows themselves as logits: 0.36126991, by the sheet; f1 = -0.9 + 2 lam / 2.
    found = bounds(Z, TWO_CLASSES, torch.eye(2), lam=0.5)
    assert (found.ce, found.f1) == pytest.approx((0.36126991, -0.9 + 0.5))


@given(classified())
def test_theorems_hold(case):
    x, y, weight, lam = case
    found = bounds(x, y, weight, lam=lam)
    assert found.f1 + found.f2 == pytest.approx(found.ce, rel=1e-9, abs=1e-9 * (1 + abs(found.f1)))
    assert all(one.holds for one in found.inequalities if one.theorem)


@given(classified())
def test_f1_meets_the_tightness_at_class_sums(case):
    x, y, weight, lam = case
    member = F.one_hot(y, len(weight)).double()
    found = bounds(x, y, member.T @ x / (lam * len(x)), lam=lam)
    assert found.f1 == pytest.approx(found.pce_tightness, rel=1e-9, abs=1e-12)


@given(classified())
def test_the_best_cross_entropy_is_never_above_spce(case):
    x, y, _, _ = case
    member = F.one_hot(y).double()
    weight = (member.T @ x / len(x)).requires_grad_()
    start = cross_entropy_loss(x, y, weight)
    assert start.item() == pytest.approx(spce_loss(x, y).item(), rel=1e-9, abs=1e-12)  # it is one of them
    [slope] = torch.autograd.grad(start, weight)
    assume(slope.abs().max() > 1e-6)
    step = 1 / (1 + x.square().sum(1).max())  # the slope changes by less than the largest squared length
    assert bounds(x, y, weight.detach() - step * slope).inequalities[-1].holds


@given(classified())
def test_pce_at_sure_labels_is_cross_entropy_at_class_sums(case):
    x, y, weight, lam = case
    member = F.one_hot(y, len(weight)).double()
    want = bounds(x, y, member.T @ x / (lam * len(x))).ce
    assert pce_loss(x, y, member, lam=lam).item() == pytest.approx(want, rel=1e-9, abs=1e-9)


@given(classified(), st.floats(-3, 3))
def test_a_common_shift_of_all_weights_moves_the_parts_and_not_the_whole(case, shift):
    x, y, weight, lam = case
    plain, moved = bounds(x, y, weight, lam=lam), bounds(x, y, weight + shift, lam=lam)
    scale = 1 + abs(plain.f1) + abs(moved.f1)
    assert moved.ce == pytest.approx(plain.ce, rel=1e-7, abs=1e-9 * scale)
    assert all(one.holds for one in moved.inequalities if one.theorem)


def test_the_approximate_bound_fails_here():
    # Its f2 is unbounded below along a common shift: far enough out, PCE's contrast is above it.
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    found = bounds(x, torch.arange(12) % 3, torch.full((3, 3), 5.0))
    contrast = found.inequalities[1]
    assert (contrast.text, contrast.theorem, contrast.holds) == ("f2 >= PCE contrast", False, False)
    assert contrast.slack == pytest.approx(found.f2 - found.pce_contrast)


def test_a_bias_is_the_weight_of_a_constant():
    weight, bias = torch.randn(2, 2, dtype=torch.float64), torch.tensor([0.5, -1.0], dtype=torch.float64)
    found = bounds(Z, TWO_CLASSES, weight, bias)
    assert found.ce == pytest.approx(F.cross_entropy(Z @ weight.T + bias, TWO_CLASSES).item())
    widened = bounds(F.pad(Z, (0, 1), value=1.0), TWO_CLASSES, torch.cat((weight, bias[:, None]), 1))
    assert widened == found


def test_unlabelled_rows_are_left_out():
    more = torch.cat((Z, torch.full((2, 2), 9.0, dtype=torch.float64)))
    weight = torch.eye(2)
    assert bounds(more, [0, 0, 1, 1, -1, -1], weight) == bounds(Z, TWO_CLASSES, weight)


def test_equal_up_to_rounding_holds():
    assert Inequality("a >= b", 1.0, 1.0 + 1e-12, True).holds
    assert not Inequality("a >= b", 1.0, 1.0 + 1e-6, True).holds


@given(balanced())
def test_links_between_tightness_and_contrast_of_pair_losses(batch):
    """Lemma 1, by Jensen: center and contrastive pull alike, SNCA and multi-similarity bound the mean similarity."""
    x, y = batch
    n, classes = len(x), int(y.max()) + 1
    sim, same = x @ x.T, y[:, None] == y
    off = ~torch.eye(n, dtype=torch.bool)
    positives, negatives = n // classes - 1, n - n // classes
    to_own, to_other, to_any = sim[same & off].mean(), sim[~same].mean(), sim[off].mean()
    centers = torch.stack([x[y == c].mean(0) for c in range(classes)])
    center = (x - centers[y]).square().sum() / 2
    assert (torch.cdist(x, x).square() * same).sum().item() == pytest.approx(
        4 * n / classes * center.item(), rel=1e-9
    )

    alpha, beta, base, temperature = 2.0, 50.0, 0.5, 0.1
    pull, push = multi_similarity_loss.sides(x, y, alpha=alpha, beta=beta, base=base)
    assert pull >= -to_own + base + log(positives) / alpha - 1e-9
    assert push >= to_other - base + log(negatives) / beta - 1e-9
    pull, push = snca_loss.sides(x, y, temperature=temperature)
    assert pull <= -to_own / temperature - log(positives) + 1e-9
    assert push >= to_any / temperature + log(n - 1) - 1e-9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bounds(Z, TWO_CLASSES, torch.zeros(2, 3)), r"weight must have 2 columns to match embeddings \(4, 2\)"),
        (lambda: bounds(Z, TWO_CLASSES, torch.zeros(1, 2)), r"labels must lie in 0\.\.0"),
        (lambda: bounds(Z, TWO_CLASSES, torch.zeros(2, 2), torch.zeros(3)), r"bias must have shape \(2,\), got \(3,\)"),
        (lambda: bounds(Z, TWO_CLASSES, torch.zeros(2, 2), lam=0), "lam must be > 0, got 0"),
        (lambda: bounds(Z / 0, TWO_CLASSES, torch.zeros(2, 2)), "embeddings must be finite"),
        (lambda: bounds(Z, TWO_CLASSES, torch.zeros(2, 2) / 0), "weight must be finite"),
    ],
)  # fmt: skip
def test_mistakes(call, message):
    with pytest.raises(InputError, match=f"^bounds: {message}"):
        call()
