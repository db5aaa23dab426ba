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
    "prototypical_loss", "quadruplet_loss", "lifted_structure_loss",
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
@settings(max_examples=6)
def test_one_label_each_is_a_class_id(case, batch, block):
    x, y = batch
    expected = value_and_gradient(case, x, y)
    torch.testing.assert_close(value_and_gradient(case, x, one_hot(y), block=block), expected)
    same = (y[:, None] == y) & (y != -1)
    torch.testing.assert_close(value_and_gradient(case, x, None, related=same, block=block), expected)


@over
@given(batch=compared())
@settings(max_examples=6)
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
@settings(max_examples=8)
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


# These rank positives, or compare anchors with each other, and refuse relevance.
UNGRADED = {
    "pnp_loss", "smooth_ap_loss", "fast_ap_loss", "histogram_loss", "ranked_list_loss", "dynamic_soft_margin_loss",
    "recall_at_k_loss", "mann_whitney_loss",
}  # fmt: skip
GRADED = [case for case in BY_ROWS if case.loss.__name__ not in UNGRADED]
# To these relevance is a grade, and no number of positives (test_golden_listwise).
BY_GRADE = {"listnet_loss", "listmle_loss", "lambdarank_loss"}
COUNTED = [case for case in GRADED if case.loss.__name__ not in BY_GRADE]


@pytest.mark.parametrize("case", COUNTED, ids=names)
@given(seed=st.integers(0, 10**6), negatives=st.integers(0, 4))
@settings(max_examples=6)
def test_a_positive_of_relevance_two_counts_as_two(case, seed, negatives):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, 4, dtype=torch.float64, generator=generator)
    references = torch.randn(3 + negatives, 4, dtype=torch.float64, generator=generator)
    relevance = torch.tensor([[1.0, 2.0, 3.0, *[0.0] * negatives]])
    times = relevance[0].clamp(min=1).long()
    repeated = references.repeat_interleave(times, 0)
    expected = value_and_gradient(
        case, x, None, repeated, None, related=(relevance > 0).repeat_interleave(times, 1)
    )
    torch.testing.assert_close(
        value_and_gradient(case, x, None, references, None, related=relevance), expected
    )


@pytest.mark.parametrize("case", GRADED, ids=names)
@given(seed=st.integers(0, 10**6), block=st.integers(1, 4))
@settings(max_examples=6)
def test_relevance_in_blocks_equals_the_formula(case, seed, block):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(7, 4, dtype=torch.float64, generator=generator)
    relevance = torch.rand(7, 7, generator=generator, dtype=torch.float64)
    relevance = torch.where(relevance > 0.5, relevance, 0)
    plain = value_and_gradient(case.plain, x, None, related=relevance)
    torch.testing.assert_close(value_and_gradient(case, x, None, related=relevance, block=block), plain)


@pytest.mark.parametrize("case", GRADED, ids=names)
def test_relevance_one_is_a_bool_relation(case):
    x = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    related = torch.arange(8)[:, None] % 3 == torch.arange(8) % 3
    expected = value_and_gradient(case, x, None, related=related)
    torch.testing.assert_close(value_and_gradient(case, x, None, related=related.float()), expected)


@pytest.mark.parametrize("name", sorted(UNGRADED))
def test_relevance_is_refused_where_it_means_nothing(name):
    with pytest.raises(InputError, match=f"{name}: takes no graded relevance; write related > 0"):
        getattr(losses, name)(torch.randn(4, 3), None, pairing=Pairing(related=torch.eye(4)))


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (
            torch.ones(4, 2),
            {},
            r"labels of shape \(rows, labels\) must be bool, got float32; write labels > 0",
        ),
        (torch.ones(3, 2, dtype=torch.bool), {}, r"labels must have 4 rows to match \(4, 3\), got 3"),
        (None, {"related": torch.ones(4, 4).long()}, r"related must be bool, or floating point .* got int64"),
        (None, {"related": -torch.ones(4, 4)}, "related must be finite and >= 0, where 0 is a negative"),
        (
            None,
            {"related": torch.ones(4, 3, dtype=torch.bool)},
            r"related must be bool, .* got bool of shape \(4, 3\)",
        ),
    ],
)
def test_mistakes(labels, options, message):
    with pytest.raises(InputError, match=f"supcon_loss: {message}"):
        losses.supcon_loss(torch.randn(4, 3), labels, pairing=Pairing(**options))
    with pytest.raises(InputError, match="must be of one kind"):
        losses.supcon_loss(torch.randn(4, 3), [0, 0, 1, 1], torch.randn(2, 3), torch.ones(2, 5) > 0)
