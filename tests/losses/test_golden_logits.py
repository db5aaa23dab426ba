"""Values of losses on logits, worked by hand or with their source."""

from __future__ import annotations

from math import log

import pytest
import torch
import torch.nn.functional as F

from mimetric import named
from mimetric.core.errors import InputError
from mimetric.estimators import softmax_information
from mimetric.losses import PCSoftmaxLoss, cross_entropy_loss, pc_softmax_loss

# Rows are their own logits under the unit matrix.  Values: Qin et al., arXiv:2106.10471, worked with a calculator:
# log q = f - log sum pi e^f; row 1 at its label 2 is 0.26936, row 2 is 0, row 3 at its label 1 is 0.56817.
LOGITS = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0], [2.0, 1.0, -1.0]], dtype=torch.float64)
LABELS, PRIOR = torch.tensor([2, 0, 1]), [0.1, 0.2, 0.7]
UNIT = torch.eye(3, dtype=torch.float64)


def test_pc_softmax():
    assert pc_softmax_loss(LOGITS, LABELS, UNIT, prior=PRIOR).item() == pytest.approx(-0.27918150, abs=1e-8)
    assert pc_softmax_loss(LOGITS[1:2], [2], UNIT, prior=PRIOR).item() == pytest.approx(0, abs=1e-12)


def test_pc_softmax_has_the_gradient_of_the_balanced_softmax_and_log_prior_more():
    x, other = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    log_prior = torch.tensor(PRIOR, dtype=torch.float64).log()
    balanced = F.cross_entropy(other + log_prior, LABELS)
    value = pc_softmax_loss(x, LABELS, UNIT, prior=PRIOR)
    assert balanced.item() == pytest.approx(1.14371782, abs=1e-8)
    assert (value - balanced).item() == pytest.approx((log(0.7) + log(0.1) + log(0.2)) / 3)
    value.backward()
    balanced.backward()
    torch.testing.assert_close(x.grad, other.grad, rtol=0, atol=1e-15)
    first = torch.tensor([0.01605, 0.01181, -0.02786], dtype=torch.float64)  # (pi q - onehot) / 3
    torch.testing.assert_close(x.grad[0], first, rtol=0, atol=1e-5)


def test_alike_classes_make_it_cross_entropy_less_the_log_of_their_number():
    expected = cross_entropy_loss(LOGITS, LABELS, UNIT) - log(3)
    torch.testing.assert_close(pc_softmax_loss(LOGITS, LABELS, UNIT), expected)
    torch.testing.assert_close(pc_softmax_loss(LOGITS, LABELS, UNIT, prior=[1 / 3] * 3), expected)


def test_minus_the_loss_is_the_estimate_of_information():
    loss = pc_softmax_loss(LOGITS, LABELS, UNIT, prior=PRIOR)
    torch.testing.assert_close(softmax_information(LOGITS, LABELS, PRIOR), -loss)


def test_a_bias_is_added_to_the_scores():
    bias = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    expected = pc_softmax_loss(LOGITS + bias, LABELS, UNIT, prior=PRIOR)
    torch.testing.assert_close(pc_softmax_loss(LOGITS, LABELS, UNIT, bias, prior=PRIOR), expected)
    with pytest.raises(InputError, match=r"^pc_softmax_loss: bias must have shape \(3,\), got \(2,\)$"):
        pc_softmax_loss(LOGITS, LABELS, UNIT, bias[:2])


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
        pc_softmax_loss(LOGITS, LABELS, UNIT, prior=prior)
    with pytest.raises(InputError, match=f"^PCSoftmaxLoss: {message}"):
        PCSoftmaxLoss(3, 3, prior=prior)


def test_cosines_and_a_prior_in_words_are_refused():
    with pytest.raises(InputError, match="takes dot products"):
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
        module = PCSoftmaxLoss(1, 2, prior=prior)
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
