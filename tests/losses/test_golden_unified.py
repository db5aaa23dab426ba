"""The exact checks of the paper's sheet: values, the filter, what the negative pairs of the batch add."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mimetric import losses
from mimetric.core.errors import InputError
from mimetric.losses import Pairing, unified_negative_pairs_loss

HEADS = {
    "cosface": lambda *a, scale, **k: losses.cosface_loss(*a, margin=0.5, scale=scale, **k),
    "arcface": losses.arcface_loss,
    "magface": losses.magface_loss,
}
EACH = Pairing(reduction="none")


def example(n=12, classes=5, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, weight = (torch.randn(k, width, dtype=torch.float64, generator=generator) for k in (n, classes))
    return x, torch.arange(n) % classes, weight


def negatives(x, y):
    """Cosines of the pairs i < j of two classes, in order."""
    unit = F.normalize(x)
    first, second = torch.triu_indices(len(x), len(x), 1)
    return (unit @ unit.T)[first, second][y[first] != y[second]].sort().values


def boxed(values, whisker):
    q1, q3 = values[int(0.25 * len(values))], values[int(0.75 * len(values))]
    reach = whisker * (q3 - q1)
    return values[(values >= q1 - reach) & (values <= q3 + reach)]


def test_values_of_the_sheet():
    # Rows and weights with cosines .8 + m, .1, .2, .7 + m to the weights, and .3 to each other.  In four
    # dimensions: two rows with that product, then weights solved for, completed to length 1 along own axes.
    m = 0.15
    rows = torch.tensor([[1.0, 0, 0, 0], [0.3, 0.91**0.5, 0, 0]], dtype=torch.float64)
    wanted = torch.tensor([[0.8 + m, 0.2], [0.1, 0.7 + m]], dtype=torch.float64)  # weight k by row i
    plane = torch.linalg.solve(rows[:, :2], wanted.T).T
    weight = torch.cat((plane, torch.diag((1 - plane.square().sum(1)).sqrt())), dim=1)
    torch.testing.assert_close((rows @ weight.T).T, wanted)
    each = unified_negative_pairs_loss(
        rows, [0, 1], weight, head="cosface", margin=m, scale=10.0, pairing=EACH
    )
    # Own logits 8 and 7, of the other class 1 and 2, of the pair 3.  The sheet rounds the second to .02470.
    assert each.tolist() == pytest.approx([log(1 + exp(-7) + exp(-5)), log(1 + exp(-5) + exp(-4))])
    assert each.mean().item() == pytest.approx(0.01616, abs=5e-5)
    plain = losses.cosface_loss(rows, [0, 1], weight, margin=m, scale=10.0)
    assert plain.item() == pytest.approx((log(1 + exp(-7)) + log(1 + exp(-5))) / 2)  # .00380 in the sheet


@pytest.mark.parametrize("whisker", [0.0, 0.5, 1.5, float("inf")])
@pytest.mark.parametrize("head", HEADS)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1.0, 10.0, 64.0]), block=st.sampled_from([None, 3]))
@settings(max_examples=15)
def test_equals_concatenated_logits(head, whisker, seed, scale, block):
    # L = L_head + mean softplus(z - lse): the head's own log of the denominators is its contrast.
    x, y, weight = example(seed=seed)
    x = 20 * x
    x, weight = x.requires_grad_(), weight.requires_grad_()
    own, contrast = HEADS[head].sides(x, y, weight, scale=scale, pairing=EACH) if head != "cosface" else (
        losses.cosface_loss.sides(x, y, weight, margin=0.5, scale=scale, pairing=EACH)
    )  # fmt: skip
    pool = negatives(x, y) if whisker == float("inf") else boxed(negatives(x, y), whisker)
    logits = torch.cat((contrast[:, None], scale * pool.expand(len(x), -1)), dim=1)
    expected = (own + logits.logsumexp(1)).mean()
    value = unified_negative_pairs_loss(
        x, y, weight, head=head, scale=scale, whisker=whisker, pairing=Pairing(block=block)
    )
    assert value.item() == pytest.approx(expected.item(), rel=1e-9)
    ours, theirs = (torch.autograd.grad(loss, (x, weight)) for loss in (value, expected))
    torch.testing.assert_close(ours, theirs)
    assert value >= HEADS[head](x, y, weight, scale=scale) - 1e-12


def test_gradient_of_a_negative_pair():
    # (s / n) sum_i exp(s q - lse_i), on both images of the pair; here the only one.
    x, y, weight = example(n=2)
    x.requires_grad_()
    total = unified_negative_pairs_loss(x, y, weight, scale=10.0)
    head, contrast = losses.arcface_loss.sides(x, y, weight, scale=10.0, pairing=EACH)
    q = F.cosine_similarity(x[0], x[1], dim=0)
    share = (10 * q - torch.logaddexp(contrast, 10 * q)).exp().detach()
    slope = 10 / 2 * share.sum()
    assert slope > 0
    # What remains when the head's own part, each logit weighing 1 - share of the old softmax, is taken away.
    rest = (head + contrast * (1 - share)).mean()
    [found] = torch.autograd.grad(total - rest, x)
    torch.testing.assert_close(found, torch.autograd.grad(slope * q, x)[0])


@pytest.mark.parametrize("head", HEADS)
def test_one_class_leaves_the_head_alone(head):
    x, _, weight = example()
    y = torch.full((12,), 3)
    value = unified_negative_pairs_loss(x, y, weight, head=head)
    assert value.item() == pytest.approx(HEADS[head](x, y, weight, scale=64.0).item(), rel=1e-14)


def test_opposite_negatives_add_nothing():
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    value = unified_negative_pairs_loss(x, [0, 1], x, scale=64.0)
    expected = losses.arcface_loss(x, [0, 1], x, scale=64.0)
    assert value.item() == pytest.approx(expected.item(), abs=1e-20)


def test_unlabelled_rows_are_negatives_and_cost_nothing():
    x, y, weight = example()
    y[3] = -1
    each = unified_negative_pairs_loss(x, y, weight, pairing=EACH)
    assert each[3] == 0
    rest = torch.arange(12) != 3
    assert (each[rest] >= losses.arcface_loss(x[rest], y[rest], weight, pairing=EACH) - 1e-12).all()


def test_the_norm_of_rows_matters_to_magface_alone():
    x, y, weight = example()
    x = 20 * F.normalize(x)
    for head in HEADS:
        same = torch.allclose(*(unified_negative_pairs_loss(f * x, y, weight, head=head) for f in (1, 3)))
        assert same == (head != "magface")


def test_few_classes_and_a_small_scale_let_the_negatives_rule():
    # Rows on their own weights, right angles between classes.
    weight = torch.eye(3, dtype=torch.float64)
    y = torch.arange(3).repeat(3)
    value = unified_negative_pairs_loss(weight[y], y, weight, head="cosface", margin=0.0, scale=1.0)
    # Two other classes and 27 pairs of rows of two classes, all of cosine 0.
    assert value.item() == pytest.approx(log(1 + (2 + 27) / torch.e))


def test_messages():
    x, y, weight = example()
    for options, message in (
        ({"head": "softmax"}, "head must be one of cosface, arcface, magface, got 'softmax'"),
        ({"whisker": -1.0}, "whisker must be >= 0"),
        ({"whisker": float("nan")}, "whisker must be >= 0"),
        ({"scale": 0.0}, "scale must be > 0"),
    ):
        with pytest.raises(InputError, match=f"unified_negative_pairs_loss: {message}"):
            unified_negative_pairs_loss(x, y, weight, **options)
