"""What losses of two views, of rows alone and of class weights have in common; class weights' values; sums of such."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Any

import pytest
import torch
from hypothesis import given, settings

import reference_spread
from mimetric import catalog, losses, named
from mimetric.core.errors import InputError
from mimetric.core.objective import Regularizer, WeightRegularizer
from strategies import batches

few = settings(max_examples=12)


def centers(x):
    """(C, 3, d) of class weights (C, d)."""
    x = x if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=torch.float64)
    with torch.autocast("cpu", enabled=False):
        return torch.stack((x, x.roll(1, 1) + 0.3, x.flip(1) - 0.1), dim=1)


@dataclass(frozen=True)
class Case:
    name: str
    loss: Callable[..., Any]  # of rows (n, d), which stand for class weights as well, and labels
    loops: Callable[..., Any] | None = None
    tolerance: float = 1e-9


def of_rows(loss):
    return lambda x, _: loss(x)


CASES = [
    Case("alignment", losses.alignment_loss, lambda x, y: sum(reference_spread.alignment(x, y))),
    Case("alignment-1", partial(losses.alignment_loss, exponent=3.0),
         lambda x, y: sum(reference_spread.alignment(x, y, exponent=3.0))),
    Case("vicreg", losses.vicreg_loss, lambda x, y: sum(reference_spread.vicreg(x, y))),
    Case("barlow-twins", losses.barlow_twins_loss, lambda x, y: sum(reference_spread.barlow_twins(x, y))),
    Case("w-mse", losses.w_mse_loss),  # beside plain loops in test_golden_spread
    Case("uniformity", of_rows(losses.uniformity_loss), of_rows(reference_spread.uniformity)),
    Case("self-contrast", of_rows(losses.self_contrast_loss), of_rows(reference_spread.self_contrast)),
    Case("koleo", of_rows(losses.koleo_loss), of_rows(reference_spread.koleo), 1e-6),  # equal but for a rounding
    Case("variance", of_rows(losses.variance_loss), of_rows(reference_spread.variance)),
    Case("covariance", of_rows(losses.covariance_loss), of_rows(reference_spread.covariance)),
    Case("spectral-decay", of_rows(losses.spectral_decay_loss)),  # beside the metric in test_golden_spread
    Case("embedding-norm", of_rows(losses.embedding_norm_loss), of_rows(reference_spread.norm)),
    Case("embedding-norm-3", of_rows(partial(losses.embedding_norm_loss, p=3.0, power=2.5)),
         of_rows(partial(reference_spread.norm, p=3.0, power=2.5))),
    Case("zero-mean", of_rows(losses.zero_mean_loss), of_rows(reference_spread.zero_mean)),
    Case("center-invariance", of_rows(losses.center_invariance_loss), of_rows(reference_spread.center_invariance)),
    Case("regular-face", of_rows(losses.regular_face_loss), of_rows(reference_spread.regular_face)),
    Case("sparse-centers", lambda x, _: losses.sparse_centers_loss(centers(x)),
         lambda x, _: reference_spread.sparse_centers(centers(x).tolist()), 1e-7),
    Case("orthogonality", of_rows(losses.orthogonality_loss), of_rows(reference_spread.orthogonality)),
    Case("weight-norm", lambda x, _: losses.weight_norm_loss(centers(x)),
         lambda x, _: reference_spread.norm([w for own in centers(x).tolist() for w in own])),
]  # fmt: skip
over = partial(pytest.mark.parametrize, "case", ids=lambda case: case.name)


def example(n=10, d=4):
    """Three classes of several rows, a singleton and an unlabelled row."""
    x = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    return x, torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 7, -1])[:n]


def value_and_gradient(case, x, y):
    x = x.clone().requires_grad_()
    value = case.loss(x, y)
    value.backward()
    return value.detach(), x.grad


@over([case for case in CASES if case.loops])
@given(batch=batches())
@few
def test_equals_plain_loops(case, batch):
    x, y = batch
    expected = case.loops(x.tolist(), y.tolist())
    assert case.loss(x, y).item() == pytest.approx(expected, rel=case.tolerance, abs=case.tolerance)


@over(CASES)
def test_gradcheck_twice(case):
    x, y = example(8, 3)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: case.loss(x, y), x)
    assert torch.autograd.gradgradcheck(lambda x: case.loss(x, y), x, atol=1e-4)


@over(CASES)
@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        (torch.ones(0, 3), []),
        (torch.ones(1, 3), [0]),
        (torch.ones(2, 3), [0, 0]),
        (torch.zeros(3, 2), [0, 0, 0]),
        (torch.tensor([[0.1, 0.2], [0.1, 0.2], [0.1, 0.2]]), [4, 4, 4]),
        (torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.0, 6.0]]), [0, 0, 1]),
        (torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), [-1, -1, -1, -1]),
        (torch.randn(4, 9, generator=torch.Generator().manual_seed(0)), [0, 0, 1, 1]),
        (1e8 * torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), [0, 0, 1, 1]),
        (1e-8 * torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), [0, 0, 1, 1]),
    ],
    ids=["none", "one", "copies", "zeros", "rounded", "a zero", "unlabelled", "few", "huge", "tiny"],
)
def test_finite(case, rows, labels):
    value, gradient = value_and_gradient(case, rows, torch.tensor(labels, dtype=torch.int64))
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


VIEWS = CASES[:5]


@over(VIEWS)
@pytest.mark.parametrize("labels", [[-1, -1, -1], [0, 1, 2], [0, -1, -1]])
def test_without_a_pair_it_costs_nothing(case, labels):
    value, gradient = value_and_gradient(case, torch.randn(3, 2), torch.tensor(labels))
    assert value == 0
    assert torch.equal(gradient, torch.zeros(3, 2))


@over(CASES)
def test_order_and_names_do_not_matter(case):
    # Of at most three rows a class: a longer ring of pairs depends on the order of its rows.
    x, y = example()
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(case.loss(x[order], torch.where(y < 0, y, 7 * y)[order]), case.loss(x, y))


@over(CASES)
def test_nan_in_nan_out(case):
    x, y = example()
    x[0, 0] = torch.nan
    value, gradient = value_and_gradient(case, x, y)
    assert value.isnan()
    assert gradient[0].isnan().any() or case.name == "zero-mean"  # torch's slope of |nan| is 0


@over(CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.01), (torch.float16, 0.01)])
def test_half_precision_and_autocast(case, dtype, tolerance):
    x, y = example()
    half = x.to(dtype)
    exact, slopes = value_and_gradient(case, half.double(), y)
    rows = half.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, full = case.loss(rows, y), case.loss(half.float(), y)
    value.backward()
    assert rows.grad.dtype == dtype
    assert value.dtype == full.dtype == torch.float32
    assert value.item() == pytest.approx(exact.item(), rel=1e-3, abs=1e-5)
    assert full.item() == pytest.approx(exact.item(), rel=1e-3, abs=1e-5)
    assert (rows.grad - slopes).norm() <= tolerance * slopes.norm()


def kind(entry):
    """What its sides are; the table says so as well."""
    if entry.tightness.startswith("none"):
        return "norm"
    return "apart" if entry.tightness == "0" else "together"


ENTRIES = [
    entry for entry in catalog.entries().values() if issubclass(entry.module, Regularizer | WeightRegularizer)
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_module_form_has_the_options_of_its_function(entry):
    def options(signature):
        return {
            p.name: (p.default, p.annotation)
            for p in signature.parameters.values()
            if p.kind is p.KEYWORD_ONLY
        }

    assert options(inspect.signature(entry.module)) == options(inspect.signature(entry.module.function))
    x, y = example()
    x = centers(x) if entry.name == "sparse-centers" else x
    module = entry.module()
    value = module(x) if isinstance(module, WeightRegularizer) else module(x, y, x, y)
    torch.testing.assert_close(value, entry.module.function(x))
    sides = module.sides and module.sides(x)
    assert sides == {"norm": None, "together": (value, 0), "apart": (0, value)}[kind(entry)]
    assert all(f"{name}=" in repr(module) for name in entry.options)


def close(value, expected):
    assert value.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_center_invariance():
    # Squared lengths 1 and 5, their mean 3: two times 2^2 / 4, in the mean.
    close(losses.center_invariance_loss(torch.tensor([[1.0, 0.0], [1.0, 2.0]])), 1)


def test_regular_face():
    # Directions at 0, 60 and 180 degrees: cosines of the nearest 1/2, 1/2 and -1/2.
    weight = torch.tensor([[2.0, 0.0], [0.5, sqrt(0.75)], [-3.0, 0.0]])
    close(losses.regular_face_loss(weight), 1 / 6)


def test_sparse_centers():
    # One class with centers sqrt(2) apart, one with equal ones: over 2 classes of 2 * 1 ordered pairs.
    given_centers = torch.tensor([[[1.0, 0.0], [0.0, 5.0]], [[2.0, 0.0], [3.0, 0.0]]])
    close(losses.sparse_centers_loss(given_centers), sqrt(2) / 4)
    x, y = torch.eye(2), torch.tensor([0, 1])
    with_it, without = (losses.soft_triple_loss(x, y, given_centers, tau=tau) for tau in (1.0, 0.0))
    torch.testing.assert_close(with_it - without, losses.sparse_centers_loss(given_centers))


def test_orthogonality():
    # W W^T - I = [[0, 1, 0], [1, 0, 0], [0, 0, 3]]; by columns W^T W - I = diag(1, 3), and one class more.
    weight = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    close(losses.orthogonality_loss(weight), 11)
    close(losses.orthogonality_loss(weight.T), 10)
    close(losses.orthogonality_loss(torch.eye(5)[:3]), 0)
    close(losses.orthogonality_loss(torch.eye(3, 2)), 1)  # no less with 3 classes in 2 columns


def test_many_classes_need_no_matrix_of_them():
    # 60,000 squared would be 14 GB.
    weight = torch.randn(60_000, 2, generator=torch.Generator().manual_seed(0))
    gram = (weight.T @ weight).double()
    expected = (gram - torch.eye(2)).square().sum() + 60_000 - 2
    assert losses.orthogonality_loss(weight).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cosface+0.1*regular-face", lambda w: 0.1 * losses.regular_face_loss(w)),
        ("2*orthogonality+normalized-softmax", lambda w: 2 * losses.orthogonality_loss(w)),
        ("center+center-invariance", losses.center_invariance_loss),
        ("pc-softmax+weight-norm:p=1,power=2", lambda w: losses.weight_norm_loss(w, p=1.0, power=2.0)),
        ("soft-triple+0.5*sparse-centers", lambda w: 0.5 * losses.sparse_centers_loss(w)),
        ("supcon+proxy-anchor+orthogonality", losses.orthogonality_loss),
    ],
)
def test_sums_hand_over_the_class_weights(text, expected):
    x, y = torch.randn(12, 8), torch.arange(12) % 4
    objective = named.create(text, width=8, num_classes=4)
    weight = next(iter(objective.parameters()))
    objective(x, y).backward()
    assert weight.grad.any()
    rest = sum(
        factor * part(x, y)
        for factor, part in zip(objective.factors, objective.objectives)
        if not isinstance(part, WeightRegularizer)
    )
    torch.testing.assert_close(objective(x, y) - rest, expected(weight), rtol=1e-4, atol=1e-5)
    divided = all(part.sides is not None for part in objective.objectives)
    assert (objective.sides is not None) == divided
    if divided:
        torch.testing.assert_close(sum(objective.sides(x, y)), objective(x, y))


def test_sums_with_regularizers_of_rows():
    x, y = example()
    objective = named.create("alignment+0.5*uniformity:t=3", width=4, num_classes=4)
    expected = losses.alignment_loss(x, y) + 0.5 * losses.uniformity_loss(x, t=3.0)
    torch.testing.assert_close(objective(x, y), expected)
    torch.testing.assert_close(named.create("koleo", width=4, num_classes=4)(x, y), losses.koleo_loss(x))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("regular-face", "RegularFaceLoss: regularizes class weights; add it to an objective that has such"),
        ("supcon+0.1*weight-norm", "WeightNormLoss: regularizes class weights; add it to an objective"),
        (
            "cosface+sparse-centers",
            r"sparse_centers_loss: centers must have shape \(classes, centers of a class",
        ),
        (
            "soft-triple+regular-face",
            r"regular_face_loss: weight must have shape \(rows, width\), got \(1, 10, 1\)",
        ),
        ("cosface+weight-norm:p=0", "WeightNormLoss: p must be >= 1, got 0.0"),
        ("cosface+weight-norm:power=0", "WeightNormLoss: power must be > 0, got 0.0"),
    ],
)
def test_mistakes_in_sums(text, message):
    with pytest.raises(InputError, match=f"^{message}"):
        named.create(text, width=8, num_classes=4)


@over([case for case in CASES if case.name not in ("sparse-centers", "weight-norm")])
def test_names_what_is_wrong(case):
    for rows, message in (
        (torch.ones(3), r"must have shape \(rows, width\), got \(3,\)"),
        (torch.ones(3, 2, dtype=torch.int64), "must be floating point, got int64"),
        ("rows", "must be a tensor"),
    ):
        with pytest.raises(InputError, match=message):
            case.loss(rows, torch.tensor([0, 0, 1]))
