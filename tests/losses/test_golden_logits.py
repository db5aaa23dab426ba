"""Values of losses on logits, worked by hand or with their source."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
import torch.nn.functional as F

from mimetric import losses, named
from mimetric.core.errors import InputError
from mimetric.estimators import softmax_information
from mimetric.losses import (
    BalancedSoftmaxLoss,
    LinearClassifier,
    LinearLogits,
    PCSoftmaxLoss,
    balanced_softmax_loss,
    cross_entropy_loss,
    logit_adjusted_loss,
    pc_softmax_loss,
)

# Values: Qin et al., arXiv:2106.10471, worked with a calculator:
# log q = f - log sum pi e^f; row 1 at its label 2 is 0.26936, row 2 is 0, row 3 at its label 1 is 0.56817.
LOGITS = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0], [2.0, 1.0, -1.0]], dtype=torch.float64)
LABELS, PRIOR = torch.tensor([2, 0, 1]), [0.1, 0.2, 0.7]
UNIT = torch.eye(3, dtype=torch.float64)


def test_pc_softmax():
    assert pc_softmax_loss(LOGITS, LABELS, prior=PRIOR).item() == pytest.approx(-0.27918150, abs=1e-8)
    assert pc_softmax_loss(LOGITS[1:2], [2], prior=PRIOR).item() == pytest.approx(0, abs=1e-12)


def test_pc_softmax_has_the_gradient_of_the_balanced_softmax_and_log_prior_more():
    x, other = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    log_prior = torch.tensor(PRIOR, dtype=torch.float64).log()
    balanced = F.cross_entropy(other + log_prior, LABELS)
    value = pc_softmax_loss(x, LABELS, prior=PRIOR)
    assert balanced.item() == pytest.approx(1.14371782, abs=1e-8)
    assert (value - balanced).item() == pytest.approx((log(0.7) + log(0.1) + log(0.2)) / 3)
    value.backward()
    balanced.backward()
    torch.testing.assert_close(x.grad, other.grad, rtol=0, atol=1e-15)
    first = torch.tensor([0.01605, 0.01181, -0.02786], dtype=torch.float64)  # (pi q - onehot) / 3
    torch.testing.assert_close(x.grad[0], first, rtol=0, atol=1e-5)


def test_alike_classes_make_it_cross_entropy_less_the_log_of_their_number():
    expected = cross_entropy_loss(LOGITS, LABELS, UNIT) - log(3)
    torch.testing.assert_close(pc_softmax_loss(LOGITS, LABELS), expected)
    torch.testing.assert_close(pc_softmax_loss(LOGITS, LABELS, prior=[1 / 3] * 3), expected)


def test_minus_the_loss_is_the_estimate_of_information():
    loss = pc_softmax_loss(LOGITS, LABELS, prior=PRIOR)
    torch.testing.assert_close(softmax_information(LOGITS, LABELS, PRIOR), -loss)


def test_a_classifier_not_computed_yet_is_its_logits():
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(size, dtype=torch.float64, generator=generator) for size in ((3, 5), (3, 5), 3)
    )
    expected = pc_softmax_loss(F.linear(x, weight, bias), LABELS, prior=PRIOR)
    torch.testing.assert_close(pc_softmax_loss(LinearLogits(x, weight, bias), LABELS, prior=PRIOR), expected)
    with pytest.raises(InputError, match=r"^pc_softmax_loss: bias must have shape \(3,\), got \(2,\)$"):
        pc_softmax_loss(LinearLogits(x, weight, bias[:2]), LABELS)
    with pytest.raises(
        InputError, match=r"^pc_softmax_loss: weight must have 5 columns to match embeddings \(3, 5\)"
    ):
        pc_softmax_loss(LinearLogits(x, weight[:, :4]), LABELS)


# z = (1, 0, 2), n = (1, 2, 7): log(e + 2 + 7 e^2) = 4.03320780, less z + log n.
@pytest.mark.parametrize(("label", "expected"), [(0, 3.03320780), (1, 3.34006062), (2, 0.08729765)])
@pytest.mark.parametrize("factor", [1, 0.1, 1000])
def test_balanced_softmax(label, expected, factor):
    counts = [1 * factor, 2 * factor, 7 * factor]
    value = balanced_softmax_loss(LOGITS[:1], [label], counts=counts)
    assert value.item() == pytest.approx(expected, abs=1e-8)
    torch.testing.assert_close(logit_adjusted_loss(LOGITS[:1], [label], prior=PRIOR), value)


# Counts (0, 0, 100, 100), z = (1, 0, 2, 1), y = 2: 0 is a softmax of the new classes, 1 cross-entropy.
@pytest.mark.parametrize("unseen", [0.0, 0.001, 0.1, 1.0])
def test_classes_without_rows_stand_for_a_share_of_the_others(unseen):
    logits = torch.tensor([[1.0, 0.0, 2.0, 1.0]], dtype=torch.float64, requires_grad=True)
    value = balanced_softmax_loss(logits, [2], counts=[0, 0, 100, 100], unseen=unseen)
    assert value.item() == pytest.approx(log(1 + exp(-1) + unseen * (exp(-1) + exp(-2))), abs=1e-12)
    value.backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[0, :2] == 0).all() == (unseen == 0)


def test_alike_counts_and_no_strength_make_cross_entropy():
    expected = cross_entropy_loss(LOGITS, LABELS, UNIT)
    for value in (
        balanced_softmax_loss(LOGITS, LABELS),
        balanced_softmax_loss(LOGITS, LABELS, counts=[5, 5, 5]),
        logit_adjusted_loss(LOGITS, LABELS),
        logit_adjusted_loss(LOGITS, LABELS, prior=PRIOR, strength=0),
    ):
        torch.testing.assert_close(value, expected)


def test_counts_that_count_nothing():
    for counts, message in (
        ([1, 2], r"counts must have shape \(3,\), a number for each class, got \(2,\)"),
        ([1, -2, 3], "counts must be >= 0, and one of them > 0"),
        ([0, 0, 0], "counts must be >= 0, and one of them > 0"),
    ):
        with pytest.raises(InputError, match=f"^balanced_softmax_loss: {message}"):
            balanced_softmax_loss(LOGITS, LABELS, counts=counts)
    with pytest.raises(InputError, match=r"^BalancedSoftmaxLoss: unseen must lie in 0..1, got 2$"):
        BalancedSoftmaxLoss(unseen=2)
    with pytest.raises(InputError, match=r"^BalancedSoftmaxLoss: counts must be >= 0"):
        BalancedSoftmaxLoss(counts=[-1, 2])


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ([0.5, 0.5], r"prior must have shape \(3,\), a number for each class, got \(2,\)"),
        ([0.5, 0.4, 0.2], "prior must sum to 1, got 1.1; divide counts by their sum"),
        ([30, 10, 60], "prior must sum to 1, got 100; divide counts by their sum"),
        ([0.5, 0.0, 0.5], "prior must be > 0 for every class, class 1 has 0; leave classes out"),
        ([0.5, 0.6, -0.1], "prior must be > 0 for every class, class 2 has -0.1"),
        ([0.5, 0.5, float("nan")], "prior must be > 0 for every class, class 2 has nan"),
        ("even", "prior must be a tensor, an array or a list of numbers"),
    ],
)
def test_a_prior_that_is_no_distribution(prior, message):
    with pytest.raises(InputError, match=f"^pc_softmax_loss: {message}"):
        pc_softmax_loss(LOGITS, LABELS, prior=prior)


def test_the_module_says_so_when_it_is_made():
    with pytest.raises(InputError, match=r"^PCSoftmaxLoss: prior must sum to 1"):
        PCSoftmaxLoss(prior=[0.5, 0.6])


def test_cosines_and_a_prior_in_words_are_refused():
    with pytest.raises(InputError, match="takes no similarity; leave it out of the pairing"):
        named.create("pc-softmax:similarity=cosine", width=3, num_classes=3)(LOGITS.float(), LABELS)
    with pytest.raises(
        InputError, match=r"^pc-softmax: prior is no word or number; give it to the loss from"
    ):
        named.create("pc-softmax:prior=0.5", width=3, num_classes=3)


def test_the_module_learns_scores_that_favor_no_frequent_class():
    # Two normals, 0.6 apart, one class nine times as frequent: plain cross-entropy predicts it everywhere.
    generator = torch.Generator().manual_seed(0)
    y = (torch.arange(500) % 10 == 0).long()
    x = torch.randn(500, 1, generator=generator) + 0.6 * y[:, None]

    def share_predicted_rare(prior):
        torch.manual_seed(0)
        module = LinearClassifier(PCSoftmaxLoss(prior=prior), 1, 2)
        optimizer = torch.optim.LBFGS(module.parameters(), max_iter=50)

        def closure():
            optimizer.zero_grad()
            loss = module(x, y)
            loss.backward()
            return loss

        optimizer.step(closure)
        return F.linear(x, module.weight, module.bias).argmax(1).double().mean().item()

    assert share_predicted_rare(None) < 0.02
    assert 0.35 < share_predicted_rare([0.9, 0.1]) < 0.55


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.FocalLoss(alpha=0.25), r"FocalLoss: alpha must have shape \(1,\), a number for each class"),
        (lambda: losses.PCSoftmaxLoss(prior=0.5), r"PCSoftmaxLoss: prior must have shape \(1,\), a number for each"),
        (lambda: losses.BalancedSoftmaxLoss(counts=7), r"BalancedSoftmaxLoss: counts must have shape \(1,\)"),
        (lambda: losses.BalancedSoftmaxLoss(counts=[0, 0]), "BalancedSoftmaxLoss: counts must be >= 0, and one of"),
        (lambda: losses.LogitAdjustedLoss(prior=[0.5, 0.6]), "LogitAdjustedLoss: prior must sum to 1, got 1.1"),
    ],
)  # fmt: skip
def test_numbers_of_classes_are_checked_before_there_are_logits(make, message):
    with pytest.raises(InputError, match=f"^{message}"):
        make()
