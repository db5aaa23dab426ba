from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mimetric.core.errors import InputError
from mimetric.data.canvases import composed
from mimetric.data.sources import load_data
from mimetric.metrics import gt_known_localization, heat_boxes
from mimetric.recipes.qin2019 import (
    CENTERS,
    MAPS,
    Options,
    Quick,
    enlarged,
    gaussians,
    labelled_gaussians,
    localization,
    objects,
)

Small = Callable[[str], dict[str, Any]]


def test_the_truth_is_that_of_monte_carlo() -> None:
    """With the known densities, as the paper's code has it, instead of the library's exact number."""
    torch.manual_seed(0)
    x, y = labelled_gaussians(20_000, 10)
    density = -(x[:, None, :] - torch.tensor(CENTERS)[:, None]).square().sum(2) / 2
    pointwise = density.log_softmax(1)[torch.arange(len(y)), y] + np.log(5)
    truth = gaussians(replace(Quick(), pairs=100, steps=1), 10, seed=0)["truth"]
    assert pointwise.mean().item() == pytest.approx(truth, abs=0.01)
    assert truth == pytest.approx(1.606, abs=5e-4)  # Monte Carlo of two seeds: 1.606


def test_a_map_of_the_object_itself_finds_it() -> None:
    torch.manual_seed(0)
    digits = objects(load_data("digits"))
    found = composed(digits, torch.arange(len(digits)), 60)
    heat = torch.zeros(60, 10, 10)
    for i, (left, top, right, bottom) in enumerate((found.box // 4).tolist()):
        heat[i, top : bottom + 1, left : right + 1] = 1
    boxes = heat_boxes(enlarged(heat), threshold=0.5)
    assert gt_known_localization(boxes, found.box).mean() > 0.95


def test_the_lowest_rival_finds_more_than_the_runner_up() -> None:
    """What the full run shows, on a small part of its steps."""
    torch.manual_seed(0)
    found = localization(replace(Quick(), canvas_steps=40, canvases=100))
    assert found["gt_known_lowest"] > found["gt_known_runner_up"]
    assert all(found[f"top1_{name}"] <= found[f"gt_known_{name}"] for name in MAPS)


def test_the_quick_form_has_every_number(small: Small) -> None:
    found = {name: metric["mean"] for name, metric in small("qin2019")["measured"].items()}
    assert found["error_softmax_1"] == pytest.approx(abs(found["softmax_1"] - found["truth_1"]))
    assert found["softmax_1"] < found["truth_1"] < np.log(5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Options(pairs=0), "^qin2019: pairs must be > 0, got 0$"),
        (
            lambda: localization(Options(data="glyphs")),
            "^glyphs: must hold images of test classes trained on",
        ),
    ],
)
def test_mistakes(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
