from __future__ import annotations

import pytest
import torch

from mimetric import losses
from mimetric.core.errors import InputError
from mimetric.core.objective import ObjectiveSum
from mimetric.train.loop import fit
from mimetric.train.options import FitOptions


def example():
    return torch.randn(12, 5, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


def test_sums_and_factors():
    x, y = example()
    a, b, c = losses.SupConLoss(), losses.ContrastiveLoss(), losses.MultiSimilarityLoss(beta=10.0)
    for total, expected in (
        (a + 0.1 * b, a(x, y) + 0.1 * b(x, y)),
        (a + b + c, a(x, y) + b(x, y) + c(x, y)),
        (a + (b + c) * 2, a(x, y) + 2 * b(x, y) + 2 * c(x, y)),
        (0.5 * (2 * a), a(x, y)),
    ):
        assert isinstance(total, ObjectiveSum)
        torch.testing.assert_close(total(x, y), expected)
        torch.testing.assert_close(sum(total.sides(x, y)), expected)


def test_references_go_to_pairs_and_weights_to_classifiers():
    x, y = example()
    classifier, pairs = losses.CrossEntropyLoss(5, 3), losses.SupConLoss()
    both = classifier + pairs
    assert len(list(both.parameters())) == 2
    references, labels = example()[0] + 1, y.flip(0)
    torch.testing.assert_close(
        both(x, y, references, labels), classifier(x, y) + pairs(x, y, references, labels)
    )
    both(x.requires_grad_(), y).backward()
    assert classifier.weight.grad is not None
    assert "factors=[1.0, 1.0]" in repr(both)


def test_a_sum_trains():
    x, y = torch.randn(64, 6), torch.arange(64) % 4
    objective = losses.SupConLoss() + 0.01 * losses.CenterLoss(8, 4)
    run = fit(x, y, objective, options=FitOptions(steps=3, batch_size=16, width=8, device="cpu"))
    assert run.losses.isfinite().all()
    assert run.sides() is not None


def test_learned_options_leave_room_for_references():
    x, y = example()
    for objective in (losses.SigmoidPairLoss(), losses.SymmetricNTXentLoss(), losses.MarginLoss(3)):
        assert objective.takes_references
        both = objective + losses.SupConLoss()
        value = both(x, y, x + 1, y)
        torch.testing.assert_close(value, objective(x, y, x + 1, y) + losses.SupConLoss()(x, y, x + 1, y))
        value.backward()
        assert all(parameter.grad is not None for parameter in objective.parameters())
    assert not losses.CenterLoss(5, 3).takes_references


def test_a_sum_with_a_loss_without_sides_has_none():
    assert (losses.PNPLoss() + 0.1 * losses.SupConLoss()).sides is None


def test_a_sum_of_classifiers_takes_no_references():
    x, y = example()
    alone = losses.CrossEntropyLoss(5, 3)
    with pytest.raises(InputError, match="takes no references"):
        alone(x, y, x, y)
