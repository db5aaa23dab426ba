from __future__ import annotations

import math

import pytest
import torch
from sklearn.neighbors import NearestCentroid

from mimetric.core.errors import InputError
from mimetric.metrics import linear_probe_accuracy, nearest_mean_accuracy


@pytest.fixture(scope="module")
def blobs() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 3
    return 4 * torch.eye(3)[y] + torch.randn(300, 3, generator=random), y


def test_finds_what_is_linear_and_nothing_else(blobs: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = blobs
    # Centers are 4 * sqrt 2 apart: half of that is 2.8 standard deviations, so two borders cost about 0.5%.
    assert linear_probe_accuracy(x[:150], y[:150], x[150:], y[150:]) > 0.97
    assert linear_probe_accuracy(x.norm(dim=1, keepdim=True), y, x.norm(dim=1, keepdim=True), y) < 0.5


def test_neither_scale_nor_a_common_direction_matters(blobs: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = blobs
    plain = linear_probe_accuracy(x[:150], y[:150], x[150:], y[150:])
    moved = (x.double() * 1e-3 + 5).numpy()
    assert linear_probe_accuracy(moved[:150], y[:150], moved[150:], y[150:]) == pytest.approx(plain, abs=0.01)


def test_unlabelled_rows_are_left_out(blobs: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = blobs
    junk = torch.cat([x, torch.full((9, 3), 99.0)]), torch.cat([y, torch.full((9,), -1)])
    assert linear_probe_accuracy(*junk, *junk) == linear_probe_accuracy(x, y, x, y)
    assert math.isnan(linear_probe_accuracy(x, y, x[:0], y[:0]))


def test_the_nearest_mean_is_that_of_scikit_learn(blobs: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = blobs
    outside = NearestCentroid().fit(x[:150].numpy(), 5 * y[:150].numpy() - 3)
    wanted = outside.score(x[150:].numpy(), 5 * y[150:].numpy() - 3)
    junk = torch.cat([x[:150], x[:9] + 99]), torch.cat([5 * y[:150] - 3, torch.full((9,), -1)])
    assert nearest_mean_accuracy(*junk, x[150:], 5 * y[150:] - 3) == pytest.approx(wanted, abs=1e-12)
    assert 0.9 < wanted < 1
    assert math.isnan(nearest_mean_accuracy(x, y, x[:0], y[:0]))
    with pytest.raises(
        InputError, match=r"^nearest_mean_accuracy: train_labels must hold at least two classes"
    ):
        nearest_mean_accuracy(x, 0 * y, x, y)


def test_mistakes(blobs: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = blobs
    with pytest.raises(
        InputError, match=r"^linear_probe_accuracy: train_labels must hold at least two classes, got 1"
    ):
        linear_probe_accuracy(x, 0 * y, x, y)
    with pytest.raises(
        InputError, match=r"^linear_probe_accuracy: embeddings must have 3 columns, got \(300, 2\)"
    ):
        linear_probe_accuracy(x, y, x[:, :2], y)
    with pytest.raises(InputError, match=r"embeddings .*finite"):
        linear_probe_accuracy(x / 0, y, x, y)
