"""False negatives that a second encoder finds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference
from mimetric import losses
from mimetric.core.errors import InputError
from mimetric.losses import Pairing
from mimetric.mining import GuidedMining


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def loops(x, y, guide, margin, kind, similarity):
    """Multi-similarity at alpha = 2, beta = 50, base = 0.5 of what the guide leaves, summed over anchors."""
    sim = {"cosine": reference.cosine, "dot": reference.dot}[similarity]
    total = 0.0
    for i in range(len(y)):
        near = [j for j in range(len(y)) if j != i and y[j] == y[i] != -1]
        most = max((sim(guide[i], guide[j]) for j in near), default=float("inf"))
        most = most - margin if kind == "absolute" else most * (1 - margin)
        far = [j for j in range(len(y)) if j != i and j not in near and sim(guide[i], guide[j]) <= most]
        cosines = [reference.cosine(x[i], other) for other in x]
        total += reference.softplus(reference.logsumexp(-2 * (cosines[j] - 0.5) for j in near)) / 2
        total += reference.softplus(reference.logsumexp(50 * (cosines[j] - 0.5) for j in far)) / 50
    return total


@given(
    seed=st.integers(0, 10**6), margin=st.sampled_from([0.0, 0.2, -0.3]), block=st.sampled_from([1, 4, None]),
    kind=st.sampled_from(["absolute", "relative"]), similarity=st.sampled_from(["cosine", "dot"]),
)  # fmt: skip
def test_equals_plain_loops(seed, margin, block, kind, similarity):
    # Classes of three, two and one, an unlabelled row: several positives, one, and none.
    y = torch.tensor([0, 0, 0, 1, 1, 2, -1])
    x, guide = random(7, 4, seed=seed), random(7, 3, seed=seed + 1)
    expected = loops(x.tolist(), y.tolist(), guide.tolist(), margin, kind, similarity)
    mining = GuidedMining(guide, margin=margin, margin_kind=kind, similarity=similarity)
    x.requires_grad_()
    described = losses.multi_similarity_loss.__wrapped__(
        x, y, pairing=Pairing(mining=mining, reduction="sum", block=block)
    )
    assert described.total().item() == pytest.approx(expected, rel=1e-9)
    [ours], [plain] = (torch.autograd.grad(value, x) for value in (described.total(), described.plain()))
    torch.testing.assert_close(ours, plain)


def test_references_have_a_guide_of_their_own():
    # The guide has the first negative at 0.8, the positive at 0.6 and the second negative at 0.
    x, references = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8], [0.0, 1.0], [0.8, 0.6]])
    guide = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.6, 0.8], [0.8, 0.6], [0.0, 1.0]])

    def pushed(**options):
        pairing = Pairing(mining=GuidedMining(*guide, **options))
        return losses.contrastive_loss.sides(x, [0], references, [0, 1, 2], negative=-1.0, pairing=pairing)[1]

    assert pushed().item() == pytest.approx(1.8)  # the second alone, at cosine 0.8
    assert pushed(margin=-0.3).item() == pytest.approx((1.0 + 1.8) / 2)
    assert pushed(margin=0.7).item() == 0


def test_no_references_cost_nothing():
    x = random(3, 2)
    pairing = Pairing(mining=GuidedMining(random(3, 5), random(0, 5)))
    assert losses.contrastive_loss(x, [0, 0, 1], x[:0], [], pairing=pairing) == 0


def test_half_precision_guides_are_compared_in_float32():
    x = random(6, 4).half()
    pairing = Pairing(mining=GuidedMining(x.requires_grad_()))
    assert losses.contrastive_loss(random(6, 3), [0, 0, 1, 1, 2, 2], pairing=pairing).isfinite()
    assert pairing.mining.anchors.dtype == torch.float32
    assert not pairing.mining.anchors.requires_grad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: GuidedMining(random(3, 2), margin_kind="x"),
            "margin_kind must be one of absolute, relative",
        ),
        (lambda: GuidedMining(random(3, 2), similarity="x"), "similarity must be one of cosine, dot"),
        (lambda: GuidedMining(torch.ones(3)), r"anchors must have shape \(rows, width\), got \(3,\)"),
        (lambda: GuidedMining(random(3, 2), random(3, 4)), "references must have 2 columns to match anchors"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=f"GuidedMining: {message}"):
        call()


@pytest.mark.parametrize("rows", [3, 5])
def test_a_guide_of_other_rows_is_refused(rows):
    pairing = Pairing(mining=GuidedMining(random(rows, 2)))
    with pytest.raises(
        InputError, match=f"must have 4 anchors and 4 references, as the loss has, got {rows} and"
    ):
        losses.contrastive_loss(random(4, 3), [0, 0, 1, 1], pairing=pairing)
