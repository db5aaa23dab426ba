"""The examination of data: each fault is put in, is found, is counted, and comes with advice; clean data have none."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mimetric.core.errors import InputError
from mimetric.data.sources import as_data, load_data
from mimetric.doctor import Check, Examination, examine, examine_rows

SHARED = Path(__file__).parents[2] / "shared" / "data"
RNG = np.random.default_rng(0)


def clean(classes: int = 40, rows: int = 6, width: int = 32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Independent rows; half of the classes train, half test."""
    y = np.repeat(np.arange(classes), rows)
    x = RNG.standard_normal((len(y), width)).astype(np.float32)
    return x, y, np.where(y < classes // 2, 0, 2)


def named(found: Examination, name: str) -> Check:
    [check] = [check for check in found.checks if check.name == name]
    return check


def advised(found: Examination) -> set[str]:
    return {check.name for check in found.checks if check.advice}


def test_clean_data_need_no_advice():
    found = examine_rows(*clean())
    assert advised(found) == set()
    assert found.as_json()["warnings"] == []
    assert {check.name for check in found.checks} == {
        "singletons", "imbalance", "not finite", "constant", "copies", "two labels", "leaks", "shared classes",
        "test classes", "near copies", "near, two labels", "near leaks",
    }  # fmt: skip


def test_sizes_and_entropy():
    # H(Y) of shares 1/2, 1/4, 1/4 is 1.5 log 2, as much as 2^1.5 equal classes.
    found = examine_rows(clean()[0][:8], np.array([0, 0, 0, 0, 1, 1, 2, 2]))
    assert found.facts == {
        "rows": 8, "width": 32, "unlabelled": 0, "classes": 3, "largest_class": 4, "median_class": 2.0,
        "smallest_class": 2, "label_entropy": pytest.approx(1.5 * math.log(2)),
        "effective_classes": pytest.approx(2**1.5),
    }  # fmt: skip


def test_singletons():
    x, y, part = clean()
    y[[0, 100]] = 98, 99
    check = named(examine_rows(x, y, part), "singletons")
    assert (check.count, check.found) == (2, "2 of 42 classes have a single row")
    assert "no positive" in check.advice


def test_copies_leaks_and_two_labels():
    x, y, part = clean()
    x[1] = x[0]  # one class, both train
    x[200] = x[10]  # a training row, again in the test, where it has another label
    x[201] = x[10]
    found = examine_rows(x, y, part)
    assert named(found, "copies").count == 3
    assert named(found, "two labels").count == 2
    assert (
        named(found, "leaks").found
        == "2 of 240 rows, in test or validation, are exact copies of training rows"
    )
    assert advised(found) == {"copies", "two labels", "leaks"}


def test_copies_of_what_is_unlabelled_are_no_conflict():
    x, y, part = clean()
    x[1], y[1] = x[0], -1
    found = examine_rows(x, y, part)
    assert named(found, "copies").count == 1
    assert named(found, "two labels").count == 0
    assert found.facts["unlabelled"] == 1


def test_near_copies():
    x, y, part = clean()
    x[1] = x[0] + 1e-3  # twins: each has a near copy
    x[200] = 1.001 * x[10] + 1e-4  # of a training row, in the test, of another class
    found = examine_rows(x, y, part)
    assert named(found, "copies").count == 0
    assert named(found, "near copies").found == "4 of 240 rows have another at a cosine above 0.99"
    assert named(found, "near, two labels").count == 2
    assert named(found, "near leaks").count == 1
    assert advised(found) == {"near copies", "near, two labels", "near leaks"}


def test_near_copies_equal_a_plain_search(monkeypatch):
    monkeypatch.setattr("mimetric.doctor._PANEL", 200)  # many small blocks
    monkeypatch.setattr("mimetric.doctor.NEAR", 0.4)
    x, y, part = clean(classes=12)
    x += 100  # a mean row that all share would make all cosines 1
    unit = x - x.mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    near = unit @ unit.T > 0.4
    np.fill_diagonal(near, False)
    found = examine_rows(x, y, part)
    assert named(found, "near copies").count == near.any(1).sum() > 0
    assert named(found, "near, two labels").count == (near & (y[:, None] != y)).any(1).sum()
    assert named(found, "near leaks").count == near[part == 2][:, part == 0].any(1).sum()


def test_large_data_are_searched_for_a_sample_and_say_so(monkeypatch):
    monkeypatch.setattr("mimetric.doctor._DRAWN", 60)
    x, y, part = clean()
    x[1::2] = x[::2] + 1e-3  # every row has a twin, whichever are drawn
    found = examine_rows(x, y, part)
    assert named(found, "near copies").found.startswith("60 of 60 rows drawn have another")
    assert examine_rows(x, y, part) == found


def test_narrow_rows_are_not_searched():
    x, y, part = clean(width=3)
    assert not any(check.name.startswith("near") for check in examine_rows(x, y, part).checks)


def test_classes_shared_in_part():
    x, y, part = clean()
    assert not named(examine_rows(x, y, np.where(np.arange(240) % 2, 0, 2)), "shared classes").advice  # all
    part[:2] = 2
    check = named(examine_rows(x, y, part), "shared classes")
    assert check.found == "1 of 21 test classes are trained on"
    assert "neither question" in check.advice


def test_few_test_classes():
    assert advised(examine_rows(*clean(classes=30))) == {"test classes"}


def test_imbalance():
    x, _, _ = clean()
    y = np.repeat([0, 1, 2, 3], [234, 2, 2, 2])
    check = named(examine_rows(x, y), "imbalance")
    assert (
        check.found == "4 classes count for 1.2 equal ones, exp H(Y)"
    )  # exp(-.975 log .975 - 3/120 log(1/120))
    assert "class-balanced" in check.advice


def test_constant_rows_and_values_that_are_not_finite():
    x, y, part = clean()
    x[3], x[4] = 0.0, 7.5
    x[5, 3], x[6, 0] = np.nan, -np.inf
    found = examine_rows(x, y, part)
    assert (named(found, "constant").count, named(found, "not finite").count) == (2, 2)
    assert advised(found) == {"constant", "not finite"}


def test_images_of_bytes_and_odd_data():
    blank = np.zeros((4, 1, 8, 8), np.uint8)
    found = examine_rows(blank, np.array([0, 0, 1, 1]))
    assert named(found, "constant").count == 4
    assert named(found, "copies").count == 3
    assert named(found, "two labels").count == 2
    one = examine_rows(clean()[0][:1], np.array([-1]))
    assert one.facts == {"rows": 1, "width": 32, "unlabelled": 1, "classes": 0}
    assert advised(one) == set()


@pytest.mark.parametrize(
    ("x", "y", "part"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), None),
        (np.zeros((2, 0)), np.zeros(2, int), None),
        (np.zeros((2, 3)), np.zeros(3, int), None),
        (np.zeros((2, 3)), np.zeros(2, int), np.zeros(1, int)),
    ],
)
def test_lengths_that_differ(x, y, part):
    with pytest.raises(
        InputError, match="examine_rows: x, y and part must have the same number of rows, at least 1"
    ):
        examine_rows(x, y, part)


def test_digits():
    found = examine(load_data("digits"))
    assert found.facts["classes"] == 10
    assert found.facts["label_entropy"] == pytest.approx(math.log(10), abs=1e-3)
    assert named(found, "shared classes").count == 10
    assert advised(found) == {"test classes", "near copies"}


def test_omniglot_holds_a_drawing_twice(monkeypatch):
    monkeypatch.setattr("mimetric.doctor._DRAWN", 100)
    file = SHARED / "omniglot" / "omniglot_28.npz"
    if not file.exists():
        pytest.skip("real data not here: omniglot")
    data = load_data(f"npz:{file}")
    found = examine(data)
    same = np.unique(data.x.reshape(len(data.x), -1), axis=0)
    assert named(found, "copies").count == len(data.x) - len(same) == 1


# --- Every layout ----------------------------------------------------------------------------------------


def test_texts_are_compared_whole():
    texts = [f"text {i} {i * i}" for i in range(60)]
    texts[1] = texts[0]
    texts[40] = "aaaa"  # one number throughout, were it a vector
    found = examine(as_data(texts, np.arange(60) // 6, by="class"))
    assert named(found, "copies").count == 1
    assert {check.name for check in found.checks} == {
        "singletons", "imbalance", "copies", "two labels", "leaks", "shared classes", "test classes",
    }  # fmt: skip


def test_queries_and_their_gallery():
    x, y, part = clean()
    query = (part == 2) & (np.arange(len(y)) % 6 == 0)
    x[np.flatnonzero(query)[0]] = x[-1]  # of another class, in the gallery
    y[np.flatnonzero(query)[1]] = 99
    found = examine(as_data(x, y, split=part, query=query))
    assert named(found, "queries alone").found == "1 of 20 queries have no row of their class in the gallery"
    assert named(found, "queries in gallery").count == 1
    found = examine(as_data(x, y, split=part))
    assert not {check.name for check in found.checks} & {"queries alone", "queries in gallery"}


def test_pictures_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for i in range(24):
        folder = tmp_path / "pets" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    (tmp_path / "pets" / "a" / "x.png").write_bytes((tmp_path / "pets" / "a" / "0.png").read_bytes())
    (tmp_path / "pets" / "b" / "y.png").write_bytes((tmp_path / "pets" / "a" / "2.png").read_bytes())
    found = examine(load_data(f"folder:{tmp_path / 'pets'}:size=8"))
    assert found.facts["rows"] == 26
    assert named(found, "copies").count == 2
    assert named(found, "two labels").count == 1
