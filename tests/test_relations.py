"""Who is whose positive: by class ids, by shared labels, by a given matrix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import PAIRS, names
from mimetric import losses
from mimetric.core.errors import InputError
from mimetric.losses import Pairing
from mimetric.mining import MultiSimilarityMining
from strategies import batches, compared

# Class means need class ids, and what looks at pairs of references knows only classes of these.
BY_CLASSES = {
    "spce_loss", "proto_triplet_loss", "centroid_triplet_loss", "angular_loss", "swap_triplet_loss",
    "quadruplet_loss", "lifted_structure_loss",
}  # fmt: skip
BY_ROWS = [case for case in PAIRS if case.loss.__name__ not in BY_CLASSES]
over = pytest.mark.parametrize("case", BY_ROWS, ids=names)


def value_and_gradient(function, x, *args, **options):
    x = x.clone().requires_grad_()
    value = function(x, *args, **options)
    value.backward()
    return value.detach(), x.grad


def one_hot(y):
    """(n, L) bool; nothing for the unlabelled."""
    return (y[:, None] == torch.arange(101)) & (y[:, None] != -1)


@over
@given(batch=batches(), block=st.integers(1, 9))
@settings(max_examples=10)
def test_one_label_each_is_a_class_id(case, batch, block):
    x, y = batch
    expected = value_and_gradient(case, x, y)
    torch.testing.assert_close(value_and_gradient(case, x, one_hot(y), block=block), expected)
    same = (y[:, None] == y) & (y != -1)
    torch.testing.assert_close(value_and_gradient(case, x, None, related=same, block=block), expected)


@over
@given(batch=compared())
@settings(max_examples=10)
def test_the_same_with_references(case, batch):
    x, y, rx, ry = batch
    expected = value_and_gradient(case, x, y, rx, ry)
    labelled = value_and_gradient(case, x, one_hot(y), rx, one_hot(ry))
    related = value_and_gradient(case, x, None, rx, None, related=(y[:, None] == ry) & (ry != -1))
    torch.testing.assert_close(labelled, expected)
    torch.testing.assert_close(related, expected)


@st.composite
def tagged(draw):
    """Rows of which each has any of three tags, or none."""
    x, _ = draw(batches(max_size=7, zero_rows=False))
    x = x + 0.1 * torch.rand(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    tags = draw(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=len(x), max_size=len(x)))
    return x, torch.tensor(tags)


@over
@given(batch=tagged(), block=st.integers(1, 4))
@settings(max_examples=15)
def test_shared_labels_are_a_relation_and_blocks_equal_the_formula(case, batch, block):
    x, tags = batch
    related = (tags[:, None] & tags[None]).any(2)
    plain = value_and_gradient(case.plain, x, None, related=related)
    torch.testing.assert_close(value_and_gradient(case, x, None, related=related, block=block), plain)
    torch.testing.assert_close(value_and_gradient(case, x, tags, block=block), plain)


@pytest.mark.parametrize("name", sorted(BY_CLASSES - {"spce_loss", "lifted_structure_loss"}))
def test_a_relation_is_refused_where_it_means_nothing(name):
    loss, related = getattr(losses, name), torch.eye(4) > 0
    with pytest.raises(InputError, match=name):
        loss(torch.randn(4, 3), [0, 0, 1, 1], pairing=Pairing(related=related))


def test_a_relation_need_not_be_symmetric_nor_transitive():
    # Anchor 0 has positive 1; anchor 1 has positive 2; anchor 2 has none.  Cosines 0.6, 0.8, 0.96.
    x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]], dtype=torch.float64)
    related = torch.tensor([[False, True, False], [False, False, True], [False, False, False]])
    tightness, contrast = losses.contrastive_loss.sides(x, None, pairing=Pairing(related=related))
    assert tightness.item() == pytest.approx((0.4 + 0.04) / 2)
    # Negatives above 0.5: (0, 2), (1, 0), (2, 0) and (2, 1).
    assert contrast.item() == pytest.approx((0.3 + 0.1 + 0.3 + 0.46) / 4)


def test_the_anchor_itself_is_no_pair_whatever_the_relation_says():
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 0, 1, 1, 2, 2])
    same = y[:, None] == y
    expected = losses.supcon_loss(x, y)
    for related in (same, same & ~torch.eye(6, dtype=torch.bool)):
        torch.testing.assert_close(losses.supcon_loss(x, None, pairing=Pairing(related=related)), expected)


def test_mining_works_on_relations():
    x = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.arange(12) % 3
    mining = MultiSimilarityMining()
    expected = losses.multi_similarity_loss(x, y, pairing=Pairing(mining=mining))
    mined = losses.multi_similarity_loss(x, one_hot(y), pairing=Pairing(mining=mining))
    torch.testing.assert_close(mined, expected)


def test_graded_relevance_is_a_relation_above_a_grade():
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    grade = torch.tensor([[0, 3, 1, 0], [3, 0, 0, 0], [1, 0, 0, 2], [0, 0, 2, 0]])
    value = losses.supcon_loss(x, None, pairing=Pairing(related=grade >= 2))
    torch.testing.assert_close(value, losses.supcon_loss(x, [0, 0, 1, 1]))


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (
            torch.ones(4, 2),
            {},
            r"labels of shape \(rows, labels\) must be bool, got float32; write labels > 0",
        ),
        (torch.ones(3, 2, dtype=torch.bool), {}, r"labels must have 4 rows to match \(4, 3\), got 3"),
        (None, {"related": torch.ones(4, 4)}, r"related must be bool of shape \(4, 4\).* got float32"),
        (
            None,
            {"related": torch.ones(4, 3, dtype=torch.bool)},
            r"related must be bool .* got bool of shape \(4, 3\)",
        ),
    ],
)
def test_mistakes(labels, options, message):
    with pytest.raises(InputError, match=f"supcon_loss: {message}"):
        losses.supcon_loss(torch.randn(4, 3), labels, pairing=Pairing(**options))
    with pytest.raises(InputError, match="must be of one kind"):
        losses.supcon_loss(torch.randn(4, 3), [0, 0, 1, 1], torch.randn(2, 3), torch.ones(2, 5) > 0)
