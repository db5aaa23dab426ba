"""The text family beside published formulas: sentence-transformers', as dense torch written from its documentation.

It brings a model with each loss, and is not installed here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mimetric import losses

over_batches = given(seed=st.integers(0, 10**6), n=st.integers(1, 9))
few = settings(max_examples=25)


def rows(seed, n, *more, width=6):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(n, *shape, width, dtype=torch.float64, generator=generator) for shape in ((), (), *more)
    ]


def cosines(x, y):
    return F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).mT


def assert_same(ours, theirs, *inputs):
    """Value and gradients of two functions of the same tensors."""
    found = []
    for function in (ours, theirs):
        leaves = [t.clone().requires_grad_() for t in inputs]
        value = function(*leaves)
        found.append((value.detach(), *torch.autograd.grad(value, leaves)))
    torch.testing.assert_close(*found, rtol=1e-8, atol=1e-10)


@over_batches
@few
def test_multiple_negatives_ranking(seed, n):
    # MultipleNegativesRankingLoss: cross-entropy of 20 times the cosines of anchors and all candidates.
    def theirs(x, p, q):
        logits = 20 * cosines(x, torch.cat((p, q.flatten(0, 1))))
        return F.cross_entropy(logits, torch.arange(n))

    assert_same(losses.MultipleNegativesRankingLoss(), theirs, *rows(seed, n, (2,)))


@over_batches
@few
def test_multiple_negatives_symmetric_ranking(seed, n):
    # MultipleNegativesSymmetricRankingLoss: half of that, half of positives and anchors alone.
    def theirs(x, p, q):
        forward = F.cross_entropy(20 * cosines(x, torch.cat((p, q.flatten(0, 1)))), torch.arange(n))
        return (forward + F.cross_entropy(20 * cosines(p, x), torch.arange(n))) / 2

    assert_same(losses.MultipleNegativesRankingLoss(direction="both"), theirs, *rows(seed, n, (2,)))


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 8),
    margin=st.sampled_from([0.0, 0.1]),
    kind=st.sampled_from(["absolute", "relative"]),
)
@few
def test_gist_embed(seed, n, margin, kind):
    # GISTEmbedLoss: four matrices of cosines, masked where the guide's exceed its own pair's, in one cross-entropy.
    guide = rows(seed + 1, n, (), width=5)

    def matrices(x, p, q):
        return [cosines(x, p), cosines(x, x), cosines(p, p), cosines(x, q)]

    def theirs(x, p, q):
        known = matrices(*guide)
        own = known[0].diagonal()[:, None]
        most = own - margin if kind == "absolute" else own * (1 - margin)
        masks = [m > most for m in known]
        masks[0] &= ~torch.eye(n, dtype=torch.bool)
        masked = [m.masked_fill(mask, -torch.inf) for m, mask in zip(matrices(x, p, q), masks)]
        return F.cross_entropy(torch.cat(masked, 1) / 0.01, torch.arange(n))

    def ours(x, p, q):
        return losses.gist_embed_loss(x, p, q, guide=guide, margin=margin, margin_kind=kind)

    assert_same(ours, theirs, *rows(seed, n, ()))


def ranked(z, scores):
    """CoSENTLoss: log-sum of all differences in the wrong order, and 0, those in the right order masked."""
    wrong = z[:, None] - z[None, :]
    right = scores[:, None] >= scores[None, :]
    return torch.cat((torch.zeros(1, dtype=z.dtype), wrong.masked_fill(right, -1e12).flatten())).logsumexp(0)


@over_batches
@few
def test_cosent(seed, n):
    scores = torch.randint(0, 4, (n,), generator=torch.Generator().manual_seed(seed)) / 4
    assert_same(
        lambda x, y: losses.cosent_loss(x, y, scores),
        lambda x, y: ranked(20 * F.cosine_similarity(x, y), scores),
        *rows(seed, n),
    )


@over_batches
@few
def test_angle(seed, n):
    # AnglELoss: the same with the quotient of rows as complex numbers, its norm taken out, real and imaginary parts
    # summed over the row.
    scores = torch.randint(0, 4, (n,), generator=torch.Generator().manual_seed(seed)) / 4

    def theirs(x, y):
        z, w = (torch.complex(*t.chunk(2, dim=1)) for t in (x, y))
        lengths = [t.abs().square().sum(1, keepdim=True) for t in (z, w)]
        quotient = z * w.conj() / lengths[1] / (lengths[0] / lengths[1]).sqrt()
        return ranked(20 * (quotient.real + quotient.imag).sum(1).abs(), scores)

    assert_same(lambda x, y: losses.angle_loss(x, y, scores), theirs, *rows(seed, n))


@over_batches
@few
def test_online_contrastive(seed, n):
    # OnlineContrastiveLoss: squared distances of the positives beyond the nearest negative, squared hinges of the
    # negatives within the farthest positive; a mean in place of the extreme of one pair or none.
    labels = torch.randint(0, 2, (n,), generator=torch.Generator().manual_seed(seed))

    def theirs(x, y):
        distance = 1 - F.cosine_similarity(x, y)
        negative, positive = distance[labels == 0], distance[labels == 1]
        most = positive.max() if len(positive) > 1 else negative.mean()
        least = negative.min() if len(negative) > 1 else positive.mean()
        hinge = F.relu(0.5 - negative[negative < most])
        return positive[positive > least].pow(2).sum() + hinge.pow(2).sum()

    assert_same(lambda x, y: losses.online_contrastive_loss(x, y, labels), theirs, *rows(seed, n))


@over_batches
@few
def test_margin_mse(seed, n):
    # MarginMSELoss: mean squared error of margins of dot products; theirs takes the teacher's margins.
    x, p, q = rows(seed, n, ())
    margins = rows(seed + 1, n)[0][:, 0]
    scores = torch.stack((torch.zeros_like(margins), -margins), 1)
    assert_same(
        lambda x, p, q: losses.margin_mse_loss(x, p, q, scores),
        lambda x, p, q: F.mse_loss((x * p).sum(1) - (x * q).sum(1), margins),
        x, p, q,
    )  # fmt: skip


@given(seed=st.integers(0, 10**6), n=st.integers(1, 9), temperature=st.sampled_from([0.5, 1.0, 4.0]))
@few
def test_distill_kl_div(seed, n, temperature):
    # DistillKLDivLoss: torch's KL divergence of softened softmaxes, a mean over the batch, times T squared.
    scores = rows(seed + 1, n, width=3)[0]

    def theirs(x, p, q):
        found = torch.cat(((x * p).sum(1, keepdim=True), (x[:, None] * q).sum(2)), 1)
        ours, teachers = (found / temperature).log_softmax(1), (scores / temperature).softmax(1)
        return F.kl_div(ours, teachers, reduction="batchmean") * temperature**2

    module = losses.KLDistillationLoss(temperature=temperature)
    assert_same(lambda x, p, q: module(x, p, q, scores), theirs, *rows(seed, n, (2,)))


@over_batches
@few
def test_matryoshka(seed, n):
    # MatryoshkaLoss: the loss of rows cut and scaled to length 1, summed over widths with weights 1.
    def theirs(x, p):
        parts = [20 * cosines(x[:, :w], p[:, :w]) for w in (6, 4, 2)]
        return sum(F.cross_entropy(logits, torch.arange(n)) for logits in parts)

    def ours(x, p):
        return losses.matryoshka_loss(losses.MultipleNegativesRankingLoss(), x, p, widths=(6, 4, 2))

    assert_same(ours, theirs, *rows(seed, n))
