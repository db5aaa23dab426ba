"""Numbers with a derivation or a source; none comes from the code it judges."""

from __future__ import annotations

from functools import partial
from math import e, exp, log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mimetric import losses
from mimetric.losses import Pairing
from mimetric.mining import MultiSimilarityMining

# Three unit rows with cosines 0.6, 0.8 and 0.96; only the first two share a class.
ROWS = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]], dtype=torch.float64)
PAIR = torch.tensor([0, 0, 1])
# The set of the unifying-view sheet.
Z = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]], dtype=torch.float64)
TWO_CLASSES = torch.tensor([0, 0, 1, 1])
# The similarities of the multi-similarity sheet.
SIM = torch.tensor(
    [[1, 0.8, 0.6, 0.2], [0.8, 1, 0.3, 0.4], [0.6, 0.3, 1, 0.7], [0.2, 0.4, 0.7, 1]], dtype=torch.float64
)


def of_similarities(loss, sim, labels, **options):
    """A loss of given similarities: rows of sim against the unit vectors, by dot products."""
    ids = torch.arange(len(sim))
    mining = options.pop("mining", None)
    pairing = Pairing(ids=ids, reference_ids=ids, similarity="dot", mining=mining)
    return loss(sim, labels, torch.eye(len(sim), dtype=sim.dtype), labels, pairing=pairing, **options)


def test_contrastive():
    # Positives 1 - 0.6, twice.  Negatives 0.8 - 0.5 and 0.96 - 0.5, each twice.
    tightness, contrast = losses.contrastive_loss.sides(ROWS, PAIR)
    assert tightness.item() == pytest.approx(0.4)
    assert contrast.item() == pytest.approx((0.3 + 0.46) / 2)


def test_contrastive_averages_over_active_negatives_alone():
    # With b = 0.9 only the pair of cosine 0.96 costs anything, from either side.
    assert losses.contrastive_loss.sides(ROWS, PAIR, negative=0.9)[1].item() == pytest.approx(0.06)


def test_squared_contrastive_of_the_sheet():
    tightness, contrast = losses.squared_contrastive_loss.sides(Z, TWO_CLASSES)
    assert tightness.item() == pytest.approx(0.4)
    assert contrast.item() == pytest.approx(0.00557281, abs=1e-8)


def test_squared_contrastive_has_no_slope_between_equal_negatives():
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    value = losses.squared_contrastive_loss(x, [0, 1, 2])  # two of six pairs within the margin, at distance 0
    value.backward()
    assert value.item() == pytest.approx(2 / 3)
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_multi_similarity():
    # Cosines: 0 for the positive pair, 1/sqrt(2) for the others.  Two anchors cost
    # log(1+e)/2 + log(1+e^8.2843)/40; the third, without a positive, log(1+2e^8.2843)/40.
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    assert losses.multi_similarity_loss(x, PAIR, beta=40).item() == pytest.approx(0.65064216)


@pytest.mark.parametrize(
    ("beta", "epsilon", "expected"),
    [(50, None, 0.2878), (40, None, 0.2881), (50, 0.1, 0.0), (50, 0.3, 0.1689), (40, 0.3, 0.1690)],
)
def test_multi_similarity_of_given_similarities(beta, epsilon, expected):  # the sheet's exact checks 1 to 3
    mining = None if epsilon is None else MultiSimilarityMining(epsilon)
    value = of_similarities(losses.multi_similarity_loss, SIM, TWO_CLASSES, beta=beta, mining=mining)
    assert value.item() == pytest.approx(expected, abs=5e-5)


def test_multi_similarity_of_one_anchor():
    # Anchor 0 of the sheet's similarities: log(1+e^-0.6)/2 and log(1+e^5+e^-15)/50.
    row, others = SIM[:1, 1:], torch.eye(3, dtype=torch.float64)
    tightness, contrast = losses.multi_similarity_loss.sides(
        row, [0], others, [0, 1, 1], pairing=Pairing(similarity="dot")
    )
    assert tightness.item() == pytest.approx(log(1 + exp(-0.6)) / 2)
    assert contrast.item() == pytest.approx(log(1 + exp(5) + exp(-15)) / 50)


def test_multi_similarity_weights():
    # The sheet's check 5: positives (0.8, 0.5) alone, then negatives (0.6, 0.2).
    sim = torch.tensor([[1.0, 0.8, 0.5], [0.8, 1.0, 0.0], [0.5, 0.0, 1.0]], dtype=torch.float64)
    weights = losses.pair_weights(losses.multi_similarity_loss, sim, [0, 0, 0])
    assert (-weights[0]).tolist() == pytest.approx([0, 0.215321, 0.392340], abs=1e-6)
    sim[0] = torch.tensor([1.0, 0.6, 0.2])
    weights = losses.pair_weights(losses.multi_similarity_loss, sim, [0, 1, 2])
    assert weights[0].tolist() == pytest.approx([0, 0.993307, 2.0e-9], rel=1e-6, abs=1e-10)


def test_supcon():
    # T = 1.  Anchor 0: log(e^0.6 + e^0.8) - 0.6; anchor 1: log(e^0.6 + e^0.96) - 0.6; the third has no positive.
    expected = (log(1 + exp(0.2)) + log(1 + exp(0.36))) / 3
    assert losses.supcon_loss(ROWS, PAIR, temperature=1.0).item() == pytest.approx(expected)
    # One positive each: outside and inside agree.
    assert losses.supcon_loss(ROWS, PAIR, temperature=1.0, form="inside").item() == pytest.approx(expected)


def test_supcon_inside_is_never_above_outside():
    x = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    y = torch.arange(30) % 4
    assert losses.supcon_loss(x, y, form="inside") < losses.supcon_loss(x, y)


def test_nt_xent():
    # T = 1.  Anchor 0: positives 0.8 and 0 against -0.6; anchor 1: 0.8 and 0.6 against 0; anchor 2: 0 and 0.6
    # against 0.8; the last has no positive.
    gaps = [(-1.4, -0.6), (-0.8, -0.6), (0.8, 0.2)]
    expected = sum((log(1 + exp(a)) + log(1 + exp(b))) / 2 for a, b in gaps) / 4
    assert losses.nt_xent_loss(Z, [0, 0, 0, 1], temperature=1.0).item() == pytest.approx(expected)
    # One positive each: nothing is left out of the denominator.
    assert losses.nt_xent_loss(ROWS, PAIR).item() == pytest.approx(losses.supcon_loss(ROWS, PAIR).item())


def test_nt_xent_of_two_views_is_infonce():
    first, second = torch.randn(2, 9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ids, views = torch.arange(9), (first.requires_grad_(), second.requires_grad_())
    value = losses.nt_xent_loss(first, ids, second, ids, temperature=0.07)
    expected = F.cross_entropy(F.normalize(first) @ F.normalize(second).T / 0.07, ids)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(torch.autograd.grad(value, views), torch.autograd.grad(expected, views))


def test_snca():
    # T = 1, the similarities of test_nt_xent.
    chances = [
        (exp(0.8) + 1) / (exp(0.8) + 1 + exp(-0.6)),
        (exp(0.8) + exp(0.6)) / (exp(0.8) + exp(0.6) + 1),
        (1 + exp(0.6)) / (1 + exp(0.6) + exp(0.8)),
    ]
    expected = -sum(log(p) for p in chances) / 4
    assert losses.snca_loss(Z, [0, 0, 0, 1], temperature=1.0).item() == pytest.approx(expected)
    # On unit rows a negative squared distance is 2s - 2: NCA is the loss at temperature 1/2.
    nca = losses.snca_loss(
        Z, [0, 0, 0, 1], temperature=1.0, pairing=Pairing(similarity="negative_squared_euclidean")
    )
    assert nca.item() == pytest.approx(losses.snca_loss(Z, [0, 0, 0, 1], temperature=0.5).item())


def test_snca_is_supcon_inside_less_the_log_of_the_positives():
    x = torch.randn(10, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    inside = losses.supcon_loss(x, y, form="inside", temperature=0.05)
    positives = (5 * log(4) + 3 * log(2)) / 10
    assert losses.snca_loss(x, y).item() == pytest.approx(inside.item() - positives)


def test_triplet_margin():
    # Two triplets, both missed: 0.8 - 0.6 + 0.1 and 0.96 - 0.6 + 0.1.
    tightness, contrast = losses.triplet_margin_loss.sides(ROWS, PAIR)
    assert tightness.item() == pytest.approx(-0.6)
    assert contrast.item() == pytest.approx((0.9 + 1.06) / 2)


def test_triplet_margin_equals_torch_over_listed_triplets():
    x = F.normalize(torch.randn(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    y = torch.arange(12) % 3
    listed = [
        (a, p, n) for a in range(12) for p in range(12) for n in range(12) if a != p and y[a] == y[p] != y[n]
    ]
    a, p, n = (x[list(index)] for index in zip(*listed, strict=True))
    # On unit rows squared distances are 2 - 2s: margin 0.2 in them is 0.1 in cosines.
    costs = F.triplet_margin_with_distance_loss(
        a, p, n, distance_function=lambda u, v: (u - v).square().sum(-1), margin=0.2, reduction="none"
    )
    assert losses.triplet_margin_loss(x, y).item() == pytest.approx(costs[costs > 0].mean().item() / 2)


def test_semi_hard_triplets_lie_strictly_between():
    # Positive 0.5, margin 0.25: of 0.25, 0.375, 0.5 and 0.75 the second alone is in, at 0.375 - 0.5 + 0.25.
    row, others = torch.tensor([[0.5, 0.25, 0.375, 0.5, 0.75]]), torch.eye(5)
    against = (row, [0], others, [0, 1, 1, 1, 1])
    sides = losses.semi_hard_triplet_loss.sides(*against, margin=0.25, pairing=Pairing(similarity="dot"))
    assert [side.item() for side in sides] == [-0.5, 0.625]


def test_a_semi_hard_margin_lost_in_rounding():
    # 1e4 - 1e-6 is 1e4 in float32: nothing lies between, and the tie is no triplet.
    row, others = torch.tensor([[1e4, 1e4, 9e3]]), torch.eye(3)
    against = (row, [0], others, [0, 1, 1])
    assert losses.semi_hard_triplet_loss(*against, margin=1e-6, pairing=Pairing(similarity="dot")) == 0


def test_batch_hard_triplet():
    # Both anchors with a positive miss: 0.8 - 0.6 + 0.1 and 0.96 - 0.6 + 0.1.
    tightness, contrast = losses.batch_hard_triplet_loss.sides(ROWS, PAIR)
    assert tightness.item() == pytest.approx(-0.6)
    assert contrast.item() == pytest.approx((0.9 + 1.06) / 2)
    # Margin 0.5: 0.6 - 0.8 + 0.5 for the two in the middle; the outer two meet it, and count.
    value = losses.batch_hard_triplet_loss(Z, TWO_CLASSES, margin=0.5)
    assert value.item() == pytest.approx(2 * 0.3 / 4)


def test_equally_hard_pairs_share_the_gradient():
    # Anchors 0 and 3 have a positive, at 0.2, and two negatives, at 0.5: either misses by 0.4.
    sim = torch.full((4, 4), 0.5, dtype=torch.float64)
    sim[0, 3] = sim[3, 0] = 0.2
    weights = losses.pair_weights(losses.batch_hard_triplet_loss, sim, [0, 1, 2, 0])
    assert weights.tolist() == [[0, 1, 1, -2], [0, 0, 0, 0], [0, 0, 0, 0], [-2, 1, 1, 0]]


def test_center_of_the_sheet():
    means = torch.tensor([[0.9, 0.3], [-0.3, 0.9]], dtype=torch.float64, requires_grad=True)
    identity = torch.eye(2, dtype=torch.float64)
    tightness, contrast = losses.center_loss.sides(
        Z, TWO_CLASSES, identity, None, means - 0.1, center_weight=1.0
    )
    # The sheet's 0.2 is a sum over four rows, at the means; each row is |(0.1, 0.1)| further from these.
    assert tightness.item() == pytest.approx(0.2 / 4 + 0.01)
    assert contrast.item() == pytest.approx(0.36126991)
    # The rows of a class add up to nothing at its mean: 2/4 of (c - mean) is the gradient of a center.
    assert torch.autograd.grad(tightness, means)[0].flatten().tolist() == pytest.approx([-0.05] * 4)


def test_the_contrast_of_center_is_cross_entropy():
    module = losses.CenterLoss(2, 2).double()
    assert [name for name, _ in module.named_parameters()] == ["weight", "bias", "centers"]
    expected = losses.cross_entropy_loss(Z, TWO_CLASSES, module.weight, module.bias)
    torch.testing.assert_close(module.sides(Z, TWO_CLASSES)[1], expected)


def test_pce_of_the_sheet():
    tightness, contrast = losses.pce_loss.sides(Z, TWO_CLASSES, torch.full((4, 2), 0.5, dtype=torch.float64))
    assert tightness.item() == pytest.approx(-0.225)
    assert contrast.item() == pytest.approx(0.80564718)


@given(st.integers(0, 10**6), st.floats(0.01, 100), st.floats(0.01, 10))
def test_the_bound_behind_pce(seed, lam, size):
    generator = torch.Generator().manual_seed(seed)
    x, weight = torch.randn(2, 6, 3, dtype=torch.float64, generator=generator)
    weight, y = size * weight[:4], torch.randint(4, (6,), generator=generator)
    member = F.one_hot(y, 4).double()
    tightness, _ = losses.pce_loss.sides(x, y, member, lam=lam)

    def first_part(
        weight,
    ):  # of cross-entropy: linear in the weights, and a square that the second part takes off
        return -(x * weight[y]).sum() / 6 + lam / 2 * weight.square().sum()

    best = member.T @ x / (lam * 6)
    assert tightness <= first_part(weight) + 1e-9
    assert tightness.item() == pytest.approx(first_part(best).item())
    # With the labels for probabilities the whole is cross-entropy at the best weights.
    value = losses.pce_loss(x, y, member, lam=lam)
    assert value.item() == pytest.approx(losses.cross_entropy_loss(x, y, best).item(), rel=1e-9, abs=1e-9)


def test_pce_has_a_gradient_for_probabilities():
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    logits = torch.randn(
        6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True
    )
    y = [0, 1, 2, 3, -1, 0]
    assert torch.autograd.gradcheck(lambda x, z: losses.pce_loss(x, y, z.softmax(1)), (x, logits))


def test_spce_and_cross_entropy_of_the_sheet():
    assert losses.spce_loss(Z, TWO_CLASSES).item() == pytest.approx(0.49592160)
    identity = torch.eye(2, dtype=torch.float64)
    assert losses.cross_entropy_loss(Z, TWO_CLASSES, identity).item() == pytest.approx(0.36126991)


def test_spce_is_cross_entropy_at_the_class_sums():
    sums = torch.stack((Z[:2].sum(0), Z[2:].sum(0))) / 4
    expected = losses.cross_entropy_loss.sides(Z, TWO_CLASSES, sums)
    assert [s.item() for s in losses.spce_loss.sides(Z, TWO_CLASSES)] == pytest.approx(
        [s.item() for s in expected]
    )


def test_the_best_cross_entropy_is_not_above_spce():
    weight = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = losses.cross_entropy_loss(Z, [0, 1, 0, 1], weight)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert closure() <= losses.spce_loss(Z, [0, 1, 0, 1])


def test_normalized_softmax():
    # Cosines 1 and 0, temperature 1: log(1 + 1/e) for either anchor.
    weight = torch.tensor([[2.0, 0.0], [0.0, 0.1]], dtype=torch.float64)
    x = torch.tensor([[3.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert losses.normalized_softmax_loss(x, [0, 1], weight, temperature=1.0).item() == pytest.approx(
        log(1 + 1 / e)
    )


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_cross_entropy_equals_torch(label_smoothing):
    generator = torch.Generator().manual_seed(0)
    make = partial(torch.randn, dtype=torch.float64, generator=generator)
    ours = [make(9, 4), make(5, 4), make(5)]
    theirs = [t.clone().requires_grad_() for t in ours]
    ours = [t.requires_grad_() for t in ours]
    y = torch.tensor([0, 1, 2, 3, 4, 4, 4, 0, 0])
    value = losses.cross_entropy_loss(ours[0], y, *ours[1:], label_smoothing=label_smoothing)
    x, weight, bias = theirs
    expected = F.cross_entropy(F.linear(x, weight, bias), y, label_smoothing=label_smoothing)
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_the_smoothing_of_the_papers_code():
    # Target 1 - e on the class and e/(C-1) on others, as a divergence: torch's with e C/(C-1), less an entropy.
    logits = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y, smoothing = torch.arange(5), 0.1
    target = torch.full((5, 7), smoothing / 6, dtype=torch.float64).scatter_(1, y[:, None], 1 - smoothing)
    divergence = F.kl_div(logits.log_softmax(1), target, reduction="batchmean")
    entropy = -(target[0] * target[0].log()).sum()
    ours = losses.cross_entropy_loss(
        logits, y, torch.eye(7, dtype=torch.float64), label_smoothing=smoothing * 7 / 6
    )
    torch.testing.assert_close(ours - entropy, divergence)


def test_options_out_of_range():
    x, y, weight = torch.randn(4, 3), [0, 0, 1, 1], torch.randn(2, 3)
    for call, message in (
        (lambda: losses.supcon_loss(x, y, temperature=0), "supcon_loss: temperature must be > 0, got 0"),
        (lambda: losses.supcon_loss(x, y, form="middle"), "form must be one of outside, inside"),
        (lambda: losses.contrastive_loss(x, y, positive=0.1), "negative must be below positive"),
        (lambda: losses.triplet_margin_loss(x, y, margin=-1), "margin must be > 0"),
        (lambda: losses.nt_xent_loss(x, y, temperature=-1), "nt_xent_loss: temperature must be > 0"),
        (lambda: losses.snca_loss(x, y, temperature=0), "snca_loss: temperature must be > 0"),
        (lambda: losses.semi_hard_triplet_loss(x, y, margin=0), "semi_hard_triplet_loss: margin must be > 0"),
        (
            lambda: losses.batch_hard_triplet_loss(x, y, margin=0),
            "batch_hard_triplet_loss: margin must be > 0",
        ),
        (
            lambda: losses.squared_contrastive_loss(x, y, pairing=Pairing(similarity="cosine")),
            "squared_contrastive_loss: measures Euclidean distances",
        ),
        (
            lambda: losses.center_loss(x, y, weight, None, weight[:1]),
            r"centers must have shape \(2, 3\), one per row of weight, got \(1, 3\)",
        ),
        (lambda: losses.CenterLoss(3, 2, center_weight=0)(x, y), "center_weight must be > 0"),
        (lambda: losses.pce_loss(x, y, weight), r"probabilities must have 4 rows .* got \(2, 3\)"),
        (lambda: losses.pce_loss(x, y, x, lam=0), "pce_loss: lam must be > 0"),
        (lambda: losses.multi_similarity_loss(x, y, alpha=float("nan")), "alpha must be > 0"),
        (lambda: losses.cross_entropy_loss(x, y, weight, label_smoothing=1.0), r"must lie in \[0, 1\)"),
        (lambda: losses.cross_entropy_loss(x, [0, 0, 1, 2], weight), r"labels must lie in 0\.\.1 .* got 2"),
        (lambda: losses.cross_entropy_loss(x, [0, 0, 1, -2], weight), "got -2"),
        (
            lambda: losses.cross_entropy_loss(x, y, weight, torch.zeros(3)),
            r"bias must have shape \(2,\), got \(3,\)",
        ),
        (
            lambda: losses.cross_entropy_loss(x, y, weight, pairing=Pairing(similarity="cosine")),
            "dot products",
        ),
        (lambda: losses.CrossEntropyLoss(3, 2)(x, y, x, y), "takes no references"),
        (lambda: Pairing(block=0), "block must be at least 1"),
        (lambda: Pairing(similarity="euclid"), "similarity must be one of cosine, dot"),
        (lambda: losses.pair_weights(losses.supcon_loss, x, y), "sim must be square"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
