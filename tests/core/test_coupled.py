"""Each push beside its own definition, and what coupled losses promise beyond the laws of single losses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimetric import losses
from mimetric.core import exponentials, pushes, soft_ranks, triplets
from mimetric.core.reduce import Mean, Near
from mimetric.losses import Pairing, pair_weights

PUSHES = [
    pushes.OneSum(exponentials.LogSumExp(3.0, 0.25)),
    pushes.OneSum(triplets.TripletHinge(0.5)),
    pushes.Nothing(),
    pushes.Bins(5),
    pushes.Bins(1),
    soft_ranks.Nearer(0.5),
]
STEPS = st.integers(-8, 8).map(lambda k: k / 8)  # exact in binary: ties everywhere


@pytest.mark.parametrize("push", PUSHES, ids=repr)
@given(data=st.data())
def test_sums_and_slopes_are_those_of_the_definition(push, data):
    rows, negatives, positives = (data.draw(st.integers(1, size)) for size in (3, 5, 4))

    def drawn(elements, width):
        flat = data.draw(st.lists(elements, min_size=rows * width, max_size=rows * width))
        return torch.tensor(flat).reshape(rows, width)

    sim = drawn(STEPS, negatives).double().masked_fill(drawn(st.booleans(), negatives), -torch.inf)
    near = Near(drawn(STEPS, positives).double(), drawn(st.booleans(), positives))
    leaf = sim.clone().requires_grad_()
    expected = push.far(leaf, near)
    expected, count = (expected.total, expected.count) if isinstance(expected, Mean) else (expected, None)
    tilt = torch.arange(1.0, 1 + expected.numel(), dtype=torch.float64).reshape(expected.shape)
    some = tilt * (expected.detach() != -torch.inf)
    [slopes] = torch.autograd.grad(expected, leaf, some)

    sums = push.sums_(sim, near, 2.0)
    torch.testing.assert_close(sums.total, expected.detach())
    if count is not None:
        torch.testing.assert_close(sums.count, count)
    push.slopes_(sim, near, sums, tilt)
    torch.testing.assert_close(sim, slopes)


def test_a_histogram_holds_everything_once():
    sim = torch.tensor([[-1.0, 1.0, 1.0 + 1e-7, 0.3, -torch.inf]])
    assert pushes.Bins(100).far(sim, Near(sim, sim > 2)).sum().item() == pytest.approx(4.0)


@pytest.mark.parametrize(
    "loss", [losses.lifted_structure_loss, losses.histogram_loss], ids=["lifted", "histogram"]
)
def test_a_relation_of_pairs_instead_of_classes(loss):
    x = torch.randn(10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.arange(10) % 3
    expected = loss(x, y)
    torch.testing.assert_close(loss(x, None, pairing=Pairing(related=y[:, None] == y, block=3)), expected)
    torch.testing.assert_close(
        loss(x, torch.nn.functional.one_hot(y).bool(), pairing=Pairing(block=4)), expected
    )


def test_a_relation_to_references():
    x = torch.randn(10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.arange(10) % 3
    expected = losses.histogram_loss(x[:4], y[:4], x[4:], y[4:])
    pairing = Pairing(related=y[:4, None] == y[4:], block=3)
    torch.testing.assert_close(losses.histogram_loss(x[:4], None, x[4:], pairing=pairing), expected)


@pytest.mark.parametrize(
    "loss",
    [losses.lifted_structure_loss, losses.swap_triplet_loss, losses.quadruplet_loss, losses.histogram_loss],
)
def test_weights_of_pairs_give_the_gradient(loss):
    # A reference with the id of an anchor is the anchor: also when a loss asks what is near it.
    x = torch.randn(10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.arange(10) % 3
    unit = torch.nn.functional.normalize(x).requires_grad_()
    sim = unit @ unit.T
    weights = pair_weights(loss, sim, y)
    [expected] = torch.autograd.grad(loss(unit, y, pairing=Pairing(similarity="dot")), unit)
    [found] = torch.autograd.grad((weights * sim).sum() / 10, unit)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("loss", [losses.swap_triplet_loss, losses.quadruplet_loss])
@pytest.mark.parametrize("similarity", ["negative_squared_euclidean", "negative_snr"])
def test_a_batch_is_a_reference_like_any_other(loss, similarity):
    # Of a batch that is its own reference half the pairs do, unless they differ from the other half.
    x = torch.randn(10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y, ids = torch.arange(10) % 3, torch.arange(10)
    apart = Pairing(similarity=similarity, ids=ids, reference_ids=ids)
    expected = loss(x, y, x, y, margin=2.0, pairing=apart)
    torch.testing.assert_close(loss(x, y, margin=2.0, pairing=Pairing(similarity=similarity)), expected)


@pytest.mark.parametrize(
    "loss",
    [
        losses.lifted_structure_loss,
        losses.swap_triplet_loss,
        losses.quadruplet_loss,
        losses.histogram_loss,
        losses.intra_pair_variance_loss,
        losses.dynamic_soft_margin_loss,
    ],
)
def test_backward_twice(loss):
    # The one block of a small batch is kept, and overwritten by its slopes.
    x = torch.randn(10, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = loss(x, torch.arange(10) % 3)
    [once] = torch.autograd.grad(value, x, retain_graph=True)
    [twice] = torch.autograd.grad(value, x)
    torch.testing.assert_close(twice, once)


@pytest.mark.parametrize(
    "loss",
    [
        losses.angular_loss,
        losses.intra_pair_variance_loss,
        losses.dynamic_soft_margin_loss,
        losses.n_pairs_loss,
    ],
)
def test_a_gradient_with_a_graph_is_the_same_gradient(loss):
    # Of these some inputs of a pass over the pairs depend on others: no way may be gone twice.
    x = torch.randn(10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = torch.arange(10) % 3
    [once] = torch.autograd.grad(loss(x, y), x)
    [graph] = torch.autograd.grad(loss(x, y), x, create_graph=True)
    torch.testing.assert_close(graph.detach(), once)


def test_the_mean_of_negatives_where_nearly_all_pairs_are_of_one_class():
    # In float32 the sum of all pairs is 10^4 times that of the negatives, which sums of classes must not lose.
    x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0)) / 10 + 1
    y = (torch.arange(200) == 0).long()
    value, exact = (losses.intra_pair_variance_loss(rows, y) for rows in (x, x.double()))
    assert value.item() == pytest.approx(exact.item(), rel=1e-4)
