from __future__ import annotations

from math import ceil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference
from mimetric import losses
from mimetric.core.classes import Classes
from mimetric.core.errors import InputError
from mimetric.core.mined import Mined, Seen
from mimetric.losses import Pairing
from mimetric.mining import (
    AngularMining,
    DistanceWeightedMining,
    EasyHardMining,
    HDCMining,
    MarginMining,
    MultiSimilarityMining,
    TripletMarginMining,
    UniformHistogramMining,
)
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
def test_margin_mining_equals_plain_loops(batch):
    x, y = batch
    pull = push = 0.0
    for near, far in reference.pairs(x.tolist(), y.tolist()):
        pull += reference.softplus(reference.logsumexp(-2 * (s - 0.5) for s in near if s < 0.8 - 1e-9)) / 2
        push += reference.softplus(reference.logsumexp(50 * (s - 0.5) for s in far if s > 0.2 + 1e-9)) / 50
    pairing = Pairing(mining=MarginMining(0.8 - 1e-9, 0.2 + 1e-9), reduction="sum")
    assert losses.multi_similarity_loss(x, y, pairing=pairing).item() == pytest.approx(pull + push, abs=1e-9)


def seen(x, y, references=None, labels=None):
    """A whole batch as a mining sees it, under cosine."""
    ids = torch.arange(len(x))
    own = references is None
    classes = Classes(y, y if own else labels, ids, ids if own else None)
    unit = torch.nn.functional.normalize(x)
    rows = classes.of(slice(None)).rows(unit @ (unit if own else torch.nn.functional.normalize(references)).T)
    return lambda mining: mining(Seen(rows.near, rows.far, rows.runs, Mined(mining, x, references)))


def pairs_kept(mining, x, y, *references):
    """The pairs (anchor, reference) that stay: positives, and negatives."""
    found = []
    look = seen(x, y, *references)

    def spy(view):
        found.append(view)
        return mining(view)

    kept = look(spy)
    [view] = found
    columns = view.runs.columns
    rows = torch.arange(len(x))[:, None].expand_as(columns)[kept.valid].tolist()
    stay = (view.far != -torch.inf) & ~kept.left_out(view.far)
    return sorted(zip(rows, columns[kept.valid].tolist())), sorted(map(tuple, stay.nonzero().tolist()))


def batch_of(classes=4, each=3, width=5, seed=0):
    y = torch.arange(classes).repeat_interleave(each)
    return torch.randn(len(y), width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), y


def triplets(x, y):
    """(i, p, j) and their three cosines, by loops."""
    rows, n = reference.unit(x.tolist()), len(y)
    c = [[reference.dot(a, b) for b in rows] for a in rows]
    for i in range(n):
        for p in range(n):
            for j in range(n):
                if i != p and y[i] == y[p] and y[i] != y[j]:
                    yield i, p, j, c[i][p], c[i][j], c[p][j]


def pairs_of(chosen):
    chosen = list(chosen)
    return sorted({(i, p) for i, p, _ in chosen}), sorted({(i, j) for i, _, j in chosen})


@pytest.mark.parametrize("kind", ["all", "hard", "semi-hard", "easy"])
@pytest.mark.parametrize("seed", range(5))
def test_triplet_margin_mining_keeps_the_pairs_of_triplets(kind, seed):
    x, y = batch_of(seed=seed)
    margin = 0.2
    holds = {
        "all": lambda p, j: j > p - margin,
        "hard": lambda p, j: j >= p,
        "semi-hard": lambda p, j: p - margin < j < p,
        "easy": lambda p, j: j <= p - margin,
    }[kind]
    expected = pairs_of((i, p, j) for i, p, j, s_p, s_j, _ in triplets(x, y) if holds(s_p, s_j))
    assert pairs_kept(TripletMarginMining(margin, kind), x, y) == expected
    if kind == "all":
        assert pairs_kept(MultiSimilarityMining(margin), x, y) == expected


@pytest.mark.parametrize("kind", ["hard", "semi-hard", "easy"])
def test_equal_similarities_make_a_hard_triplet(kind):
    # Both references lie at cosine 0.6 from the anchor: a tie is hard, neither semi-hard nor easy.
    x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, 0.8]])
    kept = pairs_kept(TripletMarginMining(0.0, kind), x[:1], torch.tensor([0]), x[1:], torch.tensor([0, 1]))
    assert kept == ({"hard": ([(0, 0)], [(0, 1)]), "semi-hard": ([], []), "easy": ([(0, 0)], [(0, 1)])}[kind])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("degrees", [25.0, 30.0, 35.0])
def test_angular_mining_measures_the_angle_at_the_negative(seed, degrees):
    x, y = batch_of(seed=seed)
    unit = torch.nn.functional.normalize(x)

    def angle(i, p, j):
        middle = (unit[i] + unit[p]) / 2
        return torch.rad2deg(torch.atan((unit[i] - unit[p]).norm() / (2 * (unit[j] - middle).norm())))

    expected = pairs_of((i, p, j) for i, p, j, *_ in triplets(x, y) if angle(i, p, j) > degrees)
    assert pairs_kept(AngularMining(degrees), x, y) == expected
    assert 0 < len(expected[1]) < len(y) * (len(y) - 3)  # some, not all


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_hdc_mining_keeps_the_hardest_share(share):
    x, y = batch_of(classes=3, each=4)
    y[-1] = -1  # an anchor without positives
    near, far = pairs_kept(HDCMining(share), x, y)
    c = torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=2)
    for i in range(len(y)):
        same = [j for j in range(len(y)) if j != i and y[i] == y[j] >= 0]
        other = [j for j in range(len(y)) if j != i and j not in same]
        expected = sorted(same, key=lambda j: c[i, j])[: ceil(len(same) * share)]
        assert sorted(j for a, j in near if a == i) == sorted(expected if same else [])
        hardest = sorted(other, key=lambda j: -c[i, j])[: ceil(len(other) * share)]
        assert sorted(j for a, j in far if a == i) == sorted(hardest)


def frequencies(mining, x, y, times=3000):
    torch.manual_seed(0)
    count = torch.zeros(len(x), len(x))
    for _ in range(times):
        for pair in pairs_kept(mining, x, y)[1]:
            count[pair] += 1
    return count / times


def test_distance_weighted_mining_draws_as_many_negatives_as_positives_by_distance():
    x, y = batch_of(classes=3, each=2, width=4)
    nearest, furthest = 0.5, 1.4
    unit = reference.unit(x.tolist())
    expected = torch.zeros(len(y), len(y))
    for i in range(len(y)):
        for j in range(len(y)):
            d = -reference.euclidean(unit[i], unit[j])
            if y[i] != y[j] and d < furthest:
                d = max(d, nearest)
                expected[i, j] = d**-2 * (1 - d * d / 4) ** -0.5  # 1 / q in four dimensions
    some = expected.sum(1, keepdim=True)
    expected = torch.where(some > 0, expected / some, 0)
    found = frequencies(DistanceWeightedMining(nearest, furthest), x, y)
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0)  # 3,000 draws: 0.009 is one deviation
    near, far = pairs_kept(DistanceWeightedMining(nearest, furthest), x, y)
    assert sorted(i for i, _ in near) == sorted(i for i, _ in far) == some[:, 0].nonzero()[:, 0].tolist()


@pytest.mark.slow
def test_uniform_histogram_mining_draws_from_each_bin():
    x, y = batch_of(classes=2, each=6, width=3)
    mining = UniformHistogramMining(num_bins=3, positives_per_bin=9, negatives_per_bin=2)
    found = frequencies(mining, x, y)
    c = torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=2)
    for i in range(len(y)):
        other = [j for j in range(len(y)) if y[i] != y[j]]
        low, high = min(c[i, other]), max(c[i, other])
        bins = [min(2, int((c[i, j] - low) / (high - low) * 3)) for j in other]
        for j, b in zip(other, bins):
            assert found[i, j].item() == pytest.approx(min(1, 2 / bins.count(b)), abs=0.03)
    near, _ = pairs_kept(mining, x, y)
    assert len(near) == 12 * 5  # five positives never fill a bin of nine


MININGS = {
    "triplets": TripletMarginMining(triplets="semi-hard"),
    "angular": AngularMining(),
    "distance": DistanceWeightedMining(),
    "histogram": UniformHistogramMining(5, 1, 2),
    "hdc": HDCMining(),
}


@pytest.mark.parametrize("mining", MININGS.values(), ids=MININGS)
@pytest.mark.parametrize(
    "loss",
    [losses.multi_similarity_loss, losses.contrastive_loss, losses.margin_loss, losses.sigmoid_pair_loss],
)
def test_mined_losses_have_the_gradient_of_their_formula_whatever_the_block(mining, loss):
    x, y = batch_of(classes=4, each=4)
    x.requires_grad_()
    described = loss.__wrapped__(x, y, pairing=Pairing(mining=mining, block=3))
    [ours] = torch.autograd.grad(described.total(), x, retain_graph=True)
    [plain] = torch.autograd.grad(described.plain(), x)  # the same draws: they belong to the description
    torch.testing.assert_close(ours, plain)
    values = []
    for block in (1, 5, None):
        torch.manual_seed(7)
        values.append(loss(x, y, pairing=Pairing(mining=mining, block=block)))
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(values[0], values[2])


@pytest.mark.parametrize("mining", MININGS.values(), ids=MININGS)
@given(batch=batches())
def test_odd_batches_are_mined(mining, batch):
    x, y = batch
    x.requires_grad_()
    value = losses.contrastive_loss(x, y, pairing=Pairing(mining=mining))
    [grad] = torch.autograd.grad(value, x)
    assert value.isfinite()
    assert grad.isfinite().all()
    none = losses.contrastive_loss(x, y, x[:0], y[:0], pairing=Pairing(mining=mining))
    assert none == 0


def test_margin_loss_measures_angles_of_the_rows_it_was_given():
    # Its own similarities are squared distances over squared reaches, no cosines.
    x, y = batch_of()
    given = []

    class Spy(AngularMining):
        def __call__(self, seen):
            given.append(seen.cosines())
            return super().__call__(seen)

    losses.margin_loss(x, y, pairing=Pairing(mining=Spy()))
    torch.testing.assert_close(given[0], torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: EasyHardMining("hardest"), "positives must be one of hard, easy, all, got 'hardest'"),
        (lambda: EasyHardMining(negatives="easy"), "negatives must be one of hard, semi-hard, all"),
        (lambda: EasyHardMining("all", "semi-hard"), "take hard or easy positives"),
        (lambda: TripletMarginMining(triplets="soft"), "triplets must be one of all, hard, semi-hard, easy"),
        (lambda: TripletMarginMining(-0.1), "margin must be >= 0, got -0.1"),
        (lambda: AngularMining(90), r"degrees must lie in \(0, 90\), got 90"),
        (lambda: DistanceWeightedMining(1.5, 1.4), "needs 0 < nearest < furthest < 2, got 1.5 and 1.4"),
        (lambda: UniformHistogramMining(0), "num_bins must be at least 1, got 0"),
        (lambda: HDCMining(0.0), r"share must lie in \(0, 1\], got 0.0"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
