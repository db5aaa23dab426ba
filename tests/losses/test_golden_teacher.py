"""Distillation from a teacher's logits: values worked by hand or with their source, and published formulas."""

from __future__ import annotations

import inspect
from math import log, log1p

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_teacher as reference
from mimetric import losses
from mimetric.core.errors import InputError
from mimetric.losses import (
    LinearLogits,
    Pairing,
    correlation_distillation_loss,
    decoupled_distillation_loss,
    plackett_luce_distillation_loss,
    soft_target_loss,
)
from strategies import rows

TEACHER = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64)
FLAT = torch.zeros(1, 3, dtype=torch.float64)
STUDENT = torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64)
TAUGHT = [
    losses.SoftTargetLoss(), losses.SoftTargetLoss(label_weight=0.5), losses.DecoupledDistillationLoss(),
    losses.PlackettLuceDistillationLoss(), losses.CorrelationDistillationLoss(),
]  # fmt: skip
few = settings(max_examples=12)


@st.composite
def lessons(draw):
    """Logits of a student and a teacher, and labels."""
    n, classes = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    y = draw(st.lists(st.integers(-1, classes - 1), min_size=n, max_size=n))
    return draw(rows(n, classes)), draw(rows(n, classes)), torch.tensor(y)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# Plackett-Luce distillation: the step weights are (.665241, .244728, .090031), each at its place.


@pytest.mark.parametrize(
    ("student", "label", "expected"),
    [
        (FLAT, 0, 0.900475), (FLAT, 1, 0.729972), (FLAT, 2, 0.560019),  # alpha_1 log 3 + alpha_2 log 2
        (STUDENT, 0, 0.347820), (STUDENT, 1, 0.428919), (STUDENT, 2, 0.425153),
    ],
)  # fmt: skip
def test_plackett_luce(student, label, expected):
    assert plackett_luce_distillation_loss(student, TEACHER, [label]).item() == pytest.approx(
        expected, abs=1e-6
    )
    shifted = plackett_luce_distillation_loss(student - 7, TEACHER + 3, [label])
    assert shifted.item() == pytest.approx(expected, abs=1e-6)


def test_plackett_luce_has_the_gradient_of_its_paper():
    student = torch.tensor([[0.3, -0.2, 0.5]], dtype=torch.float64, requires_grad=True)
    value = plackett_luce_distillation_loss(student, TEACHER, [1])
    value.backward()
    assert value.item() == pytest.approx(0.907725, abs=1e-6)
    expected = torch.tensor([[-0.279232, -0.192239, 0.471472]], dtype=torch.float64)
    torch.testing.assert_close(student.grad, expected, rtol=0, atol=1e-6)
    assert student.grad.sum().item() == pytest.approx(0, abs=1e-12)


def test_a_sure_teacher_makes_it_cross_entropy_and_a_wrong_one_takes_the_label_away():
    sure = torch.tensor([[20.0, 0.0, 0.0]], dtype=torch.float64)
    entropy = F.cross_entropy(STUDENT, torch.tensor([0])).item()
    assert plackett_luce_distillation_loss(STUDENT, sure, [0]).item() == pytest.approx(entropy, abs=1e-8)
    # Class 0 against class 1: log(1 + 1/e).
    wrong = plackett_luce_distillation_loss(STUDENT, sure, [2])
    assert wrong.item() == pytest.approx(log1p(1 / torch.e), abs=1e-7)
    held = plackett_luce_distillation_loss(STUDENT, sure, [2], label_floor=0.5)
    own = F.cross_entropy(STUDENT, torch.tensor([2])).item()
    assert (held - wrong).item() == pytest.approx(0.5 * own, abs=1e-7)


def test_temperature_of_the_teacher():
    student, teacher, labels = random(6, 5), random(6, 5, seed=1), torch.tensor([0, 1, 2, 3, 4, 0])
    flat = plackett_luce_distillation_loss(student, teacher, labels, teacher_temperature=1e9)
    alike = plackett_luce_distillation_loss(student, teacher * 1e-9, labels)
    # The same ranking, places alike: ListMLE over C.
    order = teacher.scatter(1, labels[:, None], torch.inf).argsort(1, descending=True)
    ranked = student.gather(1, order)
    chosen = sum(F.cross_entropy(ranked[:, k:], torch.zeros(6, dtype=torch.int64)) for k in range(5)) / 5
    torch.testing.assert_close(flat, chosen)
    torch.testing.assert_close(alike, chosen)
    sharp = plackett_luce_distillation_loss(student, teacher, teacher.argmax(1), teacher_temperature=1e-4)
    torch.testing.assert_close(sharp, F.cross_entropy(student, teacher.argmax(1)))


def test_two_classes_are_cross_entropy_times_the_share_of_the_label():
    student, teacher, labels = random(8, 2), random(8, 2, seed=1), torch.arange(8) % 2
    share = teacher.softmax(1).gather(1, labels[:, None])[:, 0]
    expected = (share * F.cross_entropy(student, labels, reduction="none")).mean()
    torch.testing.assert_close(plackett_luce_distillation_loss(student, teacher, labels), expected)


def test_classes_have_no_order_and_the_loss_is_convex():
    x, z, teacher, labels = random(6, 5), random(6, 5, seed=2), random(6, 5, seed=1), torch.arange(6) % 5
    order = torch.tensor([3, 0, 4, 1, 2])
    named = plackett_luce_distillation_loss(x[:, order], teacher[:, order], order.argsort()[labels])
    value = plackett_luce_distillation_loss(x, teacher, labels)
    torch.testing.assert_close(named, value)
    middle = plackett_luce_distillation_loss((x + z) / 2, teacher, labels)
    assert middle <= (value + plackett_luce_distillation_loss(z, teacher, labels)) / 2


# Soft targets.


@given(lesson=lessons(), temperature=st.sampled_from([0.5, 1.0, 4.0]))
@few
def test_soft_targets_are_kl_div_of_torch(lesson, temperature):
    student, teacher, _ = lesson
    log_p, log_q = ((x / temperature).log_softmax(1) for x in (student, teacher))
    expected = temperature**2 * F.kl_div(log_p, log_q, log_target=True, reduction="batchmean")
    found = soft_target_loss(student, teacher, temperature=temperature)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-9)
    as_scores = losses.kl_distillation_loss(  # dot products with the unit vectors are the logits
        student, *_unit_candidates(student), teacher, temperature=temperature
    )
    torch.testing.assert_close(found, as_scores, atol=1e-12, rtol=1e-9)


def _unit_candidates(student):
    n, classes = student.shape
    units = torch.eye(classes, dtype=student.dtype).expand(n, classes, classes)
    return units[:, 0], units[:, 1:]


def test_soft_targets_by_hand():
    # q = (3/4, 1/4), p = (1/2, 1/2): 3/4 log 3/2 + 1/4 log 1/2; at T = 2 on logits twice as large, 4 times that.
    teacher = torch.tensor([[log(3), 0.0]], dtype=torch.float64)
    student = torch.zeros(1, 2, dtype=torch.float64)
    divergence = 0.75 * log(1.5) + 0.25 * log(0.5)
    assert soft_target_loss(student, teacher, temperature=1.0).item() == pytest.approx(divergence)
    assert soft_target_loss(student, 2 * teacher, temperature=2.0).item() == pytest.approx(4 * divergence)
    mixed = soft_target_loss(student, teacher, [0], temperature=1.0, label_weight=0.25)
    assert mixed.item() == pytest.approx(0.75 * divergence + 0.25 * log(2))


def test_a_row_without_a_label_has_its_teacher_alone():
    student, teacher = random(4, 3), random(4, 3, seed=1)
    labelled = soft_target_loss(student, teacher, [-1] * 4, label_weight=0.25)
    torch.testing.assert_close(labelled, 0.75 * soft_target_loss(student, teacher))
    with pytest.raises(
        InputError, match=r"^soft_target_loss: labels must be given where label_weight is > 0"
    ):
        soft_target_loss(student, teacher, label_weight=0.1)
    with pytest.raises(InputError, match=r"^soft_target_loss: labels must lie in 0..2 "):
        soft_target_loss(student, teacher, [0, 1, 2, 3], label_weight=0.1)


# Decoupled distillation.


@given(lesson=lessons())
@few
def test_decoupled_distillation_is_the_formula_of_its_authors(lesson):
    student, teacher, y = lesson
    y = y.clamp(min=0)
    own = F.one_hot(y, student.shape[1]).to(torch.float64)
    t, alpha, beta = 4.0, 1.0, 8.0

    def parts(logits):  # theirs leaves a row's own class to 1000 less, which is 0 by rounding
        p = (logits / t).softmax(1)
        of_label = (p * own).sum(1)
        return torch.stack((of_label, (p * (1 - own)).sum(1)), 1), (logits / t - 1000 * own).log_softmax(1)

    (p, rest_p), (q, rest_q) = parts(student), parts(teacher)
    target = F.kl_div(p.log(), q, reduction="sum") if student.shape[1] > 1 else 0
    others = F.kl_div(rest_p, rest_q.exp(), reduction="sum")
    expected = (alpha * target + beta * others) * t**2 / len(y)
    assert decoupled_distillation_loss(student, teacher, y).item() == pytest.approx(float(expected), abs=1e-9)


def test_soft_targets_are_decoupled_distillation_with_the_weight_of_the_others():
    # Their equation 7: KD = TCKD + (1 - q_y) NCKD.
    student, teacher = random(1, 5), random(1, 5, seed=1)
    rest = 1 - (teacher / 2).softmax(1)[0, 3].item()
    found = decoupled_distillation_loss(student, teacher, [3], others_weight=rest, temperature=2.0)
    torch.testing.assert_close(found, soft_target_loss(student, teacher, temperature=2.0))


# Correlations.


def theirs(student, teacher, beta, gamma, tau, eps=1e-8):
    """DIST as its authors' code has it."""

    def relation(a, b):
        a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
        return 1 - ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + eps)).mean()

    p, q = (student / tau).softmax(1), (teacher / tau).softmax(1)
    return tau**2 * (beta * relation(p, q) + gamma * relation(p.T, q.T))


def test_correlations_are_those_of_their_authors_but_for_epsilon():
    student, teacher = random(12, 5).requires_grad_(), random(12, 5, seed=1)
    found = correlation_distillation_loss(student, teacher, inter=2.0, intra=0.5, temperature=3.0)
    expected = theirs(student, teacher, 2.0, 0.5, 3.0)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    of_found, of_expected = (torch.autograd.grad(value, student)[0] for value in (found, expected))
    torch.testing.assert_close(of_found, of_expected, rtol=1e-4, atol=1e-5)
    assert correlation_distillation_loss(teacher, teacher).item() == pytest.approx(0, abs=1e-12)


@given(lesson=lessons())
@few
def test_correlations_equal_plain_loops(lesson):
    student, teacher, _ = lesson
    expected = reference.correlated(student.tolist(), teacher.tolist())
    assert correlation_distillation_loss(student, teacher).item() == pytest.approx(expected, abs=1e-6)


def test_correlations_gradcheck():
    teacher = random(5, 4, seed=1)
    assert torch.autograd.gradcheck(
        lambda x: correlation_distillation_loss(x, teacher), random(5, 4).requires_grad_()
    )


def test_what_is_constant_correlates_with_nothing():
    """Rounding of equal rows does not grow into a correlation."""
    row = torch.full((3, 4), 1 / 3, dtype=torch.float32).cumsum(1)
    student = row.clone().requires_grad_()
    value = correlation_distillation_loss(student, row, inter=0.0)  # three rows alike: each class is constant
    value.backward()
    assert value.item() == 1
    assert torch.equal(student.grad, torch.zeros_like(row))


# All of them.


@pytest.mark.parametrize("loss", TAUGHT, ids=repr)
@pytest.mark.parametrize("shape", [(1, 3), (0, 3), (4, 1), (3, 3)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e15])
def test_finite(loss, shape, scale):
    student, teacher = (scale * random(*shape, seed=seed).float() for seed in (0, 1))
    for label in {-1, 0}:
        x = student.clone().requires_grad_()
        value = loss(x, teacher, torch.full(shape[:1], label))
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("loss", TAUGHT, ids=repr)
def test_no_gradient_to_the_teacher_half_precision_and_logits_not_computed_yet(loss):
    x, weight, teacher, labels = random(5, 4), random(3, 4, seed=1), random(5, 3, seed=2), torch.arange(5) % 3
    whole = loss(x @ weight.T, teacher.requires_grad_(), labels)
    assert not whole.requires_grad
    torch.testing.assert_close(loss(LinearLogits(x, weight), teacher, labels), whole)
    half = (x @ weight.T).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(half, teacher.half(), labels)
    value.backward()
    assert value.dtype == torch.float32
    assert half.grad.dtype == torch.bfloat16
    torch.testing.assert_close(
        value.double(), loss(half.detach().double(), teacher.half().double(), labels), rtol=1e-4, atol=1e-5
    )
    for nan in ((teacher * torch.nan, x @ weight.T), (teacher, x @ weight.T * torch.nan)):
        assert loss(nan[1], nan[0], labels).isnan()


@pytest.mark.parametrize("loss", TAUGHT, ids=repr)
def test_names_what_is_wrong(loss):
    name, student = loss.function.__name__, random(2, 3)
    with pytest.raises(
        InputError,
        match=rf"^{name}: teacher_logits must have shape \(2, 3\) to match logits \(2, 3\), got \(2, 4\)",
    ):
        loss(student, random(2, 4), [0, 1])
    with pytest.raises(InputError, match=f"^{name}: teacher_logits must be floating point"):
        loss(student, student.long(), [0, 1])


@pytest.mark.parametrize(
    ("loss", "option", "message"),
    [
        ("SoftTarget", {"temperature": 0}, "temperature must be > 0, got 0"),
        ("SoftTarget", {"label_weight": 1.5}, "label_weight must lie in 0..1, got 1.5"),
        ("DecoupledDistillation", {"others_weight": -1}, "others_weight must be >= 0, got -1"),
        ("DecoupledDistillation", {"temperature": -2}, "temperature must be > 0, got -2"),
        ("CorrelationDistillation", {"inter": -1}, "inter must be >= 0, got -1"),
        ("CorrelationDistillation", {"temperature": 0}, "temperature must be > 0, got 0"),
        ("PlackettLuceDistillation", {"teacher_temperature": 0}, "teacher_temperature must be > 0, got 0"),
        ("PlackettLuceDistillation", {"label_floor": -0.1}, "label_floor must lie in 0..1, got -0.1"),
    ],
)
def test_options_out_of_range(loss, option, message):
    module = getattr(losses, f"{loss}Loss")
    with pytest.raises(InputError, match=f"^{loss}Loss: {message}"):
        module(**option)
    labels = {} if loss == "CorrelationDistillation" else {"labels": [0]}
    with pytest.raises(InputError, match=f"^{module.function.__name__}: {message}"):
        module.function(STUDENT, TEACHER, **labels, **option)


@pytest.mark.parametrize("loss", TAUGHT, ids=repr)
def test_modules_have_the_options_of_their_functions(loss):
    def options(signature):
        return {p.name: p.default for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}

    assert options(inspect.signature(type(loss))) == options(inspect.signature(loss.function))
    assert loss.sides is None


def test_reduction_and_weights():
    student, teacher, labels = random(3, 4), random(3, 4, seed=1), torch.tensor([0, 1, 3])
    weights = torch.tensor([1.0, 0.0, 3.0], dtype=torch.float64)
    for loss in (soft_target_loss, decoupled_distillation_loss, plackett_luce_distillation_loss):
        each = loss(student, teacher, labels, pairing=Pairing(reduction="none"))
        torch.testing.assert_close(loss(student, teacher, labels), each.mean())
        weighted = loss(student, teacher, labels, pairing=Pairing(weights=weights))
        torch.testing.assert_close(weighted, (weights * each).sum() / 4)
