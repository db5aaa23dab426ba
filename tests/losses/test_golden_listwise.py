"""Recall at k, ListNet, ListMLE and LambdaRank: numbers worked out by hand, published formulas, graded relevance."""

from __future__ import annotations

from functools import partial
from math import exp, log, log2

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_listwise as reference
from mimetric import losses
from mimetric.core.errors import InputError
from mimetric.losses import Pairing, lambdarank_loss, listmle_loss, listnet_loss, recall_at_k_loss
from mimetric.mining import MultiSimilarityMining

BY_GRADE = {"listnet": listnet_loss, "listmle": listmle_loss, "lambdarank": lambdarank_loss}


def sigmoid(v):
    return 1 / (1 + exp(-v))


def of_scores(loss, scores, relevance, **options):
    """The loss of given scores: their rows as anchors, and the unit vectors as references."""
    scores = torch.as_tensor(scores, dtype=torch.float64)
    units = torch.eye(scores.shape[1], dtype=torch.float64)
    pairing = Pairing(related=torch.as_tensor(relevance, dtype=torch.float64), similarity="dot")
    return loss(scores, None, units, None, pairing=pairing, **options)


@st.composite
def lists(draw):
    """Scores without ties, and grades with some."""
    n, m = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    scores = torch.randn(n, m, generator=generator, dtype=torch.float64)
    grades = torch.randint(0, draw(st.integers(1, 4)) + 1, (n, m), generator=generator)
    return scores, grades.double()


def test_recall_at_k():
    # Cosines 0.9 and 0.3 of two positives, 0.6 and 0.2 of two negatives, T = 0.1: soft ranks of 1 and 3 at most.
    def found(s, others):
        return 1 + sum(sigmoid((other - s) / 0.1) for other in others)

    ranks = found(0.9, [0.3, 0.6, 0.2]), found(0.3, [0.9, 0.6, 0.2])
    want = [
        1 - sum(sigmoid(1 - r) for r in ranks) / 1,
        1 - sum(sigmoid((3 - r) / 0.5) for r in ranks) / 2,
    ]
    cosines = torch.tensor([0.9, 0.3, 0.6, 0.2], dtype=torch.float64)
    references = torch.stack((cosines, (1 - cosines**2).sqrt()), 1)
    x = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    value = recall_at_k_loss(
        x, [5], references, [5, 5, 1, 2], ks=[1, 3], temperature=0.1, k_temperature=[1.0, 0.5]
    )
    assert value.item() == pytest.approx(sum(want) / 2)
    alone = recall_at_k_loss(x, [5], references, [5, 5, 1, 2], ks=3, temperature=0.1, k_temperature=0.5)
    assert alone.item() == pytest.approx(want[1])


def test_recall_at_k_becomes_recall_at_k_as_it_cools():
    # Cosines 0.6 and 0.8, then 0.6 and 0.96: both positives at rank 2.
    x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]], dtype=torch.float64)
    cold = partial(recall_at_k_loss, x, [0, 0, 1], temperature=1e-4, k_temperature=0.01)
    assert cold(ks=1).item() == pytest.approx(2 / 3)  # the third row has no positive, and adds 0
    assert cold(ks=2).item() == pytest.approx(1 / 3)  # rank k itself counts one half
    assert cold(ks=3).item() == pytest.approx(0)


def test_recall_never_counts_more_than_k():
    # 30 positives at one place: each has rank 15.5, and at k = 16 more than half a positive is found of each.
    x = torch.ones(31, 2, dtype=torch.float64, requires_grad=True)
    value = recall_at_k_loss(x, [0] * 31, ks=16, k_temperature=0.01)
    assert value.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("k", [2, 4])
def test_recall_in_the_authors_code_counts_the_anchor_as_the_first(k):
    # So what they call k is k - 1 here, where no other row comes near an anchor.  Classes of two.
    x = torch.randn(8, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit = F.normalize(x, dim=1)
    found = 0.0
    for i, of_anchor in enumerate(unit @ unit.T):
        p = i ^ 1
        nearer = torch.sigmoid((of_anchor - of_anchor[p]) / 0.01)
        nearer[p] = 0  # the anchor stays in
        found += torch.sigmoid((k - (1 + nearer.sum())) / k).item() / 8
    value = recall_at_k_loss(x, torch.arange(8) // 2, ks=k - 1, k_temperature=float(k))
    assert value.item() == pytest.approx(1 - found, abs=1e-9)


def test_listnet():
    # Relevance 2, 0, 1: shares e^2, 1 and e over their sum; scores 0.5, 0.1, -0.2.
    scores, relevance = [0.5, 0.1, -0.2], [2.0, 0.0, 1.0]
    shares = [exp(r) / (exp(2) + 1 + exp(1)) for r in relevance]
    top = log(sum(exp(s) for s in scores))
    want = -sum(share * (s - top) for share, s in zip(shares, scores, strict=True))
    assert of_scores(listnet_loss, [scores], [relevance]).item() == pytest.approx(want)


def test_listnet_is_least_where_scores_are_relevance():
    relevance = torch.tensor([[2.0, 0.0, 1.0, 0.5]], dtype=torch.float64)
    scores = (relevance * 0.1 + 3).requires_grad_()
    of_scores(listnet_loss, scores, relevance, temperature=0.1).backward()
    assert scores.grad.abs().max() < 1e-12


@settings(max_examples=12)
@given(lists())
def test_listnet_is_the_published_formula(data):
    scores, relevance = data
    some = relevance.any(1)
    costs = -(relevance.softmax(1) * scores.log_softmax(1)).sum(1)  # allRank's, without its epsilon
    assert of_scores(listnet_loss, *data).item() == pytest.approx(torch.where(some, costs, 0).mean().item())


def test_listmle():
    # Ranking 2, 0, 1 by relevance; softmaxes over three, then two, then one.
    scores, relevance = [0.5, 0.1, -0.2], [1.0, 0.5, 3.0]
    first = log(exp(0.5) + exp(0.1) + exp(-0.2)) + 0.2
    second = log(exp(0.5) + exp(0.1)) - 0.5
    value = partial(of_scores, listmle_loss, [scores], [relevance])
    assert value().item() == pytest.approx(first + second)
    assert value(weighting="relevant").item() == pytest.approx(first + second)
    # 2^(3 - k) - 1 is 3, 1 and 0.
    assert value(weighting="position").item() == pytest.approx((3 * first + second) / 4)


def test_listmle_by_relevant_places_does_not_look_at_the_order_of_negatives():
    scores = torch.tensor([[0.5, 0.1, -0.2, 0.9]], dtype=torch.float64)
    value = of_scores(listmle_loss, scores, [[0.0, 1.0, 0.0, 0.0]], weighting="relevant")
    torch.testing.assert_close(value, F.cross_entropy(scores, torch.tensor([1])))


@settings(max_examples=12)
@given(lists(), st.randoms(use_true_random=False))
def test_listmle_is_the_least_likely_of_rankings_that_agree(data, random):
    scores, relevance = data
    for row, grades in zip(scores.tolist(), relevance.tolist(), strict=True):
        if not any(grades):
            continue
        value = of_scores(listmle_loss, [row], [grades]).item()
        assert value == pytest.approx(reference.listmle_of(row, grades))
        broken = [grade + random.random() / 10 for grade in grades]  # ties broken at random
        assert value >= reference.listmle_of(row, broken) - 1e-12


def test_lambdarank():
    # Relevance 0, 2, 1 with scores 3, 2, 1: gains 0, 3, 1 at ranks 1, 2, 3; the best DCG is 3 + 1 / log2(3).
    scores, relevance = [3.0, 2.0, 1.0], [0.0, 2.0, 1.0]
    discounts = [1.0, 1 / log2(3), 0.5]
    best = 3 + 1 / log2(3)
    want = (
        3 * (discounts[0] - discounts[1]) * log(1 + exp(2 * 1.0))
        + 1 * (discounts[0] - discounts[2]) * log(1 + exp(2 * 2.0))
        + 2 * (discounts[1] - discounts[2]) * log(1 + exp(2 * -1.0))
    ) / best
    value = partial(of_scores, lambdarank_loss, [scores], [relevance], scale=2.0)
    assert value().item() == pytest.approx(want)
    # nDCG@1: the best is 3, and only what stands or comes first counts.
    want = (3 * log(1 + exp(2 * 1.0)) + log(1 + exp(2 * 2.0))) / 3
    assert value(k=1).item() == pytest.approx(want)
    # Gains 0, 2 and 1.
    want = (
        2 * (discounts[0] - discounts[1]) * log(1 + exp(2 * 1.0))
        + 1 * (discounts[0] - discounts[2]) * log(1 + exp(2 * 2.0))
        + 1 * (discounts[1] - discounts[2]) * log(1 + exp(2 * -1.0))
    ) / (2 + 1 / log2(3))
    assert value(gain="linear").item() == pytest.approx(want)


def test_the_gradient_of_lambdarank_is_its_lambdas():
    # Burges 2010, equation 6: lambda = -sigma / (1 + e^(sigma (s_i - s_j))) |change of nDCG|, for i above j.
    scores = torch.tensor([[0.2, 0.7]], dtype=torch.float64, requires_grad=True)
    of_scores(lambdarank_loss, scores, [[1.0, 0.0]], scale=3.0).backward()
    change = 1 - 1 / log2(3)
    want = -3 / (1 + exp(3 * (0.2 - 0.7))) * change
    assert scores.grad[0].tolist() == pytest.approx([want, -want])


def test_of_equal_scores_the_less_relevant_stands_first():
    # All equal: the positive stands last of three, and swapping it with either of the others would help.
    value = of_scores(lambdarank_loss, [[0.5, 0.5, 0.5]], [[0.0, 1.0, 0.0]])
    assert value.item() == pytest.approx(((1 - 0.5) + (1 / log2(3) - 0.5)) * log(2))


@settings(max_examples=12)
@given(lists())
def test_lambdarank_is_the_published_formula(data):
    scores, relevance = data
    order = scores.argsort(1, descending=True)
    s, y = scores.gather(1, order), relevance.gather(1, order)
    discounts = torch.arange(2, s.shape[1] + 2, dtype=torch.float64).log2()
    best = ((2 ** y.sort(1, descending=True).values - 1) / discounts).sum(1, keepdim=True)
    gains = (2**y - 1) / best.clamp(min=1e-10)
    changes = (1 / discounts[:, None] - 1 / discounts).abs() * (gains[:, :, None] - gains[:, None]).abs()
    costs = -changes * F.logsigmoid(
        s[:, :, None] - s[:, None]
    )  # allRank's lambdaRank_scheme, logarithms to base e
    want = torch.where(y[:, :, None] > y[:, None], costs, 0).sum((1, 2)).mean()
    assert of_scores(lambdarank_loss, *data).item() == pytest.approx(want.item())


@settings(max_examples=12)
@given(lists())
def test_grades_equal_plain_loops(data):
    for name, loss in BY_GRADE.items():
        of = getattr(reference, f"{name}_of")
        want = [of(s, y) if any(y) else 0.0 for s, y in zip(data[0].tolist(), data[1].tolist(), strict=True)]
        assert of_scores(loss, *data).item() == pytest.approx(sum(want) / len(want), abs=1e-12)


@pytest.mark.parametrize("name", BY_GRADE)
def test_gradcheck_with_grades(name):
    scores = torch.randn(
        3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True
    )
    grades = torch.tensor([[3, 0, 1, 1, 0, 2], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
    assert torch.autograd.gradcheck(lambda s: of_scores(BY_GRADE[name], s, grades), (scores,))


@pytest.mark.parametrize("name", BY_GRADE)
def test_huge_scores_and_one_reference(name):
    scores = torch.tensor([[1e30, -1e30, 0.0]], dtype=torch.float64, requires_grad=True)
    of_scores(BY_GRADE[name], scores, [[0.0, 1.0, 2.0]]).backward()
    assert scores.grad.isfinite().all()
    for relevance in (0.0, 1.0):
        assert of_scores(BY_GRADE[name], [[0.3]], [[relevance]]) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: losses.RecallAtKLoss(ks=[1, 0]),
            r"RecallAtKLoss: ks must be one or more integers >= 1, got \[1, 0\]",
        ),
        (lambda: losses.RecallAtKLoss(ks=[]), "ks must be one or more"),
        (lambda: losses.RecallAtKLoss(ks=[1.5]), "ks must be one or more"),
        (lambda: losses.RecallAtKLoss(k_temperature=[1.0]), "one number, or one for each of the 5 ks, got 1"),
        (lambda: losses.RecallAtKLoss(k_temperature=0.0), "k_temperature must be > 0, got 0.0"),
        (
            lambda: recall_at_k_loss(torch.eye(2), [0, 0], temperature=0),
            "recall_at_k_loss: temperature must be > 0",
        ),
        (lambda: losses.ListNetLoss(temperature=0), "ListNetLoss: temperature must be > 0"),
        (lambda: losses.ListMLELoss(temperature=-1), "ListMLELoss: temperature must be > 0"),
        (lambda: losses.ListMLELoss(weighting="top"), "one of uniform, position, relevant, got 'top'"),
        (lambda: losses.LambdaRankLoss(scale=0), "LambdaRankLoss: scale must be > 0"),
        (
            lambda: losses.LambdaRankLoss(k=0),
            "LambdaRankLoss: k must be at least 1, or None for the whole list, got 0",
        ),
        (
            lambda: losses.LambdaRankLoss(gain="square"),
            "gain must be one of exponential, linear, got 'square'",
        ),
        (lambda: lambdarank_loss(torch.eye(2), [0, 0], k=-1), "lambdarank_loss: k must be at least 1"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("name", BY_GRADE)
def test_no_mining(name):
    with pytest.raises(InputError, match=f"{name}_loss: takes no mining"):
        BY_GRADE[name](torch.eye(2), [0, 0], pairing=Pairing(mining=MultiSimilarityMining()))
