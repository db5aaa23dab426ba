"""Each row with one other: the next of its class, the reference of its label, the nearest."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_spread
from mimetric.core import paired, search
from mimetric.core.paired import cosines, nearest_other, paired_rows, partners
from mimetric.core.similarity import normalized

labels = st.lists(st.integers(-1, 3), max_size=9)


@given(labels, st.none() | labels)
def test_partners_are_those_of_plain_loops(own, others):
    given_labels = (torch.tensor(y, dtype=torch.int64) for y in (own, others) if y is not None)
    row, partner = partners(*given_labels)
    assert [*zip(row.tolist(), partner.tolist())] == reference_spread.pairs(own, others)


def test_instances_meet_their_views():
    # Ids in any order, some without a view, and views that nobody asks for.
    row, partner = partners(torch.tensor([7, 2, 5]), torch.tensor([5, 9, 7]))
    assert [row.tolist(), partner.tolist()] == [[2, 0], [0, 2]]


def test_pairs_are_in_one_type_and_gradients_in_their_own():
    x, view = torch.ones(3, 2, dtype=torch.float16, requires_grad=True), torch.ones(2, 2, dtype=torch.float64)
    first, second = paired_rows("loss", x, [0, 1, 1], view, [1, 0])
    assert first.dtype == second.dtype == torch.float64
    first.sum().backward()
    assert x.grad.dtype == torch.float16
    assert x.grad.tolist() == [[1, 1]] * 3


@pytest.mark.parametrize("ids", [[3, 1, 2, 1], [3, 1, -1, 1], [0, 0, 0, 0]])
def test_views_with_the_same_labels_are_taken_as_they_stand(ids):
    x = torch.arange(4.0)[:, None]
    for in_order in (False, True):
        first, second = paired_rows("loss", x, ids, x + 10, ids, in_order=in_order)
        row, partner = partners(torch.tensor(ids), torch.tensor(ids))
        if not in_order and -1 not in ids:
            row = partner = torch.arange(4)
        assert [first[:, 0].tolist(), second[:, 0].tolist()] == [row.tolist(), (partner + 10).tolist()]


def test_cosines():
    x, y = (torch.randn(7, 5, generator=torch.Generator().manual_seed(k)).double() for k in range(2))
    torch.testing.assert_close(cosines(x, y), torch.cosine_similarity(x, y))
    inputs = x.requires_grad_(), y.requires_grad_()
    assert torch.autograd.gradcheck(cosines, inputs)
    assert torch.autograd.gradgradcheck(cosines, inputs)
    zero, half = torch.zeros(7, 5, requires_grad=True), x.detach().half().requires_grad_()
    value = cosines(zero, half)
    assert value.dtype == torch.float32
    assert torch.equal(value, torch.zeros(7))
    for gradient, rows in zip(torch.autograd.grad(value.sum(), (zero, half)), (zero, half)):
        assert gradient.dtype == rows.dtype
        assert torch.equal(gradient, torch.zeros_like(rows))


@pytest.mark.parametrize("similarity", ["dot", "negative_squared_euclidean"])
@pytest.mark.parametrize("n", [2, 3, 97, 200])
def test_nearest_other(n, similarity, monkeypatch):
    monkeypatch.setattr(paired, "MOST_ROWS", 64)
    monkeypatch.setattr(search, "_PANEL_ELEMENTS", 64 * 96)  # several panels, several blocks
    unit = normalized(torch.randn(n, 4, generator=torch.Generator().manual_seed(n)).double())
    expected = (unit @ unit.T).fill_diagonal_(-2).argmax(1)
    assert torch.equal(nearest_other(unit, similarity), expected)
    unit[-1] = unit[0]
    assert nearest_other(unit, similarity)[[0, -1]].tolist() == [n - 1, 0]


def test_nobody_is_nearest():
    assert nearest_other(torch.ones(1, 2), "dot").tolist() == [0]
    assert nearest_other(torch.ones(0, 2), "dot").tolist() == []
