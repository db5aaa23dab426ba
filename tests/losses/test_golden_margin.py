"""Margin losses: values by hand, the authors' code beside ours, states, and what the family promises."""

from __future__ import annotations

from functools import partial
from math import cos, exp, log, pi, sin, sqrt

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import nn

import reference_margin
from mimetric import catalog, losses, named
from mimetric.core.errors import InputError
from mimetric.losses import Pairing
from strategies import batches

# Cosines 1, 0.6 and 0, 0.8 of the rows to the class weights, lengths 2 and 1.
ROWS = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
WEIGHT = torch.tensor([[3.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
CLASSES = torch.tensor([0, 1])


def softmax(own, other):
    return log(1 + exp(other - own))


def value(loss, *args, **options):
    return loss(ROWS, CLASSES, WEIGHT, *args, **options).item()


def test_cosface():
    expected = (softmax(2 * (1 - 0.35), 2 * 0.6) + softmax(2 * (0.8 - 0.35), 0)) / 2
    assert value(losses.cosface_loss, scale=2) == pytest.approx(expected)
    tightness, _ = losses.cosface_loss.sides(ROWS, CLASSES, WEIGHT, scale=2)
    assert tightness.item() == pytest.approx(-(2 * 0.65 + 2 * 0.45) / 2)


def test_arcface():
    # cos(0 + 0.5), and cos(arccos 0.8 + 0.5) = 0.8 cos 0.5 - 0.6 sin 0.5.
    expected = (softmax(cos(0.5), 0.6) + softmax(0.8 * cos(0.5) - 0.6 * sin(0.5), 0)) / 2
    assert value(losses.arcface_loss, scale=1) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("beyond", "logit"),
    [("linear", cos(3) - 0.5 * sin(0.5)), ("cosine", cos(3.5)), ("easy", cos(3))],
)
def test_arcface_past_pi(beyond, logit):
    x, weight = torch.tensor([[cos(3), sin(3)]], dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    loss = losses.arcface_loss(x, [0], weight, scale=1, beyond=beyond)
    assert loss.item() == pytest.approx(softmax(logit, sin(3)))


@pytest.mark.parametrize(("beyond", "easy"), [("linear", False), ("easy", True)])
def test_arcface_is_the_authors_code(beyond, easy):
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, 5, dtype=torch.float64, generator=generator) for n in (40, 4))
    x[:4] = -weight + 0.1 * x[:4]  # past pi - m
    y = torch.arange(40) % 4
    rows, classes = (t.clone().requires_grad_() for t in (x, weight))
    logits = F.normalize(rows) @ F.normalize(classes).T
    own = logits[torch.arange(40), y]
    added = own * cos(0.5) - (1 - own.square()).sqrt() * sin(0.5)
    kept, threshold = (own, 0) if easy else (own - sin(pi - 0.5) * 0.5, cos(pi - 0.5))
    logits = logits.index_put((torch.arange(40), y), torch.where(own > threshold, added, kept))
    theirs = F.cross_entropy(64 * logits, y)
    a, b = (t.clone().requires_grad_() for t in (x, weight))
    ours = losses.arcface_loss(a, y, b, beyond=beyond)
    torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-7)
    expected = torch.autograd.grad(theirs, (rows, classes))
    torch.testing.assert_close(torch.autograd.grad(ours, (a, b)), expected, atol=1e-6, rtol=1e-6)


def test_arcface_straight_through_is_the_gradient_of_code_that_takes_angles():
    # Angles, the margin and cosines again under no_grad, in place, so that autograd sees the scale alone.
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, 5, dtype=torch.float64, generator=generator) for n in (8, 4))
    y = torch.arange(8) % 4
    rows, classes = (t.clone().requires_grad_() for t in (x, weight))
    logits = F.normalize(rows) @ F.normalize(classes).T
    with torch.no_grad():
        logits.arccos_()
        logits[torch.arange(8), y] += 0.5
        logits.cos_()
    theirs = F.cross_entropy(64 * logits, y)
    expected = torch.autograd.grad(theirs, (rows, classes))
    a, b = (t.clone().requires_grad_() for t in (x, weight))
    ours = losses.arcface_loss(a, y, b, beyond="cosine", grad="straight-through")
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(torch.autograd.grad(ours, (a, b)), expected)


def test_multiplied_margins():
    # Angles 0 and arccos 0.8; cos 2 t = 2 * 0.64 - 1, still above k = 0 as t < pi / 2.
    psi = 2 * 0.64 - 1
    sphere = (softmax(2.0, 2 * 0.6) + softmax(psi, 0)) / 2
    assert value(losses.sphereface_loss, margin=2) == pytest.approx(sphere)
    large = (softmax(2 * 3.0, 2 * 0.6) + softmax(psi, 0)) / 2
    assert value(losses.large_margin_softmax_loss, margin=2) == pytest.approx(large)
    annealed = (softmax(2 * 3.0, 2 * 0.6) + softmax((5 * 0.8 + psi) / 6, 0)) / 2
    assert value(losses.large_margin_softmax_loss, margin=2, lam=5) == pytest.approx(annealed)
    plain = losses.cross_entropy_loss(ROWS, CLASSES, WEIGHT).item()
    assert value(losses.large_margin_softmax_loss, margin=1) == pytest.approx(plain)
    lam = torch.tensor(1e9)
    objective = losses.LargeMarginSoftmaxLoss(2, 2, lam=lam).double()
    objective.load_state_dict({"weight": WEIGHT})
    assert objective(ROWS, CLASSES).item() == pytest.approx(plain)
    lam.zero_()  # lowered between steps
    assert objective(ROWS, CLASSES).item() == pytest.approx(value(losses.large_margin_softmax_loss))


def test_a_multiplied_margin_falls_all_the_way():
    angles = torch.linspace(0, pi, 200, dtype=torch.float64)
    x = torch.stack((angles.cos(), angles.sin()), dim=1)
    weight = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    none = Pairing(reduction="none")
    for margin in (1, 2, 3, 4, 5):
        body = losses.sphereface_loss
        tightness, _ = body.sides(x, torch.zeros(200).long(), weight, margin=margin, pairing=none)
        assert (tightness.diff() > 0).all()
        assert [-tightness[0].item(), -tightness[-1].item()] == pytest.approx([1, 1 - 2 * margin])


def test_magface():
    # Lengths 2 and 1 held within 1.25..3.25: 2 and 1.25, margins 0.45 + 0.35 * 0.375 and 0.45.
    options = {"low_norm": 1.25, "high_norm": 3.25, "norm_weight": 4.0, "scale": 1.0}
    first, second = 0.45 + 0.35 * 0.375, 0.45
    reward = 4 * (1 / 2 + 2 / 3.25**2 + 1 / 1.25 + 1.25 / 3.25**2) / 2
    expected = softmax(cos(first), 0.6) + softmax(0.8 * cos(second) - 0.6 * sin(second), 0)
    assert value(losses.magface_loss, **options) == pytest.approx(expected / 2 + reward)


def test_adaface():
    # Lengths 2 and 1: mean 1.5, standard deviation 1 / sqrt 2, both z = +-h / sqrt 2 but for the 0.001.
    z = 0.333 * 0.5 / (sqrt(0.5) + 0.001)
    first = 1.0 - 0.4 * (1 + z)  # an angle of 0 less 0.4 z stays 0
    second = 0.8 * cos(0.4 * z) - 0.6 * sin(0.4 * z) - 0.4 * (1 - z)
    expected = (softmax(first, 0.6) + softmax(second, 0)) / 2
    assert value(losses.adaface_loss, scale=1) == pytest.approx(expected)


def test_adaface_at_the_far_end():
    # The short row is at angle 3.1 of its class, and 0.4 z = -0.27: past π, where it stays.
    x = torch.tensor([[cos(3.1), sin(3.1)], [0.0, 9.0]], dtype=torch.float64)
    tightness, _ = losses.adaface_loss.sides(
        x, [0, 1], torch.eye(2).double(), concentration=0.95, scale=1, pairing=Pairing(reduction="none")
    )
    z = 0.95 * 4 / (sqrt(32) + 0.001)
    assert tightness[0].item() == pytest.approx(1 + 0.4 * (1 - z))


def test_curricularface():
    # At m = 1 both other classes are hard: 0.6 > cos 1 = 0.54, and 0 > cos(arccos 0.8 + 1) = -0.07.
    first = softmax(cos(1), 0.6 * (0.2 + 0.6))
    second = softmax(0.8 * cos(1) - 0.6 * sin(1), 0.0)
    held = value(losses.curricularface_loss, 0.2, margin=1.0, scale=1, momentum=0.0)
    assert held == pytest.approx((first + second) / 2)
    moved = value(losses.curricularface_loss, 0.2, margin=1.0, scale=1, momentum=0.5)
    level = 0.5 * 0.2 + 0.5 * 0.9  # the mean of 1 and 0.8
    first = softmax(cos(1), 0.6 * (level + 0.6))
    assert moved == pytest.approx((first + second) / 2)
    # At m = 0.5 that of row 0 is easy, 0.6 < cos 0.5 = 0.88.
    first, second = softmax(cos(0.5), 0.6), softmax(0.8 * cos(0.5) - 0.6 * sin(0.5), 0.0)
    assert value(losses.curricularface_loss, 0.2, scale=1) == pytest.approx((first + second) / 2)


def test_margins_of_classes():
    each = value(losses.cosface_loss, margin=torch.tensor([0.1, 0.3], dtype=torch.float64), scale=2)
    assert each == pytest.approx((softmax(2 * 0.9, 2 * 0.6) + softmax(2 * 0.5, 0)) / 2)


NUMBERS = [
    (losses.cosface_loss, {"margin": 0.3, "scale": 4.0}),
    (losses.cosface_loss, {"margin": [0.1, 0.2, 0.4], "scale": 4.0}),
    (losses.arcface_loss, {"margin": 0.3, "scale": 4.0}),
    (partial(losses.arcface_loss, beyond="cosine"), {"margin": [0.1, 0.2, 0.4], "scale": 4.0}),
    (losses.subcenter_arcface_loss, {"margin": [0.1, 0.2, 0.4], "scale": 4.0}),
    (losses.proxy_nca_loss, {"temperature": 0.5}),
    (partial(losses.proxy_nca_loss, denominator="all"), {"temperature": 0.5}),
]


@pytest.mark.parametrize(("loss", "numbers"), NUMBERS)
def test_learned_numbers_have_exact_gradients(loss, numbers):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(7, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    shape = (3, 2, 4) if loss is losses.subcenter_arcface_loss else (3, 4)
    weight = torch.randn(shape, dtype=torch.float64, generator=generator, requires_grad=True)
    y = torch.tensor([0, 1, 2, 0, 1, 2, -1])
    given = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in numbers.values()]

    def function(x, weight, *values):
        return loss(x, y, weight, **dict(zip(numbers, values)), pairing=Pairing(block=3))

    assert torch.autograd.gradcheck(function, (x, weight, *given))
    assert torch.autograd.gradgradcheck(function, (x, weight, *given), fast_mode=True)


def test_a_parameter_given_for_an_option_is_learned():
    margin, scale = nn.Parameter(torch.tensor([0.1, 0.2, 0.3])), nn.Parameter(torch.tensor(8.0))
    objective = losses.ArcFaceLoss(4, 3, margin=margin, scale=scale)
    assert set(objective.state_dict()) == {"weight", "margin", "scale"}
    objective(torch.randn(6, 4), torch.arange(6) % 3).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())
    assert scale.grad is not None
    assert not list(losses.ArcFaceLoss(4, 3, margin=torch.tensor(0.1)).named_parameters())[1:]


def of_sides(name, **options):
    return getattr(losses, f"{name}_loss"), getattr(reference_margin, name), options


@pytest.mark.parametrize(
    ("loss", "loops", "options"),
    [
        of_sides("arcface", beyond="cosine"),
        of_sides("arcface", beyond="easy", margin=1.2),
        of_sides("large_margin_softmax"),
        of_sides("magface"),
        of_sides("adaface"),
        of_sides("curricularface"),
        of_sides("proxy_nca", temperature=1 / 9, denominator="all"),
        of_sides("proxy_anchor", margin=0.3, alpha=5.0),
    ],
)
@given(batch=batches())
@settings(max_examples=15)
def test_other_options_equal_plain_loops(loss, loops, options, batch):
    x, y = batch
    weight = torch.randn(101, x.shape[1], dtype=x.dtype, generator=torch.Generator().manual_seed(3))
    tightness, contrast = loss.sides(x, y, weight, **options)
    expected = loops(x.tolist(), y.tolist(), weight.tolist(), **options)
    assert (tightness.item(), contrast.item()) == pytest.approx(expected, rel=1e-6, abs=1e-6)


# What all losses over class weights promise.

NAMES = [
    "cosface", "arcface", "arcface:grad=straight-through", "arcface:beyond=cosine", "arcface:beyond=easy",
    "large-margin-softmax", "sphereface", "sphereface:lam=5", "magface", "adaface", "curricularface", "soft-triple",
    "subcenter-arcface", "proxy-nca", "proxy-nca:temperature=0.1111,denominator=all", "proxy-anchor",
]  # fmt: skip
family = pytest.mark.parametrize("name", NAMES)


def made(name, num_classes=5):
    torch.manual_seed(0)
    return named.create(name, width=4, num_classes=num_classes)


def weight_of(objective):
    return next(p for p in objective.parameters() if p.ndim > 1)


def test_the_names_are_all_there_are():
    files = {"margin", "multiplied_margin", "adaptive_margin", "proxies", "subcenters"}
    found = {n for n, e in catalog.entries().items() if e.module.__module__.rpartition(".")[2] in files}
    assert found == {name.partition(":")[0] for name in NAMES}


@family
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_on_its_class_weight_or_opposite_has_a_finite_gradient(name, dtype):
    objective = made(name).to(dtype)
    weight = weight_of(objective)
    first = weight.detach().flatten(0, -2)[:: weight.shape[:-1].numel() // 5]  # one row a class
    x = torch.cat((first, -first, 30 * first, torch.zeros(1, 4, dtype=dtype))).requires_grad_()
    y = torch.tensor([*range(5)] * 3 + [0])
    loss = objective(x, y)
    loss.backward()
    assert loss.isfinite()
    for grad in (x.grad, weight.grad):
        assert grad.isfinite().all()
        assert grad.abs().max() < 1e3


@family
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_leave_parameters_as_they_are(name, dtype):
    x, y = torch.randn(6, 4), torch.arange(6) % 5
    for autocast in (False, True):
        objective = made(name)
        before = {key: value.dtype for key, value in objective.state_dict().items()}
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            objective(x.to(dtype), y).backward()
        assert {key: value.dtype for key, value in objective.state_dict().items()} == before
        assert all(p.grad.dtype == torch.float32 for p in objective.parameters())
    half = made(name).to(dtype)
    half(x.to(dtype), y).backward()
    assert all(p.dtype == p.grad.dtype == dtype for p in half.parameters())


@family
def test_class_weights_and_state_load_and_save(name):
    x, y = torch.randn(9, 4), torch.arange(9) % 5
    first = made(name)
    first(x, y)
    torch.manual_seed(1)
    second = named.create(name, width=4, num_classes=5)
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(second.eval()(x, y), first.eval()(x, y))


@family
def test_refuses_references_and_names_what_is_wrong(name):
    objective, x = made(name), torch.randn(3, 4)
    with pytest.raises(InputError, match="takes no references"):
        objective(x, [0, 1, 2], x, [0, 1, 2])
    with pytest.raises(InputError, match=r"labels must lie in 0..4 \(or be -1, unlabelled\), got 5"):
        objective(x, [0, 1, 5])
    with pytest.raises(InputError, match="must have"):
        objective(torch.randn(3, 5), [0, 1, 2])


@pytest.mark.parametrize(("name", "state"), [("adaface", "norms"), ("curricularface", "level")])
def test_states_move_in_training_alone(name, state):
    objective = made(name)
    x, y = torch.randn(6, 4), torch.arange(6) % 5
    objective.eval()(x, y)
    objective.sides(x, y)
    assert not getattr(objective, state).any()
    objective.train()(x, y)
    moved = getattr(objective, state).clone()
    assert moved.any()
    objective(x * torch.nan, y)
    assert torch.equal(getattr(objective, state), moved)  # a lost batch leaves no trace


def test_adaface_keeps_mean_and_spread_of_lengths():
    objective = losses.AdaFaceLoss(4, 5, momentum=0.25)
    x, y = torch.randn(6, 4), torch.arange(6) % 5
    lengths = x.norm(dim=1)
    objective(x, y)
    first = torch.stack((lengths.mean(), lengths.std()))
    torch.testing.assert_close(objective.norms, first)
    objective(3 * x, y)
    torch.testing.assert_close(objective.norms, 0.75 * first + 0.25 * 3 * first)
    before = objective.norms.clone()
    objective(x[:1], y[:1])
    assert torch.equal(objective.norms, before)


def test_curricularface_keeps_the_mean_cosine_of_labelled_rows():
    objective = losses.CurricularFaceLoss(4, 5, momentum=0.25)
    x, y = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, -1, -1])
    objective(x, y)
    cosines = F.cosine_similarity(x[:4], objective.weight[:4])
    torch.testing.assert_close(objective.level, 0.25 * cosines.mean().detach())
    before = objective.level.clone()
    objective(x, torch.full((6,), -1))
    assert torch.equal(objective.level, before)


MISTAKES = [
    (losses.cosface_loss, {"scale": 0.0}, "scale must be > 0, got 0.0"),
    (losses.cosface_loss, {"margin": torch.zeros(3)}, r"margin must be a number or have shape \(2,\)"),
    (losses.cosface_loss, {"pairing": Pairing(similarity="dot")}, "takes no similarity"),
    (losses.arcface_loss, {"beyond": "flat"}, "beyond must be one of linear, cosine, easy, got 'flat'"),
    (losses.arcface_loss, {"grad": "none"}, "grad must be one of exact, straight-through"),
    (losses.sphereface_loss, {"margin": 1.5}, "margin must be a whole number >= 1, got 1.5"),
    (losses.large_margin_softmax_loss, {"lam": -1.0}, "lam must be >= 0, got -1.0"),
    (losses.magface_loss, {"low_norm": 0.0}, "low_norm must be > 0"),
    (losses.magface_loss, {"high_norm": 5.0}, "high_norm must be > low_norm = 10.0, got 5.0"),
    (losses.magface_loss, {"norm_weight": -1.0}, "norm_weight must be >= 0"),
    (losses.adaface_loss, {"momentum": 2.0}, r"momentum must lie in \[0, 1\], got 2.0"),
    (losses.adaface_loss, {"norms": [1.0]}, r"norms must have shape \(2,\), got \(1,\)"),
    (losses.curricularface_loss, {"level": [1.0]}, r"level must have shape \(\), got \(1,\)"),
]


@pytest.mark.parametrize(("loss", "options", "message"), MISTAKES)
def test_mistakes(loss, options, message):
    with pytest.raises(InputError, match=f"{loss.__name__}: {message}"):
        loss(ROWS, CLASSES, WEIGHT, **options)
