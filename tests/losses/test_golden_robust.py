"""Losses on logits that doubt labels: values worked by hand or with their source, odd rows, and numbers of any size."""

from __future__ import annotations

from math import exp, expm1, log, log1p, nan, sqrt

import pytest
import torch
import torch.nn.functional as F

import reference_robust as reference
from mimetric import losses, named
from mimetric.core.errors import InputError
from mimetric.losses import (
    LinearLogits,
    aldr_loss,
    comp_sum_loss,
    focal_loss,
    generalized_cross_entropy_loss,
    ldr_loss,
    poly_loss,
    smooth_adversarial_comp_sum_loss,
    symmetric_cross_entropy_loss,
)

OF_PROBABILITY = {
    "focal": focal_loss,
    "poly": poly_loss,
    "comp-sum": comp_sum_loss,
    "generalized": generalized_cross_entropy_loss,
    "symmetric": symmetric_cross_entropy_loss,
}
ALL = OF_PROBABILITY | {"ldr": ldr_loss, "aldr": aldr_loss}
over = pytest.mark.parametrize("loss", ALL.values(), ids=ALL)


def row(*logits):
    return torch.tensor([logits], dtype=torch.float64)


def of_probability(*p):
    """Logits (1, C) with these probabilities."""
    return row(*(log(each) if each else -1e4 for each in p))


def value_and_gradient(loss, logits, labels, **options):
    logits = logits.clone().requires_grad_()
    value = loss(logits, labels, **options)
    return value.detach(), torch.autograd.grad(value, logits)[0]


# Focal and poly


@pytest.mark.parametrize(("p", "factor"), [(0.9, 100), (1 - sqrt(1e-3), 1000)])
def test_focal_weighs_what_is_right_by_the_papers_factors(p, factor):
    # Lin et al., section 3.2: with gamma 2, p = 0.9 costs 100 times less than cross-entropy, p = 0.968 1000 times.
    value = focal_loss(of_probability(p, 1 - p), [0])
    assert value.item() == pytest.approx(-log(p) / factor, rel=1e-9)


def test_focal_with_a_factor_for_each_class():
    # p = 3/4: log(4/3) / 16; p = 1/4: log 4 * 9/16, its class counting 4 times.
    logits = of_probability(0.75, 0.25).expand(2, 2)
    value = focal_loss(logits, [0, 1], alpha=[1, 4])
    assert value.item() == pytest.approx((log(4 / 3) / 16 + 4 * log(4) * 9 / 16) / 2, rel=1e-12)


@pytest.mark.parametrize(
    ("epsilon", "expected"), [(2, 0.4823), (1, 0.3261), (0, 0.1698), (-0.5, 0.0917), (1.15, 0.3495)]
)
def test_poly_has_the_values_of_the_papers_code(epsilon, expected):
    # Of the code on page 10 of arXiv:2204.12511, as the tests of optax quote them.
    assert poly_loss(row(4, 2, 1), [0], epsilon=epsilon).item() == pytest.approx(expected, abs=1e-4)


def test_poly_of_the_focal_loss():
    # p = 3/4: (1/4)^2 log(4/3) + 2 (1/4)^3
    value = poly_loss(of_probability(0.75, 0.25), [0], epsilon=2.0, gamma=2.0)
    assert value.item() == pytest.approx(log(4 / 3) / 16 + 2 / 64, rel=1e-12)


# The comp-sum family.  Values: arXiv:2304.07288, worked numerically from its formulas.


@pytest.mark.parametrize(
    ("tau", "expected"),
    [
        (0, [0.503215, 3.086161, 10.107338]),
        (0.5, [0.452113, 2.042851, 4.665535]),
        (1, [0.407606, 1.407606, 2.407606]),
        (1.5, [0.368754, 1.010599, 1.399898]),
        (1.7, [0.354614, 0.895260, 1.163737]),
        (2, [0.334759, 0.755272, 0.909969]),
        (3, [0.278727, 0.470054, 0.495947]),
    ],
)
def test_comp_sum(tau, expected):
    for label in range(3):
        value, gradient = value_and_gradient(comp_sum_loss, row(1, 0, -1), [label], tau=tau)
        assert value.item() == pytest.approx(expected[label], abs=6e-7)
        # The gradient is that of cross-entropy times p^(tau - 1).
        p = row(1, 0, -1).softmax(1)
        of_cross_entropy = p - F.one_hot(torch.tensor([label]), 3)
        torch.testing.assert_close(gradient, p[0, label] ** (tau - 1) * of_cross_entropy)
        if 1 < tau <= 2:
            same = generalized_cross_entropy_loss(row(1, 0, -1), [label], q=tau - 1)
            torch.testing.assert_close(same, value)


def test_comp_sum_falls_with_tau_and_passes_through_cross_entropy():
    values = [
        comp_sum_loss(row(1, 0, -1), [1], tau=tau).item() for tau in (0, 0.5, 1 - 1e-9, 1, 1 + 1e-9, 1.5, 3)
    ]
    assert values == sorted(values, reverse=True)
    assert values[2:5] == pytest.approx([1.40760596] * 3, abs=1e-8)


@pytest.mark.parametrize("tau", [0, 0.5, 1, 1.5, 2, 3])
def test_comp_sums_agree_to_first_order_where_the_model_is_right(tau):
    assert comp_sum_loss(row(20, 0), [0], tau=tau).item() == pytest.approx(exp(-20), rel=1e-8)


def risk(logits, q, tau):
    """(n,) what rows of logits cost where labels come with probabilities q."""
    return sum(
        share
        * comp_sum_loss(logits, [label] * len(logits), tau=tau, pairing=losses.Pairing(reduction="none"))
        for label, share in enumerate(q)
    )


def best(q, tau):
    """The least of it, in closed form."""
    if tau == 1:
        return -sum(share * log(share) for share in q)
    if tau == 2:
        return 1 - max(q)
    return (sum(share ** (1 / (2 - tau)) for share in q) ** (2 - tau) - 1) / (1 - tau)


@pytest.mark.parametrize(
    ("tau", "expected"), [(0, 1.896950), (0.5, 1.384594), (1, 1.029653), (1.5, 0.767117)]
)
def test_the_least_risk_is_at_powers_of_the_label_law(tau, expected):
    # The minimizer is a law with shares q^(1 / (2 - tau)).
    q = (0.5, 0.3, 0.2)
    assert best(q, tau) == pytest.approx(expected, abs=6e-7)
    at = row(*q).log() / (2 - tau)
    assert risk(at, q, tau).item() == pytest.approx(expected, abs=6e-7)
    nearby = at + 0.1 * torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert (risk(nearby, q, tau) >= expected - 1e-6).all()


@pytest.mark.parametrize(
    ("tau", "expected"), [(0, 0.133975), (0.5, 0.125628), (1, 0.130812), (1.5, 0.166925), (2, 0.25)]
)
def test_regret_of_the_wrong_one_of_two_classes(tau, expected):
    # The transform of the bound at beta = 0.5, n = 2: q = (0.75, 0.25), and the least wrong prediction is a tie.
    q = (0.75, 0.25)
    assert risk(row(0, 0), q, tau).item() - best(q, tau) == pytest.approx(expected, abs=6e-7)


@pytest.mark.parametrize(("tau", "expected"), [(0, 0.034421), (1, 0.025267), (1.5, 0.032883)])
def test_regret_of_the_second_of_three_classes(tau, expected):
    q = (0.5, 0.3, 0.2)
    third = torch.linspace(-2, 1, 20001, dtype=torch.float64)[:, None]
    tied = torch.cat((torch.zeros(20001, 2, dtype=torch.float64), third), 1)
    assert risk(tied, q, tau).min().item() - best(q, tau) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(("tau", "expected"), [(0, 0.294987), (1, 0.275396), (1.5, 0.308893), (2, 0.300000)])
def test_the_gap_of_predicting_one_thing_for_all(tau, expected):
    # Two rows alike, labels with (0.9, 0.1) and (0.2, 0.8): constants see (0.55, 0.45).  Of tau = 2 all are as good.
    gap = best((0.55, 0.45), tau) - (best((0.9, 0.1), tau) + best((0.2, 0.8), tau)) / 2
    assert gap == pytest.approx(expected, abs=6e-7)


def test_truncated_rows_cost_alike_and_pull_nothing():
    logits = torch.cat((of_probability(0.4, 0.6), of_probability(0.1, 0.9), of_probability(0.8, 0.2)))
    values, gradient = value_and_gradient(
        lambda *a, **k: generalized_cross_entropy_loss(*a, **k).sum(), logits, [0, 0, 0], truncation=0.5,
        pairing=losses.Pairing(reduction="none"),
    )  # fmt: skip
    expected = 2 * (1 - 0.5**0.7) / 0.7 + (1 - 0.8**0.7) / 0.7
    assert values.item() == pytest.approx(expected, rel=1e-12)
    assert not gradient[:2].any()
    assert gradient[2].any()


# The smooth adversarial form


def test_smooth_adversarial_comp_sum():
    # Margins (2, 3) become (1, 2.5): a shift of sqrt(1.25) beside cross-entropy of 0.169846.
    before, after = row(2, 0, -1), row(1.5, 0.5, -1)
    value = smooth_adversarial_comp_sum_loss(before, [0], after, nu=1.0)
    assert value.item() == pytest.approx(0.169846 + 1.118034, abs=1e-6)
    torch.testing.assert_close(smooth_adversarial_comp_sum_loss(before + 5, [0], after - 3, nu=1.0), value)
    for tau in (0.0, 1.0, 1.7):
        alone = smooth_adversarial_comp_sum_loss(before, [0], after, tau=tau, nu=0.0)
        torch.testing.assert_close(alone, comp_sum_loss(before, [0], tau=tau))


def test_smooth_adversarial_equals_plain_loops():
    generator = torch.Generator().manual_seed(0)
    x, moved = torch.randn(2, 6, 4, dtype=torch.float64, generator=generator)
    y = torch.tensor([0, 1, 2, 3, -1, 0])
    for options in ({}, {"tau": 0.5, "rho": 0.3, "nu": 2.0}, {"tau": 2.0, "nu": 0.0}):
        module = losses.SmoothAdversarialCompSumLoss(**options)
        expected = reference.adversarial(x.tolist(), y.tolist(), moved.tolist(), **options)
        assert module(x, y, moved).item() == pytest.approx(expected, rel=1e-12)
    inputs = x.requires_grad_(), moved.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, moved: smooth_adversarial_comp_sum_loss(x, y, moved), inputs)


def test_ascent_on_the_loss_is_the_attack():
    # Of a linear model no shift of a margin inside the ball is larger than at a corner that the gradient points to.
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(2, 3, dtype=torch.float64, generator=generator), row(0.3, -0.2, 0.5)
    logits, moved = x @ weight.T, (x + 1e-3).requires_grad_()
    loss = smooth_adversarial_comp_sum_loss(logits, [0], moved @ weight.T)
    corner = x + 0.1 * torch.autograd.grad(loss, moved)[0].sign()
    corners = x + 0.1 * torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
    each = [smooth_adversarial_comp_sum_loss(logits, [0], c[None] @ weight.T).item() for c in corners]
    assert smooth_adversarial_comp_sum_loss(logits, [0], corner @ weight.T).item() == pytest.approx(max(each))


def test_a_row_that_no_attack_has_moved_has_no_slope_there():
    x = row(2, 0, -1)
    moved = x.clone().requires_grad_()
    smooth_adversarial_comp_sum_loss(x, [0], moved).backward()
    assert not moved.grad.any()


# Symmetric cross-entropy


def test_symmetric_cross_entropy():
    # p = 1/2: 0.1 log 2 + 4 / 2; alone and with A = -2 the reverse is the mean absolute error 2 (1 - p).
    value = symmetric_cross_entropy_loss(row(0, 0), [0])
    assert value.item() == pytest.approx(0.1 * log(2) + 2, rel=1e-12)
    absolute = symmetric_cross_entropy_loss(of_probability(0.7, 0.2, 0.1), [0], alpha=0, log_zero=-2)
    assert absolute.item() == pytest.approx(0.6, rel=1e-12)


# LDR and ALDR.  Values: arXiv:2112.14869, worked numerically from its maxima.


@pytest.mark.parametrize(
    ("temperature", "margin", "expected"),
    [
        (1, 0, -0.691006), (0.5, 0, -0.477840), (10, 0, -0.966694), (1e7, 0, -1.0),
        (1, 0.1, -0.656405), (0.5, 0.1, -0.463310), (10, 0.1, -0.903295), (1e7, 0.1, -0.933333),
    ],
)  # fmt: skip
def test_ldr(temperature, margin, expected):
    value = ldr_loss(row(2, 1, 0), [0], temperature=temperature, margin=margin)
    assert value.item() == pytest.approx(expected, abs=6e-7)
    torch.testing.assert_close(ldr_loss(row(9, 8, 7), [0], temperature=temperature, margin=margin), value)


def test_a_cold_ldr_is_the_multiclass_hinge():
    value = ldr_loss(row(1, 2, 0), [0], temperature=1e-3) + 1e-3 * log(3)
    assert value.item() == pytest.approx(1.1, abs=1e-9)


def test_ldr_lies_between_its_bounds_and_falls_with_its_temperature():
    violations, temperatures = torch.tensor([0, 1.1, -0.9]), [0.01, 0.1, 0.5, 1, 2, 10, 100]
    values = [ldr_loss(row(1, 2, 0), [0], temperature=t).item() for t in temperatures]
    assert values == sorted(values, reverse=True)
    for t, value in zip(temperatures, values, strict=True):
        assert max(violations.mean().item(), 1.1 - t * log(3)) - 1e-6 <= value <= 1.1


def test_the_gradient_of_ldr_is_the_worst_label_law_less_the_label():
    _, gradient = value_and_gradient(ldr_loss, row(1, 2, 0), [0], temperature=2.0)
    worst = (row(0, 1.1, -0.9) / 2).softmax(1)
    torch.testing.assert_close(gradient, worst - row(1, 0, 0))


@pytest.mark.parametrize("normalization", ["softplus", "l1"])
def test_normalized_scores_have_a_mean_size_of_one(normalization):
    # softplus(log(e^k - 1)) is k: both make (1, 2, 3) of mean 2 the scores (0.5, 1, 1.5).
    scores = row(*(log(expm1(k)) for k in (1, 2, 3))) if normalization == "softplus" else row(1, 2, 3)
    for loss in (ldr_loss, aldr_loss):
        value = loss(scores, [1], temperature=10.0, normalization=normalization)
        torch.testing.assert_close(value, loss(row(0.5, 1, 1.5), [1], temperature=10.0))


def test_aldr():
    # f = (1, 2, 0), y = 0, m = 0.1: lambda* = 0.829111, KL = 0.375482.
    reached = reference.adapted([0, 1.1, -0.9], 1.0, 2.0, 60)
    assert [reached[k] for k in (1, 2, 3, 5)] == pytest.approx(
        [0.872191, 0.841583, 0.832848, 0.829454], abs=6e-7
    )
    assert reached[-1] == pytest.approx(1 - 0.375482 / (2 * log(3)), abs=6e-7)
    assert reached[-1] == pytest.approx(0.829111, abs=6e-7)
    value = aldr_loss(row(1, 2, 0), [0], steps=60)
    assert value.item() == pytest.approx(0.408907, abs=6e-7)
    assert aldr_loss(row(1, 2, 0), [0]).item() == pytest.approx(0.408907, abs=3e-5)  # three steps
    grid = [ldr_loss(row(1, 2, 0), [0], temperature=t / 1000).item() - log(3) * (t / 1000 - 1) ** 2
            for t in range(500, 1001)]  # fmt: skip
    assert value.item() == pytest.approx(max(grid), abs=1e-6)


def test_aldr_of_flat_scores_keeps_its_temperature_and_of_sure_ones_has_the_least():
    torch.testing.assert_close(
        aldr_loss(row(1, 1, 1), [0], margin=0.0), ldr_loss(row(1, 1, 1), [0], margin=0.0)
    )
    # lambda = 1/2: 1000 - log(3) / 2 - 2 log(3) / 2 (1/2)^2
    value = aldr_loss(row(0, 1000, 0), [0], margin=0.0)
    assert value.item() == pytest.approx(1000 - 0.75 * log(3), rel=1e-12)


def test_the_gradient_of_aldr_is_exact_at_the_best_temperature():
    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: aldr_loss(x, [0, 1, 2, 3, 0], steps=100), x)


# Numbers of any size, in float32


def of_two(own, other):
    """p and 1 - p of two logits, each with all its digits, and -log p."""
    gap = other - own
    p = exp(-gap) / (1 + exp(-gap)) if gap > 0 else 1 / (1 + exp(gap))
    missed = 1 / (1 + exp(-gap)) if gap > 0 else exp(gap) / (1 + exp(gap))
    return p, missed, gap + log1p(exp(-gap)) if gap > 0 else log1p(exp(gap))


def _steep(p, q, seen):
    return (q / p, -q / p) if seen < 30 else (expm1(30) + exp(30) * (seen - 30), -exp(30) * q)


# Value, and slope of the own logit, dL/dp p (1 - p), from p, 1 - p and -log p.
FORMULAS = {
    "focal": (focal_loss, {}, lambda p, q, seen: (q**2 * seen, -2 * q**2 * p * seen - q**3)),
    "poly": (poly_loss, {}, lambda p, q, seen: (seen + q, -q * (1 + p))),
    "sum-exponential": (comp_sum_loss, {"tau": 0.0}, _steep),
    "cross-entropy": (comp_sum_loss, {}, lambda _, q, seen: (seen, -q)),
    "generalized": (
        generalized_cross_entropy_loss, {}, lambda _, q, seen: (-expm1(-0.7 * seen) / 0.7, -q * exp(-0.7 * seen)),
    ),
    "absolute": (comp_sum_loss, {"tau": 2.0}, lambda p, q, _: (q, -q * p)),
    "symmetric": (
        symmetric_cross_entropy_loss, {}, lambda p, q, seen: (0.1 * seen + 4 * q, -0.1 * q - 4 * q * p),
    ),
}  # fmt: skip


@pytest.mark.parametrize("own", [20.0, -20.0, 60.0, -60.0, 0.5, -0.5, 2.0**-12])
@pytest.mark.parametrize("name", FORMULAS)
def test_digits_stay_where_a_class_is_nearly_sure_or_nearly_out(name, own):
    loss, options, formula = FORMULAS[name]
    expected, slope = formula(*of_two(own, 0.0))
    value, gradient = value_and_gradient(loss, torch.tensor([[own, 0.0]]), [0], **options)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=2e-6, abs=1e-37)
    assert gradient[0].tolist() == pytest.approx([slope, -slope], rel=3e-6, abs=1e-37)


@pytest.mark.parametrize("logits", [[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4], [-1e4, -1e4], [1e4, 9999.0]])
@pytest.mark.parametrize("name", FORMULAS)
def test_huge_logits(name, logits):
    loss, options, formula = FORMULAS[name]
    gap = max(-700.0, min(700.0, logits[1] - logits[0]))
    p, missed, _ = of_two(0.0, gap)
    expected, slope = formula(p, missed, max(logits[1] - logits[0], 0.0) + log1p(exp(-abs(gap))))
    given = torch.tensor([logits]), LinearLogits(torch.ones(1, 1), torch.tensor(logits)[:, None])
    for these in given:
        assert loss(these, [0], **options).item() == pytest.approx(expected, rel=1e-5, abs=1e-37)
    _, gradient = value_and_gradient(loss, given[0], [0], **options)
    assert gradient[0].tolist() == pytest.approx([slope, -slope], rel=1e-5, abs=1e-37)


@over
@pytest.mark.parametrize("scale", [1e4, 1e8, 1e30])
def test_many_huge_logits_stay_finite(loss, scale):
    signs = torch.randn(20, 9, generator=torch.Generator().manual_seed(0)).sign()
    for options in [{}] + [
        {"normalization": kind} for kind in ("softplus", "l1") if loss in (ldr_loss, aldr_loss)
    ]:
        value, gradient = value_and_gradient(loss, scale * signs, [0] * 20, **options)
        assert value.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("logits", [[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4], [1e4, 9999.0]])
@pytest.mark.parametrize("normalization", ["none", "softplus", "l1"])
def test_huge_scores_of_the_worst_case(logits, normalization):
    for loss in (ldr_loss, aldr_loss):
        options = {"normalization": normalization}
        value, gradient = value_and_gradient(loss, torch.tensor([logits]), [0], **options)
        exact, slope = value_and_gradient(loss, torch.tensor([logits], dtype=torch.float64), [0], **options)
        assert value.item() == pytest.approx(exact.item(), rel=1e-6, abs=1e-3)
        torch.testing.assert_close(gradient.double(), slope, rtol=1e-5, atol=1e-6)


# Odd batches, on given logits; the laws have them on a classifier's


@over
def test_given_logits_and_a_classifier_not_computed_yet_are_alike(loss):
    generator = torch.Generator().manual_seed(0)
    shapes = [(6, 5), (7, 5), (7,)]
    leaves = [torch.randn(s, dtype=torch.float64, generator=generator).requires_grad_() for s in shapes]
    y = [0, 6, 3, -1, 2, 2]
    values = [loss(F.linear(*leaves), y), loss(LinearLogits(*leaves), y)]
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad(value, leaves) for value in values))


@over
@pytest.mark.parametrize(
    ("logits", "labels"),
    [(torch.zeros(0, 4), []), (torch.randn(3, 1), [0, 0, 0]), (torch.randn(3, 4), [-1, -1, -1])],
    ids=["no rows", "one class", "nothing labelled"],
)
def test_nothing_to_learn_costs_nothing(loss, logits, labels):
    options = [{}] + [{"normalization": kind} for kind in ("softplus", "l1") if loss in (ldr_loss, aldr_loss)]
    for each in options:
        value, gradient = value_and_gradient(loss, logits, labels, **each)
        assert value == 0
        assert not gradient.any()


@over
def test_nan_in_nan_out(loss):
    value, gradient = value_and_gradient(loss, torch.tensor([[nan, 1.0, 2.0], [0.0, 1.0, 2.0]]), [1, 2])
    assert value.isnan()
    assert gradient[0].isnan().any()
    assert gradient[1].isfinite().all()


@over
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(loss, dtype):
    half = torch.tensor([[3.0, -2.0, 0.5], [0.0, 0.0, 0.0]], dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradient = value_and_gradient(loss, half, [0, 1])
    torch.testing.assert_close(value, loss(half.float(), [0, 1]))
    assert gradient.dtype == dtype


def test_rows_of_zeros_stay_zeros():
    value, gradient = value_and_gradient(ldr_loss, torch.zeros(1, 3), [0], margin=0.0, normalization="l1")
    assert value == 0
    assert gradient.isfinite().all()


def test_only_ldr_has_two_sides():
    for name in ("focal", "poly", "comp-sum", "generalized-cross-entropy", "symmetric-cross-entropy", "aldr"):
        assert named.create(name, width=4, num_classes=3).sides is None
    tightness, contrast = named.create("ldr", width=4, num_classes=3).loss.sides(row(2, 1, 0), [0])
    assert tightness.item() == -2
    assert (tightness + contrast).item() == pytest.approx(-0.656405, abs=6e-7)


# What is refused


@pytest.mark.parametrize(
    ("loss", "module", "options", "message"),
    [
        (focal_loss, losses.FocalLoss, {"gamma": -1}, "gamma must be >= 0, got -1"),
        (focal_loss, losses.FocalLoss, {"alpha": [1, -2, 1]}, "alpha must be >= 0, got -2"),
        (poly_loss, losses.PolyLoss, {"epsilon": -1.5},
         "epsilon must be >= -1, below which the loss rewards mistakes, got -1.5"),
        (poly_loss, losses.PolyLoss, {"gamma": nan}, "gamma must be >= 0, got nan"),
        (comp_sum_loss, losses.CompSumLoss, {"tau": -0.5}, "tau must be >= 0, got -0.5"),
        (generalized_cross_entropy_loss, losses.GeneralizedCrossEntropyLoss, {"q": 0},
         "q must lie in (0, 1], got 0; cross-entropy, q = 0, is comp_sum_loss"),
        (generalized_cross_entropy_loss, losses.GeneralizedCrossEntropyLoss, {"truncation": 1},
         "truncation must lie in [0, 1), got 1"),
        (symmetric_cross_entropy_loss, losses.SymmetricCrossEntropyLoss, {"alpha": -1}, "alpha must be >= 0, got -1"),
        (symmetric_cross_entropy_loss, losses.SymmetricCrossEntropyLoss, {"log_zero": 4.0},
         "log_zero must be < 0, it stands for log 0, got 4.0"),
        (ldr_loss, losses.LDRLoss, {"temperature": 0}, "temperature must be > 0, got 0"),
        (ldr_loss, losses.LDRLoss, {"margin": -1}, "margin must be >= 0, got -1"),
        (ldr_loss, losses.LDRLoss, {"normalization": "l2"},
         "normalization must be one of none, softplus, l1, got 'l2'"),
        (aldr_loss, losses.ALDRLoss, {"alpha": 1}, "alpha must be > 1, or a temperature may be 0, got 1"),
        (aldr_loss, losses.ALDRLoss, {"steps": -1}, "steps must be >= 0, got -1"),
    ],
)  # fmt: skip
def test_options_out_of_range(loss, module, options, message):
    with pytest.raises(InputError) as refused:
        loss(row(1, 2, 3), [0], **options)
    assert str(refused.value) == f"{loss.__name__}: {message}"
    with pytest.raises(InputError) as refused:
        module(**options)
    assert str(refused.value) == f"{module.__name__}: {message}"


def test_factors_of_another_number_of_classes():
    with pytest.raises(
        InputError, match=r"^focal_loss: alpha must have shape \(3,\), a number for each class, got"
    ):
        focal_loss(row(1, 2, 3), [0], alpha=[1, 2])


def test_attacks_that_do_not_fit():
    for function in (smooth_adversarial_comp_sum_loss, losses.SmoothAdversarialCompSumLoss()):
        message = r"perturbed_logits must have shape \(1, 3\) to match logits \(1, 3\), got \(1, 2\)"
        with pytest.raises(InputError, match=message):
            function(row(1, 2, 3), [0], row(1, 2))
    for options, message in (({"rho": 0}, "rho must be > 0, got 0"), ({"nu": -1}, "nu must be >= 0, got -1")):
        with pytest.raises(InputError, match=f"^smooth_adversarial_comp_sum_loss: {message}"):
            smooth_adversarial_comp_sum_loss(row(1, 2), [0], row(1, 2), **options)
        with pytest.raises(InputError, match=f"^SmoothAdversarialCompSumLoss: {message}"):
            losses.SmoothAdversarialCompSumLoss(**options)
