"""A loss of the first columns, at several widths."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimetric import catalog, losses, named
from mimetric.core.errors import InputError
from mimetric.losses import MatryoshkaLoss, explicit_pairs, matryoshka_loss

WIDTHS, WEIGHTS = (8, 6, 3), (1.0, 0.5, 2.0)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def example():
    return random(10, 8), torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 3, -1])


STATELESS = [  # statistics of what was seen (a histogram, a mean norm) move at every width
    name
    for name, entry in catalog.entries().items()
    if not entry.takes.endswith("of what it is added to")
    and not [*named.create(name, width=8, num_classes=4).buffers()]
]


@pytest.mark.parametrize("name", STATELESS)
def test_any_objective_is_nested(name):
    # Its parts are objectives of their own width, with the first columns of the class weights.
    x, y = example()
    objective = OfOneDraw(named.create(name, width=8, num_classes=4).double())
    expected = 0.0
    for width, weight in zip(WIDTHS, WEIGHTS):
        part = OfOneDraw(named.create(name, width=width, num_classes=4).double())
        state = objective.state_dict()
        part.load_state_dict(
            {k: v[..., :width] if v.ndim > 1 and v.shape[-1] == 8 else v for k, v in state.items()}
        )
        expected += weight * part(x[:, :width], y)
    found = MatryoshkaLoss(objective, widths=WIDTHS, weights=WEIGHTS)(x, y)
    torch.testing.assert_close(found, expected)


class OfOneDraw(torch.nn.Module):
    """An objective with the same random numbers every time."""

    def __init__(self, objective):
        super().__init__()
        self.objective = objective

    def forward(self, *args):
        torch.manual_seed(1)
        return self.objective(*args)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10)
def test_class_weights_have_the_gradient_of_all_widths(seed):
    x, y = random(6, 8, seed=seed), torch.tensor([0, 1, 2, 0, 1, 3])
    nested = MatryoshkaLoss(losses.NormalizedSoftmaxLoss(8, 4).double(), widths=(8, 2), weights=(1.0, 0.3))
    nested(x, y).backward()
    weight = nested.objective.weight.detach().clone().requires_grad_()
    value = losses.normalized_softmax_loss(x, y, weight)
    (value + 0.3 * losses.normalized_softmax_loss(x[:, :2], y, weight[:, :2])).backward()
    torch.testing.assert_close(nested.objective.weight.grad, weight.grad)


def test_gradcheck():
    x, y = example()
    nested = MatryoshkaLoss(losses.SupConLoss(), widths=WIDTHS, weights=WEIGHTS)
    assert torch.autograd.gradcheck(lambda x: nested(x, y), x.requires_grad_(), fast_mode=True)


def test_sums_references_and_learned_options():
    x, y = example()
    bank, bank_labels = random(7, 8, seed=1), torch.arange(7) % 3
    both = losses.SymmetricNTXentLoss().double() + 0.1 * losses.ContrastiveLoss()
    nested = MatryoshkaLoss(both, widths=(4,))
    value = nested(x, y, bank, bank_labels)
    torch.testing.assert_close(value, both(x[:, :4], y, bank[:, :4], bank_labels))
    value.backward()
    assert both.objectives[0].log_scale.grad != 0


def test_explicit_rows_and_scores():
    x, p, q, scores = random(5, 8), random(5, 8, seed=1), random(5, 2, 8, seed=2), random(5, 3, seed=3)
    ranking = losses.MultipleNegativesRankingLoss()
    found = matryoshka_loss(ranking, x, p, q, widths=(8, 4))
    torch.testing.assert_close(found, ranking(x, p, q) + ranking(x[:, :4], p[:, :4], q[..., :4]))
    assert matryoshka_loss(ranking, x, p, None, widths=(8,)) == ranking(x, p)
    found = matryoshka_loss(lambda *rows: losses.margin_mse_loss(*rows, scores), x, p, q, widths=(4,))
    torch.testing.assert_close(found, losses.margin_mse_loss(x[:, :4], p[:, :4], q[..., :4], scores))
    sides = losses.supcon_loss.sides
    found = matryoshka_loss(lambda a, b, c: sides(*explicit_pairs(a, b, c))[0], x, p, q, widths=(8, 4))
    torch.testing.assert_close(
        found,
        sides(*explicit_pairs(x, p, q))[0] + sides(*explicit_pairs(x[:, :4], p[:, :4], q[..., :4]))[0],
    )


def test_weights_load_and_save():
    ours, other = (
        MatryoshkaLoss(losses.NormalizedSoftmaxLoss(8, 4), widths=(8, 4)).double() for _ in range(2)
    )
    other.load_state_dict(ours.state_dict())
    x, y = random(4, 8), [0, 1, 2, 3]
    assert ours(x, y) == other(x, y)
    assert "widths=(8, 4)" in repr(ours)
    ours.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours(x.float(), y).isfinite()
    assert ours(x.half(), y).isfinite()
    assert ours.objective.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: MatryoshkaLoss(losses.SupConLoss(), widths=()),
            r"MatryoshkaLoss: widths must be one or more of 1",
        ),
        (lambda: MatryoshkaLoss(losses.SupConLoss(), widths=(0,)), r"of 1..the width of the rows, got \[0\]"),
        (
            lambda: MatryoshkaLoss(losses.SupConLoss(), widths=(4, 2), weights=(1,)),
            "weights must be 2, one for",
        ),
        (lambda: matryoshka_loss(losses.supcon_loss, random(3, 4), widths=(5,)), r"of 1..4, got \[5\]"),
        (
            lambda: matryoshka_loss(losses.supcon_loss, random(3, 4), [0, 1, 2], widths=(4,)),
            "all have one width",
        ),
        (lambda: matryoshka_loss(losses.supcon_loss, widths=(4,)), "all have one width, got shapes"),
        (lambda: MatryoshkaLoss(losses.SupConLoss(), widths=(9,))(*example()), r"of 1..8, got \[9\]"),
        (
            lambda: MatryoshkaLoss(losses.SupConLoss(), widths=(8,))(torch.ones(3), [0]),
            "embeddings must have",
        ),
    ],
)
def test_names_what_is_wrong(call, message):
    with pytest.raises(InputError, match=message):
        call()
