from __future__ import annotations

from math import e, log, pi

import numpy as np
import pytest
import torch
from hypothesis import given

import reference_estimators_k as reference
from mimetric.core import kernels
from mimetric.core.errors import InputError
from mimetric.estimators import (
    label_entropy,
    median_bandwidth,
    mixture_entropy,
    mixture_information,
    scott_bandwidth,
)
from mimetric.estimators.known import LabelledGaussians
from strategies import batches


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def entropy_by_integration(rows, width):
    """Of the mixture of normals around rows of one column, by the trapezoid rule."""
    rows = rows.numpy().ravel()
    z = np.linspace(rows.min() - 9 * width, rows.max() + 9 * width, 4001)
    density = np.exp(-((z[:, None] - rows) ** 2) / (2 * width**2)).mean(1) / (width * np.sqrt(2 * pi))
    return -np.trapezoid(density * np.log(np.where(density > 0, density, 1)), z)


@given(batch=batches())
def test_equals_plain_loops(batch):
    x, y = batch
    found = mixture_entropy(x, bandwidth=0.6)
    for end, scale in ((found.lower, 8), (found.upper, 2)):
        expected = reference.mixture_entropy(x.tolist(), 0.6, scale)
        assert end.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    kept, known = x[y != -1], y[y != -1]
    if not len(known):
        return
    parts = dict.fromkeys((2, 8), 0.0)
    for s in parts:
        for c in set(known.tolist()):
            own = kept[known == c]
            parts[s] += len(own) / len(kept) * reference.mixture_entropy(own.tolist(), 0.6, s)
    whole = {s: reference.mixture_entropy(kept.tolist(), 0.6, s) for s in (2, 8)}
    information, ceiling = mixture_information(x, y, bandwidth=0.6), label_entropy(y).item()
    expected = [min(max(whole[8] - parts[2], 0), ceiling), min(max(whole[2] - parts[8], 0), ceiling)]
    assert [end.item() for end in information] == pytest.approx(expected, abs=1e-9)


@given(batch=batches())
def test_bounds_hold_for_the_mixture(batch):
    x, y = batch[0][:, :1], batch[1]
    y = torch.where(y == -1, 7, y)
    for width in (0.1, 1.0):
        truth = entropy_by_integration(x, width)
        found = mixture_entropy(x, bandwidth=width)
        assert found.lower - 1e-6 <= truth <= found.upper + 1e-6
        inside = sum(
            (y == c).double().mean() * entropy_by_integration(x[y == c], width) for c in set(y.tolist())
        )
        information = mixture_information(x, y, bandwidth=width)
        assert information.lower - 1e-6 <= truth - inside <= information.upper + 1e-6


def test_they_meet_where_parts_are_equal_or_far_apart():
    one = 1.5 * log(2 * pi * e * 0.25)
    equal, apart = torch.ones(6, 3), 1e3 * torch.arange(6.0)[:, None].expand(6, 3)
    assert [x.item() for x in mixture_entropy(equal, bandwidth=0.5)] == pytest.approx([one, one])
    assert [x.item() for x in mixture_entropy(apart, bandwidth=0.5)] == pytest.approx([one + log(6)] * 2)
    y = [0, 0, 1, 1, 2, 2]
    assert [x.item() for x in mixture_information(apart, y, bandwidth=0.5)] == pytest.approx([log(3)] * 2)
    assert [x.item() for x in mixture_information(apart, y, bandwidth=1e6)] == pytest.approx([0, 0], abs=1e-5)


def test_around_the_truth_of_labelled_normals():
    known = LabelledGaussians((-2.0, 2.0))
    x, y = known.sample(1000, torch.Generator().manual_seed(0))
    found = mixture_information(x, y)
    assert found.lower < known.information < found.upper


def test_in_many_dimensions_rows_stand_alone():  # as the docstring warns
    x, y = normal(300, 64), torch.arange(300) % 3
    assert mixture_information(x, y).lower > 0.9 * log(3)
    assert mixture_information(x, y, bandwidth=median_bandwidth(x).item()).lower < 0.1


def test_laws():
    x, y = normal(40, 3), torch.arange(40) % 4
    turn = torch.linalg.qr(normal(3, 3, seed=2)).Q
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    for a, b in zip(mixture_entropy(x), mixture_entropy(1e3 + 5 * x[order] @ turn)):
        assert (b - a).item() == pytest.approx(3 * log(5), abs=1e-6)
    whole = mixture_information(x, y)
    for a, b in zip(whole, mixture_information(5 * x[order] @ turn - 9, 7 - y[order])):
        torch.testing.assert_close(a, b)
    assert mixture_entropy(x, bandwidth=scott_bandwidth(x).item()) == mixture_entropy(x)


def test_blocks_change_nothing(monkeypatch):
    x, y = normal(40, 3), torch.arange(40) % 4
    whole = [*mixture_entropy(x), *mixture_information(x, y)]
    monkeypatch.setattr(kernels, "BLOCK_ELEMENTS", 3 * 40)
    for a, b in zip(whole, [*mixture_entropy(x), *mixture_information(x, y)]):
        torch.testing.assert_close(a, b)


def test_gradient():
    x, y = normal(5, 2).requires_grad_(), torch.tensor([0, 0, 1, 1, 1])
    assert torch.autograd.gradcheck(lambda x: tuple(mixture_entropy(x, bandwidth=1.0)), x)
    assert torch.autograd.gradcheck(lambda x: mixture_information(x, y, bandwidth=1.0).upper, x)


def test_nothing_to_measure():
    assert [x.item() for x in mixture_entropy(torch.ones(4, 2))] == [-torch.inf] * 2
    assert [x.item() for x in mixture_information(torch.ones(4, 2), [0, 0, 1, 1])] == [0, 0]
    assert mixture_entropy(torch.ones(0, 2)).lower.isnan()
    assert mixture_information(torch.ones(4, 2), [-1] * 4).upper.isnan()
    alone = mixture_information(torch.eye(3), [0, 1, 2], bandwidth=1e-3)  # classes of one row
    assert alone.lower.item() == pytest.approx(log(3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mixture_entropy(torch.ones(3, 2) / 0), "embeddings must be finite"),
        (lambda: mixture_entropy(torch.ones(3, 2), bandwidth=-1), "mixture_entropy: bandwidth must be > 0"),
        (lambda: mixture_information(torch.ones(3, 2), [0, 1]), r"labels must have shape \(3,\)"),
        (lambda: mixture_information(torch.ones(3, 2), [0, 1, 2], bandwidth=0), "bandwidth must be > 0"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
