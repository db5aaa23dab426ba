from __future__ import annotations

from functools import partial
from math import exp, isnan, log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import DIVIDED, names
from mimetric import estimators, losses
from mimetric.core.errors import InputError
from mimetric.views import decompose, drawn_rows, information
from strategies import batches

# The set of the unifying-view sheet.
Z = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]], dtype=torch.float64)
TWO_CLASSES = torch.tensor([0, 0, 1, 1])


def clusters(rows=300, classes=6, noise=0.5):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(rows) % classes
    return torch.randn(classes, 8, generator=generator)[y] + noise * torch.randn(
        rows, 8, generator=generator
    ), y


@pytest.mark.parametrize("case", DIVIDED, ids=names)
@given(batch=batches())
@settings(max_examples=5)
def test_sides_add_up_to_the_loss(case, batch):
    x, y = batch
    against = case._against(x, ())
    tightness, contrast = decompose(
        partial(case.loss, **case.options, pairing=case.pairing()), x, y, *against
    )
    # Both may be computed in their own way, and an angle near 0 has half of the digits of its cosine.
    assert (tightness + contrast).item() == pytest.approx(case(x, y).item(), rel=1e-7, abs=1e-9)


def test_decompose_of_functions_partials_and_modules():
    expected = [side.item() for side in losses.multi_similarity_loss.sides(Z, TWO_CLASSES, beta=4.0)]
    for loss in (
        partial(losses.multi_similarity_loss, beta=4.0),
        losses.MultiSimilarityLoss(beta=4.0),
        partial(losses.MultiSimilarityLoss(beta=4.0)),
    ):
        assert [side.item() for side in decompose(loss, Z, TWO_CLASSES)] == pytest.approx(expected)


def test_decompose_of_a_classifier_takes_its_weights():
    weight = torch.eye(2, dtype=torch.float64)
    tightness, contrast = decompose(losses.cross_entropy_loss, Z, TWO_CLASSES, weight)
    # -mean of the own coordinates 1, 0.8, 1, 0.8; the log-sums of the rest: 0.36126991 in all, by the sheet.
    assert tightness.item() == pytest.approx(-0.9)
    assert contrast.item() == pytest.approx(0.36126991 + 0.9)


def test_each_side_has_its_gradient():
    x = Z.clone().requires_grad_()
    for side in decompose(losses.supcon_loss, x, TWO_CLASSES):
        assert torch.autograd.grad(side, x)[0].abs().sum() > 0


def test_what_has_no_sides_is_named():
    for loss in (torch.nn.functional.cross_entropy, torch.nn.CrossEntropyLoss()):
        with pytest.raises(InputError, match=r"decompose: \w+ has no tightness and contrast"):
            decompose(loss, Z, TWO_CLASSES)


def test_information_holds_what_the_estimators_say():
    x, y = clusters()
    found, kernel = information(x, y), estimators.mixture_information(x, y)
    expected = {
        "label_entropy": log(6),
        "discriminative": estimators.probe_information(x, y).item(),
        "generative": estimators.ross_information(x, y).item(),
        "kernel_lower": kernel.lower.item(),
        "kernel_upper": kernel.upper.item(),
        "gaussian": estimators.gaussian_label_information(x, y).item(),
        "entropy": estimators.mean_nn_entropy(x).item(),
        "conditional_entropy": estimators.conditional_mean_nn_entropy(x, y).item(),
    }
    assert (found.rows, found.classes, found.width) == (300, 6, 8)
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected)
    assert 0 < found.discriminative < found.label_entropy
    assert isnan(found.tightness)


def test_information_of_given_logits():
    x, y = clusters()
    logits = torch.randn(300, 6, generator=torch.Generator().manual_seed(1))
    expected = estimators.classifier_information(logits, y).item()
    assert information(x, y, logits).discriminative == pytest.approx(expected)


def test_information_holds_the_sides_of_a_loss():
    x, y = clusters()
    found = information(x, y, loss=losses.SupConLoss(temperature=0.2))
    sides = decompose(losses.SupConLoss(temperature=0.2), x, y)
    assert (found.tightness, found.contrast) == tuple(side.item() for side in sides)


def test_intervals_by_hand():
    # Two classes of two rows; the classifier gives the label 0.8, 0.8, 0.5, 0.5, its frequency is 0.5 each.
    share = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.5, 0.5], [0.5, 0.5]], dtype=torch.float64)
    found = information(Z, TWO_CLASSES, share.log())
    reach = 1.96 * (log(1.6) / 2) * (4 / 3) ** 0.5 / 2
    low, high = found.discriminative_interval
    assert found.discriminative == pytest.approx(log(1.6) / 2)
    assert (low, high) == pytest.approx((log(1.6) / 2 - reach, log(1.6) / 2 + reach))


def test_intervals_hold_other_samples():
    # Of 40 samples of one distribution all but a few estimates lie in the interval of the first one's size.
    center, generator = torch.eye(4, 2, dtype=torch.float64) * 2, torch.Generator().manual_seed(0)
    found = []
    for _ in range(40):
        y = torch.arange(200) % 4
        z = center[y] + torch.randn(200, 2, generator=generator, dtype=torch.float64)
        found.append(information(z, y, -torch.cdist(z, center).square() / 2))
    for view in ("discriminative", "generative"):
        values = torch.tensor([getattr(one, view) for one in found])
        low, high = torch.tensor([getattr(one, f"{view}_interval") for one in found]).T
        inside = ((low <= values.mean()) & (values.mean() <= high)).double().mean()
        assert 0.8 <= inside <= 1


def test_information_looks_at_no_more_than_max_rows():
    x, y = clusters()
    found = information(x, y, x[:, :6], max_rows=100)
    rows = drawn_rows(y, 100)
    assert (found.rows, found.classes) == (96, 3)  # 32 rows a class, three whole classes
    assert found.generative == estimators.ross_information(x[rows], y[rows]).item()
    assert found.label_entropy == pytest.approx(log(3))
    assert information(x, y, max_rows=100) == information(x, y, max_rows=100)
    assert information(x, y, max_rows=100, seed=1) != information(x, y, max_rows=100)


@given(
    labels=st.lists(st.integers(-1, 12), max_size=300),
    max_rows=st.integers(1, 300),
    seed=st.integers(0, 5),
)
def test_drawn_rows(labels, max_rows, seed):
    y = torch.tensor(labels, dtype=torch.int64)
    rows = drawn_rows(y, max_rows, seed)
    known = int((y != -1).sum())
    assert len(rows) == known if known <= max_rows else 0 < len(rows) <= max_rows
    assert (y[rows] != -1).all()
    assert rows.tolist() == sorted(set(rows.tolist()))


def test_drawn_rows_take_all_of_few_classes_and_whole_ones_of_many():
    few = torch.arange(10_000) % 10
    assert torch.bincount(few[drawn_rows(few, 1000)]).tolist() == [100] * 10
    many = torch.arange(10_000) % 500  # of 20 rows each
    assert set(torch.bincount(many[drawn_rows(many, 1000)]).tolist()) == {0, 20}
    one = torch.zeros(100, dtype=torch.int64)
    assert 1 <= len(drawn_rows(one, 10)) <= 10


def test_nothing_to_measure_is_nan():
    found = information(Z, [-1, -1, -1, -1])
    assert (found.rows, found.classes) == (0, 0)
    assert found.warnings == ("no labelled rows: there is nothing to measure",)
    found = information(Z, [0, 1, 2, 3])
    assert found.label_entropy == pytest.approx(log(4))
    assert torch.tensor([found.discriminative, found.generative, found.conditional_entropy]).isnan().all()
    assert "no class has two rows: neither view can be measured" in found.warnings


def wide(rows, classes, width=64):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(rows) % classes
    return torch.randn(classes, width, generator=generator)[y] / 3 + torch.randn(
        rows, width, generator=generator
    ), y


@pytest.mark.parametrize(
    ("embeddings", "labels", "said"),
    [
        (torch.randn(40, 3), torch.zeros(40, dtype=torch.int64), "one class only"),
        (torch.randn(41, 3), (torch.arange(41) % 20).clamp(max=20), "20 of 20 classes have fewer than 8 rows"),
        (torch.randn(41, 3), torch.cat((torch.arange(40) % 2, torch.tensor([7]))), "1 of 3 classes have one row"),
        (torch.randn(60, 3), torch.arange(60) // 2, "H(Y) = 3.40 is near log n = 4.09"),
        (torch.ones(40, 3), torch.arange(40) % 2, "collapsed to one point"),
        (1000 + torch.rand(40, 3) / 100, torch.arange(40) % 2, "collapsed to one point"),
        (torch.randn(20, 3).repeat(2, 1), torch.arange(40) % 2, "some rows are copies of others"),
        (torch.rand(60, 1) @ torch.rand(1, 9), torch.arange(60) % 5, "collapsed to about a line in 9 dimensions"),
        (*wide(400, 4), "classes fill more than 13 dimensions, for which 400 rows are few"),
        (100 * torch.eye(4)[torch.arange(80) % 4] + torch.randn(80, 4), torch.arange(80) % 4,
         "discriminative and generative at the ceiling H(Y) = 1.39"),
        (*wide(400, 4), "kernel_lower is at the ceiling H(Y) = 1.39, the other views are not"),
        (*wide(400, 4), "generative lies below discriminative, a lower bound, by more than chance"),
    ],
)  # fmt: skip
def test_doubts_are_said(embeddings, labels, said):
    assert any(said in one for one in information(embeddings, labels).warnings)


def test_a_classifier_that_is_sure_and_wrong_is_doubted():
    wrong = 9 * torch.eye(2, dtype=torch.float64)[1 - TWO_CLASSES]
    found = information(Z, TWO_CLASSES, wrong)
    assert found.discriminative == pytest.approx(log(2) - 9 - log(1 + exp(-9)))
    assert any("discriminative is negative" in one for one in found.warnings)


def test_good_embeddings_raise_no_doubt():
    x, y = clusters(rows=600, noise=1.0)
    assert information(x, y).warnings == ()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: information(Z, TWO_CLASSES, max_rows=0), "max_rows must be at least 1, got 0"),
        (lambda: information(Z, [0, 1]), r"information: labels must have shape \(4,\)"),
        (lambda: information(Z, TWO_CLASSES, torch.zeros(3, 2)), "logits must have a row for each of 4"),
        (lambda: information(Z, TWO_CLASSES, torch.zeros(4, 1)), r"labels must lie in 0\.\.0"),
        (lambda: information(Z / 0, TWO_CLASSES), "embeddings must be finite"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
