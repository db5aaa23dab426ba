"""Loading by name: the layouts that are read, and one line for whatever is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mimetric.core.errors import InputError
from mimetric.data.sources import IMAGE_SIDE, LabelledData, load_data

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
RNG = np.random.default_rng(0)


def shared(name: str) -> str:
    if not (SHARED / name).exists():
        pytest.skip(f"real data not here: {name}")
    return f"npz:{SHARED / name}"


def checked(data: LabelledData) -> LabelledData:
    """What every source promises."""
    n, c = len(data.x), len(data.class_names)
    assert data.y.shape == (n,)
    assert data.y.dtype == np.int64
    assert set(data.y.tolist()) == set(range(c))
    assert all(type(name) is str for name in data.class_names)
    assert data.x.ndim == 4 or (data.x.ndim == 2 and data.x.dtype == np.float32)
    assert data.x.dtype in (np.uint8, np.float32)
    rows = np.concatenate((data.split.train, data.split.validation, data.split.test))
    assert np.array_equal(np.sort(rows), np.arange(n))
    assert "\n" not in data.note
    return data


def save(path: Path, **arrays: Any) -> str:
    np.savez(path / "data.npz", **arrays)
    return f"npz:{path / 'data.npz'}"


# --- The sets that come with the dependencies, and real files ---------------------------------------


@pytest.mark.usefixtures("cached_glyphs")
def test_glyphs():
    data = checked(load_data("glyphs"))
    assert data.x.shape[1:] == (1, 28, 28)
    tested = {data.class_names[c].split()[0] for c in set(data.y[data.split.test])}
    assert tested == {"GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN"}
    held_out, trained = set(data.y[data.split.validation]), set(data.y[data.split.train])
    assert not held_out & trained
    assert len(held_out) == pytest.approx(0.15 * (len(held_out) + len(trained)), abs=1)
    assert data.note.endswith("test classes are unseen")
    other = load_data("glyphs", seed=1)
    assert np.array_equal(other.x, data.x)
    assert not np.array_equal(other.split.validation, data.split.validation)


def test_digits():
    data = checked(load_data("digits"))
    assert data.x.shape == (1797, 1, 8, 8)
    assert data.x.max() == 255
    assert data.split.kind == "stratified"
    assert data.class_names == tuple("0123456789")


def test_omniglot_tests_on_its_evaluation_classes():
    data = checked(load_data(shared("omniglot/omniglot_28.npz")))
    assert data.x.shape == (32460, 1, 28, 28)
    assert data.split.kind == "official"
    assert len(set(data.y[data.split.test])) == 659
    assert len(set(data.y[data.split.validation])) == 145  # 15% of 964
    assert data.note == (
        "test rows as given: train 16,380 rows of 819 classes, validation 2,900 rows of 145 classes, "
        "test 13,180 rows of 659 classes; test classes are unseen"
    )


def test_fashion_mnist_keeps_its_test_rows():
    data = checked(load_data(shared("fashion_mnist/fashion_mnist.npz")))
    assert data.x.shape == (70000, 1, 28, 28)
    assert np.array_equal(data.split.test, np.arange(60000, 70000))
    assert len(data.split.validation) == 9000
    assert data.class_names[0].lower().startswith("t-shirt")


# --- npz --------------------------------------------------------------------------------------------

PIXELS = RNG.integers(0, 256, (40, 6, 5), dtype=np.uint8)
LABELS = np.tile(np.arange(4), 10)


@pytest.mark.parametrize(
    ("x", "want"),
    [
        (PIXELS, PIXELS[:, None]),
        (PIXELS[..., None], PIXELS[:, None]),
        (PIXELS[:, None], PIXELS[:, None]),
        (PIXELS.astype(np.int64), PIXELS[:, None]),
        (PIXELS > 127, (PIXELS > 127)[:, None] * np.uint8(255)),
        (np.stack([PIXELS] * 3, 3), np.stack([PIXELS] * 3, 1)),
        (np.stack([PIXELS] * 5, 1), np.stack([PIXELS] * 5, 1)),  # five bands, channels first
        (PIXELS.astype(np.int16) * 100, PIXELS[:, None].astype(np.float32) * 100),
        (PIXELS / 255, (PIXELS[:, None] / 255).astype(np.float32)),
        (PIXELS.reshape(40, -1), PIXELS.reshape(40, -1).astype(np.float32)),
    ],
)
def test_layouts_of_x(tmp_path, x, want):
    data = checked(load_data(save(tmp_path, x=x, y=LABELS)))
    assert data.x.dtype == want.dtype
    assert np.array_equal(data.x, want)


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (LABELS.astype(np.int8), ("0", "1", "2", "3")),
        (LABELS.astype(np.uint64) * 7, ("0", "7", "14", "21")),
        (LABELS % 2 == 1, ("0", "1")),
        (np.array(["dög", "cat", "eel", "ant"])[LABELS], ("ant", "cat", "dög", "eel")),
        (np.array([b"d\xc3\xb6g", b"cat"])[LABELS % 2], ("cat", "dög")),
    ],
)
def test_labels_are_integers_or_strings(tmp_path, y, names):
    data = checked(load_data(save(tmp_path, x=PIXELS, y=y)))
    assert data.class_names == names
    wanted = [value.decode() if isinstance(value, bytes) else str(value) for value in y.tolist()]
    if y.dtype.kind != "b":
        assert [data.class_names[label] for label in data.y] == wanted


def test_two_classes_of_one_name_are_refused(tmp_path):
    spec = save(tmp_path, x=PIXELS, y=LABELS, class_names=np.array(["a", "b", "a", "c"]))
    with pytest.raises(InputError, match="class_names must differ, 'a' names two classes"):
        load_data(spec)


def test_strings_are_texts(tmp_path):
    texts = np.array([f"текст {i}" for i in range(40)])
    data = checked_texts(load_data(save(tmp_path, x=texts, y=LABELS)))
    assert data.items is not None
    assert data.items.tolist() == texts.tolist()


def test_class_names_name_the_labels_there_are(tmp_path):
    spec = save(tmp_path, x=PIXELS, y=LABELS + 1, class_names=np.array(["none", "a", "b", "c", "d"]))
    assert checked(load_data(spec)).class_names == ("a", "b", "c", "d")


def test_unlabelled_rows_are_left_out_and_said(tmp_path):
    y = LABELS.copy()
    y[[3, 11]] = -1
    part = np.repeat((0, 1, 2), (20, 8, 12))
    data = checked(load_data(save(tmp_path, x=PIXELS, y=y, split=part)))
    assert np.array_equal(data.x[:, 0], np.delete(PIXELS, [3, 11], axis=0))
    assert len(data.split.train) == 18
    assert data.note.endswith("; rows with label -1 left out as unlabelled: 2")


def test_splits_of_a_file(tmp_path):
    part = np.repeat(np.array((2, 0, 1), np.uint8), (12, 20, 8))
    data = checked(load_data(save(tmp_path, x=PIXELS, y=LABELS, split=part)))
    assert [len(rows) for rows in (data.split.train, data.split.validation, data.split.test)] == [20, 8, 12]

    data = checked(load_data(save(tmp_path, x=PIXELS, y=LABELS, evaluation=LABELS >= 2)))
    assert set(data.y[data.split.test]) == {2, 3}

    spec = save(tmp_path, x_train=PIXELS[:30], y_train=LABELS[:30], x_test=PIXELS[30:], y_test=LABELS[30:])
    data = checked(load_data(spec))
    assert np.array_equal(data.split.test, np.arange(30, 40))


NAN = np.where(np.arange(40)[:, None] % 20 == 7, np.nan, 1.0)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": PIXELS}, "must hold x and y, or x_train, y_train, x_test and y_test; it holds none of these"),
        ({"x": PIXELS}, "it holds x$"),
        (
            {"x": PIXELS, "y": LABELS[:9]},
            r"y must have shape \(40,\), one class for each row of x, got \(9,\)",
        ),
        ({"x": PIXELS, "y": LABELS / 1}, r"y must hold integers or strings, got float64: .* astype\(int\)"),
        ({"x": PIXELS, "y": LABELS.astype(object)}, "y holds Python objects"),
        ({"x": PIXELS[0, 0], "y": LABELS}, r"images or \(n, d\) vectors, got \(5,\)"),
        ({"x": PIXELS[:0], "y": LABELS[:0]}, r"got \(0, 6, 5\)"),
        ({"x": PIXELS + 0j, "y": LABELS}, "x must hold numbers, got complex128"),
        ({"x": PIXELS.astype(str), "y": LABELS}, "x must hold numbers, got <U3"),
        ({"x": NAN, "y": LABELS}, "x must be finite: row 7 is the first of 2 with NaN or infinity"),
        ({"x": np.full((40, 2), 1e300), "y": LABELS}, "row 0 is the first of 40"),
        ({"x": PIXELS, "y": LABELS * 0}, "needs at least 2 classes, got 1"),
        ({"x": PIXELS, "y": -(LABELS % 2)}, "got 1; rows with label -1 left out as unlabelled: 20"),
        ({"x": PIXELS, "y": LABELS, "split": LABELS[:9]}, r"split must have shape \(40,\)"),
        ({"x": PIXELS, "y": LABELS, "split": LABELS}, r"got \[0, 1, 2, 3\]"),
        ({"x": PIXELS, "y": LABELS, "split": LABELS % 2}, r"2 \(test\) or, .* got \[0, 1\]"),
        ({"x": PIXELS, "y": LABELS, "evaluation": LABELS}, "evaluation must hold bools, got int64"),
        ({"x": PIXELS, "y": LABELS, "evaluation": np.arange(40) > 21}, "class 0 has both"),
        ({"x": PIXELS, "y": np.arange(40)}, "test must have at least 2 classes"),
        ({"x": PIXELS, "y": LABELS, "class_names": np.array(["a"])}, "must name the labels 0 to 3 in order"),
        (
            {"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS / 255, "y_test": LABELS},
            "train and test must be alike",
        ),
        (
            {"x_train": np.ones((40, 1)), "y_train": LABELS, "x_test": NAN, "y_test": LABELS},
            "x_test must be finite: row 7",
        ),
    ],
)
def test_npz_errors(tmp_path, arrays, message):
    spec = save(tmp_path, **arrays)
    with pytest.raises(InputError, match=message) as error:
        load_data(spec)
    assert str(error.value).startswith(f"{spec}: ")
    assert "\n" not in str(error.value)


def test_damaged_files(tmp_path):
    spec = save(tmp_path, x=PIXELS, y=LABELS)
    file = Path(spec.removeprefix("npz:"))
    whole = file.read_bytes()
    for content, message in (
        (b"", "no npz file, or a damaged one"),
        (b"x,y\n1,2\n", "no npz file, or a damaged one"),
        (whole[: len(whole) // 2], "no npz file, or a damaged one"),
        (whole[:400] + b"damage" + whole[406:], "x holds Python objects or is damaged"),
    ):
        file.write_bytes(content)
        with pytest.raises(InputError, match=message):
            load_data(spec)
    np.save(tmp_path / "x.npy", PIXELS)
    with pytest.raises(InputError, match="is an npy file"):
        load_data(f"npz:{tmp_path / 'x.npy'}")


# --- Folders ----------------------------------------------------------------------------------------


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (80, 70), color: Any = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color or 0).save(path)
    return path


def pets(root: Path, per_class: int = 9, **kwargs: Any) -> str:
    for name in ("cat", "dog"):
        for i in range(per_class):
            picture(root / name / f"{i}.png", **kwargs)
    return f"folder:{root}"


def test_folder(tmp_path):
    spec = pets(tmp_path, color=(10, 20, 30))
    picture(tmp_path / "dog" / "last.JPG", "L", (300, 200), 200)
    (tmp_path / "dog" / ".DS_Store").write_bytes(b"")
    (tmp_path / ".git").mkdir()
    data = checked(load_data(spec))
    assert data.x.shape == (19, 3, IMAGE_SIDE, IMAGE_SIDE)
    assert data.class_names == ("cat", "dog")
    assert np.array_equal(data.y, np.repeat((0, 1), (9, 10)))
    assert (data.x[:18] == np.array([10, 20, 30])[:, None, None]).all()
    assert abs(data.x[18].astype(int) - 200).max() <= 2
    assert "left out" not in data.note


def test_what_is_no_image_is_named(tmp_path):
    spec = pets(tmp_path)
    for name in ("notes.txt", "cat/labels.csv", "dog/a.xml", "dog/b.xml"):
        (tmp_path / name).write_text("")
    note = load_data(spec).note
    assert note.endswith(
        "; left out, as no images in class folders: notes.txt, cat/labels.csv, dog/a.xml and 1 more"
    )


def test_gray_pictures_have_one_channel(tmp_path):
    data = checked(load_data(pets(tmp_path, mode="L", color=77)))
    assert data.x.shape == (18, 1, IMAGE_SIDE, IMAGE_SIDE)
    assert (data.x == 77).all()


def test_middle_square_the_right_way_up_on_white(tmp_path):
    spec = pets(tmp_path)
    # Stored lying: 120 wide and 60 high, red left, blue right.  Orientation 6 turns it by 90 degrees
    # clockwise, so red is on top.
    lying = Image.new("RGB", (120, 60), "red")
    lying.paste("blue", (60, 0, 120, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    lying.save(tmp_path / "cat" / "x.png", exif=exif)
    glass = Image.new("RGBA", (50, 50), (0, 0, 0, 0))
    glass.save(tmp_path / "dog" / "x.png")
    data = load_data(spec)
    upright = data.x[9]
    assert upright[:, 5, 32].tolist() == [255, 0, 0]
    assert upright[:, -5, 32].tolist() == [0, 0, 255]
    assert (data.x[19] == 255).all()


def test_a_class_with_one_image_trains(tmp_path):
    spec = pets(tmp_path)
    picture(tmp_path / "eel" / "only.png")
    data = checked(load_data(spec))
    (row,) = np.flatnonzero(data.y == data.class_names.index("eel"))
    assert row in data.split.train


def broken(root: Path, name: str, content: bytes) -> None:
    (root / "cat" / name).write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda root: broken(root, "5.png", b""),
            r"5\.png cannot be decoded as an image; replace or remove it",
        ),
        (lambda root: broken(root, "x.jpg", b"text"), r"x\.jpg cannot be decoded"),
        (lambda root: broken(root, "3.png", (root / "cat/3.png").read_bytes()[:60]), r"3\.png cannot be"),
        (lambda root: picture(root / "cat/deep.tif", "F"), r"deep\.tif has 32 bits a pixel; convert it"),
        (
            lambda root: (root / "cat/loop.png").symlink_to(root / "cat/loop.png"),
            r"cat/loop\.png: Too many levels",
        ),
        (lambda root: (root / "emu").mkdir(), "emu holds no images; known are .bmp"),
    ],
)
def test_folder_errors(tmp_path, spoil, message):
    spec = pets(tmp_path)
    spoil(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        load_data(spec)
    assert str(error.value).startswith(f"{spec}: ")
    assert "\n" not in str(error.value)


def test_folders_without_classes(tmp_path):
    with pytest.raises(InputError, match=r"no class folders; put the images of each class in a folder"):
        load_data(f"folder:{tmp_path}")
    picture(tmp_path / "cat" / "1.png")
    with pytest.raises(InputError, match="needs at least 2 classes, got 1"):
        load_data(f"folder:{tmp_path}")
    picture(tmp_path / "dog" / "1.png")
    with pytest.raises(InputError, match="give more rows"):
        load_data(f"folder:{tmp_path}")


def test_what_cannot_be_read_is_skipped_and_counted(tmp_path):
    spec = pets(tmp_path)
    broken(tmp_path, "0.png", b"")
    broken(tmp_path, "x.jpg", b"text")
    (tmp_path / "cat" / "y.png").symlink_to(tmp_path / "nowhere.png")
    data = checked(load_data(f"{spec}:bad=skip"))
    assert len(data.x) == 17
    assert data.items is not None
    assert data.items[0] == "cat/1.png"
    assert "pictures left out as unreadable: " in data.note
    assert "0.png cannot be decoded" in data.note
    for name in (*(f"{i}.png" for i in range(1, 9)), "x.jpg"):
        broken(tmp_path, name, b"")
    for i in range(9):
        (tmp_path / "dog" / f"{i}.png").write_bytes(b"")
    with pytest.raises(InputError, match="none of 20 pictures can be read"):
        load_data(f"{spec}:bad=skip")


def test_a_loop_of_folders_ends(tmp_path):
    spec = pets(tmp_path)
    (tmp_path / "cat" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "round").symlink_to(tmp_path / "round")
    data = load_data(spec)
    assert len(data.x) == 18
    assert data.note.endswith("left out, as no images in class folders: round, cat/again")


def test_text_files(tmp_path):
    for name in ("да", "нет"):
        for i in range(9):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{i}.txt").write_text(f"{name} {i}\n", encoding="utf-8")
    data = checked_texts(load_data(f"folder:{tmp_path}"))
    assert data.class_names == ("да", "нет")
    assert data.items is not None
    assert data.items[0] == "да 0"
    (tmp_path / "да" / "3.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "да" / "4.txt").write_bytes(b"  ")
    with pytest.raises(InputError, match=r"3\.txt is not UTF-8; correct it, or leave such out by bad=skip"):
        load_data(f"folder:{tmp_path}")
    data = checked_texts(load_data(f"folder:{tmp_path}:bad=skip"))
    assert len(data.x) == 16
    assert "texts left out, 2 with faults" in data.note


def checked_texts(data: LabelledData) -> LabelledData:
    assert data.kind == "texts"
    assert data.x.dtype == np.int32
    assert data.items is not None
    assert ["".join(map(chr, row[row > 0])) for row in data.x] == data.items.tolist()
    return data


def test_folds_and_other_splits_by_option():
    folds = [load_data(f"digits:by={fold}/3").split for fold in (1, 2, 3)]
    assert np.array_equal(np.sort(np.concatenate([fold.test for fold in folds])), np.arange(1797))
    assert load_data("digits:by=class").split.kind == "class-disjoint"
    assert load_data("digits:by=rows").split.kind == "stratified"


# --- Names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("glyph", "unknown data 'glyph'; did you mean glyphs?"),
        ("folders:pets", "unknown data 'folders:pets'; did you mean folder:PATH?"),
        ("npz:", "unknown data 'npz:'; did you mean npz:PATH?"),
        ("", "unknown data ''; choose from glyphs, names, digits, npz:PATH, folder:PATH, list:PATH, "),
        ("pets.cvs", "unknown data 'pets.cvs'"),
        ("no/such.csv", "no/such.csv: cannot be read: No such file or directory"),
        ("no/such.npz", "no/such.npz: cannot be read: No such file or directory"),
        (
            "digits:by=columns",
            "digits:by=columns: by: must be class, rows, group or a fold such as 1/5, got columns",
        ),
        ("digits:by=6/5", "by: a fold must be 1/5 to 5/5, or of another number, got 6/5"),
        ("digits:by=group", "by: the data have no groups"),
        ("digits:seed=3", "unknown option seed; choose from by"),
        ("folder:pets:siz=3", "folder:pets:siz=3: unknown option siz; did you mean size?"),
        ("folder:pets:size=0", "size: must be a whole number from 1, got '0'"),
        ("folder:pets:size=64x64", "size: must be a whole number from 1, got '64x64'"),
        ("folder:pets:bad=ignore", "bad: must be stop or skip, got 'ignore'"),
        ("folder:pets:bad=skip,bad=stop", "an option is given twice"),
        ("npz:no/such.npz", "npz:no/such.npz: cannot be read: No such file or directory"),
        ("folder:no/such", "folder:no/such: cannot be read: No such file or directory"),
    ],
)
def test_names(spec, message):
    with pytest.raises(InputError, match=re.escape(message)):
        load_data(spec)


def test_a_missing_dependency_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(InputError, match=r"digits: needs sklearn.datasets: pip install 'mimetric\[app\]'"):
        load_data("digits")


def test_loading_needs_numpy_only():
    code = (
        "import sys, mimetric.data.sources, mimetric.data.glyphs; "
        "print({'torch', 'PIL', 'matplotlib', 'sklearn'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
