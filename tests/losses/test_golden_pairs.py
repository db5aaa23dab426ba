"""Numbers with a derivation or a source, for more losses on pairs."""

from __future__ import annotations

from math import acos, cos, exp, log, log1p, sqrt

import pytest
import torch
import torch.nn.functional as F

from mimetric import losses, named
from mimetric.losses import Pairing
from mimetric.mining import MultiSimilarityMining

# Three unit rows with cosines 0.6, 0.8 and 0.96; only the first two share a class.
ROWS = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]], dtype=torch.float64)
PAIR = torch.tensor([0, 0, 1])
FAR, NEAR, NEARER = sqrt(0.8), sqrt(0.4), sqrt(0.08)  # their distances
TCM = torch.tensor(  # of the sheet on threshold-consistent margins
    [[1, 0.95, 0.6, 0.2], [0.95, 1, 0.4, 0.7], [0.6, 0.4, 1, 0.85], [0.2, 0.7, 0.85, 1]], dtype=torch.float64
)
TWO_CLASSES = torch.tensor([0, 0, 1, 1])


def rows(n, width=5, seed=0):
    return torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of_similarities(loss, sim, labels, mining=None, **options):
    """A loss of given similarities: rows of sim against the unit vectors, by dot products."""
    ids = torch.arange(len(sim))
    pairing = Pairing(ids=ids, reference_ids=ids, similarity="dot", mining=mining)
    return loss(sim, labels, torch.eye(len(sim), dtype=sim.dtype), labels, pairing=pairing, **options)


def of_two(loss, positive, negative, **options):
    """(value, slope of the positive, slope of the negative) of one anchor with one pair of each kind."""
    sim = torch.tensor([[positive, negative]], dtype=torch.float64, requires_grad=True)
    pairing = Pairing(similarity="dot")
    value = loss(sim, [0], torch.eye(2, dtype=torch.float64), [0, 1], pairing=pairing, **options)
    value.backward()
    return value.item(), *sim.grad[0].tolist()


def test_snr_contrastive():
    # Variances over a row: 2 of (1, -1), 1/2 of (0.5, -0.5), 1/2 of (0.5, -0.5) as a difference, 0 of (1, 1).
    # Positives: d = 1/4 and 1.  Negatives: of the first to the third Var(0, -2) / 2 = 1, of the second
    # Var(-0.5, -1.5) / 0.5 = 1, at the margin; the third has no signal, and a distance of 0 to both: 1 and 1.
    x = torch.tensor([[1.0, -1.0], [0.5, -0.5], [1.0, 1.0]], dtype=torch.float64)
    tightness, contrast = losses.snr_contrastive_loss.sides(x, PAIR, margin=1.5)
    assert tightness.item() == pytest.approx(0.625)
    assert contrast.item() == pytest.approx((0.5 + 0.5 + 1.5 + 1.5) / 4)
    # With the first row moved along (1, 1) the variances stay, and its own sum, 4, costs.
    x[0] += 2
    moved = losses.snr_contrastive_loss.sides(x, PAIR, mean_weight=0.1)[0]
    assert moved.item() == pytest.approx(0.625 + 0.1 * (4 + 0) / 2)


def test_margin():
    # Positives lie within 1.2 - 0.2; negatives ought to be at 1.4: two hinges of four cost.
    tightness, contrast = losses.margin_loss.sides(ROWS, PAIR)
    assert tightness == 0
    assert contrast.item() == pytest.approx((2.8 - NEAR - NEARER) / 2)


def test_a_learned_boundary():
    # At 1 the positive costs too, from either side: four hinges, a slope of -1 for each positive, +1 for each negative,
    # and nu for either triplet.  The other class has no positive, and its boundary no slope.
    boundary = torch.tensor([1.0, 1.4], dtype=torch.float64, requires_grad=True)
    sides = losses.margin_loss.sides(ROWS, PAIR, boundary=boundary, nu=0.5)
    assert sides[0].item() == pytest.approx((2 * (FAR - 0.8) + 2 * 0.5 * 1.0) / 4)
    assert sides[1].item() == pytest.approx((2.4 - NEAR - NEARER) / 4)
    gradients = [torch.autograd.grad(side, boundary, retain_graph=True)[0].tolist() for side in sides]
    assert gradients == [pytest.approx([(-2 + 1) / 4, 0]), pytest.approx([2 / 4, 0])]


def test_a_positive_of_a_margin_loss_weighs_as_much_as_all_negatives_do():
    # One positive at distance 2, 99 negatives at sqrt 2: 99 (2 - 1) and 99 (1.8 - sqrt 2), over 198 hinges.
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    others = torch.tensor([[-1.0, 0.0]] + 99 * [[0.0, 1.0]], dtype=torch.float64)
    sides = losses.margin_loss.sides(x, [0], others, [0] + 99 * [1], margin=0.4, boundary=1.4)
    assert [side.item() for side in sides] == pytest.approx([1 / 2, (1.8 - sqrt(2)) / 2])


def test_a_boundary_below_all_distances_pushes_nothing():
    boundary = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    tightness, contrast = losses.margin_loss.sides(ROWS, PAIR, boundary=boundary)
    assert (tightness.item(), contrast.item()) == pytest.approx((FAR + 1.2, 0))


def test_the_module_of_a_margin_loss_owns_its_boundaries():
    x, y = rows(8), torch.arange(8) % 2
    bank, bank_labels = rows(6, seed=1), torch.arange(6) % 2
    module = losses.MarginLoss(2, boundary=1.1)
    assert module.state_dict()["boundary"].tolist() == pytest.approx([1.1, 1.1])
    value = module(x, y, bank, bank_labels)  # a bank beside the boundaries
    torch.testing.assert_close(value, losses.margin_loss(x, y, bank, bank_labels, boundary=module.boundary))
    value.backward()
    assert module.boundary.grad.shape == (2,)
    assert module.boundary.dtype == torch.float32
    assert not list(losses.MarginLoss().parameters())
    assert named.create("margin:boundary=1.1", width=5, num_classes=3).boundary.tolist() == pytest.approx(
        3 * [1.1]
    )


def test_threshold_consistent_margin_of_the_sheet():
    value = of_similarities(losses.threshold_consistent_margin_loss, TCM, TWO_CLASSES)
    assert value.item() == pytest.approx(0.05 + 0.15)
    value = of_similarities(
        losses.threshold_consistent_margin_loss, TCM, TWO_CLASSES, positive_weight=3.0, negative_weight=2.0
    )
    assert value.item() == pytest.approx(3 * 0.05 + 2 * 0.15)


def test_threshold_consistent_margin_weights():
    # One positive pair and two negative pairs are hard, each from both sides.
    weights = losses.pair_weights(losses.threshold_consistent_margin_loss, TCM, TWO_CLASSES) / 4
    expected = torch.zeros(4, 4, dtype=torch.float64)
    expected[2, 3] = expected[3, 2] = -1 / 2
    expected[0, 2] = expected[2, 0] = expected[1, 3] = expected[3, 1] = 1 / 4
    torch.testing.assert_close(weights, expected)


def test_threshold_consistent_margin_at_its_ends():
    loss = losses.threshold_consistent_margin_loss
    every = of_similarities(loss, TCM, TWO_CLASSES, positive=1.0, negative=-1.0)
    assert every.item() == pytest.approx((1 - 0.9) + (0.475 + 1))
    assert of_similarities(loss, TCM, TWO_CLASSES, positive=0.85, negative=0.7) == 0


def test_intra_pair_variance():
    # Negatives 0.8 and 0.96, each twice: above 1.01 times their mean 0.88 is the second.  Positives are all 0.6.
    tightness, contrast = losses.intra_pair_variance_loss.sides(ROWS, PAIR)
    assert tightness == 0
    assert contrast.item() == pytest.approx((0.96 - 1.01 * 0.88) ** 2 / 2)


def test_intra_pair_variance_has_a_gradient_for_the_means():
    # Both positives cost (0.9 mu - s)^2 / 2 where s = (0, 1), mu = 1/2: only the first is below 0.45.  d/ds_0 of
    # (0.9 (s_0 + s_1) / 2 - s_0)^2 / 2 is 0.45 (0.45 - 1), d/ds_1 is 0.45 * 0.45.
    sim = torch.tensor([[0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    pairing = Pairing(similarity="dot")
    against = (sim, [0], torch.eye(2, dtype=torch.float64), [0, 0])
    losses.intra_pair_variance_loss(*against, positive_slack=0.1, pairing=pairing).backward()
    assert sim.grad[0].tolist() == pytest.approx([0.45 * (0.45 - 1), 0.45**2])


def test_binomial_deviance():
    # Steepness 2 on the positive, 50 on negatives, from 0.5.
    tightness, contrast = losses.binomial_deviance_loss.sides(ROWS, PAIR)
    assert tightness.item() == pytest.approx(log(1 + exp(-0.2)))
    assert contrast.item() == pytest.approx((log1p(exp(15)) + log1p(exp(23))) / 2)


def test_binomial_deviance_counts_every_negative():
    # Two positives and four negatives of 0.5: log 2 each.
    value = of_similarities(losses.binomial_deviance_loss, torch.full((3, 3), 0.5), [0, 0, 1])
    assert value.item() == pytest.approx(2 * log(2))


def test_circle():
    # Margin 0.4, scale 80.  The positive is at 1 - m, where P = 0; N = 80 (s + 0.4)(s - 0.4).
    tightness, contrast = losses.circle_loss.sides(ROWS, PAIR)
    assert tightness.item() == pytest.approx(0, abs=1e-12)
    assert contrast.item() == pytest.approx((80 * 1.2 * 0.4 + 80 * 1.36 * 0.56) / 3)


def test_the_slopes_of_circle_hold_its_weights_constant():
    # Margin 1/4, scale 4: P = -4 (0.65)(-0.15) = 0.39 and N = 4 (0.75)(0.25) = 0.75.
    value, positive, negative = of_two(losses.circle_loss, 0.6, 0.5, margin=0.25, scale=4.0)
    sigmoid = 1 / (1 + exp(-1.14))
    assert value == pytest.approx(log(1 + exp(1.14)))
    assert (positive, negative) == pytest.approx((-sigmoid * 4 * 0.65, sigmoid * 4 * 0.75))


def test_circle_leaves_pairs_beyond_their_optima_alone():
    _, positive, negative = of_two(losses.circle_loss, 1.5, -0.5, margin=0.25, scale=4.0)
    assert (positive, negative) == pytest.approx((0, 0))


def test_generalized_lifted_structure():
    # On a line, margin 2.5.  From 0: positives log(e + e^2), negatives -1.5; from 1: log(e + e) and -0.5; from 2:
    # log(e + e^2) and 0.5; the last has no positive.
    x = torch.tensor([[0.0], [1.0], [2.0], [4.0]], dtype=torch.float64)
    sides = losses.generalized_lifted_structure_loss.sides(x, [0, 0, 0, 1], margin=2.5)
    pull = [log(exp(1) + exp(2)), log(2) + 1, log(exp(1) + exp(2))]
    push = [-1.5, -0.5, 0.5]
    assert sides[0].item() == pytest.approx(sum(pull) / 4)
    assert sides[1].item() == pytest.approx(sum(push) / 4)
    # Margin 0.5: the first is at 2.31 - 3.5 and met, and its sides add up to 0.
    met = losses.generalized_lifted_structure_loss(x[[0, 1, 3]], [0, 0, 1], margin=0.5)
    assert met.item() == pytest.approx(0)


def test_n_pairs_of_pairs_is_a_cross_entropy():
    x, x_plus, classes = rows(6), rows(6, seed=1), torch.arange(6)
    value = losses.n_pairs_loss(x, classes, x_plus, classes, norm_weight=0.1)
    expected = F.cross_entropy(x @ x_plus.T, classes) + 0.05 * x.square().sum(1).mean()
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize(
    ("labels", "taken"), [([3, 1, 100, 0], True), ([3, 1, 3, 0], False), ([3, -1, 100, 0], False)]
)
def test_n_pairs_one_to_one_equals_the_formula(labels, taken):
    x, x_plus = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for way in ("total", "plain"):
        rows = [each.clone().requires_grad_() for each in (x, x_plus)]
        described = losses.n_pairs_loss.__wrapped__(rows[0], labels, rows[1], labels, norm_weight=0.1)
        value = getattr(described, way)()
        found.append((value, *torch.autograd.grad(value, rows)))
    assert (type(described).__name__ == "_OneToOne") == taken
    torch.testing.assert_close(*found)


def test_n_pairs_is_nt_xent_of_dot_products_and_the_lengths_of_rows_with_positives():
    x, y = rows(7), torch.tensor([0, 0, 0, 1, 1, 2, -1])
    dot = Pairing(similarity="dot")
    expected = losses.nt_xent_loss.sides(x, y, temperature=1.0, pairing=dot)
    length = 0.1 / 2 * x[:5].square().sum() / 7
    torch.testing.assert_close(
        losses.n_pairs_loss.sides(x, y, norm_weight=0.1), (expected[0] + length, expected[1])
    )


def test_tuplet_margin():
    # Two positive pairs, at the same angle.
    positive = cos(acos(0.6) - 0.1)
    expected = (log1p(exp(64 * (0.8 - positive))) + log1p(exp(64 * (0.96 - positive)))) / 2
    assert losses.tuplet_margin_loss(ROWS, PAIR).item() == pytest.approx(expected)


def test_tuplet_margin_pushes_what_is_nearer_than_its_slack():
    assert cos(0.1) < 0.999
    assert of_two(losses.tuplet_margin_loss, 0.999, 0.99)[1] > 0
    assert of_two(losses.tuplet_margin_loss, 0.99, 0.99)[1] < 0
    value, positive, _ = of_two(losses.tuplet_margin_loss, 1.0, 0.9)  # an angle of 0 has no slope
    assert value == pytest.approx(log1p(exp(64 * (0.9 - cos(0.1)))))
    assert -64 < positive <= 0


def test_anchors_of_one_side_drop_out_of_multi_similarity():
    # The official code drops what is left with pairs of one kind, also where it mines nothing away: with a band of
    # infinite width anchors 0 and 1 keep everything, and 2 and 3, which have no positive, add 0 to a mean over four.
    drop = MultiSimilarityMining(epsilon=float("inf"))
    labels = torch.tensor([0, 0, 1, 2])
    value = of_similarities(losses.multi_similarity_loss, TCM, labels, mining=drop)
    push = [log(1 + sum(exp(50 * (s - 0.5)) for s in pair)) / 50 for pair in ((0.6, 0.2), (0.4, 0.7))]
    assert value.item() == pytest.approx((log(1 + exp(-2 * 0.45)) + sum(push)) / 4)
    # A positive without a negative goes too: nothing of either kind is left to cost anything.
    assert of_similarities(losses.multi_similarity_loss, TCM[:2, :2], [0, 0], mining=drop) == 0


def test_options_out_of_range():
    x, y = torch.randn(4, 3), [0, 0, 1, 1]
    for call, message in (
        (lambda: losses.snr_contrastive_loss(x, y, margin=0), "snr_contrastive_loss: margin must be > 0"),
        (lambda: losses.snr_contrastive_loss(x, y, mean_weight=-1), "mean_weight must be >= 0, got -1"),
        (lambda: losses.margin_loss(x, y, margin=0), "margin_loss: margin must be > 0, got 0"),
        (lambda: losses.margin_loss(x, y, boundary=-1), "margin_loss: boundary must be > 0, got -1"),
        (lambda: losses.margin_loss(x, y, nu=-1), "margin_loss: nu must be >= 0, got -1"),
        (
            lambda: losses.margin_loss(x, y, boundary=torch.ones(2, 2)),
            r"boundary must be a number, or .* got \(2, 2\)",
        ),
        (
            lambda: losses.margin_loss(
                x, None, boundary=torch.ones(2), pairing=Pairing(related=torch.eye(4) > 0)
            ),
            r"boundary must be a number, or \(classes,\) beside class ids for labels",
        ),
        (lambda: losses.margin_loss(x, y, boundary=torch.ones(1)), r"labels must lie in 0\.\.0 .* got 1"),
        (
            lambda: losses.margin_loss(x, y, pairing=Pairing(similarity="dot")),
            "margin_loss: measures Euclidean distances",
        ),
        (
            lambda: losses.threshold_consistent_margin_loss(x, y, positive_weight=0),
            "threshold_consistent_margin_loss: positive_weight must be > 0",
        ),
        (
            lambda: losses.intra_pair_variance_loss(x, y, negative_slack=-1),
            "negative_slack must be >= 0, got -1",
        ),
        (
            lambda: losses.intra_pair_variance_loss(x, y, pairing=Pairing(similarity="negative_euclidean")),
            "intra_pair_variance_loss: the similarity must be cosine or dot",
        ),
        (
            lambda: losses.intra_pair_variance_loss(x, y, pairing=Pairing(mining=MultiSimilarityMining())),
            "intra_pair_variance_loss: takes no mining",
        ),
        (lambda: losses.binomial_deviance_loss(x, y, cost=0), "binomial_deviance_loss: cost must be > 0"),
        (lambda: losses.circle_loss(x, y, scale=-1), "circle_loss: scale must be > 0"),
        (
            lambda: losses.generalized_lifted_structure_loss(x, y, margin=0),
            "generalized_lifted_structure_loss: margin must be > 0",
        ),
        (lambda: losses.n_pairs_loss(x, y, norm_weight=-1), "n_pairs_loss: norm_weight must be >= 0"),
        (lambda: losses.tuplet_margin_loss(x, y, margin=-0.1), "tuplet_margin_loss: margin must be >= 0"),
        (lambda: losses.tuplet_margin_loss(x, y, scale=0), "tuplet_margin_loss: scale must be > 0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
