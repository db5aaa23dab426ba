from __future__ import annotations

from math import exp, log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimetric.core.errors import InputError
from mimetric.estimators import (
    calibrated_information,
    class_information,
    classifier_information,
    gaussian_logit_information,
    known,
    label_entropy,
    pc_log_softmax,
    pointwise_information,
    sampled_information,
    softmax_information,
    standard_error,
)

PRIOR = [0.1, 0.2, 0.7]
BATCH, LABELS = [[1.0, 0.0, 2.0], [0.0, 0.0, 0.0], [2.0, 1.0, -1.0]], [2, 0, 1]


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def loops(logits, labels, prior):
    """Plain loops over floats."""
    return [
        f[y] - log(sum(p * exp(v) for p, v in zip(prior, f, strict=True)))
        for f, y in zip(logits, labels, strict=True)
    ]


logit_batches = st.integers(1, 5).flatmap(
    lambda c: st.lists(
        st.tuples(st.lists(st.floats(-20, 20), min_size=c, max_size=c), st.integers(0, c - 1)), min_size=1
    )
)


@given(logit_batches)
def test_equals_plain_loops(batch):
    logits, labels = zip(*batch)
    classes = len(logits[0])
    prior = [2 * (c + 1) / (classes * (classes + 1)) for c in range(classes)]
    x = torch.tensor(logits, dtype=torch.float64)
    expected = loops(logits, labels, prior)
    assert pointwise_information(x, labels, prior).tolist() == pytest.approx(expected, abs=1e-9)
    assert softmax_information(x, labels, prior).item() == pytest.approx(
        sum(expected) / len(expected), abs=1e-9
    )
    uniform = loops(logits, labels, [1 / classes] * classes)
    assert pointwise_information(x, labels).tolist() == pytest.approx(uniform, abs=1e-9)


def test_golden():
    # log-softmax of (1, 0, 2) is that less log(e^2 + e + 1) = 2.407606; log 3 = 1.098612 more (arXiv:1911.10688).
    assert pc_log_softmax(BATCH[:1])[0].tolist() == pytest.approx([-0.308994, -1.308994, 0.691006], abs=1e-6)
    # With the prior the evidence is 0.1 e + 0.2 + 0.7 e^2 = 5.644167, its log 1.730623 (arXiv:2106.10471).
    assert pc_log_softmax(BATCH, PRIOR)[0].tolist() == pytest.approx(
        [-0.730623, -1.730623, 0.269377], abs=1e-6
    )
    assert pc_log_softmax(BATCH, PRIOR)[2].tolist() == pytest.approx([1.56817, 0.56817, -1.43183], abs=2e-5)
    assert softmax_information(BATCH, LABELS, PRIOR).item() == pytest.approx(0.27918150, abs=1e-8)
    # Per class: one row each here.
    assert class_information(BATCH, LABELS, PRIOR).tolist() == pytest.approx([0, 0.56817, 0.269377], abs=2e-5)


@given(st.floats(-50, 50), st.integers(0, 9))
def test_laws_of_every_row(shift, seed):
    logits = normal(6, 3, seed=seed) * 4
    found = pc_log_softmax(logits, PRIOR)
    prior = torch.tensor(PRIOR, dtype=torch.float64)
    torch.testing.assert_close(found.exp() @ prior, torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(pc_log_softmax(logits + shift, PRIOR), found)
    torch.testing.assert_close(pc_log_softmax(found, PRIOR), found)  # idempotent
    torch.testing.assert_close((found + prior.log()).exp(), (logits + prior.log()).softmax(1))
    assert (found <= -prior.log() + 1e-12).all()
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(pc_log_softmax(logits[:, order], prior[order]), found[:, order])


def test_constant_scores_tell_nothing_and_sure_ones_everything():
    y = torch.arange(9) % 3
    assert softmax_information(torch.full((9, 3), 7.0), y, PRIOR).item() == pytest.approx(0, abs=1e-12)
    sure = 1e4 * torch.eye(3)[y]
    assert softmax_information(sure, y).item() == pytest.approx(log(3))
    assert pointwise_information(-sure, y).max() < -1e3


def test_classes_average_to_the_whole():
    logits, y = normal(50, 4), torch.arange(50) % 3  # nobody is in the last class
    by_class, count = class_information(logits, y), torch.bincount(y, minlength=4)
    assert by_class[3].isnan()
    whole = (by_class[:3] * count[:3]).sum() / 50
    torch.testing.assert_close(whole, softmax_information(logits, y))


def test_unlabelled_rows_are_left_out():
    logits, y = normal(7, 3), torch.tensor([0, 1, 2, 0, 1, -1, -1])
    assert pointwise_information(logits, y).isnan().tolist() == [False] * 5 + [True] * 2
    torch.testing.assert_close(softmax_information(logits, y), softmax_information(logits[:5], y[:5]))
    torch.testing.assert_close(class_information(logits, y), class_information(logits[:5], y[:5]))
    torch.testing.assert_close(calibrated_information(logits, y), calibrated_information(logits[:5], y[:5]))
    assert softmax_information(logits[:2], [-1, -1]).isnan()


def test_it_is_entropy_less_cross_entropy_where_labels_have_the_prior():
    y = torch.tensor([0] * 10 + [1] * 20 + [2] * 70)
    logits, prior = normal(100, 3), torch.tensor(PRIOR, dtype=torch.float64)
    assert label_entropy(y).item() == pytest.approx(-(prior * prior.log()).sum().item())
    # Log posteriors, as plain cross-entropy trains them, less the log prior.
    found = softmax_information(logits - prior.log(), y, PRIOR)
    torch.testing.assert_close(found, classifier_information(logits, y))
    # Taken for balanced they claim log C - H(Y) too much.
    excess = softmax_information(logits, y) - classifier_information(logits, y)
    assert excess.item() == pytest.approx(log(3) - label_entropy(y).item())


@pytest.mark.parametrize("prior", [None, (0.7, 0.2, 0.1)])
def test_the_true_scores_have_the_true_information(prior):
    truth = known.LabelledGaussians((-1.5, 0.0, 1.5), prior)
    x, y = truth.sample(100_000, torch.Generator().manual_seed(0))
    scores = -(x - x.new_tensor(truth.centers)).square() / 2  # log p(x | c) and a term free of c
    found = softmax_information(scores, y, prior)
    error = standard_error(softmax_information_of(prior), scores, y)
    assert found.item() == pytest.approx(truth.information, abs=4 * float(error))
    assert float(error) < 0.005
    # Any other scores have less: a lower bound.
    for worse in (scores / 2, scores * 2, scores + x.new_tensor([0.0, 0.5, 0.0])):
        assert softmax_information(worse, y, prior) < found


def softmax_information_of(prior):
    return lambda scores, labels: softmax_information(scores, labels, prior)


def test_calibration_takes_back_what_too_sure_a_classifier_claims():
    truth = known.LabelledGaussians((-1.0, 0.0, 1.0))
    x, y = truth.sample(20_000, torch.Generator().manual_seed(1))
    scores = -(x - x.new_tensor(truth.centers)).square() / 2
    for scale in (0.2, 1.0, 5.0):  # too cautious, right, too sure
        found = calibrated_information(scores * scale, y)
        assert found.item() == pytest.approx(truth.information, abs=0.02)
        assert found > classifier_information(scores * scale, y) - 1e-3
    assert classifier_information(scores * 5, y) < 0  # it would deny that there is any


def test_calibration_is_fitted_on_other_rows_and_needs_some():
    # Scores without meaning: the likeliest temperature is the hottest, and held out nothing is gained.
    y = torch.arange(400) % 4
    assert abs(calibrated_information(3 * normal(400, 4), y).item()) < 0.02
    assert calibrated_information(normal(1, 2), [0]).isnan()
    a, b = (calibrated_information(normal(40, 4), y[:40], seed=seed) for seed in (0, 0))
    assert a == b


def test_the_conditional_view_by_hand():
    # Inputs: outputs z (n, M) and labels (n,), given x; output: nats (n,).  z = (1, 0, 2), M = 3, label 2:
    # 2 - log(e^2 + e + 1) + log 3 = 0.691006.  For random outputs with mean (1, 0, -1) and variance 1/4
    # each: above 1 - log(e + 1 + 1/e) + log 3 = 0.691006, below it 1/8 less.
    assert pointwise_information([[1.0, 0.0, 2.0]], [2]).item() == pytest.approx(0.691006, abs=1e-6)
    lower, upper = gaussian_logit_information([[1.0, 0.0, -1.0]], [[0.25] * 3], [0])
    assert (lower.item(), upper.item()) == pytest.approx((0.566006, 0.691006), abs=1e-6)
    draws = torch.tensor([1.0, 0.0, -1.0]) + 0.5 * normal(200_000, 1, 3)
    sampled = sampled_information(draws, [0])
    assert sampled.mean.item() == pytest.approx(0.6306, abs=4e-3)  # 10^6 draws: log 3 - 0.4680
    assert sampled.lower.item() == pytest.approx(0.566006, abs=4e-3)
    assert sampled.upper.item() == pytest.approx(0.691006, abs=4e-3)


@given(st.integers(1, 6), st.integers(0, 99))
def test_bounds_of_draws_hold_for_every_row(draws, seed):
    z, y = 3 * normal(draws, 5, 3, seed=seed), [0, 1, 2, 0, -1]
    lower, mean, upper = sampled_information(z, y, PRIOR)
    assert (lower[:4] <= mean[:4] + 1e-12).all()
    assert (mean[:4] <= upper[:4] + 1e-12).all()
    assert all(part[4].isnan() for part in (lower, mean, upper))
    expected = torch.stack([pointwise_information(one, y, PRIOR) for one in z]).mean(0)
    torch.testing.assert_close(mean, expected, equal_nan=True)


def test_outputs_that_are_not_random_meet_their_bounds():
    z, y = normal(4, 3), [0, 1, 2, 2]
    expected = pointwise_information(z, y, PRIOR)
    for part in (
        *sampled_information(z.expand(5, 4, 3), y, PRIOR),
        *gaussian_logit_information(z, 0 * z, y, PRIOR),
    ):
        torch.testing.assert_close(part, expected)


def test_gradient_is_that_of_cross_entropy():
    logits = normal(5, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: softmax_information(f, [0, 1, 2, 0, 1], PRIOR), logits)
    found, expected = (
        torch.autograd.grad(value, logits)[0]
        for value in (
            softmax_information(logits, [0, 1, 2, 0, 1]),
            -torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0, 1])),
        )
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pc_log_softmax([[1.0, 2.0]], [0.5, 0.6]), "pc_log_softmax: prior must sum to 1, got 1.1"),
        (lambda: softmax_information(BATCH, LABELS, [0.5, 0.5, 0.0]), "class 2 has 0; leave classes out"),
        (lambda: softmax_information(BATCH, [0, 1, 3]), r"labels must lie in 0\.\.2"),
        (lambda: pointwise_information([[1.0, torch.inf]], [0]), "logits must be finite"),
        (lambda: class_information(BATCH, [0, 1]), r"labels must have shape \(3,\)"),
        (lambda: calibrated_information(BATCH, LABELS, folds=1), "folds must be at least 2, got 1"),
        (lambda: sampled_information(BATCH, LABELS), r"draws must have shape \(draws, rows, classes\)"),
        (lambda: sampled_information(torch.zeros(0, 3, 3), LABELS), "draws must have shape"),
        (lambda: gaussian_logit_information(BATCH, [[1.0]], LABELS), r"variance must have shape \(3, 3\)"),
        (
            lambda: gaussian_logit_information(BATCH, [[-1.0] * 3] * 3, LABELS),
            "variance must be at least 0, got -1",
        ),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
