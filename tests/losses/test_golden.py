"""Numbers with a derivation or a source; none comes from the code it judges."""

from __future__ import annotations

from functools import partial
from math import e, exp, log

import pytest
import torch
import torch.nn.functional as F

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
