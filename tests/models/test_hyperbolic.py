from __future__ import annotations

from math import log, tanh

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mimetric.models.hyperbolic import HyperbolicClassifier, hyperbolic_distances, moebius_sum, to_ball

X, Y = torch.tensor([[0.5, 0.0]]).double(), torch.tensor([[-0.5, 0.0]]).double()


def points(seed: int, count: int = 7) -> Tensor:
    return torch.rand(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5


def test_rows_become_points() -> None:
    root = 0.1**0.5
    rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    assert to_ball(rows, 0.1).norm(dim=1).tolist() == pytest.approx([0.967948, 1.770056, 0], abs=1e-6)
    assert to_ball(rows, 0.1)[0, 0].item() == pytest.approx(tanh(root) / root)


@pytest.mark.parametrize(
    ("curvature", "distance"), [(1.0, 2.197225), (0.1, 2.016921), (1e-2, 2.001669), (1e-4, 2.000017)]
)
def test_distances_go_to_twice_the_flat_ones(curvature: float, distance: float) -> None:
    assert hyperbolic_distances(X, Y, curvature).item() == pytest.approx(distance, abs=1e-6)


def test_a_move_is_undone() -> None:
    x, y = points(0), points(1)
    assert moebius_sum(-X, Y, 0.1).tolist()[0] == pytest.approx([-0.975610, 0], abs=1e-6)
    torch.testing.assert_close(moebius_sum(-x, moebius_sum(x, y, 0.7), 0.7), y)
    torch.testing.assert_close(moebius_sum(torch.zeros_like(x), x, 0.7), x)
    torch.testing.assert_close(hyperbolic_distances(x, y, 0.7), hyperbolic_distances(y, x, 0.7))


def test_in_a_flat_ball_the_classifier_is_linear() -> None:
    head, x = HyperbolicClassifier(4, 2, 1e-8).double(), points(2)
    with torch.no_grad():
        head.points.copy_(points(3, 2))
        wanted = 4 * ((x[:, None] - head.points) * head.normals).sum(2)
        torch.testing.assert_close(head(x), wanted, rtol=1e-5, atol=1e-5)


def test_equal_planes_tell_nothing() -> None:
    head, x = HyperbolicClassifier(4, 2, 0.1).double(), points(4)
    with torch.no_grad():
        head.points.copy_(points(5, 1).expand(2, 4))
        head.normals[1] = head.normals[0]
        assert cross_entropy(head(x), torch.arange(7) % 2).item() == pytest.approx(log(2))


def test_gradients_at_the_middle_and_at_the_rim_are_numbers() -> None:
    v = torch.tensor([[0.0, 0.0], [0.0, 0.0], [90.0, 0.0]], requires_grad=True)
    z = to_ball(v, 0.1)
    assert hyperbolic_distances(z[:1], z[1:2], 0.1).item() == pytest.approx(0, abs=1e-5)
    (HyperbolicClassifier(2, 2, 0.1)(z[:2]).sum() + hyperbolic_distances(z[:2], z[1:], 0.1).sum()).backward()
    assert v.grad is not None
    assert v.grad.isfinite().all()
