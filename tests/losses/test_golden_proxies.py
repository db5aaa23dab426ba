"""Proxies and classes of several centers: values by hand, reductions over proxies, outliers."""

from __future__ import annotations

from math import exp, log, pi, radians, sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_margin
from mimetric import losses
from mimetric.core.errors import InputError
from mimetric.losses import Pairing
from mimetric.mining import MarginMining

# Cosines 1, 0.6 and 0, 0.8 of the rows to the proxies.
ROWS = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
PROXIES = torch.tensor([[3.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
CLASSES = torch.tensor([0, 1])


def test_proxy_nca():
    # Squared distances 0 and 0.8 of row 0, 2 and 0.4 of row 1.
    expected = ((0 - 0.8) + (0.4 - 2)) / 2
    assert losses.proxy_nca_loss(ROWS, CLASSES, PROXIES).item() == pytest.approx(expected)
    warm = losses.proxy_nca_loss(ROWS, CLASSES, PROXIES, temperature=4.0)
    assert warm.item() == pytest.approx(expected / 4)


def test_proxy_nca_plus_plus():
    # At T = 1/9, as published; it is a softmax over cosines at T / 2.
    expected = (log(1 + exp(9 * (0 - 0.8))) + log(1 + exp(9 * (0.4 - 2)))) / 2
    options = {"temperature": 1 / 9, "denominator": "all"}
    found = losses.proxy_nca_loss(ROWS, CLASSES, PROXIES, **options)
    assert found.item() == pytest.approx(expected)
    softmax = losses.normalized_softmax_loss(ROWS, CLASSES, PROXIES, temperature=1 / 18)
    torch.testing.assert_close(found, softmax)


def test_proxy_nca_of_one_class_costs_nothing():
    x = ROWS.clone().requires_grad_()
    loss = losses.proxy_nca_loss(x, [0, 0], PROXIES[:1])
    loss.backward()
    assert loss == 0
    assert not x.grad.any()


def test_proxy_anchor():
    # A third proxy has no row: it counts in the mean of the negatives alone.
    proxies = torch.cat((PROXIES, torch.tensor([[0.0, -1.0]], dtype=torch.float64)))
    pull = (log(1 + exp(-2 * (1 - 0.1))) + log(1 + exp(-2 * (0.8 - 0.1)))) / 2
    far = [[0.0], [0.6], [0.0, -1.0]]
    push = sum(log(1 + sum(exp(2 * (s + 0.1)) for s in row)) for row in far) / 3
    sides = losses.proxy_anchor_loss.sides(ROWS, CLASSES, proxies, alpha=2.0)
    assert [side.item() for side in sides] == pytest.approx([pull, push])


def test_proxy_anchor_is_reduced_over_proxies():
    generator = torch.Generator().manual_seed(0)
    x, proxies = (torch.randn(n, 4, dtype=torch.float64, generator=generator) for n in (9, 5))
    y = torch.arange(9) % 3  # two proxies have no row

    def loss(**pairing):
        return losses.proxy_anchor_loss(x, y, proxies, pairing=Pairing(**pairing))

    each = loss(reduction="none")
    assert each.shape == (5,)
    torch.testing.assert_close(loss(reduction="sum", block=2), each.sum())
    torch.testing.assert_close(loss(reduction="anchors"), each.mean())
    weights = torch.rand(5, dtype=torch.float64)
    torch.testing.assert_close(
        loss(reduction="anchors", weights=weights), (each * weights).sum() / weights.sum()
    )
    pull, push = losses.proxy_anchor_loss.sides(x, y, proxies, pairing=Pairing(reduction="none"))
    torch.testing.assert_close(loss(), pull.sum() / 3 + push.mean())


def test_proxy_anchor_mines_the_rows_of_a_proxy():
    mining = MarginMining(positive=0.9, negative=0.5)
    mined = losses.proxy_anchor_loss(ROWS, CLASSES, PROXIES, alpha=2.0, pairing=Pairing(mining=mining))
    pull, push = (
        log(1 + exp(-2 * (0.8 - 0.1))),
        log(1 + exp(2 * (0.6 + 0.1))) / 2,
    )  # of one proxy with a positive left
    assert mined.item() == pytest.approx(pull + push)


# Of class 0 the centers (1, 0) and (0.6, 0.8), of class 1 (0, 1) and (-1, 0).
CENTERS = torch.tensor([[[1.0, 0.0], [0.6, 0.8]], [[0.0, 1.0], [-1.0, 0.0]]], dtype=torch.float64)


def soft(a, b, gamma=0.5):
    p = 1 / (1 + exp((b - a) / gamma))
    return p * a + (1 - p) * b


def test_soft_triple():
    # Cosines of row 0: 1, 0.6 and 0, -1; of row 1: 0, 0.8 and 1, 0.  Distances of centers: sqrt 0.8 and sqrt 2.
    options = {"scale": 2.0, "gamma": 0.5, "margin": 0.1}
    first = log(1 + exp(2 * (soft(0, -1) - soft(1, 0.6) + 0.1)))
    second = log(1 + exp(2 * (soft(0, 0.8) - soft(1, 0) + 0.1)))
    found = losses.soft_triple_loss(ROWS, CLASSES, CENTERS, tau=0.0, **options)
    assert found.item() == pytest.approx((first + second) / 2)
    found = losses.soft_triple_loss(ROWS, CLASSES, CENTERS, tau=0.5, **options)
    apart = 0.5 * (sqrt(0.8) + sqrt(2)) / (2 * 2 * 1)
    assert found.item() == pytest.approx((first + second) / 2 + apart)


def test_soft_triple_of_one_center_is_a_softmax_with_a_margin():
    one = losses.soft_triple_loss(ROWS, CLASSES, PROXIES[:, None], margin=0.2)
    torch.testing.assert_close(one, losses.cosface_loss(ROWS, CLASSES, PROXIES, margin=0.2, scale=20.0))


def test_centers_that_are_one_stay_one():
    centers = CENTERS[:, :1].repeat(1, 3, 1).requires_grad_()
    losses.soft_triple_loss(ROWS, CLASSES, centers).backward()
    assert centers.grad.isfinite().all()
    torch.testing.assert_close(centers.grad[:, 0], centers.grad[:, 1])


def test_subcenter_arcface_takes_the_nearest_center():
    nearest = torch.stack((CENTERS[0, 0], CENTERS[1, 0]))
    # Row 0 is nearest to (1, 0) and (0, 1), row 1 to (0.6, 0.8) and (0, 1).
    first = losses.arcface_loss(ROWS[:1], [0], nearest)
    second = losses.arcface_loss(ROWS[1:], [1], torch.stack((CENTERS[0, 1], CENTERS[1, 0])))
    both = losses.subcenter_arcface_loss(ROWS, CLASSES, CENTERS)
    torch.testing.assert_close(both, (first + second) / 2)
    one = losses.subcenter_arcface_loss(ROWS, CLASSES, nearest[:, None])
    torch.testing.assert_close(one, losses.arcface_loss(ROWS, CLASSES, nearest))


def test_outliers_by_hand():
    # Two of three rows of class 0 are near its center (0, 1), from which the third is 90 degrees.
    centers = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, -1.0], [-1.0, 0.0]]])
    rows = torch.tensor([[1.0, 0.0], [0.1, 1.0], [-0.2, 1.0], [1.0, -1.0]])
    found = losses.subcenter_outliers(rows, [0, 0, 0, 1], centers)
    assert found.rows.tolist() == [0]
    assert found.dominant.tolist() == [1, 0]
    assert losses.subcenter_outliers(rows, [0, 0, 0, 1], centers, threshold=radians(40)).rows.tolist() == [
        0,
        3,
    ]
    assert losses.subcenter_outliers(rows[:0], [], centers).rows.tolist() == []


@given(seed=st.integers(0, 10**6), n=st.integers(1, 20), threshold=st.floats(0.1, 3.0))
def test_outliers_equal_plain_loops(seed, n, threshold):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, dtype=torch.float64, generator=generator)
    centers = torch.randn(4, 3, 3, dtype=torch.float64, generator=generator)
    y = torch.randint(-1, 4, (n,), generator=generator)
    found = losses.subcenter_outliers(x, y, centers, threshold=threshold)
    expected = reference_margin.outliers(x.tolist(), y.tolist(), centers.tolist(), threshold)
    assert (found.rows.tolist(), found.dominant.tolist()) == expected


def test_outliers_of_a_module():
    objective = losses.SubcenterArcFaceLoss(4, 3, num_centers=2)
    found = losses.subcenter_outliers(
        torch.randn(8, 4), torch.arange(8) % 3, objective.centers, threshold=0.0
    )
    assert found.rows.tolist() == list(range(8))
    kept = losses.ArcFaceLoss(4, 3)
    kept.load_state_dict({"weight": objective.centers.detach()[torch.arange(3), found.dominant]})


MISTAKES = [
    (losses.proxy_nca_loss, PROXIES, {"temperature": 0.0}, "temperature must be > 0"),
    (losses.proxy_nca_loss, PROXIES, {"denominator": "both"}, "denominator must be one of negatives, all"),
    (losses.proxy_anchor_loss, PROXIES, {"alpha": 0.0}, "alpha must be > 0"),
    (losses.proxy_anchor_loss, PROXIES, {"pairing": Pairing(related=torch.eye(2) > 0)}, "takes no related"),
    (losses.soft_triple_loss, CENTERS, {"gamma": 0.0}, "gamma must be > 0"),
    (losses.soft_triple_loss, CENTERS, {"tau": -1.0}, "tau must be >= 0"),
    (
        losses.soft_triple_loss,
        PROXIES,
        {},
        r"centers must have shape \(classes, centers, width\), got \(2, 2\)",
    ),
    (losses.subcenter_arcface_loss, CENTERS[..., :1], {}, r"must have 2 columns to match embeddings"),
    (losses.subcenter_arcface_loss, CENTERS, {"beyond": "flat"}, "beyond must be one of"),
    (losses.subcenter_arcface_loss, CENTERS, {"grad": "none"}, "grad must be one of"),
    (
        losses.subcenter_outliers,
        CENTERS,
        {"threshold": 75.0},
        "threshold must lie in 0..π, got 75.0; degrees go",
    ),
]


@pytest.mark.parametrize(("function", "weight", "options", "message"), MISTAKES)
def test_mistakes(function, weight, options, message):
    with pytest.raises(InputError, match=f"{function.__name__}: .*{message}"):
        function(ROWS, CLASSES, weight, **options)


def test_an_angle_of_a_half_turn_leaves_nobody_out():
    assert losses.subcenter_outliers(ROWS, CLASSES, -CENTERS[:, :1], threshold=pi).rows.tolist() == []
