"""Numbers with a derivation for triplets and for losses of all pairs of a batch; none comes from the code it judges."""

from __future__ import annotations

from math import exp, log, radians, tan

import pytest
import torch
import torch.nn.functional as F

from mimetric import losses
from mimetric.losses import Pairing
from mimetric.mining import MultiSimilarityMining

# Three unit rows with cosines 0.6, 0.8 and 0.96; only the first two share a class.
ROWS = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]], dtype=torch.float64)
PAIR = torch.tensor([0, 0, 1])
# Points on a line; Euclidean distances 1, 2 and 3.
LINE = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)


def row(sims, labels, loss, **options):
    """A loss of one anchor of class 0 with given similarities."""
    sims, pairing = torch.tensor([sims], dtype=torch.float64), Pairing(similarity="dot")
    return loss(sims, [0], torch.eye(sims.shape[1], dtype=torch.float64), labels, pairing=pairing, **options)


def softplus(v):
    return log(1 + exp(v))


def balanced(classes=4, each=3, width=5):
    generator = torch.Generator().manual_seed(classes)
    y = torch.arange(classes).repeat_interleave(each)
    return torch.randn(len(y), width, dtype=torch.float64, generator=generator), y


def test_swap_triplet():
    # From either anchor the negative is at cosine 0.96 of one of the two.
    tightness, contrast = losses.swap_triplet_loss.sides(ROWS, PAIR)
    assert tightness.item() == pytest.approx(-0.6)
    assert contrast.item() == pytest.approx(1.06)


def test_swap_triplet_equals_torch_over_listed_triplets():
    x, y = balanced()
    every = range(len(x))
    listed = [(a, p, n) for a in every for p in every for n in every if a != p and y[a] == y[p] != y[n]]
    a, p, n = (x[list(index)] for index in zip(*listed, strict=True))
    costs = F.triplet_margin_loss(a, p, n, margin=0.5, swap=True, eps=0.0, reduction="none")
    value = losses.swap_triplet_loss(x, y, margin=0.5, pairing=Pairing(similarity="negative_euclidean"))
    assert value.item() == pytest.approx(costs[costs > 0].mean().item())


def test_swap_triplet_holds_a_positive_against_references():
    # Anchor 0 against references 1 (its positive) and 3: the negative is 2 from the positive.
    against = (LINE[:1], [0], LINE[1:], [0, 1])
    pairing = Pairing(similarity="negative_euclidean")
    assert losses.swap_triplet_loss(*against, margin=1.5, pairing=pairing).item() == pytest.approx(
        1 - 2 + 1.5
    )


def test_distance_weighted_triplet():
    # In three dimensions q(D) is D: chances 1 / D.  Cosines 0.5 and 0.28 are distances 1 and 1.2; the positive is
    # at 0.4.  0.98 is nearer than 0.5 and drawn as at 0.5; 0 is at 1.41 and never drawn.
    def loss(cosines):
        s = torch.tensor([1.0, 0.4, *cosines], dtype=torch.float64)
        x = torch.stack((s, (1 - s**2).sqrt(), torch.zeros_like(s)), 1)
        labels = [0] + [1] * len(cosines)
        return losses.distance_weighted_triplet_loss(x[:1], [0], x[1:], labels, margin=0.2).item()

    assert loss([0.5, 0.28]) == pytest.approx((0.3 + 0.08 / 1.2) / (1 + 1 / 1.2))
    assert loss([0.5, 0.98]) == pytest.approx((0.3 + 0.78 * 2) / 3)
    assert loss([0.5, 0.0]) == pytest.approx(0.3)
    assert loss([0.0]) == 0


def test_soft_triplet():
    # Triplets 1 - 3 and 1 - 2.
    assert losses.soft_triplet_loss(LINE, PAIR).item() == pytest.approx((softplus(-2) + softplus(-1)) / 2)
    assert losses.soft_triplet_loss(LINE, PAIR, margin=0.5).item() == pytest.approx(
        (softplus(-1.5) + softplus(-0.5)) / 2
    )


def test_soft_triplets_of_several_positives():
    sides = row([0.5, -0.25, 1.0], [0, 0, 1], losses.soft_triplet_loss.sides)
    assert sides[0].item() == pytest.approx(-0.125)
    assert sum(sides).item() == pytest.approx((softplus(0.5) + softplus(1.25)) / 2)


def test_soft_batch_hard_triplet():
    value = row([0.5, -0.25, 1.0, 0.75], [0, 0, 1, 1], losses.soft_batch_hard_triplet_loss)
    assert value.item() == pytest.approx(softplus(1.25))
    one = losses.soft_batch_hard_triplet_loss(LINE, PAIR)
    assert one.item() == pytest.approx(losses.soft_triplet_loss(LINE, PAIR).item())  # one of each


@pytest.mark.parametrize(
    ("negatives", "others"), [("semi_hard", [0.25]), ("hard", [0.75]), ("all", [0.75, 0.25, -0.5])]
)
def test_easy_positive_triplet(negatives, others):
    # The nearest positive is at 0.5; the nearest negative behind it at 0.25.
    value = row(
        [0.5, -1.0, 0.75, 0.25, -0.5], [0, 0, 1, 1, 2],
        losses.easy_positive_triplet_loss, negatives=negatives, temperature=0.5,
    )  # fmt: skip
    assert value.item() == pytest.approx(log(1 + sum(exp(2 * (s - 0.5)) for s in others)))


def test_a_semi_hard_negative_is_strictly_behind():
    value = row([0.5, 0.5, 0.75], [0, 1, 1], losses.easy_positive_triplet_loss)
    assert value == 0


def test_angular():
    # Of the only pair: 4 t (0.8 + 0.96) - 2 (1 + t) 0.6.
    for alpha in (36.0, 40.0, 45.0):
        t = tan(radians(alpha)) ** 2
        value = losses.angular_loss(ROWS, PAIR, alpha=alpha)
        assert value.item() == pytest.approx(softplus(4 * t * 1.76 - 2 * (1 + t) * 0.6))


def test_the_angle_of_the_paper():
    # The cost of a triplet is 4 t d^2 - |a - p|^2 turned round and without constants: 0 at the angle alpha itself.
    a, p, n = torch.tensor([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    center = (a + p) / 2
    half = torch.linalg.vector_norm(a - p) / 2
    slope = (half / torch.linalg.vector_norm(n - center)).item()
    assert slope == 1.0  # 45 degrees, where f is 4 (a + p) n - 4 a p = 4 for unit rows at right angles
    value = losses.angular_loss(torch.stack((a, p, n)), PAIR, alpha=45.0)
    assert value.item() == pytest.approx(softplus(4.0))


def test_centroid_triplet():
    # On a line: 0 and 2 of one class, 3 and 3.5 of the other, m = 0.5.  From 0 the other mean is too far; from 2:
    # 4 - 1.25^2 + 0.5; from 3 and 3.5, own mean the other row, other mean 1: 0.25 - 4 + 0.5 < 0, and 0.25 - 6.25 + 0.5.
    x = torch.tensor([[0.0], [2.0], [3.0], [3.5]], dtype=torch.float64)
    tightness, contrast = losses.centroid_triplet_loss.sides(x, [0, 0, 1, 1])
    assert tightness.item() == pytest.approx(4 / 4)
    assert contrast.item() == pytest.approx((0.5 - 1.5625) / 4)


def test_centroid_triplet_is_batch_hard_triplet_of_pairs_and_single_rows():
    # Two rows a class: the rest of a class is one row.  Against one row of each other class as reference, too.
    x, y = balanced(classes=5, each=2)
    against = (x[::2], y[::2], x[1::2], y[1::2])
    similarity = Pairing(similarity="negative_squared_euclidean")
    expected = losses.batch_hard_triplet_loss(*against, margin=0.5, pairing=similarity)
    torch.testing.assert_close(losses.centroid_triplet_loss(*against), expected)


def test_quadruplet():
    # On a line: positives 0 and 1, negatives 1.5 and 1.8 of two classes.  From 1: 1 - 0.25 + 1 and 1 - 0.64 + 1; from
    # 0 nothing.  The negative pair, from either side: 1 - 0.09 + 0.5.
    x = torch.tensor([[0.0], [1.0], [1.5], [1.8]], dtype=torch.float64)
    tightness, contrast = losses.quadruplet_loss.sides(x, [0, 0, 1, 2])
    assert tightness.item() == pytest.approx(1 + 1)
    assert contrast.item() == pytest.approx(1 - (0.25 + 0.64) / 2 + 0.5 - 0.09)


def test_a_quadruplet_needs_a_third_and_a_fourth_class():
    x, y = balanced(classes=2)
    triplets = losses.triplet_margin_loss(
        x, y, margin=1.0, pairing=Pairing(similarity="negative_squared_euclidean")
    )
    torch.testing.assert_close(losses.quadruplet_loss(x, y, far_margin=100.0), triplets)


def test_lifted_structure():
    # J = 1 + log(e^(1-3) + e^(1-2)), from either row.
    j = 1 + log(exp(-2) + exp(-1))
    tightness, contrast = losses.lifted_structure_loss.sides(LINE, PAIR)
    assert tightness.item() == pytest.approx(j / 2)
    assert (tightness + contrast).item() == pytest.approx(j**2 / 2)
    assert losses.lifted_structure_loss(LINE, PAIR, margin=0.0) == 0  # J < 0


def test_lifted_structure_counts_what_is_near_the_positive():
    # A negative 2 from the anchor and 1 from its positive: J = 1 + log(e^-1 + e^0).
    x, references = LINE[:1], torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    value = losses.lifted_structure_loss(x, [0], references, [0, 1])
    assert value.item() == pytest.approx((1 + log(exp(-1) + 1)) ** 2 / 2)


def test_histogram():
    # R = 4, nodes -1, -0.5, 0, 0.5, 1.  The positive 0.6 is 0.8 at 0.5 and 0.2 at 1; negatives 0.8 and 0.96 are 0.4 and
    # 0.08 at 0.5, the rest at 1, where all positives are passed.
    expected = (0.4 + 0.08) / 2 * 0.8 + (0.6 + 0.92) / 2
    assert losses.histogram_loss(ROWS, PAIR, bins=4).item() == pytest.approx(expected)


def test_histogram_of_sets_apart_is_a_chance():
    # Cosines at nodes, the positive at 0: one of two negatives is more similar.
    angles = torch.tensor([0.0, 0.0, 0.5, -0.5], dtype=torch.float64).arccos()
    x = torch.stack((angles.cos(), angles.sin()), 1)
    x[0] = torch.tensor([1.0, 0.0])
    assert losses.histogram_loss(x[:1], [0], x[1:], [0, 1, 1], bins=4).item() == pytest.approx(0.5)


def test_options_out_of_range():
    x, y = torch.randn(4, 3), [0, 0, 1, 1]
    related = Pairing(related=torch.eye(4, dtype=torch.bool))
    euclidean = Pairing(similarity="negative_euclidean")
    mined = Pairing(mining=MultiSimilarityMining())
    for call, message in (
        (lambda: losses.distance_weighted_triplet_loss(x, y, margin=0), "margin must be > 0"),
        (
            lambda: losses.distance_weighted_triplet_loss(x, y, furthest=0.4),
            "0 < nearest < furthest < 2, got 0.5",
        ),
        (
            lambda: losses.distance_weighted_triplet_loss(x, y, pairing=Pairing(similarity="dot")),
            "must be cosine, got dot",
        ),
        (lambda: losses.swap_triplet_loss(x, y, margin=0), "swap_triplet_loss: margin must be > 0, got 0"),
        (lambda: losses.swap_triplet_loss(x, y, pairing=mined), "swap_triplet_loss: takes no mining"),
        (lambda: losses.soft_triplet_loss(x, y, margin=float("inf")), "margin must be finite, got inf"),
        (lambda: losses.soft_triplet_loss(x, y, pairing=mined), "soft_triplet_loss: takes no mining"),
        (lambda: losses.easy_positive_triplet_loss(x, y, temperature=0), "temperature must be > 0"),
        (
            lambda: losses.easy_positive_triplet_loss(x, y, negatives="easy"),
            "must be one of semi_hard, hard, all",
        ),
        (lambda: losses.angular_loss(x, y, alpha=90), r"alpha must lie in \(0, 90\) degrees, got 90"),
        (lambda: losses.angular_loss(x, y, pairing=Pairing(similarity="dot")), "must be cosine, got dot"),
        (lambda: losses.angular_loss(x, y, pairing=related), "angular_loss: needs one class id a row"),
        (lambda: losses.swap_triplet_loss(x, y, pairing=related), "needs one class id a row"),
        (lambda: losses.centroid_triplet_loss(x, y, margin=0), "margin must be > 0"),
        (lambda: losses.centroid_triplet_loss(x, y, pairing=related), "needs one class id a row"),
        (lambda: losses.quadruplet_loss(x, y, far_margin=0), "quadruplet_loss: far_margin must be > 0"),
        (lambda: losses.quadruplet_loss(x, y, pairing=related), "needs one class id a row"),
        (lambda: losses.lifted_structure_loss(x, y, pairing=mined), "lifted_structure_loss: takes no mining"),
        (
            lambda: losses.lifted_structure_loss(x, y, x, y, pairing=related),
            "lifted_structure_loss: needs one class id a row",
        ),
        (lambda: losses.histogram_loss(x, y, bins=0), "bins must be at least 1, got 0"),
        (lambda: losses.histogram_loss(x, y, pairing=euclidean), "counts cosines"),
        (lambda: losses.histogram_loss.sides(x, y), "histogram_loss: has no tightness and contrast"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
