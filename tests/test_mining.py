from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from mimetric import losses
from mimetric.core.errors import InputError
from mimetric.losses import Pairing
from mimetric.mining import EasyHardMining, MarginMining
from strategies import batches

CHOICES = [
    (p, n)
    for p in ("hard", "easy", "all")
    for n in ("hard", "semi-hard", "all")
    if (p, n) != ("all", "semi-hard")
]


def kept(near, far, positives, negatives):
    """What stays of an anchor's similarities, written from the definition."""
    chosen = {"hard": min(near, default=None), "easy": max(near, default=None), "all": None}[positives]
    near = [s for s in near if positives == "all" or s == chosen]
    if not near or not far:
        return [], []
    hard = max(far)
    far = [s for s in far if negatives == "all" or (s == hard if negatives == "hard" else s < chosen)]
    return near, far


@pytest.mark.parametrize(("positives", "negatives"), CHOICES)
@given(batch=batches(), block=st.integers(1, 5))
@settings(max_examples=25)
def test_easy_hard_equals_plain_loops(positives, negatives, batch, block):
    x, y = batch  # ties occur; dot products of binary fractions are exact
    pull, push = [], []
    for near, far in reference.pairs(x.tolist(), y.tolist(), similarity="dot"):
        near, far = kept(near, far, positives, negatives)
        pull += [max(0.0, 1 - s) for s in near]
        push += [s for s in far if s > 0]
    pairing = Pairing(mining=EasyHardMining(positives, negatives), similarity="dot", block=block)
    found = losses.contrastive_loss.sides(x, y, positive=1.0, negative=0.0, pairing=pairing)
    assert [side.item() for side in found] == pytest.approx([reference.mean(pull), reference.mean(push)])


@pytest.mark.parametrize(("positives", "negatives"), CHOICES)
def test_mined_gradient_is_that_of_the_formula(positives, negatives):
    x = torch.randn(
        14, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    y = torch.arange(14) % 4
    pairing = Pairing(mining=EasyHardMining(positives, negatives), block=3)
    [ours] = torch.autograd.grad(losses.multi_similarity_loss(x, y, pairing=pairing), x)
    [plain] = torch.autograd.grad(losses.multi_similarity_loss.__wrapped__(x, y, pairing=pairing).plain(), x)
    torch.testing.assert_close(ours, plain)


def test_hard_with_hard_is_batch_hard():
    x = torch.randn(20, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.arange(20) % 5
    mined = losses.triplet_margin_loss(
        x, y, margin=0.2, pairing=Pairing(mining=EasyHardMining(), reduction="sum")
    )
    whole = losses.batch_hard_triplet_loss(x, y, margin=0.2, pairing=Pairing(reduction="sum"))
    torch.testing.assert_close(mined, whole)


@given(batch=batches())
@settings(max_examples=25)
def test_margin_mining_equals_plain_loops(batch):
    x, y = batch
    pull = push = 0.0
    for near, far in reference.pairs(x.tolist(), y.tolist()):
        pull += reference.softplus(reference.logsumexp(-2 * (s - 0.5) for s in near if s < 0.8 - 1e-9)) / 2
        push += reference.softplus(reference.logsumexp(50 * (s - 0.5) for s in far if s > 0.2 + 1e-9)) / 50
    pairing = Pairing(mining=MarginMining(0.8 - 1e-9, 0.2 + 1e-9), reduction="sum")
    assert losses.multi_similarity_loss(x, y, pairing=pairing).item() == pytest.approx(pull + push, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: EasyHardMining("hardest"), "positives must be one of hard, easy, all, got 'hardest'"),
        (lambda: EasyHardMining(negatives="easy"), "negatives must be one of hard, semi-hard, all"),
        (lambda: EasyHardMining("all", "semi-hard"), "take hard or easy positives"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
