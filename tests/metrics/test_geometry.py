from __future__ import annotations

from math import isnan

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_metrics_c as reference
from mimetric.core.errors import InputError
from mimetric.metrics import (
    StreamingAlignment,
    StreamingScatter,
    alignment,
    anisotropy,
    class_scatter,
    tolerance,
    uniformity,
)
from mimetric.metrics import geometry as module
from strategies import batches, rows

# Four points at 90 degrees on the circle, the set of the sheet on the behavior of contrastive losses.
CIRCLE = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)


def approx(value):
    return pytest.approx(value, nan_ok=True, rel=1e-9, abs=1e-7)


@given(batches(), st.sampled_from([0.5, 1.0, 2.0, 3.0]))
def test_alignment_and_tolerance_equal_plain_loops(batch, exponent):
    x, y = batch[0].tolist(), batch[1].tolist()
    assert alignment(*batch, exponent=exponent).item() == approx(reference.alignment(x, y, exponent))
    assert tolerance(*batch).item() == approx(reference.tolerance(x, y))


@given(batches(), st.sampled_from([0.1, 2.0, 30.0]))
def test_uniformity_and_anisotropy_equal_plain_loops(batch, t):
    x = batch[0]
    assert uniformity(x, t=t).item() == approx(reference.uniformity(x.tolist(), t))
    assert anisotropy(x).item() == approx(reference.anisotropy(x.tolist()))


@given(batches())
def test_scatter_equals_plain_loops(batch):
    found = class_scatter(*batch)
    expected = reference.class_scatter(batch[0].tolist(), batch[1].tolist())
    assert found.classes.tolist() == list(expected)
    assert torch.stack((found.within, found.between), 1).flatten().tolist() == approx(
        [value for pair in expected.values() for value in pair]
    )


@given(batches(max_size=12), st.lists(st.integers(0, 12), max_size=3))
def test_any_batches_and_merged_streams_equal_one_call(batch, cuts):
    x, y = batch
    y = y.clamp(max=5)
    aligned = [StreamingAlignment(6, x.shape[1]) for _ in range(2)]
    scattered = [StreamingScatter(6, x.shape[1]) for _ in range(2)]
    for at, part in enumerate(zip(x.tensor_split(sorted(cuts)), y.tensor_split(sorted(cuts)))):
        aligned[at % 2].update(*part)
        scattered[at % 2].update(*part)
    aligned[0].merge(aligned[1])
    scattered[0].merge(scattered[1])
    assert aligned[0].compute() == approx(
        {
            "alignment": alignment(x, y).item(),
            "tolerance": tolerance(x, y).item(),
            "anisotropy": anisotropy(x[y >= 0]).item(),
        }
    )
    of_all, whole = scattered[0].compute(), class_scatter(x, y)
    for mine, theirs in zip(of_all, whole):
        torch.testing.assert_close(mine[whole.classes], theirs)
    assert of_all.within.isnan().tolist() == of_all.between.isnan().tolist() == (of_all.rows == 0).tolist()


@given(batches())
def test_scatter_within_and_between_is_the_variance(batch):
    x, y = batch
    found, kept = class_scatter(x, y), x[y >= 0]
    total = (found.rows * (found.within + found.between)).sum()
    assert total.item() == approx((kept - kept.mean(0)).square().sum().item() if len(kept) else 0)


def test_sheet_of_contrastive_behavior():
    # Distinct pairs of the circle: cosines 0 (8 of 12 ordered pairs) and -1 (4), squared distances 2 and 4.
    # log((8 e^-4 + 4 e^-8) / 12) = -4.396349.  Labels 0, 0, 1, 1: same-class cosines are all 0.
    assert uniformity(CIRCLE).item() == pytest.approx(-4.396349, abs=1e-6)
    y = [0, 0, 1, 1]
    assert tolerance(CIRCLE, y).item() == pytest.approx(0, abs=1e-12)
    assert tolerance(CIRCLE, [0, 1, 0, 1]).item() == pytest.approx(-1)
    assert tolerance(CIRCLE, [0, 1, 0, 1], over="all_pairs").item() == pytest.approx(-4 / 12)
    # The sheet includes the pairs of a row with itself: 4 of 8 with cosine 1 of one class, .5; of all 16, .25.
    with_itself = tolerance(CIRCLE, y).item() * 4 + 4
    assert (with_itself / 8, with_itself / 16) == pytest.approx((0.5, 0.25))
    including = (uniformity(CIRCLE).exp() * 12 + 4) / 16
    assert including.log().item() == pytest.approx(-1.349995, abs=1e-6)


def test_golden():
    assert alignment(CIRCLE, [0, 0, 1, 1]).item() == pytest.approx(2)  # squared distance at 90 degrees
    assert alignment(CIRCLE, [0, 0, 1, 1], exponent=1).item() == pytest.approx(2**0.5)
    assert anisotropy(CIRCLE).item() == pytest.approx(-1 / 3)
    assert anisotropy(CIRCLE * torch.tensor([[1.0], [2.0], [3.0], [4.0]])).item() == pytest.approx(-1 / 3)


@given(batches(zero_rows=False))
def test_alignment_is_tolerance(batch):
    assert alignment(*batch).item() == approx(2 - 2 * tolerance(*batch).item())


def test_collapsed_embeddings():
    x, y = torch.full((40, 8), 0.3), torch.arange(40) % 4
    assert alignment(x, y).item() == pytest.approx(0, abs=1e-12)
    assert alignment(x, y, exponent=1).item() == pytest.approx(0, abs=1e-6)
    assert uniformity(x).item() == pytest.approx(0, abs=1e-5)
    assert (tolerance(x, y).item(), anisotropy(x).item()) == pytest.approx((1, 1))
    assert class_scatter(x, y).within.tolist() == pytest.approx([0] * 4, abs=1e-12)


@given(rows(11, 3), st.integers(1, 4), st.integers(1, 5))
def test_tiles_change_no_number(x, high, wide):
    y = torch.arange(11) % 2
    whole = uniformity(x), alignment(x, y, exponent=1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ROWS", high)
        patch.setattr(module, "_COLUMNS", max(high, wide))
        torch.testing.assert_close((uniformity(x), alignment(x, y, exponent=1.0)), whole)


def test_many_rows_in_float32():
    # Directions at random in d dimensions: E exp(-2 |x - y|^2) is nearly that of |x - y|^2 = 2, and |cos| is small.
    torch.manual_seed(0)
    x, y = torch.randn(1500, 64), torch.randint(7, (1500,))
    exact = torch.pdist(torch.nn.functional.normalize(x.double())).square()
    assert uniformity(x).item() == pytest.approx(exact.mul(-2).exp().mean().log().item(), abs=1e-6)
    assert alignment(x, y, exponent=2.0).item() == pytest.approx(
        alignment(x, y, exponent=2.0 + 1e-12).item(), rel=1e-6
    )
    assert uniformity(x.bfloat16()).item() == pytest.approx(uniformity(x).item(), abs=1e-3)


def test_undefined():
    assert isnan(uniformity(torch.ones(1, 2)))
    assert isnan(uniformity(torch.zeros(0, 2)))
    assert isnan(anisotropy(torch.ones(1, 2)))
    assert isnan(alignment(torch.ones(3, 2), [0, 1, -1]))
    assert isnan(alignment(torch.zeros(0, 2), [], exponent=1.0))
    assert isnan(tolerance(torch.zeros(0, 2), []))
    assert class_scatter(torch.zeros(0, 2), []).within.tolist() == []


def test_zero_rows_lie_at_the_origin():
    # Squared distance 1 from a unit row to the origin.
    x = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert alignment(x, [0, 0]).item() == pytest.approx(1)
    assert uniformity(x, t=1.0).item() == pytest.approx(-1)
    assert anisotropy(x).item() == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uniformity(CIRCLE * torch.nan), "^uniformity: embeddings must be finite"),
        (lambda: uniformity(CIRCLE, t=0), "t must be > 0"),
        (lambda: alignment(CIRCLE, [0, 0, 1]), "^alignment: labels must have shape"),
        (lambda: alignment(CIRCLE, [0, 0, 1, 1], exponent=-1), "exponent must be > 0"),
        (lambda: tolerance(CIRCLE, [0, 0, 1, 1], over="none"), "over must be one of"),
        (lambda: StreamingScatter(2, 3).update(CIRCLE, [0, 0, 1, 1]), "embeddings must have 3 columns"),
        (lambda: StreamingScatter(1, 2).update(CIRCLE, [0, 0, 1, 1]), "labels must lie in 0..0"),
    ],
)
def test_says_what_is_wrong(call, message):
    with pytest.raises(InputError, match=message):
        call()
