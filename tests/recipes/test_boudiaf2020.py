from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from mimetric.core.errors import InputError
from mimetric.data.seen import load_unseen
from mimetric.data.subsets import some_classes
from mimetric.recipes.boudiaf2020 import (
    Options,
    Quick,
    encoder,
    measure,
    retrieval,
    within,
)

OMNIGLOT = Path(__file__).parents[2].parent / "shared" / "data" / "omniglot" / "omniglot_28.npz"
Small = Callable[[str], dict[str, Any]]


def test_cross_entropy_lowers_a_pairwise_loss_it_never_sees(small: Small) -> None:
    found = {name: metric["mean"] for name, metric in small("boudiaf2020")["measured"].items()}
    assert found["toy_spce_first"] == pytest.approx(math.log(10), abs=0.1)  # ten classes, not yet told apart
    assert found["toy_ce_last"] < found["toy_spce_last"] < found["toy_spce_first"]
    assert min(found["toy_accuracy_ce"], found["toy_accuracy_spce"]) > 0.5


def test_both_views_of_the_information_rise_and_classes_get_tighter(small: Small) -> None:
    found = {name: metric["mean"] for name, metric in small("boudiaf2020")["measured"].items()}
    assert found["toy_discriminative_first"] == pytest.approx(0, abs=0.1)
    assert found["toy_discriminative_first"] < found["toy_discriminative_last"] < math.log(10)
    assert 0 < found["toy_within_last"] < found["toy_within_first"] < 1


def test_within_by_hand() -> None:
    # Two classes of two points 2 apart, centers 4 apart: 4 of 4 + 16 is within.
    z = torch.tensor([[0.0], [2.0], [4.0], [6.0]])
    assert within(z, torch.tensor([3, 3, 7, 7])) == pytest.approx(4 / 20)


def test_pixels_find_as_scikit_learn_has_it(small: Small) -> None:
    data, rng, options = load_unseen("glyphs"), np.random.default_rng(0), Quick()
    some_classes(data.split.train, data.y, options.classes, rng)
    rows = some_classes(data.split.test, data.y, options.unseen, rng)
    x, y = data.x[rows].reshape(len(rows), -1).astype(float), data.y[rows]
    nearest = NearestNeighbors(n_neighbors=1, metric="cosine").fit(x).kneighbors(return_distance=False)
    recall = float(np.mean(y[nearest[:, 0]] == y))
    found = small("boudiaf2020")["measured"]["recall_pixels"]["mean"]
    assert found == pytest.approx(recall, abs=0.01)  # but for ties


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 28, 28), (3, 9, 30)])
def test_the_encoder_takes_images_of_any_size(shape: tuple[int, int, int]) -> None:
    assert encoder(*shape)(torch.zeros(2, *shape)).shape == (2, 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "digits"}, "digits: must hold images of test classes unseen in training, as glyphs does"),
        ({"toy": "glyphs"}, "glyphs: must hold images of test classes trained on, as digits does"),
        ({"data": "npz:vectors.npz"}, "npz:vectors.npz: must hold images of test classes"),
        ({"data": "glyhps"}, "unknown data 'glyhps'; did you mean glyphs"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit(
    changes: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("vectors.npz", x=np.random.rand(80, 3), y=np.arange(80) % 20)
    with pytest.raises(InputError, match=message):
        measure(replace(Quick(), **changes), seed=0)


@pytest.mark.parametrize("name", ["unseen", "steps", "toy_steps"])
def test_a_size_below_one_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=rf"^boudiaf2020: {name} must be > 0, got 0$"):
        Options(**{name: 0})


def test_one_class_cannot_be_trained_on() -> None:
    with pytest.raises(InputError, match=r"^boudiaf2020: classes must be at least 2, got 1$"):
        Options(classes=1)


@pytest.mark.skipif(not OMNIGLOT.exists(), reason="Omniglot is not in ../shared/data")
def test_on_omniglot() -> None:
    data = load_unseen(f"npz:{OMNIGLOT}")
    found = retrieval(data, Quick(), seed=0)
    assert 0.4 < found["recall_pixels"] < 0.9


@pytest.mark.slow
@pytest.mark.skipif(not OMNIGLOT.exists(), reason="Omniglot is not in ../shared/data")
def test_the_header_says_what_omniglot_gives() -> None:
    """One seed of the header's Omniglot numbers, within what machines may differ by."""
    found = retrieval(load_unseen(f"npz:{OMNIGLOT}"), Options(), seed=0)
    expected = {"recall_pixels": 0.508, "recall_ce": 0.799, "recall_contrastive": 0.801,
                "recall_multi_similarity": 0.835}  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=0.03)
