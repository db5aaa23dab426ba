"""Lists, distributions and neighborhoods: numbers with a derivation or a source; none comes from the code it judges."""

from __future__ import annotations

from math import exp, floor, log, sqrt

import pytest
import torch
from hypothesis import given

import reference_ranking as reference
from mimetric import losses, named
from mimetric.losses import Pairing
from mimetric.mining import MultiSimilarityMining
from mimetric.views import decompose
from strategies import batches, compared

# Three unit rows with cosines 0.6, 0.8 and 0.96; only the first two share a class.
ROWS = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]], dtype=torch.float64)
PAIR = torch.tensor([0, 0, 1])
# Their distances: a pair of one class, and each of it beside the third.
TOGETHER, NEGATIVES = sqrt(0.8), (sqrt(0.4), sqrt(0.08))


def points(*x):
    return torch.tensor(x, dtype=torch.float64)[:, None]


def test_ranked_list():
    # The positive is farther than 0.8; the third row has two negatives, of excess 1.2 - D, weighing e^(10 excess).
    excess = [1.2 - d for d in NEGATIVES]
    share = 1 / (1 + exp(10 * (excess[0] - excess[1])))
    third = share * excess[1] + (1 - share) * excess[0]
    tightness, contrast = losses.ranked_list_loss.sides(ROWS, PAIR)
    assert tightness.item() == pytest.approx(2 * (TOGETHER - 0.8) / 2 / 3)
    assert contrast.item() == pytest.approx((sum(excess) + third) / 2 / 3)


def test_ranked_list_has_constant_weights_unless_differentiated():
    def by_hand(x, constant):
        unit = x / x.norm(dim=1, keepdim=True)
        excess = 1.2 - torch.stack([(unit[2] - unit[0]).norm(), (unit[2] - unit[1]).norm()])
        weights = (10 * excess).softmax(0)
        return 0.5 * ((weights.detach() if constant else weights) * excess).sum()

    for weighting in ("constant", "differentiated"):
        x, z = ROWS.clone().requires_grad_(), ROWS.clone().requires_grad_()
        losses.ranked_list_loss(x[2:], [1], x[:2], [0, 0], weighting=weighting).backward()
        by_hand(z, weighting == "constant").backward()
        torch.testing.assert_close(x.grad, z.grad)


def test_a_negative_at_distance_zero_costs_the_most():
    x = torch.tensor(
        [[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64
    )  # pytorch-metric-learning takes it for no pair
    assert losses.ranked_list_loss(x, [0, 1]).item() == pytest.approx(1.2 / 2)


def cdf_of_two(low, high, num_bins):
    """What two differences weigh by their own histogram: shares of counts at or below the bin each is in."""
    places = [(v + 2) * (num_bins - 1) / 4 for v in (low, high)]
    assert floor(places[0]) + 1 < floor(places[1])
    return [0.5 * (1 - places[0] % 1), 0.5 + 0.5 * (1 - places[1] % 1)]


def test_dynamic_soft_margin():
    low, high = TOGETHER - NEGATIVES[0], TOGETHER - NEGATIVES[1]
    weights = cdf_of_two(low, high, 512)
    tightness, contrast = losses.dynamic_soft_margin_loss.sides(ROWS, PAIR)
    assert tightness.item() == pytest.approx(sum(weights) * TOGETHER / 2)
    assert contrast.item() == pytest.approx(-sum(w * d for w, d in zip(weights, NEGATIVES, strict=True)) / 2)


def test_dynamic_soft_margin_by_a_histogram_of_before():
    # 5 bins of width 1; all of the past below -1, so that both differences weigh 1: in 0..1, above everything.
    past = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    low, high = TOGETHER - NEGATIVES[0], TOGETHER - NEGATIVES[1]
    value = losses.dynamic_soft_margin_loss(ROWS, PAIR, None, None, past, num_bins=5, momentum=0.0)
    assert value.item() == pytest.approx((low + high) / 2)
    # At momentum 1/2 the bins 2 and 3 get half: that of bin 3 is not yet below.
    value = losses.dynamic_soft_margin_loss(ROWS, PAIR, None, None, past, num_bins=5, momentum=0.5)
    weight = 0.5 + 0.5 * (1 - (low + high) / 2)
    assert value.item() == pytest.approx(weight * (low + high) / 2)


def batch_of(seed, n=24):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 6, generator=generator), torch.arange(n) % 4


def test_dynamic_soft_margin_resumes_to_the_same_loss():
    kept = losses.DynamicSoftMarginLoss(num_bins=50, momentum=0.2)
    for seed in range(3):
        kept(*batch_of(seed))
    resumed = losses.DynamicSoftMarginLoss(num_bins=50, momentum=0.2)
    resumed.load_state_dict(kept.state_dict())
    fresh = losses.DynamicSoftMarginLoss(num_bins=50, momentum=0.2)
    assert resumed(*batch_of(9)) == kept(*batch_of(9)) != fresh(*batch_of(9))
    assert torch.equal(resumed.histogram, kept.histogram)


def test_dynamic_soft_margin_moves_its_histogram_in_training_alone():
    loss = losses.DynamicSoftMarginLoss(num_bins=50, momentum=0.2)
    first = loss(*batch_of(0))
    assert first == losses.dynamic_soft_margin_loss(*batch_of(0), num_bins=50)
    assert loss.histogram.sum().item() == pytest.approx(1, abs=1e-5)
    before = loss.histogram.clone()
    loss.sides(*batch_of(1))
    loss.eval()(*batch_of(1))
    assert torch.equal(loss.histogram, before)
    loss.train()(*batch_of(1))
    own = losses.DynamicSoftMarginLoss(num_bins=50)
    own(*batch_of(1))
    torch.testing.assert_close(loss.histogram, 0.8 * before + 0.2 * own.histogram)
    before = loss.histogram.clone()
    assert loss(torch.randn(4, 6), torch.arange(4)) == 0  # no triplet, nothing seen
    assert torch.equal(loss.histogram, before)


@pytest.mark.parametrize("options", [{"block": 5}, {"reduction": "active"}, {"weights": torch.rand(24)}])
def test_dynamic_soft_margin_counts_each_triplet_once(options):
    loss, other = losses.DynamicSoftMarginLoss(), losses.DynamicSoftMarginLoss(pairing=Pairing(**options))
    loss(*batch_of(0)), other(*batch_of(0))
    torch.testing.assert_close(loss.histogram, other.histogram)


def test_dynamic_soft_margin_keeps_its_digits_where_rows_are_close():
    # Products of rows as they come would lose distances of 1e-3 in rounding; around their mean they do not.
    x = 1 + 1e-3 * torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
    past, y = torch.ones(9) / 9, torch.arange(24) % 4
    options = {"num_bins": 9, "momentum": 0.0}
    value, exact = (
        losses.dynamic_soft_margin_loss(rows, y, None, None, past, **options) for rows in (x, x.double())
    )
    assert value.item() == pytest.approx(exact.item(), rel=1e-3)


def test_dynamic_soft_margin_in_half_precision_keeps_its_histogram_in_float32():
    loss = losses.DynamicSoftMarginLoss()
    x, y = batch_of(0)
    loss(x.bfloat16(), y)
    assert loss.histogram.dtype == torch.float32


def sigmoid(v):
    return 1 / (1 + exp(-v))


@pytest.mark.parametrize(
    ("variant", "penalty"),
    [
        ("O", lambda r: r),
        ("Iu", lambda r: (1 + r) * log(1 + r)),
        ("Ib", lambda r: (3 * r - log(1 + 3 * r)) / 9),
        ("Ds", lambda r: log(1 + r)),
        ("Dq", lambda r: 1 - (1 + r) ** -4),
    ],
)
def test_pnp(variant, penalty):
    # T = 0.2: the one negative of each anchor is 0.2 and 0.36 nearer than its positive; the third row has none.
    value = losses.pnp_loss(ROWS, PAIR, variant=variant, temperature=0.2, b=3.0, alpha=4.0)
    assert value.item() == pytest.approx((penalty(sigmoid(1.0)) + penalty(sigmoid(1.8))) / 3)


def test_smooth_ap():
    # Anchor 0 of a class of three, at cosines 0.9 and 0.5, and a negative at 0.7; T = 0.1.
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    others = torch.tensor([[c, sqrt(1 - c**2)] for c in (0.9, 0.5, 0.7)], dtype=torch.float64)
    first = (1 + sigmoid(-4)) / (1 + sigmoid(-4) + sigmoid(-2))
    second = (1 + sigmoid(4)) / (1 + sigmoid(4) + sigmoid(2))
    value = losses.smooth_ap_loss(x, [0], others, [0, 0, 1], temperature=0.1)
    assert value.item() == pytest.approx(1 - (first + second) / 2)
    # Cold it is average precision itself: the positives are first and third.
    value = losses.smooth_ap_loss(x, [0], others, [0, 0, 1], temperature=1e-3)
    assert value.item() == pytest.approx(1 - (1 + 2 / 3) / 2)


def test_fast_ap():
    # Squared distances 0.2 and 1.0 of positives and 0.6 of a negative, in bins of width 0.4: each is halved between
    # two edges.  Positives 0.5 at edges 0, 1, 2, 3 and the negative 0.5 at 1, 2.
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    others = torch.tensor([[c, sqrt(1 - c**2)] for c in (0.9, 0.5, 0.7)], dtype=torch.float64)
    expected = 0.5 * (0.5 / 0.5 + 1 / 1.5 + 1.5 / 2.5 + 2 / 3) / 2
    assert losses.fast_ap_loss(x, [0], others, [0, 0, 1]).item() == pytest.approx(1 - expected)


def test_whole_rows_of_many_positives_keep_no_cube():
    # Each step of autograd saves a block; kept for each positive that would be 60 of them.
    saved = []

    def kept(tensor):
        saved.append(tensor.numel())
        return tensor

    x = torch.randn(120, 4, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
        losses.pnp_loss.__wrapped__(x, torch.arange(120) % 2).plain()
    assert len({n for n in saved if n > 120 * 120}) == 0
    assert sum(n == 120 * 120 for n in saved) < 2 * 60 + 20


def test_p2s_grad_has_the_gradient_of_the_paper():
    # Equation 11: the sum over classes of (cos - 1[own]) times the gradient of the cosine.
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    weight = torch.randn(4, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    cosines = torch.cosine_similarity(x, weight)
    error = cosines.detach() - torch.tensor([0.0, 0.0, 1.0, 0.0])
    expected = torch.autograd.grad((error * cosines).sum(), (x, weight))
    found = torch.autograd.grad(losses.p2s_grad_loss(x, [2], weight), (x, weight))
    torch.testing.assert_close(found, expected)


def test_p2s_grad():
    # Cosines 1, 0.6 to the two classes of the first row, whose it is, and 0, 0.8 of the second, of the second class.
    weight = torch.tensor([[2.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    tightness, contrast = losses.p2s_grad_loss.sides(torch.eye(2, dtype=torch.float64), [0, 1], weight)
    assert tightness.item() == pytest.approx((0 + 0.2**2) / 2 / 2)
    assert contrast.item() == pytest.approx((0.6**2 + 0) / 2 / 2)


def test_proto_triplet_of_the_sheet():
    queries = torch.tensor([[0.2, 0.0], [1.0, 0.0], [0.0, 1.9]], dtype=torch.float64)
    prototypes = torch.tensor([[0.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    value = losses.proto_triplet_loss(queries, [0, 0, 1], prototypes, [0, 1])
    assert value.item() == pytest.approx(0.61954, abs=1e-5)
    # A shift of everything changes nothing.
    shifted = losses.proto_triplet_loss(queries + 7, [0, 0, 1], prototypes + 7, [0, 1])
    assert shifted.item() == pytest.approx(value.item())


def test_proto_triplet_of_two_classes_is_a_triplet_with_the_query_for_anchor():
    generator = torch.Generator().manual_seed(0)
    support, queries = torch.randn(2, 8, 3, dtype=torch.float64, generator=generator)
    y = torch.arange(8) % 2
    means = torch.stack([support[y == k].mean(0) for k in (0, 1)])
    value = losses.proto_triplet_loss(queries, y, support, y)
    expected = torch.nn.functional.triplet_margin_loss(queries, means[y], means[1 - y], margin=0.5, eps=0)
    torch.testing.assert_close(value, expected)


def test_proto_triplet_leaves_an_anchor_out_of_its_own_mean():
    # Means without the anchor, at 1, 0, 5 and 2; of the other class always 3.5 and 0.5.
    value = losses.proto_triplet_loss(points(0, 1, 2, 5), [0, 0, 1, 1])
    assert value.item() == pytest.approx((0 + 0 + (3 - 1.5 + 0.5) + 0) / 4)


ICNN = [
    ((0, 1, 3, 5), (0, 0, 1, 1), 4, 0.776042, 0.253549),
    ((0, 1, 2, 10, 11, 12), (0, 0, 0, 1, 1, 1), 2, 0.962616, 0.038101),
    ((0, 1, 2, 10, 11, 12), (0, 0, 0, 1, 1, 1), 4, 0.932323, 0.070076),
    ((0, 1, 2, 3, 4, 5), (0, 0, 0, 1, 1, 1), 2, 0.75, 0.287682),
    ((0, 1, 2, 3, 4, 5), (0, 1, 0, 1, 0, 1), 2, 1 / 3, 1.098612),
]


@pytest.mark.parametrize(("x", "y", "k", "score", "loss"), ICNN)
@pytest.mark.parametrize("all_of_them", [True, False])
def test_icnn_of_the_sheet(x, y, k, score, loss, all_of_them):
    options = {"k": k, "neighbors": None if all_of_them else k + 1}
    assert losses.icnn_score(points(*x), y, **options).item() == pytest.approx(score, abs=2e-6)
    assert losses.icnn_loss(points(*x), y, **options).item() == pytest.approx(loss, abs=2e-6)


def test_icnn_changes_little_with_scale():
    x, y = points(0, 1, 2, 10, 11, 12), [0, 0, 0, 1, 1, 1]
    assert losses.icnn_score(7 * x, y, k=2).item() == pytest.approx(
        losses.icnn_score(x, y, k=2).item(), abs=1e-6
    )


def test_icnn_of_a_collapsed_batch():
    # Every distance is alike: a is next to 0, b is 1, and of 2 neighbors by place half are of the class here.
    x, y = torch.zeros(6, 2, dtype=torch.float64), [0, 1, 0, 1, 0, 1]
    share = losses.icnn_score(x, y, k=2).item() * 2 - 0.5
    assert 0 <= share <= 1
    assert share * 6 * 2 == pytest.approx(round(share * 6 * 2), abs=1e-2)


def spread(batch):
    """The batch with two more columns, the same every time, so that no distances tie."""
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.cat((t, torch.randn(len(t), 2, dtype=t.dtype, generator=generator)), 1) if t.ndim == 2 else t
        for t in batch
    )


@pytest.mark.parametrize("options", [{}, {"k": 1}, {"k": 2, "neighbors": 3}])
@given(batch=batches())
def test_icnn_equals_plain_loops(options, batch):
    batch = spread(batch)
    expected = reference.icnn_score(*(t.tolist() for t in batch), **options)
    assert losses.icnn_score(*batch, **options).item() == pytest.approx(expected)
    assert 0 < expected <= 1 + 1e-12


@given(batch=compared())
def test_icnn_equals_plain_loops_with_references(batch):
    batch = spread(batch)
    expected = reference.icnn_score(*(t.tolist() for t in batch), k=2)
    assert losses.icnn_score(*batch, k=2).item() == pytest.approx(expected)


def test_icnn_gradient():
    x, y = batch_of(0, 10)
    x = x.double().requires_grad_()
    for options in ({}, {"k": 2}, {"k": 2, "neighbors": 4}):
        assert torch.autograd.gradcheck(lambda x: losses.icnn_loss(x, y, **options), x)  # noqa: B023
        assert torch.autograd.gradgradcheck(lambda x: losses.icnn_loss(x, y, **options), x)  # noqa: B023


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [-1, -1, -1, -1], [5, 5, 5, 5], [0, 0, 1, -1]])
def test_icnn_is_finite_without_same_or_other_neighbors(labels):
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = losses.icnn_loss(x, labels)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    "batch",
    [(torch.ones(1, 3), [-1]), (torch.ones(0, 3), []), (torch.ones(3, 2), [0, 1, 0], torch.ones(0, 2), [])],
    ids=["one row", "no rows", "no references"],
)
def test_icnn_of_nothing_costs_nothing(batch):
    x = batch[0].clone().requires_grad_()
    value = losses.icnn_loss(x, *batch[1:])
    value.backward()
    assert value == 0
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_icnn_keeps_duplicates_and_drops_only_the_row_itself():
    # k = 1: each row's nearest is its duplicate, of the other class.
    x = points(0, 0, 1, 1, 9)
    assert losses.icnn_score(x, [0, 1, 2, 3, 4], k=1).item() == pytest.approx(
        reference.icnn_score(x.tolist(), [0, 1, 2, 3, 4], k=1)
    )


def test_icnn_in_half_precision():
    x, y = batch_of(0)
    exact = losses.icnn_loss(x.double(), y)
    assert losses.icnn_loss(x.bfloat16(), y).item() == pytest.approx(exact.item(), rel=0.02)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert losses.icnn_loss(x, y).item() == pytest.approx(exact.item(), rel=1e-4)


def test_icnn_on_the_command():
    made = named.create("icnn:k=3,neighbors=5", width=3, num_classes=2)
    assert made.options == {"k": 3, "neighbors": 5}
    with pytest.raises(ValueError, match="icnn: unknown option similarity; choose from k, neighbors"):
        named.create("icnn:similarity=dot", width=3, num_classes=2)


def test_no_sides_say_so():
    x, y = batch_of(0)
    for objective in (losses.PNPLoss(), losses.SmoothAPLoss(), losses.FastAPLoss(), losses.ICNNLoss()):
        with pytest.raises(ValueError, match=f"{type(objective).__name__} has no tightness and contrast"):
            decompose(objective, x, y)


def test_options_out_of_range():
    x, y = torch.randn(4, 3), [0, 0, 1, 1]
    mined, dot = Pairing(mining=MultiSimilarityMining()), Pairing(similarity="dot")
    for call, message in (
        (lambda: losses.ranked_list_loss(x, y, margin=0), "ranked_list_loss: margin must be > 0"),
        (lambda: losses.ranked_list_loss(x, y, margin=2), "margin must be at most alpha = 1.2, got 2"),
        (lambda: losses.ranked_list_loss(x, y, negative_scale=-1), "scales must be >= 0, got 0.0 and -1"),
        (lambda: losses.ranked_list_loss(x, y, balance=2), r"balance must lie in \[0, 1\], got 2"),
        (lambda: losses.ranked_list_loss(x, y, weighting="none"), "weighting must be one of constant"),
        (
            lambda: losses.ranked_list_loss(x, y, pairing=dot),
            "ranked_list_loss: measures Euclidean distances",
        ),
        (lambda: losses.dynamic_soft_margin_loss(x, y, num_bins=1), "num_bins must be at least 2, got 1"),
        (lambda: losses.dynamic_soft_margin_loss(x, y, momentum=2), r"momentum must lie in \[0, 1\], got 2"),
        (
            lambda: losses.dynamic_soft_margin_loss(x, y, None, None, x),
            r"histogram must have shape \(512,\), got \(4, 3\)",
        ),
        (lambda: losses.DynamicSoftMarginLoss(num_bins=-1), "num_bins must be at least 2, got -1"),
        (lambda: losses.pnp_loss(x, y, variant="P"), "pnp_loss: variant must be one of O, Iu"),
        (lambda: losses.pnp_loss(x, y, temperature=0), "pnp_loss: temperature must be > 0"),
        (lambda: losses.pnp_loss(x, y, pairing=mined), "pnp_loss: takes no mining"),
        (lambda: losses.pnp_loss.sides(x, y), "pnp_loss: has no tightness and contrast"),
        (lambda: losses.smooth_ap_loss(x, y, temperature=0), "smooth_ap_loss: temperature must be > 0"),
        (lambda: losses.fast_ap_loss(x, y, num_bins=0), "fast_ap_loss: num_bins must be at least 1"),
        (
            lambda: losses.fast_ap_loss(x, y, pairing=dot),
            "fast_ap_loss: its bins are those of rows of length 1",
        ),
        (lambda: losses.p2s_grad_loss(x, y, torch.ones(1, 3)), r"labels must lie in 0\.\.0 .* got 1"),
        (lambda: losses.proto_triplet_loss(x, y, margin=0), "proto_triplet_loss: margin must be > 0"),
        (
            lambda: losses.proto_triplet_loss(x, y, pairing=mined),
            "proto_triplet_loss: compares with class means",
        ),
        (lambda: losses.icnn_loss(x, y, k=0), "icnn_loss: k must be at least 1, got 0"),
        (
            lambda: losses.icnn_loss(x, y, k=3, neighbors=2),
            "icnn_loss: neighbors must be at least k = 3, got 2",
        ),
        (lambda: losses.icnn_score(x, [0]), r"icnn_score: labels must have shape \(4,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
