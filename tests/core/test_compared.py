"""Every negative against every positive: the table of polynomials beside all comparisons, its edges, its memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from mimetric.core import compared as core
from mimetric.core.compared import compared_scores
from mimetric.losses import Pairing, mann_whitney_loss


def dense(negatives, positives, temperature):
    return F.softplus((negatives[:, None] - positives) / temperature, threshold=50).sum()


def with_gradients(function, negatives, positives, temperature):
    leaves = [x.clone().requires_grad_() for x in (negatives, positives)]
    value = function(*leaves, temperature)
    return value.detach(), *torch.autograd.grad(value, leaves)


def numbers(seed, negatives=2000, positives=7, spread=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    near = torch.randn(positives, generator=generator, dtype=torch.float64) * spread
    return (torch.randn(negatives, generator=generator, dtype=torch.float64) * spread).to(dtype), near.to(
        dtype
    )


def made_by(monkeypatch):
    """Which way was taken."""
    taken = []
    choose = core._against

    def chosen(*args, **options):
        taken.append(type(choose(*args, **options)).__name__)
        return choose(*args, **options)

    monkeypatch.setattr(core, "_against", chosen)
    return taken


@pytest.mark.parametrize("temperature", [10.0, 1.0, 0.3])
@pytest.mark.parametrize("spread", [0.0, 0.1, 3.0])
def test_the_table_has_all_digits(monkeypatch, temperature, spread):
    taken = made_by(monkeypatch)
    data = *numbers(0, negatives=3000, spread=spread), temperature
    found = with_gradients(compared_scores, *data)
    assert set(taken) == {"_Table"}
    torch.testing.assert_close(found, with_gradients(dense, *data), rtol=1e-12, atol=1e-12)


def test_the_table_in_float32():
    negatives, positives = numbers(1, negatives=3000, dtype=torch.float32)
    found = with_gradients(compared_scores, negatives, positives, 0.5)
    exact = with_gradients(dense, negatives.double(), positives.double(), 0.5)
    for ours, want in zip(found, exact, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), want, rtol=3e-6, atol=1e-6)


def test_beyond_the_table_costs_are_linear_or_nothing(monkeypatch):
    taken = made_by(monkeypatch)
    negatives = torch.cat((numbers(2)[0], torch.tensor([1e6, -1e6, 1e300, 140.0, 45.0, -105.0])))
    data = negatives, numbers(2)[1], 1.0
    torch.testing.assert_close(
        with_gradients(compared_scores, *data), with_gradients(dense, *data), rtol=1e-12, atol=1e-12
    )
    assert set(taken) == {"_Table"}


@pytest.mark.parametrize("far", [1e4, 1e30, 1e308])
def test_positives_too_far_apart_for_a_table_are_compared_one_by_one(monkeypatch, far):
    taken = made_by(monkeypatch)
    negatives, positives = numbers(3, negatives=50)
    data = negatives, torch.cat((positives, torch.tensor([far, -far]))), 1.0
    torch.testing.assert_close(with_gradients(compared_scores, *data), with_gradients(dense, *data))
    assert set(taken) == {"_OneByOne"}


@pytest.mark.parametrize("count", [4, 3000])  # one by one, and by a table
def test_nan_in_nan_out(count):
    negatives, positives = numbers(4, negatives=count)
    for a, b in ((negatives.clone(), positives), (negatives, positives.clone())):
        (a if b is positives else b)[0] = torch.nan
        value, to_negatives, to_positives = with_gradients(compared_scores, a, b, 1.0)
        assert value.isnan()
        assert to_positives.isnan().any() if b is positives else to_negatives.isnan().all()


@pytest.mark.parametrize(("negatives", "positives"), [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_compare(negatives, positives):
    value, *gradients = with_gradients(compared_scores, torch.ones(negatives), torch.ones(positives), 1.0)
    assert value == 0
    assert not any(gradient.any() for gradient in gradients)


def test_first_and_second_derivatives():
    negatives, positives = (x.requires_grad_() for x in numbers(5, negatives=5, positives=3))
    assert torch.autograd.gradcheck(lambda a, b: compared_scores(a, b, 0.7), (negatives, positives))
    assert torch.autograd.gradgradcheck(lambda a, b: compared_scores(a, b, 0.7), (negatives, positives))


class Largest(TorchFunctionMode):
    """How many numbers the largest tensor has that anything makes."""

    numbers = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple) else (made,):
            if isinstance(each, torch.Tensor):
                self.numbers = max(self.numbers, each.numel())
        return made


def test_nothing_is_as_large_as_the_pairs(monkeypatch):
    monkeypatch.setattr(core, "_ELEMENTS", 1 << 14)
    n = 400
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    with Largest() as largest:
        mann_whitney_loss(x, torch.arange(n) // 4, temperature=0.1, pairing=Pairing(block=20)).backward()
    # 1,200 positives, 158,400 negatives, and 190 million pairs of these.
    assert largest.numbers <= 1 << 14
