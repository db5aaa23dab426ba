"""Rows beside their partners: the same loss and gradient as two lines of torch, and as the pair engine has it."""

from __future__ import annotations

from math import log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mimetric import losses
from mimetric.core import diagonal
from mimetric.core.diagonal import partner_cross_entropy
from mimetric.losses import Pairing
from strategies import rows

few = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=["one block", "kept", "made again"])
def blocks(request, monkeypatch):
    """Blocks of at most three rows, all of them kept for the gradient or none."""
    if request.param != "one block":
        monkeypatch.setattr(diagonal, "_ROWS", 3)
    if request.param == "made again":
        monkeypatch.setattr(diagonal, "_THIN", 1)
        monkeypatch.setattr(diagonal, "BLOCK_ELEMENTS", 1)


@pytest.fixture
def taken(monkeypatch):
    """How often the diagonal was taken by a loss."""
    seen, found = [], diagonal._CrossEntropy.forward

    def counted(*args):
        seen.append(found)
        return found(*args)

    monkeypatch.setattr(diagonal._CrossEntropy, "forward", staticmethod(counted))
    return seen


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def two_lines(x, y, scale, both):
    z, own = scale * F.normalize(x) @ F.normalize(y).T, torch.arange(len(x))
    loss = F.cross_entropy(z, own)
    return (loss + F.cross_entropy(z[:, : len(x)].T, own)) / 2 if both else loss


def value_and_gradients(function, *inputs, **options):
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    value = function(*leaves, **options)
    return value.detach(), torch.autograd.grad(value, leaves)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.usefixtures("blocks")
@few
@given(data=st.data())
def test_value_and_gradients_of_the_formula(both, data):
    n, more, width = (data.draw(st.integers(*ends)) for ends in ((1, 8), (0, 4), (1, 4)))
    x, y = data.draw(rows(n, width)), data.draw(rows(n + more, width))  # duplicates and zero rows
    scale = torch.tensor(data.draw(st.sampled_from([0.1, 1.0, 20.0, 70.0])), dtype=torch.float64)
    value, gradients = value_and_gradients(partner_cross_entropy, x, y, scale, both=both)
    expected, wanted = value_and_gradients(two_lines, x, y, scale, both=both)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    for found, gradient, given_rows in zip(gradients, wanted, (x, y, None)):
        if given_rows is not None:  # torch divides a zero row by 1e-12
            gradient = torch.where((given_rows == 0).all(1, keepdim=True), 0, gradient)
        torch.testing.assert_close(found, gradient, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.usefixtures("blocks")
def test_first_and_second_derivatives(both):
    inputs = [t.requires_grad_() for t in (random(5, 3), random(7, 3, seed=1), torch.tensor(2.0).double())]

    def loss(*inputs):
        return partner_cross_entropy(*inputs, both=both)

    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradgradcheck(loss, inputs, fast_mode=True)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.usefixtures("blocks")
def test_each_gradient_alone(both):
    x, y, scale = random(8, 3), random(9, 3, seed=1), torch.tensor(3.0).double()
    value, gradients = value_and_gradients(partner_cross_entropy, x, y, scale, both=both)
    assert partner_cross_entropy(x, y, 3.0, both=both) == value
    for i, gradient in enumerate(gradients):
        inputs = [x, y, scale]
        inputs[i] = inputs[i].clone().requires_grad_()
        [found] = torch.autograd.grad(partner_cross_entropy(*inputs, both=both), inputs[i])
        torch.testing.assert_close(found, gradient)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("n", [400, 1500])  # one way in two and four blocks; both ways kept, and made again
def test_full_size_in_float32(n, both):
    # Every positive near its anchor, so that what is left of a slope is small beside 1.
    x = torch.randn(n, 16, generator=torch.Generator().manual_seed(0))
    y = x + 0.1 * torch.randn(n, 16, generator=torch.Generator().manual_seed(1))
    for scale in (5.0, 70.0):
        expected, wanted = value_and_gradients(two_lines, x.double(), y.double(), scale=scale, both=both)
        value, gradients = value_and_gradients(partner_cross_entropy, x, y, scale=scale, both=both)
        assert value.item() == pytest.approx(expected.item(), rel=5e-5)
        for found, gradient in zip(gradients, wanted):
            assert (found - gradient).norm() < 5e-5 * gradient.norm()  # exponents are rounded too


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_multiple_negatives_are_taken_so(taken, direction):
    x, y, negatives = random(6, 4), random(6, 4, seed=1), random(6, 2, 4, seed=2)
    options = {"direction": direction}
    for given_rows in ((x, y), (x, y, negatives), (x.float(), y)):
        value, gradients = value_and_gradients(losses.multiple_negatives_ranking_loss, *given_rows, **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mimetric.losses.explicit.suits", lambda *_: False)
            before = len(taken)
            expected, wanted = value_and_gradients(
                losses.multiple_negatives_ranking_loss, *given_rows, **options
            )
            assert len(taken) == before
        torch.testing.assert_close((value, gradients), (expected, wanted), rtol=1e-6, atol=1e-9)
    assert len(taken) == 3


def test_two_sets_of_the_same_ids_are_taken_so(taken):
    x, y, ids = random(6, 4), random(6, 4, seed=1), torch.tensor([4, 9, -7, 0, 2, 3])
    learned = torch.tensor(log(20), dtype=torch.float64)

    def loss(x, y, log_scale, block=None):
        return losses.symmetric_nt_xent_loss(
            x, ids, y, ids, log_scale=log_scale, pairing=Pairing(block=block)
        )

    expected = value_and_gradients(loss, x, y, learned, block=4)
    assert not taken
    torch.testing.assert_close(value_and_gradients(loss, x, y, learned), expected)
    assert taken


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: losses.multiple_negatives_ranking_loss(x, y, scale=71.0),  # exponents up to 71
        lambda x, y: losses.symmetric_nt_xent_loss(x, [0, 1, 2, 3], y, [0, 1, 2, 3], log_scale=log(71)),
        lambda x, y: losses.symmetric_nt_xent_loss(x, [0, 1, 2, 3], y, [0, 1, 3, 2]),
        lambda x, y: losses.symmetric_nt_xent_loss(x, [0, 1, 2, 2], y, [0, 1, 2, 2]),
        lambda x, y: losses.symmetric_nt_xent_loss(x, [0, 1, 2, -1], y, [0, 1, 2, -1]),
        lambda x, _: losses.symmetric_nt_xent_loss(x, [0, 1, 2, 3]),
        lambda x, y: losses.symmetric_nt_xent_loss(
            x, [0, 1, 2, 3], y, [0, 1, 2, 3], pairing=Pairing(similarity="dot")
        ),
        lambda x, y: losses.symmetric_nt_xent_loss(
            x, [0, 1, 2, 3], y, [0, 1, 2, 3], pairing=Pairing(weights=torch.ones(4))
        ),
    ],
)
def test_what_else_takes_the_pair_engine(taken, call):
    assert call(random(4, 3), random(4, 3, seed=1)).isfinite()
    assert not taken


def test_autocast_takes_the_pair_engine(taken):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses.multiple_negatives_ranking_loss(random(4, 3), random(4, 3, seed=1))
    assert not taken
