"""Lists of samples in four formats, and one line with the row for whatever is wrong with them."""

from __future__ import annotations

import csv as csv_module
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from mimetric.core.errors import InputError
from mimetric.data.labelled import LabelledData
from mimetric.data.sources import load_data

ROWS = [
    {"text": f"{word} {i}", "label": word, "split": part}
    for word, part in (("über", "train"), ("日 本", "train"), ("три", "test"), ("four", "test"))
    for i in range(3)
]


def csv(path: Path, rows: Sequence[dict[str, Any]], comma: str = ",") -> Path:
    def cell(value: Any) -> str:
        word = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        return '"' + word.replace('"', '""') + '"' if set(word) & set('",\t\n') else word

    lines = [comma.join(rows[0]), *(comma.join(cell(value) for value in row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def tsv(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    return csv(path, rows, "\t")


def jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def table(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    parquet.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


SAVES = {"csv": csv, "tsv": tsv, "txt": tsv, "jsonl": jsonl, "ndjson": jsonl, "parquet": table}
FORMATS = pytest.mark.parametrize("suffix", SAVES)


def load(folder: Path, suffix: str, rows: Sequence[dict[str, Any]], options: str = "") -> LabelledData:
    path = SAVES[suffix](folder / f"rows.{suffix}", rows)
    return load_data(f"list:{path}{options}")


def message(folder: Path, suffix: str, rows: Sequence[dict[str, Any]], options: str = "") -> str:
    with pytest.raises(InputError) as error:
        load(folder, suffix, rows, options)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"list:{folder}/rows.{suffix}{options}: ")


# --- What is read -----------------------------------------------------------------------------------


@FORMATS
def test_texts(tmp_path, suffix):
    data = load(tmp_path, suffix, ROWS)
    assert data.kind == "texts"
    assert data.class_names == ("four", "über", "три", "日 本")
    assert [data.class_names[label] for label in data.y] == [row["label"] for row in ROWS]
    assert data.items is not None
    assert data.items.tolist() == [row["text"] for row in ROWS]
    assert np.array_equal(data.split.test, np.arange(6, 12))
    assert data.split.query is None


@FORMATS
def test_vectors(tmp_path, suffix):
    rows = [{"vector": [i, i / 4, -1.5], "label": i % 2} for i in range(12)]
    data = load(tmp_path, suffix, rows)
    assert data.x.dtype == np.float32
    assert np.array_equal(data.x, np.array([row["vector"] for row in rows], np.float32))
    assert data.y.tolist() == [0, 1] * 6


@FORMATS
def test_pictures(tmp_path, suffix):
    rows = [{"path": f"img/{i} a.png", "label": "ab"[i % 2]} for i in range(12)]
    (tmp_path / "img").mkdir()
    for i, row in enumerate(rows):
        Image.new("RGB", (40, 30), (i, 0, 0)).save(tmp_path / row["path"])
    data = load(tmp_path, suffix, rows, ":size=16")
    assert data.x.shape == (12, 3, 16, 16)
    assert data.x[:, 0, 0, 0].tolist() == list(range(12))
    assert data.items is not None
    assert data.items.tolist() == [row["path"] for row in rows]
    assert data.folder == tmp_path


def test_a_suffix_is_enough_and_columns_have_any_name(tmp_path):
    rows = [{"name": f"n{i}", "product type": i % 2, "no": f"id{i}"} for i in range(12)]
    path = csv(tmp_path / "rows.csv", rows)
    data = load_data(f"{path}:text=name,label=product type,id=no")
    assert data.ids is not None
    assert data.ids.tolist() == [row["no"] for row in rows]
    assert data.class_names == ("0", "1")


def test_paths_begin_at_root(tmp_path):
    (tmp_path / "img").mkdir()
    for i in range(12):
        Image.new("L", (4, 4), i).save(tmp_path / "img" / f"{i}.png")
    (tmp_path / "lists").mkdir()
    rows = [{"path": f"{i}.png", "label": i % 2} for i in range(12)]
    data = load(tmp_path / "lists", "csv", rows, f":size=4,root={tmp_path / 'img'}")
    assert data.x[:, 0, 0, 0].tolist() == list(range(12))


def test_integers_stay_integers_and_other_labels_are_words(tmp_path):
    rows = [{"text": "a", "label": label} for label in ["10", "9", "-1"] * 4]
    data = load(tmp_path, "csv", rows)
    assert data.class_names == ("9", "10")
    assert data.note.endswith("rows with label -1 left out as unlabelled: 4")
    rows = [{"text": "a", "label": label} for label in ["007", "7"] * 6]
    assert load(tmp_path, "csv", rows).class_names == ("007", "7")


@FORMATS
def test_query_and_gallery_by_split(tmp_path, suffix):
    parts = ["train"] * 6 + ["query", "gallery", "gallery"] * 2
    rows = [row | {"split": part} for row, part in zip(ROWS, parts)]
    split = load(tmp_path, suffix, rows).split
    assert split.query is not None
    assert split.gallery is not None
    assert split.query.tolist() == [6, 9]
    assert split.gallery.tolist() == [7, 8, 10, 11]
    assert np.array_equal(split.test, np.arange(6, 12))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_query_and_gallery_by_columns(tmp_path, suffix):
    rows = [row | {"query": i in (6, 9), "gallery": i in (7, 10, 11)} for i, row in enumerate(ROWS)]
    data = load(tmp_path, suffix, rows)
    assert data.note.endswith("test rows that are neither query nor gallery left out: 1")
    assert data.items is not None
    assert data.split.query is not None
    assert data.items[data.split.query].tolist() == ["три 0", "four 0"]
    one = [{name: value for name, value in row.items() if name != "gallery"} for row in rows]
    split = load(tmp_path, suffix, one).split
    assert split.gallery is not None
    assert split.gallery.tolist() == [7, 8, 10, 11]


def test_groups_stay_together(tmp_path):
    rows = [{"text": "a", "label": i % 3, "group": f"g{i % 7}"} for i in range(70)]
    data = load(tmp_path, "csv", rows)
    assert data.split.kind == "grouped"
    groups = np.array([row["group"] for row in rows])
    assert not set(groups[data.split.train]) & set(groups[data.split.test])


def test_texts_of_any_kind(tmp_path):
    odd = [
        'a "quoted", text',
        "two\nlines",
        "line\u2028separator",
        "e\u0301",
        "👩‍👩‍👧",
        "=1+1",
        "NaN",
        "null",
    ]
    rows = [{"text": text, "label": i} for i, text in enumerate(odd) for _ in range(3)]
    for suffix in ("csv", "jsonl", "parquet"):
        data = load(tmp_path, suffix, rows, ":by=rows")
        assert data.items is not None
        assert data.items.tolist() == [row["text"] for row in rows]
    assert "".join(map(chr, data.x[9][data.x[9] > 0])) == "é"


def test_long_texts_are_cut_and_counted(tmp_path):
    rows = [{"text": "a" * (i + 1), "label": i % 2} for i in range(12)]
    data = load(tmp_path, "csv", rows, ":length=8")
    assert data.x.shape == (12, 8)
    assert data.note.endswith("texts cut to 8 code points: 4")


def test_a_byte_order_mark_and_windows_lines(tmp_path):
    content = "label,text\r\n" + "".join(f"{i % 2},t{i}\r\n" for i in range(12)) + "\r\n"
    (tmp_path / "rows.csv").write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert len(load_data(str(tmp_path / "rows.csv")).x) == 12


def test_a_million_rows(tmp_path):
    lines = "".join(f"text {i},{i % 1000}\n" for i in range(10**6))
    (tmp_path / "rows.csv").write_text("text,label\n" + lines)
    start = time.process_time()
    data = load_data(str(tmp_path / "rows.csv"))
    assert time.process_time() - start < 60
    assert data.x.shape == (10**6, 11)
    assert len(data.class_names) == 1000


# --- What is wrong ----------------------------------------------------------------------------------


def changed(row: int, **values: Any) -> list[dict[str, Any]]:
    return [old | values if i == row else old for i, old in enumerate(ROWS)]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"label": ""}, "label must be an integer or a string, got ''"),
        ({"text": "  "}, "text must be a text, got '  '"),
        (
            {"split": "tset"},
            "split must be one of train, validation, test, query, gallery, 0, 1, 2, val, valid, dev",
        ),
    ],
)
def test_a_wrong_row_is_named_or_left_out(tmp_path, suffix, values, wanted):
    place = {"csv": "line 6", "jsonl": "line 5", "parquet": "row 4"}[suffix]
    found = message(tmp_path, suffix, changed(4, **values))
    assert found.startswith(f"{place}: {wanted}")
    assert found.endswith("; correct it, or leave such rows out by bad=skip")
    data = load(tmp_path, suffix, changed(4, **values), ":bad=skip")
    assert len(data.x) == 11
    assert f"; rows left out, 1 with faults: {place}: {wanted}" in data.note


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_missing_values(tmp_path, suffix):
    assert "label must be an integer or a string, got None" in message(
        tmp_path, suffix, changed(4, label=None)
    )
    assert "text must be a text, got None" in message(tmp_path, suffix, changed(4, text=None))


def test_labels_are_no_quantities(tmp_path):
    rows = [{"text": "a", "label": i / 2} for i in range(12)]
    assert message(tmp_path, "parquet", rows).startswith(
        "row 1: label must be an integer or a string, got 0.5"
    )
    rows = [{"text": "a", "label": float(i % 2)} for i in range(12)]
    assert load(tmp_path, "parquet", rows).class_names == ("0", "1")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_ids_differ(tmp_path, suffix):
    rows = [row | {"id": i if i != 7 else 2} for i, row in enumerate(ROWS)]
    first = {"csv": "line 4", "jsonl": "line 3", "parquet": "row 2"}[suffix]
    assert f"again, first at {first}; ids must differ" in message(tmp_path, suffix, rows)
    assert len(load(tmp_path, suffix, rows, ":bad=skip").x) == 11


def test_paths_stay_in_the_folder(tmp_path):
    for path in ("../b.png", "/etc/passwd", "a/../../b.png"):
        rows = [{"path": path, "label": i % 2} for i in range(6)]
        found = message(tmp_path, "csv", rows)
        assert found.startswith(f"line 2: path {path!r} leaves the folder {tmp_path}")
        assert found.endswith("; 6 rows have faults")


def test_pictures_that_are_missing_or_broken_are_named_with_their_line(tmp_path):
    for i in range(12):
        Image.new("L", (4, 4), i).save(tmp_path / f"{i}.png")
    rows = [{"path": f"{i}.png", "label": i % 2} for i in range(12)]
    (tmp_path / "7.png").unlink()
    assert message(tmp_path, "csv", rows).startswith("line 9: 7.png: No such file or directory")
    (tmp_path / "7.png").write_bytes(b"")
    assert message(tmp_path, "csv", rows).startswith(f"line 9: {tmp_path}/7.png cannot be decoded")
    assert len(load(tmp_path, "csv", rows, ":bad=skip").x) == 11


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        (
            [{"vector": "1 2", "label": 0}, {"vector": "1 x", "label": 1}],
            "line 3: vector must hold finite numbers",
        ),
        ([{"vector": "1 2", "label": 0}, {"vector": "1 nan", "label": 1}], "line 3: vector must hold finite"),
        (
            [{"vector": "1 2", "label": 0}, {"vector": "1 1e99", "label": 1}],
            "line 3: vector must hold finite",
        ),
        (
            [{"vector": "1 2", "label": 0}, {"vector": "1", "label": 1}],
            "line 3: vector must have 2 numbers, as the",
        ),
        (
            [{"text": "a", "path": "a", "label": 0}],
            "needs one column of samples, .*; has path and text; name it by",
        ),
        (
            [{"test": "a", "label": 0}],
            "needs one column of samples, path, text or vector; it has test, label",
        ),
        ([{"text": "a", "class": 0}], "needs a column label; it has text, class; name it by label="),
        ([{"text": "a", "label": 0, "query": 1}], "a column query or gallery alone needs a column split"),
        (
            [{"text": "a", "label": 0, "query": "maybe", "split": "test"}],
            "line 2: query must be one of true, false",
        ),
        ([{"text": "a", "label": 0, "query": 1, "gallery": 1}], "line 2: is both query and gallery"),
        (
            [{"text": "a", "label": 0, "query": 1, "split": "train"}],
            "line 2: is query or gallery, and its split is",
        ),
        ([{"text": "a", "label": 0}] * 5, "needs at least 2 classes, got 1"),
    ],
)
def test_wrong_columns_and_values(tmp_path, rows, wanted):
    assert re.match(wanted, message(tmp_path, "csv", rows))


def test_columns_that_are_not_there(tmp_path):
    assert (
        message(tmp_path, "csv", ROWS, ":label=lable") == "label=lable: no such column; did you mean label?"
    )
    assert "unknown option lable; did you mean label?" in message(tmp_path, "csv", ROWS, ":lable=text")


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\n\n", "is empty"),
        ("a.csv", b"text,label\n", "holds no rows"),
        ("a.csv", b"text,label,text\na,1,b\n", "two columns are named 'text'; rename one"),
        ("a.csv", b"text,label\na,1\nb\n", "line 3: 1 fields, the header has 2"),
        ("a.csv", b'text,label\na,1\n"b,2\n', "line 3: unexpected end of data; correct the quotes"),
        ("a.csv", "text,label\na,1\nü,2\n".encode("latin-1"), "line 3: is not UTF-8; save the list as UTF-8"),
        ("a.csv", "text,label\na,1\n".encode("utf-16"), "line 1: is not UTF-8"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": \n', "line 2: is no JSON "),
        ("a.jsonl", b'{"text": "a", "label": 1}\n[1]\n', "line 2: is no JSON object"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n\n{"text": "a"}\n', "line 3: has no label"),
        (
            "a.jsonl",
            b'{"text": "a", "label": [1]}\n',
            r"line 1: label must be an integer or a string, got \[1\]",
        ),
        ("a.jsonl", b"[" * 100000, "line 1: is no JSON"),
        ("a.parquet", b"PAR1 and nothing else", "is no Parquet file, or a damaged one"),
        ("a.xlsx", b"x", "lists are read from .csv, .tsv, .txt, .jsonl, .ndjson, .parquet files, got .xlsx"),
    ],
)
def test_damaged_files(tmp_path, name, content, wanted):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=wanted) as error:
        load_data(f"list:{tmp_path / name}")
    assert str(error.value).startswith(f"list:{tmp_path / name}: ")
    assert "\n" not in str(error.value)


def test_rows_of_another_encoding_are_skipped(tmp_path):
    lines = [f"t{i},{i % 2}".encode() for i in range(12)]
    lines[4] = "ü,1".encode("latin-1")
    (tmp_path / "rows.csv").write_bytes(b"\n".join([b"text,label", *lines]))
    data = load_data(f"{tmp_path / 'rows.csv'}:bad=skip")
    assert len(data.x) == 11
    assert data.note.endswith("rows left out, 1 with faults: line 6: is not UTF-8")


@pytest.mark.parametrize("suffix", SAVES)
@given(content=st.binary(max_size=60), options=st.sampled_from(["", ":bad=skip"]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_data_or_one_line(tmp_path, suffix, content, options):
    (tmp_path / f"any.{suffix}").write_bytes(b"text,label\n" + content if suffix == "csv" else content)
    said = ""
    try:
        load_data(f"list:{tmp_path}/any.{suffix}{options}")
    except InputError as error:
        said = str(error)
    assert "\n" not in said


@given(rows=st.lists(st.tuples(st.text(min_size=1), st.sampled_from(["α", "b c"])), min_size=9, max_size=30))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_comes_back(tmp_path, rows):
    texts = [f"x{text}".encode("utf-8", "replace").decode() for text, _ in rows]
    with (tmp_path / "any.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv_module.writer(file)
        writer.writerows([("text", "label"), *((text, i % 2) for i, text in enumerate(texts))])
    data = load_data(str(tmp_path / "any.csv"))
    assert data.items is not None
    assert data.items.tolist() == texts
