"""A softmax over class weights from two numbers a row: the formula, however its logits are cut into blocks."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch.nn.functional import cross_entropy

from cases import CASES, names
from mimetric import losses
from mimetric.core import class_logits, class_sums
from mimetric.core.class_logits import Kind, log_sums
from mimetric.core.class_sums import ClassSums
from mimetric.losses import Pairing
from strategies import batches

few = settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
KINDS = (
    "normalized-softmax", "cross-entropy-smooth", "center", "cosface", "sphereface", "proxy-nca", "focal", "spce",
    "soft-triple", "proxy-anchor",
)  # fmt: skip
CHOSEN = [case for case in CASES if case.name in KINDS]


@pytest.fixture(params=[0, 1 << 20], ids=["made-again", "kept"])
def cut(monkeypatch, request):
    """Blocks of three classes; logits kept for the way back, or not; none by torch's own softmax."""
    monkeypatch.setattr(class_logits, "_ELEMENTS", 1)
    monkeypatch.setattr(class_logits, "_LEAST_CLASSES", 3)
    monkeypatch.setattr(class_logits, "_KEPT", request.param)
    monkeypatch.setattr(class_sums, "_FEW", 0)
    monkeypatch.setattr(class_sums, "BLOCK_ELEMENTS", 0)


over_cuts = pytest.mark.usefixtures("cut")


def problem(classes=20, bias=True):
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()

    x, weight = random(7, 4), random(classes, 4)
    labels = torch.tensor([0, classes - 1, 3 % classes, -1, 3 % classes, 1 % classes, 0])
    return x, labels, weight, random(classes) if bias else None


@over_cuts
@pytest.mark.parametrize("case", CHOSEN, ids=names)
@few
@given(batch=batches())
def test_value_and_gradient_are_those_of_the_formula(case, batch):
    x, y = batch
    ours, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    weights = [case.weight(x).requires_grad_() for _ in range(2)] if case.classes else []
    value, expected = case(ours, y, *weights[:1]), case.plain(plain, y, *weights[1:])
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    value.backward()
    expected.backward()
    for a, b in [(ours, plain), *([weights] if weights else [])]:
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-7, atol=1e-9)


@over_cuts
@pytest.mark.parametrize("reduction", [None, "anchors", "active", "sum", "none"])
def test_averages_and_weights_are_those_of_the_engine(reduction):
    x, y, weight, _ = problem()
    pairing = Pairing(reduction=reduction, weights=torch.linspace(0, 1, 7, dtype=torch.float64))
    by_engine = Pairing(**vars(pairing) | {"block": 2})

    def gradients(pairing):
        values = losses.cosface_loss(x, y, weight, pairing=pairing)
        tilt = torch.linspace(1, 2, 7, dtype=torch.float64)
        return values, *torch.autograd.grad((values * tilt).sum() if values.ndim else values, (x, weight))

    torch.testing.assert_close(gradients(pairing), gradients(by_engine))
    sides = losses.cosface_loss.sides(x, y, weight, pairing=pairing)
    torch.testing.assert_close(sides, losses.cosface_loss.sides(x, y, weight, pairing=by_engine))


@over_cuts
@pytest.mark.parametrize("classes", [1, 5])
def test_gradcheck_of_all_that_is_learned(classes):
    x, y, weight, bias = problem(classes)
    scale = torch.tensor(4.0, dtype=torch.float64, requires_grad=True)

    def loss(x, weight, bias, scale):
        margin = losses.cosface_loss(x, y, weight, scale=scale)
        return margin + losses.cross_entropy_loss(x, y, weight, bias, label_smoothing=0.1)

    assert torch.autograd.gradcheck(loss, (x, weight, bias, scale))
    assert torch.autograd.gradgradcheck(loss, (x, weight, bias, scale))


@over_cuts
def test_gradcheck_of_centers_and_of_sums_over_rows():
    x, y, weight, _ = problem(classes=6)
    y = y.clamp(max=5)

    def loss(x, weight):
        centers = weight.view(3, 2, 4)
        chosen = losses.soft_triple_loss(x, y % 3, centers, tau=0.0)
        nearest = losses.subcenter_arcface_loss(x, y % 3, centers, scale=4.0)
        return chosen + nearest + losses.proxy_anchor_loss(x, y, weight, alpha=4.0)

    assert torch.autograd.gradcheck(loss, (x, weight), fast_mode=True)
    assert torch.autograd.gradgradcheck(loss, (x, weight), fast_mode=True)


def of_centers(loss):
    """A loss of three centers for each class, of class weights whose columns come in other orders."""
    return lambda x, y, weight, **options: loss(
        x, y, torch.stack([weight.roll(k, 1) for k in range(3)], 1), **options
    )


OTHERS = {
    "squares": losses.p2s_grad_loss,
    "over-rows": losses.proxy_anchor_loss,
    "nearest": losses.subcenter_arcface_loss,
    "chosen": losses.soft_triple_loss,
}


@over_cuts
@pytest.mark.parametrize("reduction", [None, "anchors", "active", "sum", "none"])
@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("classes", [4, 20])  # as many as columns, and more
def test_sums_of_other_kinds_are_those_of_the_engine(kind, classes, reduction):
    x, y, weight, _ = problem(classes)
    of_values, of_sides = OTHERS[kind], OTHERS[kind].sides
    if kind in ("nearest", "chosen"):
        of_values, of_sides = of_centers(of_values), of_centers(of_sides)
    over = classes if kind == "over-rows" else len(x)

    def found(y, **options):
        pairing = Pairing(reduction=reduction, **options)
        values = (of_values(x, y, weight, pairing=pairing), *of_sides(x, y, weight, pairing=pairing))
        tilt = torch.linspace(1, 2, over, dtype=torch.float64)
        sums = [(value * tilt).sum() if value.ndim else value for value in values]
        return [(value, *torch.autograd.grad(value, (x, weight), retain_graph=True)) for value in sums]

    for weights in (None, torch.linspace(0, 0.1, over, dtype=torch.float64)):
        for labels in (y, y.clamp(min=0)):  # with an unlabelled row, and without
            expected = found(labels, weights=weights, block=2)
            torch.testing.assert_close(found(labels, weights=weights), expected)


def test_far_apart_logits_are_those_of_the_engine_in_single_precision():
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, 8, generator=generator).requires_grad_() for n in (40, 30))
    y = torch.arange(40) % 10

    def found(**options):
        values = [
            losses.soft_triple_loss(x, y, weight.view(10, 3, 8), gamma=0.002, scale=200.0, **options),
            losses.normalized_softmax_loss(x, y, weight, temperature=0.002, **options),
            losses.proxy_anchor_loss(x, y, weight, alpha=300.0, **options),
            losses.proxy_anchor_loss(x, y, weight, alpha=60.0, **options),
        ]
        return [(value, *torch.autograd.grad(value, (x, weight))) for value in values]

    torch.testing.assert_close(found(), found(pairing=Pairing(block=7)), rtol=1e-3, atol=1e-3)


def test_what_is_kept_for_the_way_back_is_freed_with_the_value():
    x, y, weight, _ = problem()
    gone = []
    value = log_sums(x, y.clamp(min=0), weight, Kind())[0]
    weakref.finalize(value.grad_fn, gone.append, True)
    gc.disable()  # by counting alone
    try:
        del value
        assert gone
    finally:
        gc.enable()


def test_a_similarity_that_is_its_own_changes_nothing():
    x, y, weight, _ = problem()
    for block in (None, 2):
        named = losses.normalized_softmax_loss(
            x, y, weight, pairing=Pairing(similarity="cosine", block=block)
        )
        torch.testing.assert_close(named, losses.normalized_softmax_loss(x, y, weight))


@over_cuts
def test_backward_twice_is_the_same():
    x, y, weight, _ = problem()
    value = losses.arcface_loss(x, y, weight)
    first = torch.autograd.grad(value, (x, weight), retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(value, (x, weight)), first, rtol=0, atol=0)


@over_cuts
def test_what_is_not_learned_has_no_gradient():
    x, y, weight, _ = problem()
    fixed = x.detach()
    losses.arcface_loss(fixed, y, weight).backward()
    assert fixed.grad is None
    whole = losses.arcface_loss(fixed, y, weight.detach().requires_grad_(), pairing=Pairing(block=2))
    torch.testing.assert_close(losses.arcface_loss(fixed, y, weight), whole)
    assert weight.grad.any()


@over_cuts
def test_far_apart_logits_stay_those_of_torch():
    x, y, weight, bias = (t.float() if t.is_floating_point() else t for t in problem())
    x, y, weight = (300 * x).detach().requires_grad_(), y.clamp(min=0), weight.detach().requires_grad_()
    ours = losses.cross_entropy_loss(x, y, weight, bias.detach())
    torch_s = cross_entropy(torch.nn.functional.linear(x, weight, bias.detach()), y)
    torch.testing.assert_close(ours, torch_s)
    torch.testing.assert_close(
        torch.autograd.grad(ours, (x, weight)), torch.autograd.grad(torch_s, (x, weight))
    )


@over_cuts
def test_zero_rows_and_zero_weights_have_no_gradient():
    x, y, weight, _ = (None if t is None else t.detach().clone() for t in problem(bias=False))
    x[0], weight[3], weight[5] = 0, 0, 0
    x.requires_grad_()
    weight.requires_grad_()
    losses.normalized_softmax_loss(x, y, weight).backward()
    assert not x.grad[0].any()
    assert not weight.grad[[3, 5]].any()
    assert x.grad.isfinite().all()
    assert weight.grad.isfinite().all()


@over_cuts
def test_nan_in_nan_out():
    x, y, weight, _ = problem()
    spoiled = torch.cat((x.detach()[:6], torch.full((1, 4), torch.nan, dtype=torch.float64)))
    assert losses.arcface_loss(spoiled, y, weight).isnan()


def test_what_the_engine_alone_can_do_goes_there(monkeypatch):
    asked = []
    general = ClassSums.general
    monkeypatch.setattr(ClassSums, "general", lambda self: asked.append(self.where) or general(self))
    x, y, weight, bias = problem()
    losses.cross_entropy_loss(x, y, weight, bias)
    assert not asked
    losses.cross_entropy_loss(x, y, weight, bias, pairing=Pairing(block=2))
    assert losses.cross_entropy_loss(x[:0], y[:0], weight, bias) == 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses.cross_entropy_loss(x.float(), y, weight.float(), bias.float())
        losses.arcface_loss(x.float(), y, weight.float())  # too steep for it
    assert asked == ["cross_entropy_loss"] * 3
