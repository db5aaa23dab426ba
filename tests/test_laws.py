"""What losses have in common, tested once over all of them."""

from __future__ import annotations

import inspect
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import CASES, DIVIDED, EXACT, PAIRS, names
from mimetric import catalog, losses, named
from mimetric.core.errors import InputError
from mimetric.core.similarity import SIMILARITIES
from mimetric.losses import LinearClassifier
from strategies import batches, compared

over = partial(pytest.mark.parametrize, "case", ids=names)
few = settings(max_examples=8)

OF_UNIT_ROWS = {  # distances of rows scaled to length 1
    "squared-contrastive", "margin", "margin-per-class",
    "ranked-list", "ranked-list-differentiated", "dynamic-soft-margin", "dynamic-soft-margin-held",
}  # fmt: skip
OF_LENGTH = {"magface_loss", "adaface_loss"}  # cosines, and the lengths of rows beside them
FREE_OF_NORM = [
    case for case in CASES
    if (case.similarity == "cosine" or case.name in OF_UNIT_ROWS) and case.loss.__name__ not in OF_LENGTH
]  # fmt: skip
FREE_OF_ROTATION = [
    case for case in PAIRS if case.similarity != "negative_snr"
]  # axes matter to variances over them
FREE_OF_LABEL_NAMES = PAIRS
FOR_ANALYSIS = {"pce_loss"}  # functions that nobody trains with: no module, no entry in the catalog
SIGNED = {  # whose value may be below 0
    "pc_softmax_loss", "decoupled_loss", "dynamic_soft_margin_loss", "proxy_nca_loss",
    "ldr_loss", "aldr_loss",
}  # fmt: skip
NON_NEGATIVE = [case for case in CASES if case.loss.__name__ not in FOR_ANALYSIS | SIGNED]
OF_ROWS = {  # explicit negatives, scored pairs, losses of other losses: no labels (test_golden_text, test_matryoshka)
    "multiple_negatives_ranking_loss", "gist_embed_loss", "cosent_loss", "angle_loss", "online_contrastive_loss",
    "margin_mse_loss", "kl_distillation_loss", "matryoshka_loss",
    "mann_whitney_scores_loss",
}  # fmt: skip
OF_STATISTICS = {  # of pairs that are two views, of rows, of class weights (test_golden_spread, test_regularizers)
    "alignment_loss", "vicreg_loss", "barlow_twins_loss", "w_mse_loss",
    "uniformity_loss", "self_contrast_loss", "koleo_loss", "variance_loss", "covariance_loss", "spectral_decay_loss",
    "embedding_norm_loss", "zero_mean_loss",
    "center_invariance_loss", "regular_face_loss", "sparse_centers_loss", "orthogonality_loss", "weight_norm_loss",
}  # fmt: skip
OUTSIDE_THE_ENGINE = {
    "icnn_loss",
    "adaptive_multi_head_loss",
    "smooth_adversarial_comp_sum_loss",
    "correlation_distillation_loss",
    "ens_loss",
    "any_loss",
    "prediction_entropy_loss",
    "category_diversity_loss",
    "conditional_cs_divergence_loss",
    "cs_information_loss",
    *OF_STATISTICS,
    *OF_ROWS,
}  # plain functions, with tests of their own
NOT_OVER_ANCHORS = {  # averaged over pairs, triplets or some of the anchors
    "contrastive", "contrastive-loose", "triplet-margin", "semi-hard-triplet", "batch-hard-triplet",
    "snr-contrastive", "margin", "margin-per-class", "threshold-consistent-margin", "intra-pair-variance",
    "binomial-deviance", "tuplet-margin",
    "decoupled-weighted", "symmetric-nt-xent",
    "soft-triplet", "soft-triplet-apart", "soft-batch-hard-triplet", "easy-positive-triplet",
    "easy-positive-hard-triplet", "easy-positive-nca", "angular", "centroid-triplet", "swap-triplet",
    "distance-weighted-triplet", "distance-weighted-triplet-wide",
    "swap-triplet-wide", "quadruplet", "quadruplet-wide", "lifted-structure", "histogram", "histogram-coarse",
    "proto-triplet", "dynamic-soft-margin", "dynamic-soft-margin-held",
    "mann-whitney", "mann-whitney-warm",
}  # fmt: skip
CHOOSY = {  # where two pairs tie, a rounding chooses
    "semi-hard-triplet", "batch-hard-triplet", "soft-batch-hard-triplet", "easy-positive-triplet",
    "easy-positive-hard-triplet", "easy-positive-nca", "centroid-triplet", "swap-triplet", "swap-triplet-wide",
    "quadruplet", "quadruplet-wide", "distance-weighted-triplet", "distance-weighted-triplet-wide",
    "threshold-consistent-margin", "snr-contrastive", "margin",
    "proto-triplet", "dynamic-soft-margin", "dynamic-soft-margin-held",
    "listmle", "listmle-position", "listmle-relevant", "lambdarank", "lambdarank-top",
}  # fmt: skip
LIFTED = {  # learned numbers stand in their rows
    "symmetric_nt_xent_loss", "sigmoid_pair_loss", "intra_pair_variance_loss",
}  # fmt: skip
OF_ONE_SIMILARITY = OF_UNIT_ROWS - {"margin-per-class"} | {
    "angular", "fast-ap", "histogram", "histogram-coarse", "distance-weighted-triplet",
    "distance-weighted-triplet-wide",
}  # fmt: skip
ANY_SIMILARITY = [
    (case, s)
    for case in PAIRS
    for s in SIMILARITIES
    if case.name not in OF_ONE_SIMILARITY or s == case.similarity
    if case.loss.__name__ not in LIFTED or s in ("cosine", "dot")
]


def example(n=10):
    """Three classes of several rows, a singleton and an unlabelled row; no ties."""
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(n, 4, dtype=torch.float64, generator=generator)
    return x, torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 7, -1] + [0] * (n - 10))


def settled(case, batch):
    """The batch; for a loss that chooses, with two more columns, the same every time, so that nothing ties."""
    x, y, *references = batch
    if case.name not in CHOOSY:
        return batch
    generator = torch.Generator().manual_seed(0)

    def widened(rows):
        return torch.cat((rows, torch.randn(len(rows), 2, dtype=rows.dtype, generator=generator)), 1)

    return widened(x), y, *(widened(t) if t.ndim == 2 else t for t in references)


def approx(case, expected):
    return pytest.approx(expected, rel=case.tolerance, abs=case.tolerance)


def value_and_gradient(function, x, *args, **options):
    x = x.clone().requires_grad_()
    value = function(x, *args, **options)
    value.backward()
    return value.detach(), x.grad


@over(CASES)
@given(batch=batches())
@settings(max_examples=12)
def test_equals_plain_loops(case, batch):
    batch = settled(case, batch)
    assert case(*batch).item() == approx(case, sum(case.expected(*batch)))


@over(PAIRS)
@given(batch=compared())
@few
def test_equals_plain_loops_with_references(case, batch):
    batch = settled(case, batch)
    assert case(*batch).item() == approx(case, sum(case.expected(*batch)))


@over(DIVIDED)
@given(batch=batches())
@few
def test_sides_equal_plain_loops(case, batch):
    batch = settled(case, batch)
    tightness, contrast = case.sides(*batch)
    assert (tightness.item(), contrast.item()) == approx(case, case.expected(*batch))


@over(CASES)
@given(batch=batches(), block=st.integers(1, 9))
@few
@pytest.mark.slow
def test_blocks_change_neither_value_nor_gradient(case, batch, block):
    batch = settled(case, batch)
    whole = value_and_gradient(case, *batch)
    torch.testing.assert_close(value_and_gradient(case, *batch, block=block), whole)


@pytest.mark.parametrize(
    ("case", "similarity"), ANY_SIMILARITY, ids=[f"{case.name}-{s}" for case, s in ANY_SIMILARITY]
)
@given(batch=batches(zero_rows=False), block=st.integers(1, 9))
@settings(max_examples=4)
def test_blocks_equal_the_formula_by_autograd(case, similarity, batch, block):
    # Ties at a hinge have any slope in between, and a distance near 0 few digits: push rows apart.
    x, y = settled(case, batch)
    x = x + 0.1 * torch.rand(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    if similarity == "negative_poincare":
        x = x / 16  # inside the ball: on its rim distances are huge
    plain = value_and_gradient(case.plain, x, y, similarity=similarity)
    blocked = value_and_gradient(case, x, y, similarity=similarity, block=block)
    torch.testing.assert_close(blocked, plain, rtol=1e-9, atol=1e-9)


@over(PAIRS)
@given(batch=compared())
@few
def test_references_have_their_gradient(case, batch):
    x, y, rx, ry = settled(case, batch)
    blocked, plain = rx.clone().requires_grad_(), rx.clone().requires_grad_()
    case(x, y, blocked, ry, block=2).backward()
    case.plain(x, y, plain, ry).backward()
    torch.testing.assert_close(blocked.grad, plain.grad)


# In fast mode a random direction is checked, not every number: minutes less, and a wrong gradient fails as surely.


@over(EXACT)
def test_gradcheck(case):
    x, y = example()
    assert torch.autograd.gradcheck(lambda x: case(x, y), x.requires_grad_(), fast_mode=True)


@over([case for case in EXACT if case in DIVIDED])
def test_gradcheck_of_each_side(case):
    x, y = example()
    assert torch.autograd.gradcheck(lambda x: case.sides(x, y, block=3), x.requires_grad_(), fast_mode=True)


@over([case for case in EXACT if case.classes])
def test_gradcheck_of_class_weights(case):
    x, y = example()
    weight = case.weight(x)[:8].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, w: case(x, y, w, block=3), (x.requires_grad_(), weight), fast_mode=True
    )


@over(EXACT)
def test_second_derivatives(case):
    x, y = example()
    assert torch.autograd.gradgradcheck(lambda x: case(x, y, block=4), x.requires_grad_(), fast_mode=True)


@over(EXACT)
def test_gradient_is_the_same_with_a_graph(case):
    # Derived by the plain formula: gradgradcheck, which starts from it, would not see that it is another.
    x, y = example()
    leaf = x.requires_grad_()
    value = case(leaf, y) + (case(leaf, y, leaf.sin(), y) if case in PAIRS else 0)
    [plain] = torch.autograd.grad(value, leaf, retain_graph=True)
    [graph] = torch.autograd.grad(value, leaf, create_graph=True)
    torch.testing.assert_close(graph.detach(), plain)


@over(FREE_OF_NORM)
@given(batch=batches(), lengths=st.lists(st.floats(0.1, 9), min_size=9, max_size=9))
@few
def test_free_of_norm(case, batch, lengths):
    x, y = settled(case, batch)
    scaled = x * torch.tensor(lengths[: len(x)], dtype=torch.float64)[:, None]
    assert case(scaled, y).item() == pytest.approx(case(x, y).item(), rel=1e-6, abs=1e-6)


@over(FREE_OF_ROTATION)
def test_free_of_rotation(case):
    x, y = example()
    rotation = torch.linalg.qr(
        torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    )[0]
    value, gradient = value_and_gradient(case, x, y)
    rotated, rotated_gradient = value_and_gradient(case, x @ rotation, y)
    torch.testing.assert_close(rotated, value)
    torch.testing.assert_close(rotated_gradient, gradient @ rotation)


@over(CASES)
@given(order=st.permutations(range(10)))
@few
def test_free_of_order(case, order):
    x, y = example()
    value, gradient = value_and_gradient(case, x, y)
    shuffled, shuffled_gradient = value_and_gradient(case, x[list(order)], y[list(order)])
    torch.testing.assert_close(shuffled, value)
    torch.testing.assert_close(shuffled_gradient, gradient[list(order)])


@over(FREE_OF_LABEL_NAMES)
def test_free_of_label_names(case):
    x, y = example()
    renamed = torch.where(y == -1, -1, (y - 3) * 1_000_003 + 5 * (y == 2))
    torch.testing.assert_close(case(x, renamed), case(x, y))


@over(NON_NEGATIVE)
@given(batch=batches())
@few
def test_non_negative(case, batch):
    assert case(*batch).item() >= -1e-9


@over(CASES)
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [-1, -1, -1, -1], [5, 5, 5, 5], [0, 0, 1, -1]])
def test_finite_without_positives_or_negatives(case, labels):
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    value, gradient = value_and_gradient(case, x, torch.tensor(labels))
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@over(PAIRS)
@pytest.mark.parametrize(
    "batch",
    [(torch.ones(1, 3), [-1]), (torch.ones(0, 3), []), (torch.ones(3, 2), [0, 1, 0], torch.ones(0, 2), [])],
    ids=["one row", "no rows", "no references"],
)
def test_nothing_to_compare_costs_nothing(case, batch):
    value, gradient = value_and_gradient(case, *batch)
    assert value == 0
    assert torch.equal(gradient, torch.zeros_like(batch[0]))


@over(FREE_OF_NORM)
def test_a_zero_row_has_no_gradient(case):
    x, y = example()
    x[1] = 0
    value, gradient = value_and_gradient(case, x, y)
    assert torch.isfinite(value)
    assert torch.equal(gradient[1], torch.zeros(4, dtype=torch.float64))
    assert gradient.abs().max() < 1e3


@over(CASES)
def test_duplicates_stay_pairs(case):
    x, y = example()
    twice, labels = torch.cat((x, x[:3])), torch.cat((y, y[:3]))
    assert case(twice, labels).item() == approx(case, sum(case.expected(twice, labels)))


@over(CASES)
def test_nan_in_nan_out(case):
    x, y = example()
    x[0, 0] = torch.nan
    value, gradient = value_and_gradient(case, x, y)
    assert value.isnan()
    assert gradient[0].isnan().any()


@over(CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.06), (torch.float16, 0.01)])
def test_half_precision_rows(case, dtype, tolerance):
    x, y = example()
    half = x.to(dtype)
    value, gradient = value_and_gradient(case, half, y)
    exact, _ = value_and_gradient(case, half.double(), y)
    assert gradient.dtype == dtype
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(exact.item(), rel=tolerance, abs=tolerance)


@over(CASES)
def test_autocast_stays_near_float64(case):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(16).repeat_interleave(4)
    x = torch.randn(64, 32, generator=generator) + 2 * torch.randn(16, 32, generator=generator)[y]
    exact, slopes = value_and_gradient(case, x.double(), y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradient = value_and_gradient(case, x, y)
    assert value.dtype == gradient.dtype == torch.float32
    assert value.item() == pytest.approx(exact.item(), rel=0.02, abs=0.02)
    assert (gradient - slopes).norm() <= 0.05 * slopes.norm()


@over(CASES)
def test_no_gradient_asked_none_made(case):
    x, y = example()
    with torch.no_grad():
        value = case(x.requires_grad_(), y)
    assert not value.requires_grad
    assert not case(x.detach(), y).requires_grad
    torch.testing.assert_close(value, case(x, y).detach())


@over(CASES)
def test_takes_lists_arrays_and_integers_of_any_width(case):
    x, y = example()
    expected = case(x, y)
    for labels in (y.tolist(), y.numpy(), y.to(torch.int8), y.to(torch.int32), y.numpy().astype("int16")):
        torch.testing.assert_close(case(x, labels), expected)
    torch.testing.assert_close(case(x.numpy(), y), expected)


@over(CASES)
def test_names_what_is_wrong(case):
    x, y = example()
    for embeddings, labels, message in (
        (x, y[:4], r"labels must have shape \(10,\) to match \(10, 4\), got \(4,\)"),
        (x, y.double(), "labels must be integers, got float64"),
        (x, y == 0, "labels must be integers, got bool"),
        (x[0], y, r"embeddings must have shape \(rows, width\), got \(4,\)"),
        (x.long(), y, "embeddings must be floating point, got int64"),
        ("rows", y, "embeddings must be a tensor"),
    ):
        with pytest.raises(InputError, match=f"{case.loss.__name__}: {message}"):
            case(embeddings, labels, *([case.weight(x)] if case.classes else []))


@over(PAIRS)
def test_names_what_is_wrong_with_references(case):
    x, y = example()
    for references, labels, message in (
        (x, None, "references came without reference_labels"),
        (None, y, "reference_labels came without references"),
        (x[:, :3], y, r"references must have 4 columns to match embeddings \(10, 4\), got \(10, 3\)"),
        (x, y[:2], r"reference_labels must have shape \(10,\)"),
    ):
        with pytest.raises(InputError, match=message):
            case(x, y, references, labels)


@over([case for case in PAIRS if case.name != "spce"])  # its class sums hold the anchor on purpose
def test_ids_keep_an_anchor_out_of_its_references(case):
    x, y = example()
    ids = torch.arange(10) * 7
    bank, bank_labels = torch.cat((x.flip(0), x[:4] + 1)), torch.cat((y.flip(0), y[:4]))
    bank_ids = torch.cat((ids.flip(0), torch.arange(1000, 1004)))
    value = case(x, y, bank, bank_labels, ids=ids, reference_ids=bank_ids)
    without = [
        sum(
            case.expected(
                x[i : i + 1], y[i : i + 1], bank[bank_ids != ids[i]], bank_labels[bank_ids != ids[i]]
            )
        )
        for i in range(10)
    ]
    if case.name not in NOT_OVER_ANCHORS:
        assert value.item() == pytest.approx(sum(without) / 10, rel=1e-9)
    own = case(x, y)
    torch.testing.assert_close(case(x, y, x, y, ids=ids, reference_ids=ids), own)


OBJECTIVES = [entry for entry in catalog.entries().values() if entry.takes == "embeddings, labels"]


@pytest.mark.parametrize("entry", OBJECTIVES, ids=lambda entry: entry.name)
def test_module_form_has_the_options_of_its_function(entry):
    def options(signature):
        return {
            p.name: (p.default, p.annotation)
            for p in signature.parameters.values()
            if p.kind is p.KEYWORD_ONLY
        }

    assert options(inspect.signature(entry.module)) == options(inspect.signature(entry.module.function))
    x, y = example()
    module = named.create(entry.name, width=4, num_classes=8).double()
    weights = dict(
        module.named_parameters()
    )  # class weights are positional, learned options have their names
    learned = {name: weights.pop(name) for name in entry.options if name in weights}
    data = (module.logits(x), y) if isinstance(module, LinearClassifier) else (x, y, *weights.values())
    torch.testing.assert_close(module(x, y), entry.module.function(*data, **learned))
    if module.sides is not None:
        torch.testing.assert_close(sum(module.sides(x, y)), module(x, y))
    assert all(f"{name}=" in repr(module) for name in entry.options)


def test_every_loss_is_in_the_catalog_and_in_the_laws():
    functions = {name for name in losses.__all__ if name.endswith("_loss")}
    listed = catalog.entries() | catalog.others()
    assert {entry.module.function.__name__ for entry in listed.values()} == functions - FOR_ANALYSIS
    assert {case.loss.__name__ for case in CASES} == functions - OUTSIDE_THE_ENGINE
