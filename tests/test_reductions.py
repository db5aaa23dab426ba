"""Averages that all pair losses share: over anchors, over those that cost something, sums, one number for each."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cases import CASES, DIVIDED, EXACT, names
from mimetric import losses
from mimetric.core.errors import InputError
from mimetric.losses import Pairing

REDUCTIONS = [None, "anchors", "active", "sum", "none"]
OF_ROWS = [case for case in CASES if case.name != "proxy-anchor"]  # whose anchors are the class weights
over = pytest.mark.parametrize("case", OF_ROWS, ids=names)


def example():
    """Three classes, a singleton and an unlabelled row."""
    x = torch.randn(10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(10))
    return x, torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 7, -1])


def weights():
    return torch.rand(10, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) + 0.1


def value_and_gradient(function, **pairing):
    x, y = example()
    x.requires_grad_()
    value = function(x, y, **pairing)
    tilt = torch.linspace(1, 2, 10, dtype=torch.float64) if value.ndim else 1
    return value.detach(), torch.autograd.grad((tilt * value).sum(), x)[0]


@over
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_equal_the_formula_by_autograd(case, reduction, weighted):
    options = {"reduction": reduction, "weights": weights() if weighted else None}
    plain = value_and_gradient(case.plain, **options)
    assert plain[0].shape == ((10,) if reduction == "none" else ())
    for block in (None, 1, 4):
        torch.testing.assert_close(value_and_gradient(case, block=block, **options), plain)


@over
def test_reductions_agree_with_each_other(case):
    each = case(*example(), reduction="none")
    torch.testing.assert_close(case(*example(), reduction="sum"), each.sum())
    torch.testing.assert_close(case(*example(), reduction="anchors"), each.mean())
    active = each[each != 0]
    torch.testing.assert_close(case(*example(), reduction="active"), active.mean())
    w = weights()
    weighted = case(*example(), reduction="none", weights=w)
    torch.testing.assert_close(weighted, each * w)
    torch.testing.assert_close(case(*example(), reduction="sum", weights=w), weighted.sum())
    torch.testing.assert_close(case(*example(), reduction="anchors", weights=w), weighted.sum() / w.sum())
    expected = weighted.sum() / w[each != 0].sum()
    torch.testing.assert_close(case(*example(), reduction="active", weights=w), expected)


@over
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_equal_weights_are_no_weights_and_zero_weights_leave_out(case, reduction):
    equal = torch.full((10,), 3.0, dtype=torch.float64)
    scale = 3 if reduction in ("sum", "none") else 1
    expected = value_and_gradient(case, reduction=reduction)
    weighted = value_and_gradient(case, reduction=reduction, weights=equal)
    torch.testing.assert_close(weighted, tuple(scale * part for part in expected))
    nothing = value_and_gradient(case, reduction=reduction, weights=torch.zeros(10))
    assert not nothing[0].any()
    assert not nothing[1].any()


@pytest.mark.parametrize("case", DIVIDED, ids=names)
def test_sides_add_up_for_each_anchor(case):
    tightness, contrast = case.sides(*example(), reduction="none")
    torch.testing.assert_close(tightness + contrast, case(*example(), reduction="none"))


@pytest.mark.parametrize("case", EXACT, ids=names)
def test_second_derivatives_of_each_anchor(case):
    x, y = example()
    assert torch.autograd.gradgradcheck(
        lambda x: case(x, y, reduction="none", block=4), x.requires_grad_(), fast_mode=True
    )


@pytest.mark.parametrize("reduction", [None, "sum", "none"])
def test_class_weights_are_those_of_torch(reduction):
    x, y = example()
    x, y = x[:9], y[:9].clamp(max=3)
    weight, of_class = torch.randn(4, 4, dtype=torch.float64), torch.tensor([0.5, 1.0, 4.0, 0.1]).double()
    ours = losses.cross_entropy_loss(x, y, weight, pairing=Pairing(reduction=reduction, weights=of_class[y]))
    theirs = F.cross_entropy(x @ weight.T, y, weight=of_class, reduction=reduction or "mean")
    torch.testing.assert_close(ours, theirs)


def test_no_rows():
    x = torch.ones(0, 3, requires_grad=True)
    value = losses.supcon_loss(x, [], pairing=Pairing(reduction="none"))
    assert value.shape == (0,)
    value.sum().backward()
    assert losses.supcon_loss(x, [], pairing=Pairing(reduction="active")) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": "mean"}, "Pairing: reduction must be one of anchors, active, sum, none, got 'mean'"),
        (
            {"weights": torch.ones(4)},
            r"supcon_loss: weights must be floating point of shape \(10,\).* got float32 of",
        ),
        ({"weights": torch.ones(10, dtype=torch.int64)}, "got int64 of shape"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(InputError, match=message):
        losses.supcon_loss(*example(), pairing=Pairing(**options))


def test_second_derivatives_through_a_function_of_each_anchor_s_loss():
    # Its slopes depend on the losses themselves.
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def soft_maximum(rows):
        return losses.supcon_loss(rows, [0, 0, 1, 1, 2, 2], pairing=Pairing(reduction="none")).logsumexp(0)

    assert torch.autograd.gradgradcheck(soft_maximum, (x,))
