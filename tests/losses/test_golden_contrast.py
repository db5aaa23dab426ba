"""Contrast losses: numbers with a derivation or a source, and published formulas in plain torch."""

from __future__ import annotations

from math import e, exp, log, sqrt

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mimetric import losses, named
from mimetric.core.errors import InputError
from mimetric.losses import Pairing

# Three unit rows with cosines 0.6, 0.8 and 0.96; only the first two share a class.
ROWS = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]], dtype=torch.float64)
PAIR = torch.tensor([0, 0, 1])
# Two images and their captions, cosines ((0.8, 0), (0.96, 0.8)).
IMAGES = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
CAPTIONS = torch.tensor([[0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)
IDS = torch.arange(2)
DOT = Pairing(similarity="dot")


def two_views(seed, n, width=5):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, width, dtype=torch.float64, generator=generator)
    return x, x + torch.randn(n, width, dtype=torch.float64, generator=generator)


def assert_same(ours, theirs, *inputs):
    """Value and gradients of two functions of the same tensors."""
    found = []
    for function in (ours, theirs):
        leaves = [t.detach().clone().requires_grad_() for t in inputs]
        value = function(*leaves)
        found.append((value.detach(), *torch.autograd.grad(value, leaves)))
    torch.testing.assert_close(*found)


seeded = given(seed=st.integers(0, 10**6), n=st.integers(2, 9))
few = settings(max_examples=20)


def test_decoupled():
    # T = 1: log e^0.8 - 0.6 and log e^0.96 - 0.6; the third has no positive.
    expected = (0.2 + 0.36) / 3
    assert losses.decoupled_loss(ROWS, PAIR, temperature=1.0).item() == pytest.approx(expected)


def test_decoupled_weighted():
    # Positive pairs of cosines 0.6 and 0, each twice: E = (e^1.2 + 1) / 2 at sigma 0.5.
    x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    weight = 2 - exp(1.2) / ((exp(1.2) + 1) / 2)
    far = [(0, -1), (0.8, -0.6), (0, 0.8), (-1, -0.6)]
    tightness, contrast = losses.decoupled_loss.sides(x, [0, 0, 1, 1], temperature=1.0, sigma=0.5)
    assert tightness.item() == pytest.approx(-weight * 0.6 / 2)
    assert contrast.item() == pytest.approx(sum(log(exp(a) + exp(b)) for a, b in far) / 4)


@pytest.mark.parametrize("sigma", [0.5, float("inf")])
@seeded
@few
def test_decoupled_is_the_public_code_on_two_views(sigma, seed, n):
    # Their mask adds log(1e-45) where a pair does not count; here it is left out.
    def one_way(a, b):
        cross = a @ b.T
        weight = 2 - n * ((a * b).sum(1) / sigma).softmax(0) if sigma < float("inf") else 1
        others = torch.cat((a @ a.T, cross), 1) / 0.1
        masked = others.masked_fill(torch.eye(n, dtype=torch.bool).repeat(1, 2), -torch.inf)
        return (-weight * cross.diag() / 0.1 + masked.logsumexp(1)).mean()

    def theirs(x, view):
        a, b = F.normalize(x), F.normalize(view)
        return (one_way(a, b) + one_way(b, a)) / 2

    def ours(x, view):
        ids = torch.arange(n).repeat(2)
        return losses.decoupled_loss(torch.cat((x, view)), ids, sigma=sigma)

    assert_same(ours, theirs, *two_views(seed, n))


def test_hard_negative_nt_xent():
    # T = 1, one negative each, so every tilt has the same mean: g = (e^n - 0.1 e^0.6) / 0.9.
    costs = [log(1 + (exp(n) - 0.1 * exp(0.6)) / 0.9 / exp(0.6)) for n in (0.8, 0.96)]
    value = losses.hard_negative_nt_xent_loss(ROWS, PAIR, temperature=1.0)
    assert value.item() == pytest.approx(sum(costs) / 3)


def test_hard_negative_nt_xent_tilts():
    # One anchor, positive z = 0, negatives z = 1 and 0, beta = 1: h = (e^2 + 1) / (e + 1), two of them.
    row, others = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    value = losses.hard_negative_nt_xent_loss(
        row, [0], others, [0, 1, 1], temperature=1.0, tau_plus=0.0, pairing=DOT
    )
    assert value.item() == pytest.approx(log(1 + 2 * (e**2 + 1) / (e + 1)))


def test_debiased_mean_has_a_floor():
    # Positive at 1, both negatives at -1: (e^-1 - 0.5 e) / 0.5 < 0, so g is its floor e^-1.
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    others = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    options = {"temperature": 1.0, "beta": 0.0, "tau_plus": 0.5}
    value = losses.hard_negative_nt_xent_loss(x, [0], others, [0, 1, 1], **options)
    assert value.item() == pytest.approx(log(1 + 2 * exp(-1) / e))


@pytest.mark.parametrize(("beta", "tau_plus"), [(1.0, 0.1), (0.0, 0.1), (2.0, 0.0)])
@seeded
@few
def test_hard_negative_nt_xent_is_the_published_code(beta, tau_plus, seed, n):
    def theirs(x, view):
        a, b = F.normalize(x), F.normalize(view)
        out = torch.cat((a, b))
        kept = ~torch.eye(n, dtype=torch.bool).repeat(2, 2)
        neg = (out @ out.T / 0.5).exp()[kept].view(2 * n, -1)
        pos = ((a * b).sum(1) / 0.5).exp().repeat(2)
        size = 2 * n - 2
        drawn = (beta * neg.log()).exp()
        mean = (-tau_plus * size * pos + (drawn * neg).sum(1) / drawn.mean(1)) / (1 - tau_plus)
        return -(pos / (pos + mean.clamp(min=size * exp(-2)))).log().mean()

    def ours(x, view):
        ids = torch.arange(n).repeat(2)
        return losses.hard_negative_nt_xent_loss(torch.cat((x, view)), ids, beta=beta, tau_plus=tau_plus)

    assert_same(ours, theirs, *two_views(seed, n))


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
@seeded
@few
def test_without_weights_they_are_nt_xent(temperature, seed, n):
    x, _ = two_views(seed, n)
    y = torch.arange(n) % 3
    plain = {"temperature": temperature}
    for loss, options in (
        (losses.hard_negative_nt_xent_loss, {"beta": 0.0, "tau_plus": 0.0}),
        (losses.focal_nt_xent_loss, {"gamma": 0.0}),
        (losses.symmetric_nt_xent_loss, {"log_scale": -log(temperature)}),
    ):
        mine = options if "log_scale" in options else options | plain
        assert_same(
            lambda x, loss=loss, mine=mine: loss(x, y, **mine),
            lambda x: losses.nt_xent_loss(x, y, **plain),
            x,
        )


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        (0.0, (0.105361, 0.693147, 2.302585)),
        (0.5, (0.033318, 0.490129, 2.184424)),
        (1.0, (0.010536, 0.346574, 2.072327)),
    ],
)
@pytest.mark.parametrize("gradient", ["detached", "full"])
def test_focal_nt_xent(gamma, gradient, expected):  # the sheet's exact checks, values and slopes
    for share, value in zip((0.9, 0.5, 0.1), expected, strict=True):
        row = torch.tensor([[log(share), log(1 - share)]], dtype=torch.float64, requires_grad=True)
        found = losses.focal_nt_xent_loss(
            row, [0], torch.eye(2, dtype=torch.float64), [0, 1],
            temperature=1.0, gamma=gamma, gradient=gradient, pairing=DOT,
        )  # fmt: skip
        assert found.item() == pytest.approx(value, abs=1e-6)
        slope = -((1 - share) ** gamma)
        if gradient == "full":
            slope += gamma * share * (1 - share) ** (gamma - 1) * log(share)
        [[positive, _]] = torch.autograd.grad(found, row)[0].tolist()
        assert positive == pytest.approx(slope * (1 - share))  # d log P / dz of the positive is 1 - P


@pytest.mark.parametrize("gradient", ["detached", "full"])
def test_focal_has_a_finite_slope_where_the_positive_is_found(gradient):
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], requires_grad=True)  # z = 100 against -100
    value = losses.focal_nt_xent_loss(x, [0, 0, 1], gradient=gradient)
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-30)
    assert x.grad.isfinite().all()


def test_symmetric_nt_xent():
    # At scale 1 rows cost log(1 + e^(0-0.8)) and log(1 + e^(0.96-0.8)), columns the other way round.
    value = losses.symmetric_nt_xent_loss(IMAGES, IDS, CAPTIONS, IDS, log_scale=0.0)
    assert value.item() == pytest.approx((log(1 + exp(-0.8)) + log(1 + exp(0.16))) / 2)


@pytest.mark.parametrize("block", [None, 2])
@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
@seeded
@few
def test_symmetric_nt_xent_is_two_cross_entropies(scale, block, seed, n):
    ids = torch.arange(n)

    def theirs(x, view, log_scale):
        logits = log_scale.exp() * F.normalize(x) @ F.normalize(view).T
        return (F.cross_entropy(logits, ids) + F.cross_entropy(logits.T, ids)) / 2

    def ours(x, view, log_scale):
        pairing = Pairing(block=block)
        return losses.symmetric_nt_xent_loss(x, ids, view, ids, log_scale=log_scale, pairing=pairing)

    assert_same(ours, theirs, *two_views(seed, n), torch.tensor(log(scale), dtype=torch.float64))


def test_sigmoid_pair():
    # At scale 1 and bias 0: log(1 + e^-0.8) for both pairs, log(1 + e^0) and log(1 + e^0.96) for the others.
    value = losses.sigmoid_pair_loss(IMAGES, IDS, CAPTIONS, IDS, log_scale=0.0, bias=0.0)
    assert value.item() == pytest.approx((2 * log(1 + exp(-0.8)) + log(2) + log(1 + exp(0.96))) / 2)


@seeded
@few
def test_sigmoid_pair_is_the_published_algorithm(seed, n):
    ids = torch.arange(n)

    def theirs(x, view, log_scale, bias):
        logits = log_scale.exp() * F.normalize(x) @ F.normalize(view).T + bias
        return -F.logsigmoid((2 * torch.eye(n, dtype=torch.float64) - 1) * logits).sum() / n

    def ours(x, view, log_scale, bias):
        options = {"log_scale": log_scale, "bias": bias, "pairing": Pairing(block=2)}
        return losses.sigmoid_pair_loss(x, ids, view, ids, **options)

    learned = torch.tensor([log(10), -10.0], dtype=torch.float64)
    assert_same(ours, theirs, *two_views(seed, n), *learned)


@pytest.mark.parametrize("name", ["symmetric-nt-xent", "sigmoid-pair"])
def test_learned_numbers_have_their_gradient_without_references(name):
    module = named.create(name, width=2, num_classes=2).double()
    x, names = ROWS.clone().requires_grad_(), [name for name, _ in module.named_parameters()]

    def loss(x, *learned):
        return module.function(x, PAIR, **dict(zip(names, learned, strict=True)), pairing=Pairing(block=2))

    learned = [torch.tensor(0.3, dtype=torch.float64, requires_grad=True) for _ in names]
    assert torch.autograd.gradcheck(loss, (x, *learned))
    assert torch.autograd.gradgradcheck(loss, (x, *learned))
    tightness, contrast = module.sides(x, PAIR)
    module(x, PAIR).backward()
    for parameter in module.parameters():
        parts = [torch.autograd.grad(s, parameter, retain_graph=True)[0] for s in (tightness, contrast)]
        torch.testing.assert_close(parameter.grad, sum(parts))


def test_the_learned_scale_is_held_as_clip_holds_it():
    loss = losses.SymmetricNTXentLoss(log_scale=7.0)
    x, view = two_views(0, 6)
    value = loss(x, torch.arange(6), view, torch.arange(6))
    assert loss.log_scale.item() == pytest.approx(log(100))
    value.backward()
    assert loss.log_scale.grad != 0  # it can come back
    assert set(loss.state_dict()) == {"log_scale"}


def test_learned_options_are_read_from_a_line_of_text():
    loss = named.create("siglip:bias=-5,log_scale=1", width=3, num_classes=2)
    assert (loss.bias.item(), loss.log_scale.item()) == (-5.0, 1.0)


def test_a_learned_scale_keeps_its_product_in_full_precision():
    # At scale 100 a bfloat16 product moves exponents by 0.2.
    x, view = (t.float() for t in two_views(0, 32, 16))
    ids = torch.arange(32)
    exact = losses.symmetric_nt_xent_loss(x.double(), ids, view.double(), ids, log_scale=log(100))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = losses.symmetric_nt_xent_loss(x, ids, view, ids, log_scale=log(100))
    assert value.item() == pytest.approx(exact.item(), rel=1e-4)


def test_what_two_view_losses_refuse():
    x, view = two_views(0, 4)
    ids = torch.arange(4)
    for loss in (losses.symmetric_nt_xent_loss, losses.sigmoid_pair_loss):
        with pytest.raises(InputError, match="similarity must be one of cosine, dot"):
            loss(x, ids, pairing=Pairing(similarity="negative_euclidean"))
    with pytest.raises(InputError, match="only if both sets have as many rows, got 4 and 3"):
        losses.symmetric_nt_xent_loss(x, ids, view[:3], ids[:3], pairing=Pairing(reduction="none"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("decoupled:sigma=0", "sigma must be > 0"),
        ("hard-negative-nt-xent:beta=-1", "beta must be >= 0"),
        ("hard-negative-nt-xent:tau_plus=1", r"tau_plus must lie in \[0, 1\)"),
        ("focal-nt-xent:gamma=-1", "gamma must be >= 0"),
        ("focal-nt-xent:gradient=none", "gradient must be one of detached, full"),
    ],
)
def test_options_out_of_range(text, message):
    with pytest.raises(InputError, match=message):
        named.parse_objectives(text)


# Negatives that are mixed.


def test_a_mixed_pair(monkeypatch):  # the sheet: (1, 0) and (0, 1) with a share of 0.25 are (.3162, .9487)
    monkeypatch.setattr(torch.distributions.Beta, "sample", lambda self, shape: torch.full(shape, 0.25))  # noqa: ARG005
    [mixed] = losses.mixed_negatives(torch.zeros(1, 2), torch.eye(2)[None])
    assert sorted(mixed.tolist()) == pytest.approx([1 / sqrt(10), 3 / sqrt(10)])


@pytest.mark.parametrize("cosine", [0.6, 0.0, -0.6])
def test_a_mixed_pair_of_two_negatives_as_near(monkeypatch, cosine):
    # Both of cosine c, so their blend has c / |0.25 a + 0.75 b|, which is above c > 0 and below c < 0.  As a and b
    # differ by a right angle around the anchor, a b = c^2 and the blend's squared length is 0.625 + 0.375 c^2.
    monkeypatch.setattr(torch.distributions.Beta, "sample", lambda self, shape: torch.full(shape, 0.25))  # noqa: ARG005
    far = sqrt(1 - cosine**2)
    anchor = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    negatives = torch.tensor([[[far, 0.0, cosine], [0.0, far, cosine]]], dtype=torch.float64)
    [mixed] = losses.mixed_negatives(anchor, negatives)
    assert mixed[2].item() == pytest.approx(cosine / sqrt(0.625 + 0.375 * cosine**2))


@seeded
@few
def test_a_mixed_pair_of_equally_near_negatives_is_nearer(seed, n):
    a, b = two_views(seed, n, 4)
    anchors = F.normalize(F.normalize(a) + F.normalize(b))  # as near to both, and near to them
    mixed = losses.mixed_negatives(anchors, torch.stack((a, b), 1))
    assert ((mixed * anchors).sum(1) >= (F.normalize(a) * anchors).sum(1) - 1e-12).all()
    torch.testing.assert_close(mixed.norm(dim=1), torch.ones(n, dtype=torch.float64))


def test_a_mixed_list_is_the_hardest_when_cold_and_the_mean_when_warm():
    x, view = two_views(0, 5)
    negatives = torch.stack((view, view.roll(1, 0), view.roll(2, 0)), 1)
    unit = F.normalize(negatives, dim=2)
    hardest = (unit @ F.normalize(x)[:, :, None]).squeeze(2).argmax(1)
    cold = losses.mixed_negatives(x, negatives, mode="list", temperature=1e-4)
    torch.testing.assert_close(cold, unit[torch.arange(5), hardest])
    warm = losses.mixed_negatives(x, negatives, mode="list", temperature=1e9)
    torch.testing.assert_close(warm, F.normalize(unit.mean(1)))
    alone = losses.mixed_negatives(x, negatives[:, :1], mode="list")
    torch.testing.assert_close(alone, unit[:, 0])


@pytest.mark.parametrize("negatives", [torch.zeros(5, 1, 5), torch.zeros(5, 3, 4), torch.zeros(5, 5)])
def test_mixed_negatives_name_what_is_wrong(negatives):
    with pytest.raises(InputError, match=r"negatives must have shape \(5, M, 5\) with M at least 2"):
        losses.mixed_negatives(torch.zeros(5, 5), negatives)


def test_mixed_negatives_join_the_references():
    x, view = two_views(0, 4)
    mixed = losses.mixed_negatives(x, torch.stack((view.roll(1, 0), view.roll(2, 0)), 1), mode="list")
    ids, nobody = torch.arange(4), torch.full((4,), -1)
    value = losses.focal_nt_xent_loss(x, ids, torch.cat((view, mixed)), torch.cat((ids, nobody)), gamma=0.0)
    logits = F.normalize(x) @ F.normalize(torch.cat((view, mixed))).T / 0.01
    torch.testing.assert_close(value, F.cross_entropy(logits, ids))


def test_no_references_but_positives_are_cross_entropy_over_the_batch():
    x, view = two_views(0, 6)
    value = losses.focal_nt_xent_loss(*losses.explicit_pairs(x, view), temperature=0.05, gamma=0.0)
    logits = F.normalize(x) @ F.normalize(view).T / 0.05
    torch.testing.assert_close(value, F.cross_entropy(logits, torch.arange(6)))
