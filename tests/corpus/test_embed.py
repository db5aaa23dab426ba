"""`embed`: inputs of every kind to a file, from where a killed process was, and nothing half-written."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mimetric.cli import main
from mimetric.core.errors import InputError
from mimetric.corpus import embed
from mimetric.corpus.embed import embed_inputs
from mimetric.corpus.parts import Parts
from mimetric.data.embeddings import read_embeddings
from mimetric.model import load

RNG = np.random.default_rng(0)
X = RNG.standard_normal((10, 4)).astype(np.float32)
NAMES = ["猫 one", "Žába", "猫 one", "two words"]


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def failed(run: Path, inputs: list[Any], out: Path, **options: Any) -> str:
    """The one line; nothing is left in the folder of the file."""
    before = files(out.parent) if out.parent.exists() else []
    with pytest.raises(InputError) as caught:
        embed_inputs(run, [str(one) for one in inputs], out, **options)
    assert files(out.parent) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", x=X, y=np.arange(10) % 3 - 1)
    return tmp_path / "x.npz"


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_rows_labels_and_ids_of_an_array(vectors, npz, tmp_path, suffix):
    out = tmp_path / "out" / f"e{suffix}"
    found = embed_inputs(vectors, [str(npz)], out, batch_size=3)
    held = read_embeddings(out)
    assert (found.rows, found.width, found.columns) == (10, 6, ("embeddings", "ids", "labels"))
    np.testing.assert_allclose(held.embeddings, load(vectors).encode(X), rtol=1e-6)
    assert held.labels.tolist() == (np.arange(10) % 3 - 1).tolist()
    assert held.ids.tolist() == [f"{npz.as_posix()}:{row}" for row in range(10)]
    assert files(out.parent) == [out.name]


def test_of_the_data_of_a_run_evaluate_says_what_it_says_of_the_run(with_data, data, tmp_path, capsys):
    assert main(["embed", str(with_data), data, "--out", str(tmp_path / "e.parquet")]) == 0
    assert "120 rows of 6 numbers, with ids, labels, split" in capsys.readouterr().out
    words = ["--metrics", "recall_at_1,auc", "--json"]
    told = {}
    for source in (tmp_path / "e.parquet", with_data):
        assert main(["evaluate", str(source), *words]) == 0
        told[source] = json.loads(capsys.readouterr().out)["metrics"]
    of_file, of_run = (list(values.items()) for values in told.values())
    assert [name for name, _ in of_file] == [name for name, _ in of_run]
    for (_, one), (_, other) in zip(of_file, of_run):
        assert one["mean"] == pytest.approx(other["mean"])


# --- lists, lines, folders --------------------------------------------------------------------------


def write_list(file: Path, rows: list[dict[str, Any]]) -> Path:
    if file.suffix == ".jsonl":
        file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    elif file.suffix == ".parquet":
        pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pa.Table.from_pylist(rows), file)
    else:
        with file.open("w", newline="", encoding="utf-8") as target:
            writer = csv.DictWriter(target, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return file


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_lists_of_vectors_with_their_names(vectors, tmp_path, suffix):
    rows: list[dict[str, Any]] = [
        {"v": x.tolist(), "label": NAMES[row % 4], "id": f"№ {row}", "other": 1} for row, x in enumerate(X)
    ]
    file, out = write_list(tmp_path / f"list{suffix}", rows), tmp_path / "e.npz"
    embed_inputs(vectors, [str(file)], out, columns={"vector": "v"})
    held = read_embeddings(out)
    np.testing.assert_allclose(held.embeddings, load(vectors).encode(X), rtol=1e-5)
    assert held.ids.tolist() == [row["id"] for row in rows]
    assert [held.class_names[label] for label in held.labels] == [NAMES[row % 4] for row in range(10)]


def test_texts_of_lines_and_of_lists_and_words_without_a_label(texts, tmp_path):
    (tmp_path / "lines.txt").write_text("to be\r\n\n  Žába je zelená  \n", encoding="utf-8")
    write_list(tmp_path / "list.csv", [{"text": "to be", "label": "a"}, {"text": "猫", "label": ""}])
    inputs, out = [str(tmp_path / name) for name in ("lines.txt", "list.csv")], tmp_path / "e.npz"
    embed_inputs(texts, inputs, out)
    held = read_embeddings(out)
    assert held.items.tolist() == ["to be", "Žába je zelená", "to be", "猫"]
    assert [Path(name).name for name in held.ids] == [
        "lines.txt:1",
        "lines.txt:3",
        "list.csv:2",
        "list.csv:3",
    ]
    assert (held.labels.tolist(), held.class_names) == ([-1, -1, 0, -1], ("a",))
    np.testing.assert_array_equal(held.embeddings[0], held.embeddings[2])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of class folders, with a link back up, a hidden file and another kind of file."""
    folder = tmp_path / "photos"
    for number, name in enumerate(["žába/a.png", "žába/deep/b.png", "猫 1/c.PNG", "d.png"]):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 9, 3), 60 * number, np.uint8)).save(file)
    (folder / "žába" / "up").symlink_to(folder)
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.md").write_text("none")
    return folder


def test_folders_of_class_folders(pictures, photos, tmp_path):
    out = tmp_path / "e.npz"
    embed_inputs(pictures, [str(photos)], out)
    held = read_embeddings(out)
    assert [Path(name).relative_to(photos).as_posix() for name in held.ids] == [
        "d.png", "žába/a.png", "žába/deep/b.png", "猫 1/c.PNG",
    ]  # fmt: skip
    assert (held.labels.tolist(), held.class_names) == ([-1, 0, 0, 1], ("žába", "猫 1"))
    assert held.items is None
    np.testing.assert_array_equal(held.embeddings, load(pictures).encode(held.ids.tolist()))


def test_texts_of_a_folder_and_pictures_of_a_list(texts, pictures, photos, tmp_path):
    (tmp_path / "words" / "greet").mkdir(parents=True)
    (tmp_path / "words" / "greet" / "a.txt").write_text("hello\nthere")
    embed_inputs(texts, [str(tmp_path / "words")], tmp_path / "t.npz")
    assert read_embeddings(tmp_path / "t.npz").class_names == ("greet",)
    rows = [{"path": "žába/a.png", "label": "x"}, {"path": "d.png", "label": "-1"}]
    list_file = write_list(tmp_path / "list.jsonl", rows)
    embed_inputs(pictures, [str(list_file)], tmp_path / "p.parquet", root=photos)
    held = read_embeddings(tmp_path / "p.parquet")
    assert held.ids.tolist() == ["žába/a.png", "d.png"]
    assert held.labels.tolist() == [0, -1]


# --- what can be wrong ------------------------------------------------------------------------------


def test_a_bad_picture_stops_or_is_left_out(pictures, photos, tmp_path):
    (photos / "žába" / "broken.png").write_bytes(b"\x89PNG no")
    (photos / "zero.png").write_bytes(b"")
    out = tmp_path / "out" / "e.npz"
    line = failed(pictures, [photos], out)
    reason = "cannot be decoded as an image; replace or remove it, or leave such rows out by --bad=skip"
    assert line == f"{photos / 'zero.png'} {reason}"
    found = embed_inputs(pictures, [str(photos)], out, bad="skip")
    assert (found.rows, found.left_out) == (4, 2)
    assert "broken.png" in found.faults[1]
    assert len(read_embeddings(out).ids) == 4


def test_faults_of_lists_name_file_and_row(vectors, texts, pictures, tmp_path):
    out, file = tmp_path / "e.npz", tmp_path / "list.csv"

    def line(run: Path, content: str | bytes, **options: Any) -> str:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return failed(run, [file], out, **options).removeprefix(f"{file}: ")

    assert line(vectors, 'vector\n"1,2,3,4"\n"1,2"').startswith("line 3: inputs must have rows of shape (4,)")
    assert line(vectors, 'vector\n"1,2,3,nan"').startswith("line 2: vector must hold finite numbers")
    assert line(vectors, "vector,label\n1").startswith("line 2: 1 fields, the header has 2")
    assert line(vectors, "a,b\n1,2").startswith(
        "needs one column of samples, path, text or vector; it has a, b"
    )
    assert line(vectors, "vector\n1", columns={"label": "lable"}).startswith("label=lable: no such column")
    assert line(vectors, "") == "is empty"
    assert line(vectors, "vector\n") == "inputs: no rows to embed, they are empty"
    assert line(vectors, "text\nabc").startswith("line 2: inputs must be numbers of type float32")
    assert line(texts, b"text\n\xff\xfe").startswith("line 2: is not UTF-8; correct it")
    assert line(texts, "text\n".encode("utf-16")) == "is not UTF-8; save it as UTF-8"
    assert line(texts, 'text\n"a').startswith("line 2: unexpected end of data; correct the quotes")
    assert line(texts, "text,id\na,1\nb,1").startswith("line 3: id '1' was there before, and ids must differ")
    assert line(pictures, "path\n../a.png").startswith("line 2: path '../a.png' leaves the folder")
    assert line(pictures, "path\nnone.png").startswith(f"line 2: {tmp_path / 'none.png'}: no such file")
    assert line(vectors, "path\nnone.png").startswith(
        f"line 2: {tmp_path / 'none.png'} is a picture, and the run takes"
    )


def test_faults_of_arrays(vectors, tmp_path):
    out, file = tmp_path / "e.npz", tmp_path / "x.npz"

    def line(**arrays: Any) -> str:
        np.savez(file, **arrays)
        return failed(vectors, [file], out).removeprefix(f"{file}: ")

    assert line(x=np.ones((3, 5))).startswith(
        "row 0: inputs must have rows of shape (4,), as those trained on, got (5,)"
    )
    assert line(x=np.array([[1, 2, 3, 4], [1, 2, 3, np.inf]])).startswith("row 1: must hold finite numbers")
    assert line(embeddings=X).startswith("holds embeddings already")
    assert line(x=np.ones((3, 4)), y=np.zeros(2, int)) == "y must have one entry for each of 3 rows of x"
    assert line(x=np.ones((3, 4)), y=np.zeros(3)) == "y must hold integers or strings, got float64"
    assert line(x=np.ones((4, 4)).T.copy(order="F")).startswith("x lies column by column")
    assert line(x=np.array([{}], object)).startswith("x holds Python objects")
    assert line(x=np.ones((0, 4))) == "x has no rows"
    file.write_bytes(file.read_bytes()[:200])
    assert failed(vectors, [file], out).endswith("is no npz file, or a damaged one; write it by numpy.savez")
    np.savez(file, x=X)
    content = bytearray(file.read_bytes())
    content[200] ^= 1  # a number, which the checksum alone can tell
    file.write_bytes(content)
    assert failed(vectors, [file], out).endswith("is no npz file, or a damaged one; write it by numpy.savez")


def test_inputs_that_are_none(vectors, pictures, npz, tmp_path):
    out = tmp_path / "e.npz"
    (tmp_path / "empty").mkdir()
    assert "empty: holds no files of a kind that the run takes; known are .bmp" in failed(
        pictures, [tmp_path / "empty"], out
    )
    assert failed(vectors, ["nothing"], out) == "nothing: no such file or folder"
    assert failed(vectors, ["digitz:9"], out).startswith("unknown data 'digitz:9'")
    assert failed(vectors, [], out).startswith("name at least one input")
    assert "was there before" in failed(vectors, [npz, npz], out)
    assert failed(vectors, [npz], npz) == f"out: {npz} is one of the inputs; name another by --out"
    assert failed(vectors, [npz], tmp_path / "e.csv").startswith("out: must be a .npz or .parquet file")
    assert failed(vectors, [npz], out, device="nope").startswith("device: nope is not available here")
    assert failed(tmp_path, [npz], out).startswith(f"checkpoint {tmp_path}: no settings.json there")


def test_a_command_that_fails_prints_one_line_and_ends_with_2(vectors, npz, tmp_path, capsys):
    np.savez(tmp_path / "bad.npz", x=np.full((2, 4), np.nan))
    assert main(["embed", str(vectors), str(tmp_path / "bad.npz"), "--out", str(tmp_path / "e.npz")]) == 2
    assert capsys.readouterr().err.startswith(
        f"mimetric embed: {tmp_path / 'bad.npz'}: row 0: must hold finite"
    )
    assert (
        main(["embed", str(vectors), str(npz), "--out", str(tmp_path / "e.npz"), "--columns", "lable=b"]) == 2
    )
    assert "did you mean label?" in capsys.readouterr().err
    assert files(tmp_path) == ["bad.npz", "x.npz"]


# --- going on ---------------------------------------------------------------------------------------


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "PART_ROWS", 4)


@pytest.mark.usefixtures("small_parts")
def test_behind_a_fault_the_same_command_goes_on(vectors, tmp_path):
    x = np.concatenate((X, np.full((1, 4), np.nan), X[:3]))
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(14).astype(str))
    inputs, out = [str(tmp_path / "x.npz")], tmp_path / "e.npz"
    with pytest.raises(
        InputError, match=r"row 10: .*; 8 inputs are done, and the same command goes on from there"
    ):
        embed_inputs(vectors, inputs, out, batch_size=2)
    assert not out.exists()
    found = embed_inputs(vectors, inputs, out, batch_size=2, bad="skip")
    assert (found.gone_on_from, found.rows, found.left_out) == (8, 13, 1)
    held = read_embeddings(out)
    np.testing.assert_allclose(held.embeddings, load(vectors).encode(np.delete(x, 10, 0)), rtol=1e-6)
    assert held.labels.tolist() == [*range(10), 11, 12, 13]
    assert files(tmp_path) == ["e.npz", "x.npz"]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("change", ["input", "model"])
def test_other_inputs_or_another_model_begin_anew(made, tmp_path, change):
    run, out = made("linear", (4,), "float32"), tmp_path / "e.npz"
    np.savez(tmp_path / "x.npz", x=np.concatenate((X, np.full((1, 4), np.nan))))
    with pytest.raises(InputError, match="8 inputs are done"):
        embed_inputs(run, [str(tmp_path / "x.npz")], out, batch_size=2)
    if change == "input":
        np.savez(tmp_path / "x.npz", x=X)
    else:
        run = made("mlp", (4,), "float32")
    assert embed_inputs(run, [str(tmp_path / "x.npz")], out, bad="skip").gone_on_from == 0


@pytest.mark.usefixtures("small_parts")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, for a process that is quickly there")
@pytest.mark.parametrize("parts", [1, 2])
def test_a_killed_process_goes_on_to_the_same_file(vectors, npz, tmp_path, monkeypatch, parts):
    """SIGKILL once so many parts lie on disk; then the bytes of a run that was never killed."""
    whole, out = tmp_path / "whole.npz", tmp_path / "out" / "e.npz"
    embed_inputs(vectors, [str(npz)], whole, batch_size=2)
    add = Parts.add

    def add_and_die(self: Parts, *values: Any) -> None:
        add(self, *values)
        if len(list((out.parent / ".e.npz.parts").glob("part-*"))) == parts:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        monkeypatch.setattr(Parts, "add", add_and_die)
        embed_inputs(vectors, [str(npz)], out, batch_size=2)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert files(out.parent) == [".e.npz.parts", ".e.npz.parts.lock"]
    left = out.parent / ".e.npz.half.tmp"
    left.write_bytes(b"what a process left that was killed while it wrote the file")
    assert embed_inputs(vectors, [str(npz)], out, batch_size=2).gone_on_from == 4 * parts
    assert files(out.parent) == ["e.npz"]
    with np.load(out) as one, np.load(whole) as other:
        for name in ("embeddings", "ids", "labels"):
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.slow
def test_a_process_killed_at_any_time_goes_on_to_the_same_file(vectors, tmp_path):
    x = RNG.standard_normal((60_000, 4)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    inputs, out = [str(tmp_path / "x.npz")], tmp_path / "out" / "e.parquet"
    embed_inputs(vectors, inputs, tmp_path / "whole.parquet")
    kills = 0
    for after in np.linspace(0.2, 3, 8):
        process = subprocess.Popen(
            [sys.executable, "-m", "mimetric", "embed", str(vectors), *inputs, "--out", str(out)],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE,
        )  # fmt: skip
        parts = out.parent / ".e.parquet.parts"
        while process.poll() is None and not parts.exists():
            time.sleep(0.01)
        time.sleep(after / 4)
        kills += process.poll() is None
        process.kill()
        process.communicate()
    assert kills > 1
    embed_inputs(vectors, inputs, out)
    one, other = (read_embeddings(file, needed=["embeddings"]) for file in (out, tmp_path / "whole.parquet"))
    np.testing.assert_array_equal(one.embeddings, other.embeddings)
    np.testing.assert_array_equal(one.ids, other.ids)
    assert files(out.parent) == ["e.parquet"]


def test_two_processes_do_not_write_one_file(vectors, npz, tmp_path):
    filelock = pytest.importorskip("filelock")
    out = tmp_path / "e.npz"
    with (
        filelock.FileLock(f"{tmp_path / '.e.npz.parts'}.lock"),
        pytest.raises(InputError, match="another process writes"),
    ):
        embed_inputs(vectors, [str(npz)], out)


@pytest.mark.usefixtures("small_parts")
def test_a_full_disk_is_one_line_and_what_was_done_is_kept(vectors, npz, tmp_path, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "e.npz"
    with monkeypatch.context() as patched:
        patched.setattr("mimetric.corpus.parts.write_embeddings", full)
        with pytest.raises(InputError, match="No space left on device"):
            embed_inputs(vectors, [str(npz)], out, batch_size=4)
    assert not out.exists()
    assert embed_inputs(vectors, [str(npz)], out, batch_size=4).gone_on_from == 10


def test_embeddings_that_are_not_finite_are_faults(made, npz, tmp_path):
    run = made("linear", (4,), "float32")
    model = load(run)
    with torch.no_grad():
        next(model.encoder.parameters())[0, 0] = torch.inf
    shutil.rmtree(run)
    model.save(run)
    assert "x.npz: row 0: the model gives no finite embedding" in failed(run, [npz], tmp_path / "e.npz")


def test_rows_have_length_one(vectors, npz, tmp_path):
    embed_inputs(vectors, [str(npz)], tmp_path / "e.npz")
    rows = read_embeddings(tmp_path / "e.npz").embeddings
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
