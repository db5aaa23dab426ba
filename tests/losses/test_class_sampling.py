"""A share of the classes: the objective on these alone, and no others are moved."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimetric import catalog, named
from mimetric.core.errors import InputError
from mimetric.losses import (
    ArcFaceLoss,
    LinearClassifier,
    PCSoftmaxLoss,
    SampledClasses,
    SupConLoss,
    sample_classes,
)

OWN_WEIGHTS = (
    "normalized-softmax",
    "cross-entropy",
    "arcface",
    "soft-triple",
    "center",
    "focal",
    "proxy-nca",
)


@given(
    labels=st.lists(st.integers(-1, 19), min_size=0, max_size=12),
    count=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_labels_find_their_classes(labels, count, seed):
    labels = torch.tensor(labels, dtype=torch.int64)
    chosen, places = sample_classes(labels, 20, count, generator=torch.Generator().manual_seed(seed))
    assert len(chosen) == min(20, max(count, len(labels)))
    assert (chosen.diff() > 0).all()
    known = labels >= 0
    assert torch.equal(chosen[places[known]], labels[known])
    assert (places[~known] == -1).all()


def test_others_are_drawn_alike():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.zeros(40)
    for _ in range(2000):
        drawn[sample_classes([3, 3, 3, 3], 40, 10, generator=generator)[0]] += 1
    assert drawn[3] == 2000
    others = drawn[torch.arange(40) != 3] / 2000
    assert (others - 9 / 39).abs().max() < 0.05  # five standard deviations


@pytest.mark.parametrize("name", OWN_WEIGHTS)
def test_is_the_objective_on_the_chosen_classes(name):
    torch.manual_seed(0)
    objective = named.create(name, width=5, num_classes=30).double()
    sampled = SampledClasses(objective, share=0.5)
    x, y = torch.randn(8, 5, dtype=torch.float64), torch.tensor([0, 29, 4, 4, -1, 7, 11, 20])
    torch.manual_seed(1)
    value = sampled(x, y)
    value.backward()
    torch.manual_seed(1)
    chosen, places = sample_classes(y, 30, 15)
    few = named.create(name, width=5, num_classes=15).double()
    few.load_state_dict(
        {key: held[chosen] if held.ndim else held for key, held in objective.state_dict().items()}
    )
    expected = few(x, places)
    expected.backward()
    torch.testing.assert_close(value, expected)
    left_out = torch.ones(30, dtype=torch.bool)
    left_out[chosen] = False
    for whole, some in zip(objective.parameters(), few.parameters(), strict=True):
        torch.testing.assert_close(whole.grad[chosen], some.grad)
        assert not whole.grad[left_out].any()


def test_all_of_them_in_evaluation_and_with_the_whole_share():
    torch.manual_seed(0)
    objective = ArcFaceLoss(5, 30)
    x, y = torch.randn(8, 5), torch.arange(8)
    torch.testing.assert_close(SampledClasses(objective, share=1.0)(x, y), objective(x, y))
    torch.testing.assert_close(SampledClasses(objective, share=0.3).eval()(x, y), objective(x, y))


def test_a_sparse_gradient_is_the_dense_one():
    torch.manual_seed(0)
    objective = LinearClassifier(PCSoftmaxLoss(), 5, 30)
    x, y = torch.randn(8, 5), torch.arange(8)
    grads = []
    for sparse in (False, True):
        objective.zero_grad(set_to_none=True)
        torch.manual_seed(1)
        SampledClasses(objective, share=0.5, sparse=sparse)(x, y).backward()
        grads.append(objective.weight.grad)
    assert grads[1].is_sparse
    torch.testing.assert_close(grads[1].to_dense(), grads[0])
    before = objective.weight.detach().clone()
    torch.optim.SparseAdam([objective.weight], lr=0.1).step()  # has a rule for rows that took no part: none
    moved = (objective.weight != before).any(1)
    assert torch.equal(moved, (grads[0] != 0).any(1))


def test_learns_and_saves_what_it_holds():
    sampled = SampledClasses(ArcFaceLoss(4, 6), share=0.5)
    other = SampledClasses(ArcFaceLoss(4, 6), share=0.5)
    other.load_state_dict(sampled.state_dict())
    assert torch.equal(sampled.objective.weight, other.objective.weight)
    assert "share=0.5" in repr(sampled)


def test_names_what_is_wrong():
    with pytest.raises(InputError, match=r"^SampledClasses: share must lie in \(0, 1\], got 0$"):
        SampledClasses(ArcFaceLoss(4, 6), share=0)
    with pytest.raises(
        InputError, match=r"^SampledClasses: SupConLoss has no class weights; give an objective"
    ):
        SampledClasses(SupConLoss())
    with pytest.raises(InputError, match=r"^sample_classes: labels must lie in 0..5"):
        SampledClasses(ArcFaceLoss(4, 6))(torch.randn(2, 4), [0, 6])
    with pytest.raises(InputError, match=r"^sample_classes: num_classes and count must be at least 1"):
        sample_classes([0], 3, 0)


def test_every_objective_named_here_is_one():
    assert set(OWN_WEIGHTS) <= set(catalog.entries())
