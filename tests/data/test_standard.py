"""The standard sets: tiny trees in exactly the layouts that their publishers ship."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from mimetric.core.errors import InputError
from mimetric.data.sources import load_data
from mimetric.data.standard import STANDARD


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (len(str(path)), 3, 5)).save(path)


def cub200(root: Path) -> None:
    """images.txt, image_class_labels.txt and classes.txt, "number value" in each line; 200 classes of 2 pictures."""
    base = root / "CUB_200_2011"
    names = [f"{c:03}.Bird_{c}" for c in range(1, 201)]
    paths = [f"{name}/Bird_{i}.jpg" for name in names for i in range(2)]
    for path in paths:
        picture(base / "images" / path)
    lines = {
        "classes.txt": [f"{c} {name}" for c, name in enumerate(names, 1)],
        "images.txt": [f"{i} {path}" for i, path in enumerate(paths, 1)],
        "image_class_labels.txt": [f"{i} {(i + 1) // 2}" for i in range(1, 401)],
        "train_test_split.txt": [f"{i} {i % 2}" for i in range(1, 401)],
        "bounding_boxes.txt": [f"{i} 1.0 2.0 3.0 4.0" for i in range(1, 401)],
    }
    for name, content in lines.items():
        (base / name).write_text("\n".join(content) + "\n")


CARS = np.array([f"Car {c} Coupé 2012" for c in range(1, 197)], object)
BOX = [(f"bbox_{side}", "i4") for side in ("x1", "y1", "x2", "y2")]


def cars196(root: Path) -> None:
    """cars_annos.mat: a struct array `annotations` and a cell array `class_names`; pictures in car_ims."""
    rows = np.zeros((1, 392), [("relative_im_path", "O"), *BOX, ("class", "O"), ("test", "O")])
    for i in range(392):
        rows["relative_im_path"][0, i] = f"car_ims/{i + 1:06}.jpg"
        rows["class"][0, i], rows["test"][0, i] = i // 2 + 1, i % 2
        picture(root / f"car_ims/{i + 1:06}.jpg")
    savemat(root / "cars_annos.mat", {"annotations": rows, "class_names": CARS})


def cars196_devkit(root: Path) -> None:
    """cars_train and cars_test, each with numbers of its own; the labels of the test in a file beside."""
    (root / "devkit").mkdir(parents=True)
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": CARS})
    files = {"cars_train": "devkit/cars_train_annos.mat", "cars_test": "cars_test_annos_withlabels.mat"}
    for folder, file in files.items():
        rows = np.zeros((1, 196), [*BOX, ("class", "O"), ("fname", "O")])
        for i in range(196):
            rows["fname"][0, i], rows["class"][0, i] = f"{i + 1:05}.jpg", i + 1
            picture(root / folder / f"{i + 1:05}.jpg")
        savemat(root / file, {"annotations": rows})


def sop(root: Path) -> None:
    """Ebay_train.txt and Ebay_test.txt, with a header; classes numbered on from one to the other."""
    base, number = root / "Stanford_Online_Products", 0
    for name, classes in (("Ebay_train.txt", range(1, 7)), ("Ebay_test.txt", range(7, 13))):
        lines = ["image_id class_id super_class_id path"]
        for c in classes:
            for i in range(2):
                number += 1
                path = f"bicycle_final/1110851228{c:02}_{i}.JPG"
                lines.append(f"{number} {c} {c % 2 + 1} {path}")
                picture(base / path)
        (base / name).write_text("\n".join(lines) + "\n")


def inshop(root: Path, folder: str = "Img") -> None:
    """Eval/list_eval_partition.txt: the number of rows, a header, then columns padded with blanks."""
    lines = ["36", "image_name item_id evaluation_status"]
    for c in range(12):
        for i, status in enumerate(("train",) * 3 if c < 6 else ("query", "gallery", "gallery")):
            path = f"img/WOMEN/Dresses/id_{c:08}/0{i}_1_front.jpg"
            lines.append(f"{path:<70} id_{c:08} {status}")
            picture(root / folder / path)
    (root / "Eval").mkdir()
    (root / "Eval" / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")


def omniglot(root: Path) -> None:
    """Alphabets of characters of one picture by each of 20 drawers, black and white."""
    for folder, alphabets in (("images_background", ("Greek", "Latin")), ("images_evaluation", ("Tengwar",))):
        for alphabet in alphabets:
            for c in (1, 2, 3):
                for drawer in range(1, 21):
                    file = root / folder / alphabet / f"character{c:02}" / f"{c:04}_{drawer:02}.png"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    Image.new("1", (21, 21), 1).save(file)
            (root / folder / alphabet / "._character01").write_bytes(b"")


LAYOUTS = pytest.mark.parametrize(
    ("name", "layout", "train", "test"),
    [
        ("cub200", cub200, (200, 100), (200, 100)),
        ("cars196", cars196, (196, 98), (196, 98)),
        ("cars196", cars196_devkit, (196, 98), (196, 98)),
        ("sop", sop, (12, 6), (12, 6)),
        ("inshop", inshop, (18, 6), (18, 6)),
        ("omniglot", omniglot, (120, 6), (60, 3)),
    ],
)
Layout = Callable[[Path], None]


@LAYOUTS
def test_published_layouts(tmp_path, name, layout: Layout, train, test):
    layout(tmp_path)
    data = load_data(f"{name}:{tmp_path}:counts=any,size=8")
    part = data.split.part()
    for rows, wanted in ((part < 2, train), (part == 2, test)):
        assert (rows.sum(), len(np.unique(data.y[rows]))) == wanted
    assert not set(data.y[part < 2]) & set(data.y[part == 2])
    assert data.split.kind == "official"
    assert data.x.shape == (len(part), 1 if name == "omniglot" else 3, 8, 8)


@LAYOUTS
def test_the_published_counts_are_checked(tmp_path, name, layout: Layout, train, test):  # noqa: ARG001
    layout(tmp_path)
    with pytest.raises(InputError) as error:
        load_data(f"{name}:{tmp_path}")
    published = STANDARD[name].counts["train"]
    assert str(error.value).startswith(
        f"{name}:{tmp_path}: train must have {published[0]:,} pictures of {published[1]:,} classes as published, "
        f"has {train[0]} of {train[1]}; get "
    )
    assert str(error.value).endswith("again, or take what is there by counts=any")


def test_names_of_classes(tmp_path):
    cub200(tmp_path / "cub")
    data = load_data(
        f"cub200:{tmp_path / 'cub' / 'CUB_200_2011'}:counts=any"
    )  # the inner folder does as well
    assert data.class_names[:2] == ("001.Bird_1", "002.Bird_2")
    assert data.items is not None
    assert data.items[2] == "images/002.Bird_2/Bird_0.jpg"
    (tmp_path / "cars").mkdir()
    cars196(tmp_path / "cars")
    data = load_data(f"cars196:{tmp_path / 'cars'}:counts=any")
    assert data.class_names[195] == "Car 196 Coupé 2012"
    assert data.class_names[data.y[2]] == "Car 2 Coupé 2012"


@pytest.mark.parametrize("folder", ["Img", ""])
def test_queries_of_in_shop_are_searched_in_its_gallery(tmp_path, folder):
    inshop(tmp_path, folder)
    data = load_data(f"inshop:{tmp_path}:counts=any")
    assert data.split.query is not None
    assert data.split.gallery is not None
    assert data.items is not None
    assert all("/00_1" in path for path in data.items[data.split.query])
    assert len(data.split.query) == 6
    assert len(data.split.gallery) == 12
    assert data.note.endswith("; 6 queries are searched among 12 rows")


def test_drawers_of_omniglot_are_groups(tmp_path):
    omniglot(tmp_path)
    data = load_data(f"omniglot:{tmp_path}:counts=any,by=group")
    assert data.items is not None
    drawers = np.array([path[-6:-4] for path in data.items])
    assert not set(drawers[data.split.train]) & set(drawers[data.split.test])


@pytest.mark.parametrize("name", STANDARD)
def test_what_is_missing_is_named_with_what_to_get(tmp_path, name):
    with pytest.raises(InputError) as error:
        load_data(f"{name}:{tmp_path}")
    assert f"; get {STANDARD[name].get}, unpack it, and name its folder by {name}:PATH" in str(error.value)
    with pytest.raises(InputError, match="where is it"):
        load_data(name)


def damage(root: Path, file: str, content: str | bytes | None) -> None:
    if content is None:
        (root / file).unlink()
    else:
        (root / file).write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize(
    ("name", "layout", "file", "content", "wanted"),
    [
        (
            "cub200",
            cub200,
            "CUB_200_2011/image_class_labels.txt",
            None,
            "image_class_labels.txt: no such file",
        ),
        ("cub200", cub200, "CUB_200_2011/image_class_labels.txt", "1 1\n", "has no picture 2; unpack"),
        ("cub200", cub200, "CUB_200_2011/images.txt", "1\n", "line 1: must have 2 fields, has 1"),
        ("cub200", cub200, "CUB_200_2011/images.txt", "", "lists no pictures; get CUB"),
        ("cub200", cub200, "CUB_200_2011/images.txt", b"1 \xff.jpg\n", "images.txt: is not UTF-8"),
        (
            "cub200",
            cub200,
            "CUB_200_2011/classes.txt",
            "1 a\n",
            "has names for 1 classes and labels 1 to 200",
        ),
        ("cub200", cub200, "CUB_200_2011/images/001.Bird_1/Bird_1.jpg", None, "Bird_1.jpg: No such file"),
        ("cub200", cub200, "CUB_200_2011/images.txt", "1 ../../../x.jpg\n2 b", "x.jpg leaves the folder"),
        (
            "cars196",
            cars196,
            "cars_annos.mat",
            b"MATLAB 5.0 and nothing",
            "is no MATLAB file with annotations",
        ),
        ("cars196", cars196_devkit, "cars_test_annos_withlabels.mat", None, "no such file; get car_ims.tgz"),
        ("sop", sop, "Stanford_Online_Products/Ebay_test.txt", None, "Ebay_test.txt: no such file"),
        ("sop", sop, "Stanford_Online_Products/Ebay_test.txt", "h\n1 x 1 a.jpg\n", "'x' must be a number"),
        (
            "inshop",
            inshop,
            "Eval/list_eval_partition.txt",
            "1\nh\na.jpg id_1 tset\n",
            "a.jpg must be train, query",
        ),
    ],
)
def test_damaged_trees(tmp_path, name, layout: Layout, file, content, wanted):
    layout(tmp_path)
    damage(tmp_path, file, content)
    with pytest.raises(InputError, match=wanted) as error:
        load_data(f"{name}:{tmp_path}:counts=any")
    assert str(error.value).startswith(f"{name}:{tmp_path}:counts=any: ")
    assert "\n" not in str(error.value)
