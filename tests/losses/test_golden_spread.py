"""Values of losses of two views and of spread, worked by hand or with their source."""

from __future__ import annotations

from functools import partial
from math import exp, log, log1p, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_spread
from mimetric import estimators, losses, metrics
from mimetric.core import blocks
from mimetric.core.errors import InputError
from strategies import batches, compared

few = settings(max_examples=12)

# Columns (1, -1) and (1, -1) of one view, (1, -1) and (-1, 1) of the other.
VIEW = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
OTHER = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
IDS = [0, 1]


near = partial(pytest.approx, rel=1e-6, abs=1e-9)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_alignment():
    # Lengths do not matter: (1, 0) and (0.6, 0.8) are sqrt(0.8) apart, (0, 1) and (0, 3) not at all.
    x, view = torch.eye(2), torch.tensor([[0.6, 0.8], [0.0, 3.0]])
    assert losses.alignment_loss(x, IDS, view, IDS).item() == near(0.4)
    assert losses.alignment_loss(x, IDS, view, IDS, exponent=1.0).item() == near(sqrt(0.8) / 2)


def test_alignment_of_classes_of_two_is_the_metric():
    x, y = random(8, 3), torch.tensor([0, 0, 1, 1, 2, 2, 3, -1])
    torch.testing.assert_close(losses.alignment_loss(x, y), metrics.alignment(x, y))


def test_equal_rows_cost_nothing_and_have_no_gradient_at_any_exponent():
    x = torch.ones(2, 3, requires_grad=True)
    value = losses.alignment_loss(x, [0, 0], exponent=0.5)
    value.backward()
    assert value == 0
    assert torch.equal(x.grad, torch.zeros(2, 3))


def test_vicreg():
    # Differences are 0 and 2 in each pair: a mean square of 2, times 25.  Variances are 2: no hinge.
    # Both views have covariances of 2 and -2 off the diagonal: 2 * 4 / 2 columns each.
    tightness, contrast = losses.vicreg_loss.sides(VIEW, IDS, OTHER, IDS)
    assert tightness.item() == near(50)
    assert contrast.item() == near(8)
    # A tenth of it: variance 0.02, deviation sqrt(0.0201); (1 - it) in both views; covariances 1e-4 of before.
    _, contrast = losses.vicreg_loss.sides(VIEW / 10, IDS, OTHER / 10, IDS)
    assert contrast.item() == near(25 * (1 - sqrt(0.0201)) + 8e-4)


def test_vicreg_is_the_sum_of_its_terms():
    x, y = random(6, 4), random(6, 4, seed=1)
    terms = losses.variance_loss, losses.covariance_loss
    variance, covariance = (term(x / 3) + term(y / 3) for term in terms)
    value = losses.vicreg_loss(x / 3, torch.arange(6), y / 3, torch.arange(6))
    torch.testing.assert_close(value, 25 * ((x - y) / 3).square().mean() + 12.5 * variance + covariance)


def test_barlow_twins():
    # C = [[1, -1], [1, -1]], times 1 / (1 + epsilon): (1 - 1)^2 + (1 + 1)^2, and two squares of 1.
    tightness, contrast = losses.barlow_twins_loss.sides(VIEW, IDS, OTHER, IDS, epsilon=1e-12)
    assert tightness.item() == near(4)
    assert contrast.item() == near(0.01)
    x = random(20, 3)
    moved = x * torch.tensor([2.0, 0.1, 30.0]) + 5  # any scale and mean of columns
    tightness, _ = losses.barlow_twins_loss.sides(x, torch.arange(20), moved, torch.arange(20), epsilon=1e-12)
    assert tightness.item() == near(0)


def test_w_mse_of_one_column():
    # Whitened and of length 1 a number is its sign: (-, -, +) and (-, +, -), a mean cosine of -1/3.
    x, view = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [5.0], [1.0]])
    assert losses.w_mse_loss(x, [0, 1, 2], view, [0, 1, 2]).item() == near(8 / 3)


def test_whitening_undoes_what_a_triangular_matrix_does():
    # L of the covariance of rows times a lower triangular matrix is that matrix times L.
    x, ids = random(40, 4), torch.arange(40)
    mixed = x @ (random(4, 4, seed=1).tril(-1) + 2 * torch.eye(4)).T + 7
    assert losses.w_mse_loss(x, ids, mixed, ids, epsilon=1e-12).item() < 1e-9


def test_parts_of_w_mse_are_whitened_by_themselves():
    # 5 pairs in parts of 2: two parts, pairs 0, 2, 4 and 1, 3; the second has cosines of 1 or -1.
    x, view, ids = random(5, 1), random(5, 1, seed=3), torch.arange(5)
    expected = [
        losses.w_mse_loss(x[part], ids[part], view[part], ids[part]) * len(x[part])
        for part in (slice(0, 5, 2), slice(1, 5, 2))
    ]
    torch.testing.assert_close(losses.w_mse_loss(x, ids, view, ids, size=2), sum(expected) / 5)


def test_w_mse_does_not_mind_huge_numbers():
    x, view, ids = random(20, 4).float(), random(20, 4, seed=1).float(), torch.arange(20)
    expected = losses.w_mse_loss(x, ids, view, ids)
    big = (x * 1e30).requires_grad_()
    value = losses.w_mse_loss(big, ids, view * 1e-30, ids)
    value.backward()
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    assert torch.isfinite(big.grad).all()


@pytest.mark.parametrize(
    ("loss", "loops"),
    [
        (losses.alignment_loss, reference_spread.alignment),
        (losses.vicreg_loss, reference_spread.vicreg),
        (losses.barlow_twins_loss, reference_spread.barlow_twins),
    ],
)
@given(batch=compared(), own=batches())
@few
def test_sides_equal_plain_loops(loss, loops, batch, own):
    for given_rows in (batch, own):
        found = [side.item() for side in loss.sides(*given_rows)]
        assert found == pytest.approx(loops(*(t.tolist() for t in given_rows)), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("size", [2, 3, 128])
@given(batch=compared(), own=batches())
@few
def test_w_mse_equals_plain_loops(size, batch, own):
    for given_rows in (batch, own):
        # A row at the mean has no direction but rounding's; no row is there after a small step of its own.
        moved = [t + random(*t.shape) / 100 if t.is_floating_point() else t for t in given_rows]
        expected = reference_spread.w_mse(*(t.tolist() for t in moved), size=size)
        found = losses.w_mse_loss(*moved, size=size).item()
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_references_have_their_gradient():
    x, y, rx = random(6, 3), torch.tensor([0, 1, 1, 2, -1, 9]), random(4, 3, seed=1)
    ry = torch.tensor([1, 0, 1, 3])
    for loss in (losses.alignment_loss, losses.vicreg_loss, losses.barlow_twins_loss, losses.w_mse_loss):
        assert torch.autograd.gradcheck(
            lambda a, b, loss=loss: loss(a, y, b, ry),
            (x.clone().requires_grad_(), rx.clone().requires_grad_()),
        )


def test_uniformity():
    # Of 12 ordered pairs 8 are at squared distance 2, 4 at 4: log((2 e^-4 + e^-8) / 3).
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [0.0, -3.0]], dtype=torch.float64)
    assert losses.uniformity_loss(x).item() == near(-4.396349)


@given(st.integers(2, 9), st.floats(0.1, 60))
@few
def test_uniformity_is_the_metric(n, t):
    x = random(n, 3, seed=n)
    assert losses.uniformity_loss(x, t=t).item() == near(metrics.uniformity(x, t=t).item())


def test_blocks_change_neither_value_nor_gradient(monkeypatch):
    def value_and_gradient():
        x = random(9, 3).requires_grad_()
        value = losses.uniformity_loss(x)
        value.backward()
        return value.detach(), x.grad

    whole = value_and_gradient()
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 60)
    torch.testing.assert_close(value_and_gradient(), whole)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("n", [2, 4, 16])
def test_self_contrast(n, temperature):
    # The sheet of cMIM: whatever n is, rows at right angles cost log(1 + e^(-1/T)), equal ones log 2.
    loss = partial(losses.self_contrast_loss, temperature=temperature)
    assert loss(torch.eye(16, dtype=torch.float64)[:n]).item() == near(log1p(exp(-1 / temperature)))
    assert loss(torch.ones(n, 3, dtype=torch.float64)).item() == near(log(2))
    x = random(n, 5)
    unit = torch.nn.functional.normalize(x)
    assert loss(x).item() == near(log(2) - estimators.mean_contrast_bound(unit @ unit.T / temperature).item())


def test_self_contrast_of_opposite_rows():
    # The sheet: every other row at cosine -1 costs log(1 + e^-2) at T = 1.
    x = torch.tensor([[2.0, 0.0], [-1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    value = losses.self_contrast_loss(x, temperature=1.0)
    assert value.item() == near(0.126928)
    value.backward()
    assert (x.grad * x).sum().item() == near(0)  # lengths do not matter


def test_koleo():
    # At 0, 60 and 180 degrees: the nearest are 1, 1 and sqrt(3) away.
    x = torch.tensor([[1.0, 0.0], [0.5, sqrt(0.75)], [-2.0, 0.0]], dtype=torch.float64)
    assert losses.koleo_loss(x).item() == near(-log(3) / 6)
    # Zero rows are at each other's place, and 1 away from any other.
    assert losses.koleo_loss(torch.tensor([[0.0], [4.0], [0.0]]), epsilon=1e-3).item() == near(
        2 * log(1000) / 3 - log(1.001) / 3
    )


def test_koleo_keeps_the_digits_of_small_distances():
    # By products in float32, 1e-4 would come out as 0 or 3e-4.
    x = torch.tensor([[1.0, 0.0], [1.0, 1e-4]])
    assert losses.koleo_loss(x).item() == pytest.approx(-log(1e-4), rel=1e-4)


def test_equal_rows_cost_the_log_of_epsilon():
    x = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    value = losses.koleo_loss(x, epsilon=1e-3)
    value.backward()
    assert value.item() == near(log(1000))
    assert torch.equal(x.grad, torch.zeros(3, 2, dtype=torch.float64))


def test_variance_and_covariance():
    x = torch.tensor([[0.0, 5.0], [2.0, 5.0]], dtype=torch.float64)
    assert losses.variance_loss(x).item() == near((1 - 0.01) / 2)  # variances 2 and 0
    assert losses.variance_loss(x, target=3.0).item() == near((3 - sqrt(2.0001) + 3 - 0.01) / 2)
    assert losses.covariance_loss(VIEW).item() == near(4)  # two covariances of 2, squared, over two columns


def test_spectral_decay():
    # Shares 3/4 and 1/4: -(log 3/2 + log 1/2) / 2.  A direction never used has share epsilon / D / (1 + epsilon).
    x = torch.tensor([[3.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert losses.spectral_decay_loss(x, epsilon=1e-12).item() == near(log(4 / 3) / 2)
    x[1] = 0
    assert losses.spectral_decay_loss(x, epsilon=0.1).item() == near(-(log(2.1 / 1.1) + log(0.1 / 1.1)) / 2)


@given(st.integers(1, 6), st.integers(1, 6))
@few
def test_spectral_decay_is_the_metric(n, d):
    x = random(n, d, seed=n)
    found = losses.spectral_decay_loss(x, epsilon=1e-12).item()
    assert found == pytest.approx(metrics.spectral_decay(x).item(), rel=1e-5, abs=1e-6)


def test_spread_trains():
    # Rows in a narrow cone become spread, by any of these.
    for loss in (losses.uniformity_loss, losses.koleo_loss, losses.spectral_decay_loss, losses.variance_loss):
        x = random(16, 4) + 5
        before = metrics.uniformity(x)
        options = {"target": 6.0} if loss is losses.variance_loss else {}
        for _ in range(10):
            x.requires_grad_()
            [slope] = torch.autograd.grad(loss(x, **options), x)
            x = x.detach() - 0.3 * slope.sign()
        assert metrics.uniformity(x) < before - 0.5, loss.__name__


def test_norms():
    x = torch.tensor([[3.0, -4.0], [0.0, 0.0]], dtype=torch.float64)
    for options, expected in (
        ({}, 2.5),
        ({"power": 2.0}, 12.5),
        ({"p": 1.0}, 3.5),
        ({"p": float("inf")}, 2.0),
        ({"power": 0.5}, sqrt(5) / 2),
    ):
        rows = x.clone().requires_grad_()
        value = losses.embedding_norm_loss(rows, **options)
        value.backward()
        assert value.item() == near(expected)
        assert torch.equal(rows.grad[1], torch.zeros(2, dtype=torch.float64))
        assert losses.weight_norm_loss(x, **options).item() == near(expected)
    assert losses.zero_mean_loss(x).item() == near(0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.AlignmentLoss(exponent=0.0), r"AlignmentLoss: exponent must be > 0, got 0.0"),
        (
            lambda: losses.VICRegLoss(variance_weight=-1.0),
            "VICRegLoss: variance_weight must be >= 0, got -1.0",
        ),
        (lambda: losses.VICRegLoss(epsilon=0.0), "VICRegLoss: epsilon must be > 0"),
        (
            lambda: losses.BarlowTwinsLoss(redundancy_weight=-1.0),
            "BarlowTwinsLoss: redundancy_weight must be >= 0",
        ),
        (lambda: losses.WMSELoss(size=1), "WMSELoss: size must be at least 2 pairs, got 1"),
        (
            lambda: losses.w_mse_loss(VIEW, IDS, epsilon=0.0),
            r"w_mse_loss: epsilon must lie in \(0, 1\], got 0.0",
        ),
        (lambda: losses.UniformityLoss(t=-2.0), "UniformityLoss: t must be > 0, got -2.0"),
        (lambda: losses.KoLeoLoss(epsilon=0.0), "KoLeoLoss: epsilon must be > 0"),
        (lambda: losses.SpectralDecayLoss(epsilon=0.0), "SpectralDecayLoss: epsilon must be > 0"),
        (lambda: losses.EmbeddingNormLoss(p=0.5), "EmbeddingNormLoss: p must be >= 1, got 0.5"),
        (
            lambda: losses.vicreg_loss(VIEW, IDS, OTHER),
            "vicreg_loss: references came without reference_labels",
        ),
        (lambda: losses.w_mse_loss(VIEW, [0.5, 1.0]), "w_mse_loss: labels must be integers, got float32"),
        (
            lambda: losses.koleo_loss(VIEW[0]),
            r"koleo_loss: embeddings must have shape \(rows, width\), got \(2,\)",
        ),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=f"^{message}"):
        call()
