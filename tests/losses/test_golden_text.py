"""Losses of the text world: plain loops, numbers with a derivation, and what they have in common."""

from __future__ import annotations

import inspect
from math import e, exp, log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_text as reference
from mimetric import losses
from mimetric.core.errors import InputError
from mimetric.losses import Pairing, explicit_pairs
from mimetric.mining import GuidedMining
from strategies import rows

# Cosines of anchors and positives ((0.8, 0), (0.96, 0.8)); of the anchors, and of the positives, 0.6.
ANCHORS = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
POSITIVES = torch.tensor([[0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@st.composite
def triples(draw):
    """Anchors, a positive and some negatives of each."""
    n, each, width = draw(st.integers(1, 6)), draw(st.integers(0, 3)), draw(st.integers(1, 4))
    return (
        draw(rows(n, width)),
        draw(rows(n, width)),
        draw(rows(n * each, width)).reshape(n, each, width),
    )


@st.composite
def scored(draw):
    """Pairs of rows with scores, many of them equal."""
    n, width = draw(st.integers(0, 8)), draw(st.integers(1, 5))
    scores = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    return draw(rows(n, width)), draw(rows(n, width)), scores


def approx(value):
    return pytest.approx(value, rel=1e-9, abs=1e-9)


# Explicit pairs.


@given(
    batch=triples(), direction=st.sampled_from(["forward", "both"]), scale=st.sampled_from([1.0, 20.0, 100.0])
)
def test_multiple_negatives_ranking_equals_plain_loops(batch, direction, scale):
    x, p, q = batch
    expected = reference.multiple_negatives_ranking(
        x.tolist(), p.tolist(), q.flatten(0, 1).tolist(), scale, direction
    )
    found = losses.multiple_negatives_ranking_loss(x, p, q, scale=scale, direction=direction)
    assert found.item() == approx(expected)
    flat = losses.multiple_negatives_ranking_loss(x, p, q.flatten(0, 1), scale=scale, direction=direction)
    assert flat.item() == found.item()


def test_multiple_negatives_ranking_golden():
    # Forward, by rows of cosines: log(e^.8 + e^0) - .8 and log(e^.96 + e^.8) - .8; back, by columns.
    forward = (log(e**0.8 + 1) - 0.8 + log(e**0.96 + e**0.8) - 0.8) / 2
    back = (log(e**0.8 + e**0.96) - 0.8 + log(1 + e**0.8) - 0.8) / 2
    for direction, expected in (("forward", forward), ("both", (forward + back) / 2)):
        found = losses.multiple_negatives_ranking_loss(ANCHORS, POSITIVES, scale=1.0, direction=direction)
        assert found.item() == pytest.approx(expected)


def test_both_directions_without_negatives_are_symmetric_nt_xent():
    x, p = random(6, 4), random(6, 4, seed=1)
    found = losses.multiple_negatives_ranking_loss(x, p, scale=20.0, direction="both")
    ids = torch.arange(6)
    torch.testing.assert_close(found, losses.symmetric_nt_xent_loss(x, ids, p, ids, log_scale=log(20)))


@pytest.mark.parametrize("loss", [losses.contrastive_loss, losses.triplet_margin_loss, losses.decoupled_loss])
def test_explicit_pairs_are_what_any_pair_loss_takes(loss):
    # The same with all cosines written down: one positive each, everything else a negative.
    x, p, q = random(4, 3), random(4, 3, seed=1), random(4, 2, 3, seed=2)
    embeddings, ids, references, reference_ids = explicit_pairs(x, p, q)
    assert ids.tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(references, torch.cat((p, q.flatten(0, 1))))
    related = torch.eye(4, 12) > 0
    expected = loss(x, None, references, None, pairing=Pairing(related=related))
    torch.testing.assert_close(loss(embeddings, ids, references, reference_ids), expected)
    tightness, contrast = loss.sides(*explicit_pairs(x, p, q))
    torch.testing.assert_close(tightness + contrast, expected)


@given(
    seed=st.integers(0, 10**6), n=st.integers(1, 6), m=st.integers(0, 4),
    margin=st.sampled_from([0.0, 0.1, -0.2]), kind=st.sampled_from(["absolute", "relative"]),
)  # fmt: skip
def test_gist_embed_equals_plain_loops(seed, n, m, margin, kind):
    x, p, q = random(n, 4, seed=seed), random(n, 4, seed=seed + 1), random(m, 4, seed=seed + 2)
    guide = x[:, :2] + p[:, :2], p[:, :2], q[:, :2]  # of another width
    expected = reference.gist_embed(
        *(t.tolist() for t in (x, p, q)), [t.tolist() for t in guide],
        temperature=0.05, margin=margin, margin_kind=kind,
    )  # fmt: skip
    found = losses.gist_embed_loss(x, p, q, guide=guide, temperature=0.05, margin=margin, margin_kind=kind)
    assert found.item() == approx(expected)


def test_gist_embed_golden():
    # The guide is the encoder itself.  Anchor 1 keeps all pairs: 0, 0.6 and 0.6 are below 0.8.  Anchor 2 loses 0.96.
    # With margin 0.3 both lose those at 0.6.
    first = log(e**0.8 + 1 + 2 * e**0.6) - 0.8
    second = log(e**0.8 + 2 * e**0.6) - 0.8
    guide = ANCHORS, POSITIVES
    found = losses.gist_embed_loss(ANCHORS, POSITIVES, guide=guide, temperature=1.0)
    assert found.item() == pytest.approx((first + second) / 2)
    found = losses.gist_embed_loss(ANCHORS, POSITIVES, guide=guide, temperature=1.0, margin=0.3)
    assert found.item() == pytest.approx((log(e**0.8 + 1) - 0.8) / 2)


# Scored pairs.


@pytest.mark.parametrize("name", ["cosent", "angle"])
@given(batch=scored(), scale=st.sampled_from([1.0, 20.0, 1000.0]))
def test_order_of_scores_equals_plain_loops(name, batch, scale):
    first, second, scores = batch
    loss, loops = getattr(losses, f"{name}_loss"), getattr(reference, name)
    expected = loops(first.tolist(), second.tolist(), scores, scale)
    assert loss(first, second, scores, scale=scale).item() == approx(expected)


def test_cosent_golden():
    # Cosines 0.8, 0 and 0.96 of scores 1, 2 and 2: only the first is compared with the others.
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    second = torch.tensor([[0.8, 0.6], [0.0, 1.0], [0.8, 0.6]], dtype=torch.float64)
    found = losses.cosent_loss(first, second, [1, 2, 2])
    assert found.item() == pytest.approx(log(1 + exp(20 * 0.8) + exp(20 * (0.8 - 0.96))))


def test_angle_golden():
    # (1 + i) / i = 1 - i: equal parts of opposite sign, difference 0.  2i / i = 2, scaled to 1.  (1 + i) / 1 = 1 + i,
    # scaled to (1 + i) / sqrt(2), the most there is.
    first = torch.tensor([[1.0, 1.0], [0.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
    second = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    found = losses.angle_loss(first, second, [0.2, 0.5, 0.1], scale=1.0)
    d = [0.0, 1.0, 2**0.5]
    expected = log(1 + exp(d[0] - d[1]) + exp(d[2] - d[1]) + exp(d[2] - d[0]))
    assert found.item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [losses.cosent_loss, losses.angle_loss])
@pytest.mark.parametrize("scale", [20.0, 1000.0])
def test_order_of_scores_has_the_gradient_of_all_comparisons(loss, scale):
    x, y = random(30, 5), random(30, 5, seed=1)
    scores = torch.randint(0, 6, (30,), generator=torch.Generator().manual_seed(0))
    unit = torch.nn.functional.normalize
    found, expected = [], []
    for into, dense in ((found, False), (expected, True)):
        a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
        if dense:
            a1, b1 = unit(torch.nn.functional.pad(a, (0, 1))), unit(torch.nn.functional.pad(b, (0, 1)))
            turn = torch.cat((b1[:, :3] - b1[:, 3:], b1[:, :3] + b1[:, 3:]), 1)
            z = scale * ((a1 * b1).sum(1) if loss is losses.cosent_loss else (a1 * turn).sum(1).abs())
            wrong = (z[None] - z[:, None])[scores[:, None] > scores]
            value = torch.cat((torch.zeros(1, dtype=torch.float64), wrong)).logsumexp(0)
        else:
            value = loss(a, b, scores, scale=scale)
        into += [value.detach(), *torch.autograd.grad(value, (a, b))]
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


def test_a_hundred_thousand_pairs_are_ordered_without_their_comparisons():
    x, y = torch.randn(100_000, 2).requires_grad_(), torch.randn(100_000, 2)
    value = losses.cosent_loss(x, y, torch.arange(100_000))
    [gradient] = torch.autograd.grad(value, x)
    assert value.isfinite()
    assert gradient.isfinite().all()


@given(seed=st.integers(0, 10**6), n=st.integers(0, 8))
def test_online_contrastive_equals_plain_loops(seed, n):
    first, second = random(n, 3, seed=seed), random(n, 3, seed=seed + 1)
    labels = torch.randint(0, 2, (n,), generator=torch.Generator().manual_seed(seed))
    expected = reference.online_contrastive(first.tolist(), second.tolist(), labels.tolist())
    for marks in (labels, labels > 0, labels.double()):
        assert losses.online_contrastive_loss(first, second, marks).item() == approx(expected)


def test_online_contrastive_golden():
    # Distances 0.4 and 0 of positives, 0.2 and 1 of negatives: 0.4 is beyond 0.2, and 0.2 within 0.4.
    first = torch.tensor([[1.0, 0.0]] * 4, dtype=torch.float64)
    second = torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)
    found = losses.online_contrastive_loss(first, second, [1, 1, 0, 0])
    assert found.item() == pytest.approx(0.4**2 + (0.5 - 0.2) ** 2)
    # One pair of each kind: each is measured by the other kind's mean, the other pair itself.
    found = losses.online_contrastive_loss(first[[0, 2]], second[[0, 2]], [1, 0])
    assert found.item() == pytest.approx(0.0)


# A teacher's scores.


@given(batch=triples(), seed=st.integers(0, 10**6), similarity=st.sampled_from(["dot", "cosine"]))
def test_distillation_equals_plain_loops(batch, seed, similarity):
    scores = random(len(batch[0]), 1 + batch[2].shape[1], seed=seed)
    given = [t.tolist() for t in (*batch, scores)]
    expected = reference.margin_mse(*given, similarity)
    assert losses.margin_mse_loss(*batch, scores, similarity=similarity).item() == approx(expected)
    expected = reference.kl_distillation(*given, 2.0, similarity)
    found = losses.kl_distillation_loss(*batch, scores, temperature=2.0, similarity=similarity)
    assert found.item() == approx(expected)


def test_distillation_golden():
    # Dot products 2 and 0.5, a margin of 1.5; the teacher's is 2.
    x, p, q = (torch.tensor(v, dtype=torch.float64) for v in ([[1.0, 0.0]], [[2.0, 1.0]], [[0.5, 2.0]]))
    assert losses.margin_mse_loss(x, p, q, [[3.0, 1.0]]).item() == pytest.approx(0.25)
    # Two candidates as good: log 2 less the entropy of the teacher's (1/4, 3/4).
    wanted = torch.tensor([[0.0, log(3)]], dtype=torch.float64)
    found = losses.kl_distillation_loss(x, p, p, wanted).item()
    assert found == pytest.approx(log(2) + 0.25 * log(0.25) + 0.75 * log(0.75))
    assert losses.kl_distillation_loss(x, p, q, [[2.0, 0.5]]).item() == pytest.approx(0.0)


# What they have in common.

X, P, Q, SCORES = random(5, 4), random(5, 4, seed=1), random(5, 2, 4, seed=2), random(5, 3, seed=3)
GOLD = torch.tensor([0.1, 0.5, 0.5, 0.9, 0.3])
CALLS = {
    losses.MultipleNegativesRankingLoss: ((X, P, Q), {}),
    losses.GISTEmbedLoss: ((X, P, Q), {"guide": (P[:, :3], P[:, 1:], Q[..., :3])}),
    losses.CoSENTLoss: ((X, P), {"scores": GOLD}),
    losses.AnglELoss: ((X, P), {"scores": GOLD}),
    losses.OnlineContrastiveLoss: ((X, P), {"labels": [1, 0, 1, 0, 0]}),
    losses.MarginMSELoss: ((X, P, Q), {"scores": SCORES}),
    losses.KLDistillationLoss: ((X, P, Q), {"scores": SCORES}),
}
FUNCTIONS = {
    losses.MultipleNegativesRankingLoss: losses.multiple_negatives_ranking_loss,
    losses.GISTEmbedLoss: losses.gist_embed_loss,
    losses.CoSENTLoss: losses.cosent_loss,
    losses.AnglELoss: losses.angle_loss,
    losses.OnlineContrastiveLoss: losses.online_contrastive_loss,
    losses.MarginMSELoss: losses.margin_mse_loss,
    losses.KLDistillationLoss: losses.kl_distillation_loss,
}
over = pytest.mark.parametrize("module", CALLS, ids=lambda module: module.__name__)


def value_and_gradients(module, given, others):
    leaves = [t.detach().clone().requires_grad_() for t in given]
    value = module()(*leaves, **others)
    return value.detach(), torch.autograd.grad(value, leaves)


@over
def test_module_form_is_its_function(module):
    given, others = CALLS[module]
    function = FUNCTIONS[module]
    torch.testing.assert_close(module()(*given, **others), function(*given, **others))
    options = {p.name: (p.default, p.annotation) for p in inspect.signature(module).parameters.values()}
    taken = inspect.signature(module.forward).parameters
    assert options == {
        p.name: (p.default, p.annotation)
        for p in inspect.signature(function).parameters.values()
        if p.name not in taken
    }


@over
def test_gradcheck(module):
    given, others = CALLS[module]
    leaves = [t.clone().requires_grad_() for t in given]
    options = {"temperature": 0.5} if module is losses.GISTEmbedLoss else {}
    assert torch.autograd.gradcheck(lambda *t: module(**options)(*t, **others), leaves)
    assert torch.autograd.gradgradcheck(
        lambda *t: module(**options)(*t, **others), leaves, atol=1e-4, fast_mode=True
    )


@over
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rows(module, dtype):
    given, others = CALLS[module]
    half = [t.to(dtype) for t in given]
    value, gradients = value_and_gradients(module, half, others)
    exact, _ = value_and_gradients(module, [t.double() for t in half], others)
    assert value.dtype == torch.float32
    assert {g.dtype for g in gradients} == {dtype}
    assert value.item() == pytest.approx(exact.item(), rel=1e-4, abs=1e-4)


@over
def test_autocast_stays_near_float64(module):
    given, others = CALLS[module]
    exact, slopes = value_and_gradients(module, given, others)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradients = value_and_gradients(module, [t.float() for t in given], others)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(exact.item(), rel=0.02, abs=0.02)
    for gradient, slope in zip(gradients, slopes):
        assert (gradient - slope).norm() <= 0.05 * slope.norm()


@over
def test_nothing_costs_nothing(module):
    given, others = CALLS[module]
    empty = {"guide": tuple(t[:0] for t in others["guide"])} if "guide" in others else {
        name: torch.as_tensor(value)[:0] for name, value in others.items()
    }  # fmt: skip
    value, gradients = value_and_gradients(module, [t[:0] for t in given], empty)
    assert value == 0
    assert all(g.numel() == 0 for g in gradients)


@over
def test_zero_rows_are_finite(module):
    given, others = CALLS[module]
    value, gradients = value_and_gradients(module, [t * 0 for t in given], others)
    assert value.isfinite()
    assert all(g.isfinite().all() for g in gradients)


@over
def test_nan_in_nan_out(module):
    given, others = CALLS[module]
    first = given[0].clone()
    first[0, 0] = torch.nan
    assert module()(first, *given[1:], **others).isnan()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: explicit_pairs(X, P[:4]),
            r"explicit_pairs: positives must have shape \(5, 4\), one for each",
        ),
        (lambda: explicit_pairs(X, P, Q[:4]), r"negatives must have shape \(5, negatives of each, 4\) or"),
        (lambda: explicit_pairs(X, P, Q[..., :3]), r"to match anchors \(5, 4\), got \(5, 2, 3\)"),
        (lambda: explicit_pairs(X, P, Q.long()), "negatives must be floating point, got int64"),
        (lambda: explicit_pairs(X.long(), P), "anchors must be floating point, got int64"),
        (lambda: losses.multiple_negatives_ranking_loss(X, P, scale=0.0), "scale must be > 0, got 0.0"),
        (
            lambda: losses.multiple_negatives_ranking_loss(X, P, direction="back"),
            "multiple_negatives_ranking_loss: direction must be one of forward, both, got 'back'",
        ),
        (lambda: losses.gist_embed_loss(X, P, guide=(X, P), temperature=0), "temperature must be > 0"),
        (
            lambda: losses.gist_embed_loss(X, P, guide=(X, P[:2])),
            "gist_embed_loss: guide: positives must have",
        ),
        (
            lambda: losses.gist_embed_loss(X, P, Q, guide=(X, P)),
            "guide must have 5 anchors and 25 references",
        ),
        (lambda: losses.gist_embed_loss(X, P, guide=(X, P), margin_kind="x"), "absolute, relative, got 'x'"),
        (lambda: losses.cosent_loss(X, P[:4], GOLD), r"cosent_loss: second must have shape \(5, 4\)"),
        (lambda: losses.cosent_loss(X, P, GOLD[:4]), r"scores must have shape \(5,\), one for each pair"),
        (lambda: losses.angle_loss(X, P, GOLD, scale=-1), "angle_loss: scale must be > 0"),
        (lambda: losses.online_contrastive_loss(X, P, GOLD, margin=0), "margin must be > 0"),
        (lambda: losses.online_contrastive_loss(X, P, [1, -1, 1, 1, 0]), r"must be 1 or 0.*got \[-1, 0, 1\]"),
        (
            lambda: losses.cosent_loss(X, P, [0, 1, float("nan"), 0, 0]),
            "scores must be numbers, pair 2 has nan",
        ),
        (lambda: losses.gist_embed_loss(X, P, guide=(X,)), "guide must be .anchors, positives. or"),
        (lambda: losses.margin_mse_loss(X, P, Q, SCORES[:, :2]), r"scores must have shape \(5, 3\)"),
        (lambda: losses.margin_mse_loss(X, P, Q[:4], SCORES), "positives and negatives must have shapes"),
        (lambda: losses.margin_mse_loss(X, P, Q, SCORES, similarity="l2"), "must be one of dot, cosine"),
        (lambda: losses.kl_distillation_loss(X, P, Q, SCORES, temperature=0), "temperature must be > 0"),
    ],
)
def test_names_what_is_wrong(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_guided_loss_of_any_kind_has_both_sides():
    x, p, q = X, P, Q.flatten(0, 1)
    mining = GuidedMining(x + p, torch.cat((p, q)))
    data, pairing = explicit_pairs(x, p, q), Pairing(mining=mining)
    value = losses.decoupled_loss(*data, pairing=pairing)
    torch.testing.assert_close(sum(losses.decoupled_loss.sides(*data, pairing=pairing)), value)
