"""The exact checks of the paper's sheet: least values, limits, gradients under both constraints, new classes."""

from __future__ import annotations

from math import log

import pytest
import torch
import torch.nn.functional as F

from mimetric import losses
from mimetric.core.errors import InputError
from mimetric.losses import Pairing, hyperspherical_loss, max_mahalanobis_centers, novel_class_weights


def example():
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, 4, dtype=torch.float64, generator=generator) for n in (6, 5))
    return x.requires_grad_(), torch.tensor([0, 1, 2, 3, 4, 0]), weight.requires_grad_()


@pytest.mark.parametrize(
    ("scale", "classes", "least"),
    [(10, 10, 1.34499e-4), (20, 10, 2.0103e-9), (10, 100, 4.0545e-3), (10, 5000, 0.204165)],
)
def test_least_value_is_that_of_a_simplex(scale, classes, least):
    # Embeddings on their weights, weights a regular simplex: log(1 + (C - 1) exp(-s C / (C - 1))).
    if classes <= 100:
        weight = max_mahalanobis_centers(classes, classes - 1).double()
        value = hyperspherical_loss(weight, torch.arange(classes), weight, scale=scale)
    else:  # one row of the simplex: inner products with its own and with the others, in a plane
        c = -1 / (classes - 1)
        other = torch.tensor([[c, (1 - c * c) ** 0.5]], dtype=torch.float64).expand(classes - 1, 2)
        weight = torch.cat((torch.tensor([[1.0, 0.0]], dtype=torch.float64), other))
        value = hyperspherical_loss(weight[:1], [0], weight, scale=scale)
    assert value.item() == pytest.approx(least, rel=1e-4)


@pytest.mark.parametrize("constraint", ["graph", "project"])
def test_value_is_that_of_the_normalized_softmax_and_of_margin_zero(constraint):
    x, y, weight = example()
    value = hyperspherical_loss(x, y, weight, scale=20.0, constraint=constraint)
    torch.testing.assert_close(value, losses.normalized_softmax_loss(x, y, weight, temperature=1 / 20))
    torch.testing.assert_close(value, losses.cosface_loss(x, y, weight, margin=0.0, scale=20.0))
    torch.testing.assert_close(value, losses.arcface_loss(x, y, weight, margin=0.0, scale=20.0))
    torch.testing.assert_close(
        hyperspherical_loss(x * 3, y, weight * 7, scale=20.0, constraint=constraint), value
    )


def test_limits_of_the_scale():
    x, y, weight = example()
    assert hyperspherical_loss(x, y, weight, scale=1e-9).item() == pytest.approx(log(5))
    cosines = F.normalize(x) @ F.normalize(weight).T
    own = cosines[torch.arange(6), y]
    missed = (cosines.scatter(1, y[:, None], -2).amax(1) - own).clamp(min=0)
    assert hyperspherical_loss(x, y, weight, scale=1e6).item() / 1e6 == pytest.approx(
        missed.mean().item(), rel=1e-4
    )


def test_gradients_of_both_constraints():
    x, y, weight = example()
    of_graph, of_projected = (
        torch.autograd.grad(hyperspherical_loss(x, y, weight, constraint=constraint), (x, weight))
        for constraint in ("graph", "project")
    )
    torch.testing.assert_close(of_graph[0], of_projected[0])
    assert (of_graph[0] * x).sum(1).abs().max() < 1e-12  # tangential
    assert (of_graph[1] * weight).sum(1).abs().max() < 1e-12
    # Projected: the gradient of plain logits at weights of length 1, radial part and all.
    unit = F.normalize(weight).detach().requires_grad_()
    plain = F.cross_entropy(10 * F.normalize(x) @ unit.T, y)
    torch.testing.assert_close(of_projected[1], torch.autograd.grad(plain, unit)[0])


def test_projection_follows_a_step():
    # Plain gradient descent by hand on weights of length 1, moved back to length 1 after each step.
    x, y, _ = example()
    objective = losses.HypersphericalLoss(4, 5, constraint="project").double()
    by_hand = F.normalize(objective.weight.detach())
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        objective(x, y).backward()
        optimizer.step()
        unit = by_hand.requires_grad_()
        [slope] = torch.autograd.grad(F.cross_entropy(10 * F.normalize(x) @ unit.T, y), unit)
        by_hand = F.normalize(by_hand.detach() - 0.5 * slope)
    objective.project_()
    torch.testing.assert_close(objective.weight.detach(), by_hand)


def test_two_calls_before_one_backward():
    x, y, _ = example()
    objective = losses.HypersphericalLoss(4, 5, constraint="project").double()
    objective.weight.data *= 2
    (objective(x, y) + objective(x * 2, y)).backward()
    assert torch.isfinite(objective.weight.grad).all()


def test_weights_of_new_classes():
    rows = torch.tensor([[2.0, 0.0], [0.0, 3.0], [0.0, -1.0], [9.0, 9.0]])
    classes, weight = novel_class_weights(rows, [5, 5, 9, -1])
    assert classes.tolist() == [5, 9]
    torch.testing.assert_close(weight, torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, -1.0]]))
    # Order and repetition of the examples change nothing; one example is its own direction.
    again = novel_class_weights(rows[[2, 1, 0, 0, 1]], [9, 5, 5, 5, 5])
    torch.testing.assert_close(again.weight, weight)
    # A new column leaves the logits of the others as they were.
    known = torch.eye(2)
    joint = torch.cat((known, weight))
    assert torch.equal((rows @ joint.T)[:, :2], rows @ known.T)


def test_messages():
    x, y, weight = example()
    with pytest.raises(
        InputError, match="novel_class_weights: the embeddings of class 3 have no mean direction"
    ):
        novel_class_weights(torch.tensor([[1.0, 0.0], [-2.0, 0.0]]), [3, 3])
    with pytest.raises(
        InputError, match="hyperspherical_loss: constraint must be one of graph, project, got 'none'"
    ):
        hyperspherical_loss(x, y, weight, constraint="none")
    with pytest.raises(InputError, match="hyperspherical_loss: compares cosines"):
        hyperspherical_loss(x, y, weight, pairing=Pairing(similarity="dot"))
