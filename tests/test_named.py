"""Objectives from a line of text: sums, factors, mistakes."""

from __future__ import annotations

import pytest
import torch

from mimetric.core.errors import InputError
from mimetric.losses import ContrastiveLoss, NormalizedSoftmaxLoss, Pairing, SupConLoss
from mimetric.mining import AngularMining
from mimetric.named import MININGS, create, parse_objectives


def test_a_sum_is_the_sum_of_its_terms():
    x = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.arange(8) % 3
    made = create(
        "supcon:temperature=0.2 + 0.5 * contrastive:negative=0.3,positive=0.9", width=4, num_classes=3
    )
    expected = SupConLoss(temperature=0.2)(x, y) + 0.5 * ContrastiveLoss(negative=0.3, positive=0.9)(x, y)
    torch.testing.assert_close(made(x, y), expected)


def test_a_sum_owns_the_class_weights_of_its_terms():
    made = create("0.1*normalized-softmax+triplet", width=4, num_classes=3)
    [weight] = made.parameters()
    assert weight.shape == (3, 4)
    x, y = torch.randn(6, 4), [0, 0, 1, 1, 2, 2]
    softmax = NormalizedSoftmaxLoss(4, 3)
    softmax.load_state_dict({"weight": weight.detach()})
    alone = create("triplet", width=4, num_classes=3)
    torch.testing.assert_close(made(x, y), 0.1 * softmax(x, y) + alone(x, y))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("supcon+contrastive,spce", ["supcon+contrastive", "spce"]),
        ("supcon:temperature=1e+3", ["supcon:temperature=1e+3"]),
        ("supcon:temperature=1e-1+1e-2*infonce", ["supcon:temperature=1e-1+0.01*nt-xent"]),
        (" 2 * supcon ", ["2*supcon"]),
        ("1*supcon", ["supcon"]),
    ],
)
def test_text_parses_back_to_itself(text, names):
    chosen = parse_objectives(text)
    assert [str(one) for one in chosen] == names
    assert parse_objectives(",".join(names)) == chosen


@pytest.mark.parametrize("mining", MININGS)
def test_every_mining_has_a_name(mining):
    made = create(f"multi-similarity:mining={mining}", width=4, num_classes=3)
    assert made.options["pairing"] == Pairing(mining=MININGS[mining])
    assert made(torch.randn(8, 4), torch.arange(8) % 3).isfinite()


def test_a_mining_by_its_name():
    assert (
        create("contrastive:mining=angular", width=4, num_classes=3).options["pairing"].mining
        == AngularMining()
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-1*supcon", "objectives: '-1\\*supcon' must be a number > 0 times an objective"),
        ("two*supcon", "must be a number > 0 times an objective"),
        ("supcon*0.1", "must be a number > 0 times an objective"),
        ("inf*supcon", "must be a number > 0"),
        ("supcon+0.1*contrastve", "unknown objective 'contrastve'; did you mean contrastive"),
        ("supcon+", "unknown objective 'supcon\\+'"),
        ("triplet,supcon+2*spce:margin=1", "spce: unknown option margin"),
        ("supcon,1*supcon", "supcon is named twice"),
        ("temperature=0.1,supcon", "comes before any objective"),
    ],
)
def test_mistakes(text, message):
    with pytest.raises(InputError, match=message):
        parse_objectives(text)


def test_a_loss_that_takes_more_is_called_from_python():
    with pytest.raises(
        InputError, match=r"^margin-mse takes anchors, positives, negatives, a teacher's scores: call"
    ):
        parse_objectives("margin_mse")
