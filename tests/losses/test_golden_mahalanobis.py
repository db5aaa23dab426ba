"""The exact checks of the paper's sheet: centers, losses at given points, margins of the nearest center."""

from __future__ import annotations

from math import cos, pi

import pytest
import torch

from mimetric import losses
from mimetric.core.errors import InputError
from mimetric.losses import (
    MaxMahalanobisCenterLoss,
    Pairing,
    max_mahalanobis_center_loss,
    max_mahalanobis_centers,
    max_mahalanobis_softmax_loss,
    prototypical_loss,
)
from mimetric.mining import MultiSimilarityMining

THREE = torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]], dtype=torch.float64)


def largest(centers):
    """Of the inner products of two of them."""
    return (centers @ centers.T).fill_diagonal_(-1).max().item()


def test_simplex_of_the_sheet():
    torch.testing.assert_close(max_mahalanobis_centers(3, 2), THREE.float())
    four = [[1, 0, 0], [-1 / 3, 0.9428, 0], [-1 / 3, -0.4714, 0.8165], [-1 / 3, -0.4714, -0.8165]]
    torch.testing.assert_close(max_mahalanobis_centers(4, 3), torch.tensor(four), atol=5e-5, rtol=0)
    assert max_mahalanobis_centers(2, 1).tolist() == [[1], [-1]]
    assert max_mahalanobis_centers(1, 3).tolist() == [[1, 0, 0]]


def test_ten_classes_in_256_numbers():
    centers = 10 * max_mahalanobis_centers(10, 256).double()
    products = centers @ centers.T
    torch.testing.assert_close(products.diagonal(), torch.full((10,), 100.0, dtype=torch.float64))
    off = products[~torch.eye(10, dtype=torch.bool)]
    torch.testing.assert_close(off, torch.full_like(off, -100 / 9), rtol=1e-5, atol=0)
    assert torch.cdist(centers, centers)[0, 1].item() ** 2 == pytest.approx(222.2222, rel=1e-6)
    assert centers.sum(0).abs().max() < 1e-5


def test_axes_and_their_opposites():
    for classes in (6, 7, 8):
        centers = max_mahalanobis_centers(classes, 4)
        assert largest(centers) == 0
        assert torch.equal(centers.norm(dim=1), torch.ones(classes))


@pytest.mark.parametrize(
    ("classes", "width", "least"),
    # A regular polygon; 24 points on a sphere, the snub cube (Tammes), 43.691 degrees.
    [(9, 2, cos(2 * pi / 9)), (24, 3, cos(43.691 * pi / 180))],
)
def test_more_classes_than_that_are_spread_in_steps(classes, width, least):
    centers = max_mahalanobis_centers(classes, width)
    assert largest(centers) == pytest.approx(least, abs=2e-3)
    assert torch.equal(centers, max_mahalanobis_centers(classes, width))
    torch.testing.assert_close(centers.norm(dim=1), torch.ones(classes))


def test_spreading_leaves_the_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    with torch.no_grad():
        max_mahalanobis_centers(9, 2, steps=2)
    assert torch.equal(torch.rand(1), expected)


def test_center_loss_of_the_sheet():
    z = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    values = [max_mahalanobis_center_loss(z, [k], THREE, scale=1.0).item() for k in range(3)]
    assert values == pytest.approx([0, 1.5, 1.5])
    half = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    assert max_mahalanobis_center_loss(half, [0], THREE).item() == pytest.approx(45.25)
    origin = torch.zeros(3, 2, dtype=torch.float64)
    assert max_mahalanobis_center_loss(origin, [0, 1, 2], THREE).item() == pytest.approx(50)


def test_gradient_is_the_error():
    z = torch.tensor([[0.5, 0.5], [2.0, -1.0]], dtype=torch.float64, requires_grad=True)
    max_mahalanobis_center_loss(z, [1, 2], THREE, pairing=Pairing(reduction="sum")).backward()
    torch.testing.assert_close(z.grad, z.detach() - 10 * THREE[1:])


def test_softmax_loss_of_the_sheet():
    # Logits -90.5, -96.8397, -114.1603, and the softmax of 2 <z, mu> is the same.
    z = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    shares = [max_mahalanobis_softmax_loss(z, [k], THREE).neg().exp().item() for k in range(3)]
    assert shares == pytest.approx([0.99824, 0.0017616, 5.3e-11], rel=2e-2)
    assert shares == pytest.approx((20 * z @ THREE.T).softmax(1)[0].tolist())


def test_softmax_loss_is_that_of_a_prototypical_network_with_fixed_prototypes():
    x = torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 1, 2, 2, 1, 0, -1])
    value = max_mahalanobis_softmax_loss(x, y, THREE, scale=2.0)
    torch.testing.assert_close(value, prototypical_loss(x, y, 2.0 * THREE, torch.arange(3)))


def test_a_loss_below_an_eighth_of_the_least_squared_distance_is_a_right_prediction():
    centers = 10 * max_mahalanobis_centers(10, 16).double()
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(10).repeat(200)
    step = torch.randn(2000, 16, dtype=torch.float64, generator=generator)
    z = centers[y] + 7.45 * step / step.norm(dim=1, keepdim=True)
    each = max_mahalanobis_center_loss(z, y, centers / 10, pairing=Pairing(reduction="none"))
    assert each.max() < 222.2222 / 8
    assert torch.equal(torch.cdist(z, centers).argmin(1), y)
    assert torch.equal((z @ centers.T).argmax(1), y)


def test_rotating_rows_and_centers_together_changes_nothing():
    turn = torch.linalg.qr(
        torch.randn(2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )[0]
    z, y = torch.tensor([[0.5, 0.5], [1.0, -3.0]], dtype=torch.float64), [0, 1]
    for loss in (max_mahalanobis_center_loss, max_mahalanobis_softmax_loss):
        torch.testing.assert_close(loss(z @ turn, y, THREE @ turn), loss(z, y, THREE))


def test_centers_are_saved_and_not_trained():
    objective = MaxMahalanobisCenterLoss(4, 3, scale=2.0)
    optimizer = torch.optim.SGD(objective.parameters(), lr=1.0, weight_decay=0.1)
    before = objective.centers.clone()
    x = torch.ones(2, 4, requires_grad=True)
    objective(x, [0, 2]).backward()
    optimizer.step()
    assert torch.equal(objective.centers, before)
    assert torch.equal(objective.state_dict()["centers"], before)
    other = MaxMahalanobisCenterLoss(4, 3)
    other.centers.data.zero_()
    other.load_state_dict(objective.state_dict())
    assert torch.equal(other.centers, before)
    assert not objective.takes_references


def test_messages():
    z, y = torch.zeros(2, 2), [0, 1]
    for loss in (max_mahalanobis_center_loss, max_mahalanobis_softmax_loss):
        name = loss.__name__
        with pytest.raises(InputError, match=f"{name}: centers must have 2 columns"):
            loss(z, y, torch.zeros(3, 4))
        with pytest.raises(InputError, match=f"{name}: scale must be > 0"):
            loss(z, y, THREE.float(), scale=0)
        with pytest.raises(InputError, match=f"{name}: measures squared distances"):
            loss(z, y, THREE.float(), pairing=Pairing(similarity="cosine"))
        with pytest.raises(InputError, match=rf"{name}: labels must lie in 0\.\.2"):
            loss(z, [0, 3], THREE.float())
    with pytest.raises(InputError, match="max_mahalanobis_center_loss: takes no mining"):
        losses.max_mahalanobis_center_loss(
            z, y, THREE.float(), pairing=Pairing(mining=MultiSimilarityMining())
        )
    with pytest.raises(InputError, match="max_mahalanobis_centers: num_classes must be at least 1, got 0"):
        max_mahalanobis_centers(0, 2)
