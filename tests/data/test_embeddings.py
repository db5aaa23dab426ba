"""Files of embeddings: what is read, and one line with file, column and row for whatever is wrong."""

from __future__ import annotations

import contextlib
import io
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mimetric.core.errors import InputError
from mimetric.data.embeddings import EmbeddedSet, read_embeddings

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 5)).astype(np.float32)
Y = np.arange(12) % 3
LOGITS = RNG.standard_normal((12, 3))


def save_npz(folder: Path, **columns: Any) -> Path:
    np.savez(folder / "set.npz", **columns)
    return folder / "set.npz"


def save_parquet(folder: Path, **columns: Any) -> Path:
    def arrow(values: Any) -> Any:
        matrix = isinstance(values, np.ndarray) and values.ndim == 2
        return pa.array(list(values) if matrix else values)

    table = pa.table({name: arrow(values) for name, values in columns.items()})
    parquet.write_table(table, folder / "set.parquet")
    return folder / "set.parquet"


SAVES = pytest.mark.parametrize("save", [save_npz, save_parquet], ids=["npz", "parquet"])


def message(path: Path) -> str:
    """The one line, without the file's name, which it must begin with."""
    with pytest.raises(InputError) as caught:
        read_embeddings(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


@SAVES
def test_everything_a_file_can_hold(tmp_path, save):
    query = np.arange(12) < 4
    columns = {
        "ids": np.arange(100, 112), "split": np.full(12, 2), "query": query, "gallery": ~query, "logits": LOGITS
    }  # fmt: skip
    found = read_embeddings(save(tmp_path, embeddings=X, labels=Y, other=Y, **columns))
    assert found.embeddings.dtype == np.float32
    assert np.array_equal(found.embeddings, X)
    assert found.labels.dtype == np.int64
    assert np.array_equal(found.labels, Y)
    assert found.class_names is None
    for name, values in columns.items():
        assert np.array_equal(getattr(found, name), values), name


@SAVES
def test_the_least_a_file_holds(tmp_path, save):
    found = read_embeddings(save(tmp_path, embeddings=X, labels=Y))
    assert [found.ids, found.split, found.query, found.gallery, found.logits] == [None] * 5


@SAVES
@pytest.mark.parametrize("column", ["query", "gallery"])
def test_of_one_mark_the_other_is_the_rest(tmp_path, save, column):
    found = read_embeddings(save(tmp_path, embeddings=X, labels=Y, **{column: Y == 1}))
    assert np.array_equal(getattr(found, column), Y == 1)
    assert np.array_equal(found.query, ~found.gallery)


@SAVES
def test_strings_are_numbered_in_order_of_name(tmp_path, save):
    found = read_embeddings(
        save(tmp_path, embeddings=X, labels=np.array(["eel", "ant", "dög"])[Y], ids=[*"abcdefghijkl"])
    )
    assert found.class_names == ("ant", "dög", "eel")
    assert found.labels.tolist() == [2, 0, 1] * 4
    assert found.ids.tolist() == [*"abcdefghijkl"]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4", np.int8])
def test_kinds_of_numbers(tmp_path, dtype):
    x = (10 * X).astype(dtype)
    found = read_embeddings(save_npz(tmp_path, embeddings=x, labels=Y)).embeddings
    assert found.dtype == (np.float32 if dtype in (np.int8, ">f4") else dtype)
    assert found.dtype.isnative
    assert np.array_equal(found, x)


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 5)]
)
@pytest.mark.parametrize("chunks", [1, 3])
def test_parquet_of_any_list_type_in_any_row_groups(tmp_path, kind, chunks):
    labels = pa.array([*"abc"] * 4).dictionary_encode()
    table = pa.table({"embeddings": pa.array(X.tolist(), type=kind), "labels": labels})
    parquet.write_table(table, tmp_path / "set.parquet", row_group_size=12 // chunks)
    found = read_embeddings(tmp_path / "set.parquet")
    assert found.embeddings == pytest.approx(X)
    assert found.class_names == ("a", "b", "c")
    assert found.labels.tolist() == Y.tolist()


# --- Mistakes ---------------------------------------------------------------------------------------

NAN = X.copy()
NAN[7:9, 2] = np.nan
QUERY = np.arange(12) < 4


@SAVES
@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        ({"embeddings": X}, "must hold embeddings and labels, has no labels; it holds embeddings"),
        ({"embedding": X, "labels": Y}, "has no embeddings; it holds embedding, labels; did you mean embeddings?"),
        ({"x": X, "y": Y}, r"holds a data set \(x, y\) and no embeddings; evaluate a run on it by --data npz:PATH"),
        ({"a": Y}, "has no embeddings and no labels; it holds a$"),
        ({"embeddings": Y, "labels": Y}, r"embeddings must have shape \(rows, width\), both at least 1, got \(12,\)"),
        ({"embeddings": X[:0], "labels": Y[:0]}, r"embeddings must (have shape .* got \(0, 5\)|hold numbers)"),
        ({"embeddings": np.array([*"abcdefghijkl"]), "labels": Y}, "embeddings must hold numbers, got <U1"),
        ({"embeddings": NAN, "labels": Y}, "embeddings must be finite: row 7 is the first of 2 with nan"),
        ({"embeddings": X, "labels": Y / 2}, "labels must hold integers or strings, got float64: a class is a name"),
        ({"embeddings": X, "labels": Y - 2}, "labels must be class ids from 0, or -1 .*: row 0 has -2"),
        ({"embeddings": X, "labels": Y.astype("u8") + 2**63}, "row 0 has 9223372036854775808"),
        ({"embeddings": X, "labels": Y, "split": Y + 1}, r"split must be 0 \(train\), 1 .*: row 2 has 3"),
        ({"embeddings": X, "labels": Y, "split": 0 * Y}, r"split marks no row as test \(2\)"),
        ({"embeddings": X, "labels": Y, "query": Y}, "query must hold bools, got int64"),
        ({"embeddings": X, "labels": Y, "query": QUERY, "gallery": Y < 1}, "row 0 is both query and gallery"),
        ({"embeddings": X, "labels": Y, "query": Y < 9}, "no row is gallery; mark some, or drop query"),
        ({"embeddings": X, "labels": Y, "gallery": Y < 9}, "no row is query; mark some, or drop query"),
        ({"embeddings": X, "labels": Y, "logits": LOGITS[:, :2]}, "a column of logits, 0 to 1: row 2 has 2"),
        ({"embeddings": X, "labels": np.array([*"abc"])[Y], "logits": LOGITS}, "logits need integer labels"),
        ({"embeddings": X, "labels": Y, "logits": np.full((12, 3), np.inf)}, "logits must be finite: row 0"),
    ],
)  # fmt: skip
def test_wrong_columns(tmp_path, save, columns, wanted):
    assert re.search(wanted, message(save(tmp_path, **columns)))


@pytest.mark.parametrize("name", ["labels", "ids", "split", "query", "logits"])
def test_lengths_that_differ(tmp_path, name):
    columns = {"embeddings": X, "labels": Y, name: LOGITS[:7] if name == "logits" else Y[:7]}
    assert message(save_npz(tmp_path, **columns)) == (
        f"{name} must have one entry for each of 12 rows of embeddings, got (7,)"
    )


def test_pickles_are_refused_and_not_run(tmp_path):
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    objects = np.array([Harm()] * 12, dtype=object)
    wanted = "labels holds Python objects or is damaged; save a plain array"
    assert message(save_npz(tmp_path, embeddings=X, labels=objects)) == wanted
    (tmp_path / "raw.npz").write_bytes(pickle.dumps(Harm()))
    assert message(tmp_path / "raw.npz").startswith("is no npz file")
    assert not (tmp_path / "harm").exists()


@SAVES
def test_damaged_files(tmp_path, save):
    whole = save(tmp_path, embeddings=X, labels=Y)
    content, file = whole.read_bytes(), tmp_path / f"damaged{whole.suffix}"
    for damaged in (b"", b"embeddings,labels\n", content[: len(content) // 2], content[:-9], content[:-9:-1]):
        file.write_bytes(damaged)
        assert re.match("is no (npz|Parquet) file, or a damaged one", message(file))
    for at in range(0, len(content), 7):  # a byte turned over anywhere: read, or one line
        file.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        with contextlib.suppress(InputError):
            assert isinstance(read_embeddings(file), EmbeddedSet)


def test_an_array_that_claims_to_be_huge(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**6)}
    )
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as file:
        file.writestr("embeddings.npy", header.getvalue())
        file.writestr("labels.npy", header.getvalue())
    assert message(tmp_path / "huge.npz").startswith("is damaged, or larger than memory")


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        ({"embeddings": [[1.0, 2.0], [3.0]], "labels": [0, 1]}, "row 0 has 2, row 1 has 1$"),
        ({"embeddings": [[1.0, 2.0], None], "labels": [0, 1]}, "embeddings must have no missing values: row 1 has one"),
        ({"embeddings": [[1.0, 2.0], [3.0, None]], "labels": [0, 1]}, "embeddings must have no .*: row 1 has one"),
        ({"embeddings": [[1.0], [2.0]], "labels": [0, None]}, "labels must have no missing values: row 1 has one"),
        ({"embeddings": [[], []], "labels": [0, 1]}, "embeddings must hold numbers, got object"),
        ({"embeddings": [["a"], ["b"]], "labels": [0, 1]}, "embeddings must hold numbers"),
        ({"embeddings": [[1.0], [2.0]], "labels": [[0], [1]]}, r"labels must have one entry .* got \(2, 1\)"),
        ({"embeddings": [1.0, 2.0], "labels": [0, 1]}, r"embeddings must have shape .* got \(2,\)"),
    ],
)  # fmt: skip
def test_wrong_rows_of_parquet(tmp_path, columns, wanted):
    assert re.search(wanted, message(save_parquet(tmp_path, **columns)))


def test_other_files(tmp_path):
    np.save(tmp_path / "a.npy", X)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    (tmp_path / "folder.npz").mkdir()
    assert message(tmp_path / "a.npz").startswith("is an npy file, one array alone")
    for name in ("a", "a.csv"):
        (tmp_path / name).touch()
    assert message(tmp_path / "a.csv") == "embeddings are read from .npz or .parquet files, got .csv"
    assert message(tmp_path / "a") == "embeddings are read from .npz or .parquet files, got no suffix"
    assert message(tmp_path / "none.npz") == "no such file or folder"
    assert message(tmp_path / "none") == "no such file or folder"
    assert message(tmp_path / "folder.npz") == "cannot be read: Is a directory"


def test_npz_needs_no_pyarrow_and_parquet_says_so(tmp_path):
    npz, table = save_npz(tmp_path, embeddings=X, labels=Y), save_parquet(tmp_path, embeddings=X, labels=Y)
    code = (
        "import sys, pathlib; sys.modules['pyarrow'] = None\n"
        "from mimetric.data.embeddings import read_embeddings\n"
        f"print(read_embeddings(pathlib.Path({str(npz)!r})).labels.sum())\n"
        f"try: read_embeddings(pathlib.Path({str(table)!r}))\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "12", f"{table}: needs pyarrow: pip install 'mimetric[app]'; or write an npz file"
    ]  # fmt: skip


@SAVES
def test_without_a_label_a_row_is_unlabelled(tmp_path, save):
    found = read_embeddings(save(tmp_path, embeddings=X[:4], labels=["b", "", "a", "b"], items=list("wxyz")))
    assert (found.labels.tolist(), found.class_names) == ([1, -1, 0, 1], ("a", "b"))
    assert found.items.tolist() == list("wxyz")
    found = read_embeddings(save(tmp_path, embeddings=X[:4]), needed=["embeddings"])
    assert (found.labels.tolist(), found.class_names) == ([-1] * 4, None)
