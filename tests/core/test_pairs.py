"""What the engine promises beyond the laws of single losses."""

from __future__ import annotations

from math import log

import pytest
import torch

import reference
from cases import CASES, PAIRS, names
from mimetric import losses
from mimetric.core import blocks, triplets
from mimetric.core.errors import InputError
from mimetric.core.exponentials import LogSumExp
from mimetric.core.hinges import Hinge
from mimetric.core.pairing import Pairing
from mimetric.core.pairs import over_anchors, pair_loss, pair_sums
from mimetric.core.similarity import MIRRORED
from mimetric.losses import (
    contrastive_loss,
    multi_similarity_loss,
    pair_weights,
    supcon_loss,
    triplet_margin_loss,
)
from mimetric.mining import MultiSimilarityMining


def balanced(classes, each, width=8, dtype=torch.float64):
    generator = torch.Generator().manual_seed(classes)
    y = torch.arange(classes).repeat_interleave(each)
    return torch.randn(len(y), width, dtype=dtype, generator=generator), y


def margin_loss(x, y, margins, block=None):
    """Hinges whose boundary is learned: for positives through `tensors`, for negatives as a lifted column."""
    x = torch.nn.functional.normalize(x)
    anchors = torch.cat((x, -margins[:, None]), 1)
    references = torch.cat((x, torch.ones_like(x[:, :1])), 1)
    ids = torch.arange(len(x))

    def sides(near, far, margins, temperature):
        costs = (2 * margins[:, None] + 0.1 - (near.sim + margins[:, None])).clamp(min=0)
        return near.sum(costs) / temperature, far.total

    return pair_sums(
        "margin", anchors, y, references, y, push=Hinge(), sides=sides, similarity="dot",
        tensors=(margins, torch.tensor(2.0, dtype=x.dtype, requires_grad=True)),
        pairing=Pairing(ids=ids, reference_ids=ids, block=block),
    )  # fmt: skip


@pytest.mark.parametrize("block", [None, 3])
def test_learned_tensors_have_their_gradient(block):
    x, y = balanced(4, 3)
    margins = torch.linspace(0.1, 0.4, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, m: margin_loss(x, y, m, block).total(), (x.requires_grad_(), margins)
    )
    blocked = margin_loss(x, y, margins, block)
    torch.testing.assert_close(blocked.total(), blocked.plain())


def test_a_learned_temperature_of_no_dimension():
    x, y = balanced(4, 3)

    def loss(temperature, block):
        def sides(near, far, temperature):
            return near.mean(near.sim) * temperature, torch.nn.functional.softplus(far) * temperature

        return pair_sums(
            "scaled", x, y, push=LogSumExp(5.0), sides=sides, tensors=(temperature,), pairing=Pairing(block=block)
        )  # fmt: skip

    temperature = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: loss(t, 5).total(), temperature)


def value_and_gradient(loss, x):
    x = x.clone().requires_grad_()
    value = loss(x)
    return value.detach(), torch.autograd.grad(value, x)[0]


@pytest.mark.parametrize("case", PAIRS, ids=names)
def test_classes_of_one_size_in_any_order(case):
    # Nothing is padded there, but in the plain formula.
    x, y = balanced(5, 3, width=4)
    y = y[torch.randperm(15, generator=torch.Generator().manual_seed(0))]
    torch.testing.assert_close(
        value_and_gradient(lambda x: case(x, y), x), value_and_gradient(lambda x: case.plain(x, y), x)
    )


def test_only_classes_of_one_size_are_not_padded():
    x, y = balanced(5, 3)
    uneven, unlabelled = y.clone(), y.clone()
    uneven[0], unlabelled[:3] = 1, -1
    taken = [
        problem(supcon_loss, x, labels, **options).classes.lean(slice(2, 9)).members is not None
        for labels, options in [(y, {}), (uneven, {}), (unlabelled, {}), (y, {"pairing": Pairing(ids=y)})]
    ]
    assert taken == [True, False, False, False]


def beside_itself(similarity, y, block=None):
    """A loss by blocks, and by its formula."""
    options = {"positive": -0.1, "negative": -1.0, "pairing": Pairing(similarity=similarity, block=block)}
    return (
        lambda x: contrastive_loss(x, y, **options),
        lambda x: contrastive_loss.__wrapped__(x, y, **options).plain(),
    )


@pytest.mark.parametrize("similarity", MIRRORED)
@pytest.mark.parametrize("block", [None, 7])
@pytest.mark.parametrize("n", [20, 60])  # 60 rows of so few numbers are above what takes one product
def test_a_batch_beside_its_mirror(similarity, block, n):
    x, y = balanced(n // 4, 4, width=2)
    loss, plain = beside_itself(similarity, y, block)
    torch.testing.assert_close(value_and_gradient(loss, x / 4), value_and_gradient(plain, x / 4))


@pytest.mark.parametrize("similarity", MIRRORED)
def test_second_derivatives_of_a_batch_beside_its_mirror(similarity):
    x, y = balanced(2, 2, width=2)
    loss, _ = beside_itself(similarity, y)
    assert torch.autograd.gradgradcheck(loss, (x / 4).requires_grad_())


def near_rows(rows):
    """Smoothed fraction of references nearer than each positive: a loss with no near-and-far form."""
    nearer = torch.sigmoid((rows.far[:, None, :] - rows.near.sim[:, :, None]) * 5).sum(2)
    return rows.near.mean(nearer)


@pytest.mark.parametrize("similarity", ["cosine", "negative_euclidean"])
@pytest.mark.parametrize("block", [None, 2])
def test_whole_rows(similarity, block):
    x, y = balanced(3, 3)
    y[0] = 9  # a singleton

    def loss(x):
        pairing = Pairing(block=block, similarity=similarity)
        return over_anchors("nearer", x, y, cost=near_rows, pairing=pairing)

    expected = []
    for near, far in reference.pairs(x.tolist(), y.tolist(), similarity=similarity):
        nearer = [sum(1 / (1 + 2.718281828459045 ** (5 * (p - n))) for n in far) for p in near]
        expected.append(reference.mean(nearer))
    assert loss(x).total().item() == pytest.approx(reference.mean(expected))
    assert torch.autograd.gradcheck(lambda x: loss(x).total(), x.requires_grad_())
    torch.testing.assert_close(loss(x).plain(), loss(x).total())


def test_whole_rows_have_no_sides_and_no_mining():
    x, y = balanced(2, 2)
    with pytest.raises(InputError, match="nearer: has no tightness and contrast"):
        over_anchors("nearer", x, y, cost=near_rows).sides()
    with pytest.raises(InputError, match="nearer: takes no mining"):
        over_anchors("nearer", x, y, cost=near_rows, pairing=Pairing(mining=MultiSimilarityMining()))


@pytest.mark.parametrize("case", CASES, ids=names)
def test_the_engines_own_blocks_change_nothing(case, monkeypatch):
    # Few elements a block: ten rows against ten need several blocks of the engine's own choice.
    x, y = balanced(5, 2, width=4)
    whole, plain = case(x, y), case.plain(x, y)
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 300)
    torch.testing.assert_close(case(x, y), whole)
    torch.testing.assert_close(whole, plain)


def problem(loss, x, y, **options):
    return loss.__wrapped__(x, y, **options).problem((1.0, 1.0))[0]


def test_blocks_are_chosen_by_elements():
    x, y = balanced(8, 4, dtype=torch.float32)
    ours = problem(supcon_loss, x, y)
    assert len(ours.blocks(1024, 1024)) == 1
    wide, tall = ours.blocks(4096, 100_000), ours.blocks(100_000, 256)
    assert wide[0].stop * 100_000 <= blocks.BLOCK_ELEMENTS < (wide[0].stop + 2) * 100_000
    assert len(tall) < 20
    assert wide[-1].stop == 4096
    # Positives count too: with one class there are as many as references.
    one_class = problem(supcon_loss, *balanced(1, 500))
    assert one_class.blocks(5000, 5000)[0].stop < ours.blocks(5000, 5000)[0].stop


@pytest.mark.parametrize("case", CASES, ids=names)
def test_float32_at_any_temperature_is_near_float64(case):
    x, y = balanced(16, 4, width=16, dtype=torch.float32)
    x = x + 3 * torch.randn(16, 16, generator=torch.Generator().manual_seed(5))[y]
    exact, single = x.double().requires_grad_(), x.clone().requires_grad_()
    expected, value = case(exact, y), case(single, y)
    expected.backward()
    value.backward()
    assert value.item() == pytest.approx(expected.item(), rel=2e-5, abs=2e-5)
    assert (single.grad - exact.grad).norm() <= 1e-3 * exact.grad.norm() + 1e-6


def test_a_cold_softmax_far_from_its_ceiling():
    # Similarities near -1 at temperature 0.01: e^(100 (s - 1)) is 0 in float32, the sum is not.
    x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.05], [-1.0, 0.0]])
    y = torch.tensor([0, 1, 0, 1])
    exact = supcon_loss(x.double(), y, temperature=0.01).item()
    assert supcon_loss(x, y, temperature=0.01).item() == pytest.approx(exact, rel=1e-5)


def test_autocast_never_rounds_a_cold_softmax():
    x, y = balanced(8, 4, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert problem(supcon_loss, x, y, temperature=0.05).product_type is torch.bfloat16
        assert problem(supcon_loss, x, y, temperature=0.01).product_type is None
        euclidean = Pairing(similarity="negative_euclidean")
        assert problem(supcon_loss, x, y, temperature=0.1, pairing=euclidean).product_type is None
    assert problem(supcon_loss, x, y).product_type is None


def test_many_positives_are_searched_with_the_same_result(monkeypatch):
    x, y = balanced(2, 9)
    y[0] = 5
    results = []
    for most in (0, 100):
        monkeypatch.setattr(triplets, "_MOST_PASSES", most)
        leaf = x.clone().requires_grad_()
        value = triplet_margin_loss(leaf, y, pairing=Pairing(block=7))
        value.backward()
        results.append((value.detach(), leaf.grad))
    torch.testing.assert_close(*results)


def test_unlabelled_rows_are_negatives_of_everything_but_themselves():
    x, _ = balanced(2, 2)
    some = torch.tensor([0, 0, -1, -1])
    apart = torch.tensor([0, 0, 1, 2])
    torch.testing.assert_close(multi_similarity_loss(x, some), multi_similarity_loss(x, apart))
    torch.testing.assert_close(
        multi_similarity_loss(x, some, x + 1, some),
        multi_similarity_loss(x, apart, x + 1, torch.tensor([0, 0, 3, 4])),
    )
    ids = torch.arange(4)
    torch.testing.assert_close(
        multi_similarity_loss(x, some, x, some, pairing=Pairing(ids=ids, reference_ids=ids)),
        multi_similarity_loss(x, some),
    )


def test_ids_must_match():
    x, y = balanced(2, 2)
    with pytest.raises(InputError, match=r"supcon_loss: ids must have shape \(4,\) .*got \(3,\)"):
        supcon_loss(x, y, pairing=Pairing(ids=torch.arange(3)))
    with pytest.raises(InputError, match=r"reference_ids must have shape \(4,\) .*got \(3,\)"):
        supcon_loss(x, y, x, y, pairing=Pairing(ids=torch.arange(4), reference_ids=torch.arange(3)))
    with pytest.raises(InputError, match="give ids and reference_ids both or neither"):
        supcon_loss(x, y, x, y, pairing=Pairing(ids=torch.arange(4)))
    with pytest.raises(InputError, match="supcon_loss: ids must be integers, got float32"):
        supcon_loss(x, y, pairing=Pairing(ids=torch.rand(4)))


def test_a_relation_and_weights_must_be_tensors():
    with pytest.raises(
        InputError, match=r"weights must be a tensor, got list; write torch\.as_tensor\(weights\)"
    ):
        Pairing(weights=[1.0, 2.0])
    with pytest.raises(InputError, match="Pairing: related must be a tensor, got list"):
        Pairing(related=[[True]])


def test_instance_ids_in_one_batch():
    # Two rows of one image share an id: they are no pair.
    x, _ = balanced(2, 2)
    value = supcon_loss(x, [0, 0, 0, 1], pairing=Pairing(ids=torch.tensor([7, 7, 8, 9])))
    expected = 0.0
    rows = torch.nn.functional.normalize(x).tolist()
    for i, (positives, negatives) in enumerate([([2], [3]), ([2], [3]), ([0, 1], [3])]):
        z = [reference.dot(rows[i], rows[j]) / 0.1 for j in positives]
        rest = [reference.dot(rows[i], rows[j]) / 0.1 for j in negatives]
        expected += reference.logsumexp(z + rest) - reference.mean(z)
    assert value.item() == pytest.approx(expected / 4)


# Not of an anchor's own similarities, whatever they are.
OF_MORE = {
    "swap_triplet_loss", "histogram_loss", "angular_loss", "fast_ap_loss", "distance_weighted_triplet_loss",
}  # fmt: skip
GIVEN = [case for case in PAIRS if case.similarity == "cosine" and case.loss.__name__ not in OF_MORE]
# Where a positive with more than its share is pushed off, where pairs are drawn to a mean, and where a list is to be of
# a given form throughout.
SIGNED_POSITIVES = {
    "supcon", "supcon-cold", "nt-xent-all", "intra-pair-variance", "decoupled-weighted", "listmle-position",
}  # fmt: skip
SIGNED_NEGATIVES = {
    "intra-pair-variance", "hard-negative-nt-xent", "hard-negative-nt-xent-sharp",
    "listnet", "listmle", "listmle-position",
}  # fmt: skip


@pytest.mark.parametrize("case", GIVEN, ids=names)
def test_pair_weights_give_the_gradient(case):
    # General pair weighting: with weights held constant, sum w s / n has the gradient of the loss.
    x, y = balanced(3, 3)
    x = torch.nn.functional.normalize(x).requires_grad_()
    sim = x @ x.T
    loss = torch.enable_grad()(lambda *args, pairing: case.loss(*args, **case.options, pairing=pairing))
    weights = pair_weights(loss, sim, y, mining=case.mining)
    assert weights.diagonal().abs().max() == 0
    same = y[:, None] == y
    if case.name not in SIGNED_POSITIVES:
        assert (weights[same] <= 1e-12).all()
    if case.name not in SIGNED_NEGATIVES:
        assert (weights[~same] >= -1e-12).all()
    weighted = torch.autograd.grad((weights * sim).sum() / 9, x)[0]
    direct = torch.autograd.grad(case(x, y), x)[0]
    # The loss normalizes its rows, so its gradient has no part along them.
    along = (weighted * x).sum(1, keepdim=True) * x
    torch.testing.assert_close(weighted - along, direct)


def test_a_decorated_loss_is_still_a_function():
    assert supcon_loss.__name__ == "supcon_loss"
    assert "Supervised contrastive" in (supcon_loss.__doc__ or "")

    @pair_loss
    def lone(x, y):
        return pair_sums(
            "lone", x, y, push=LogSumExp(1.0), sides=lambda near, far: (near.mean(near.sim), far)
        )

    value = lone(torch.eye(2), [0, 1])
    assert value.item() == pytest.approx(log(1))


def test_second_derivatives_of_a_gradient_penalty():
    x, y = balanced(3, 3)
    leaf = x.clone().requires_grad_()
    [gradient] = torch.autograd.grad(supcon_loss(leaf, y, pairing=Pairing(block=2)), leaf, create_graph=True)
    [penalty] = torch.autograd.grad(gradient.square().sum(), leaf)
    step = 1e-6 * torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0))

    def size(x):
        x = x.clone().requires_grad_()
        return torch.autograd.grad(supcon_loss(x, y), x)[0].square().sum()

    assert (size(x + step) - size(x - step)).item() / 2 == pytest.approx(
        (penalty * step).sum().item(), rel=1e-5
    )


@pytest.mark.parametrize("name", ["supcon", "margin", "triplet_margin", "lifted_structure", "sigmoid_pair"])
def test_rows_and_references_of_two_types_meet_in_the_wider(name):
    loss = getattr(losses, f"{name}_loss")
    x, y = balanced(4, 2)
    x, references = x.float().requires_grad_(), x.flip(0).clone().requires_grad_()
    value = loss(x, y, references, y.flip(0))
    value.backward()
    assert (value.dtype, x.grad.dtype, references.grad.dtype) == (torch.float64, torch.float32, torch.float64)
    torch.testing.assert_close(value, loss(x.double(), y, references, y.flip(0)))


@pytest.mark.parametrize("name", ["cross_entropy", "normalized_softmax"])
def test_rows_and_class_weights_of_two_types_meet_in_the_wider(name):
    loss, (x, y) = getattr(losses, f"{name}_loss"), balanced(4, 2)
    weight = torch.randn(4, x.shape[1], dtype=torch.float64, requires_grad=True)
    value = loss(x.float(), y, weight)
    value.backward()
    assert (value.dtype, weight.grad.dtype) == (torch.float64, torch.float64)
    torch.testing.assert_close(value, loss(x.float().double(), y, weight))
