from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from mimetric.cli import main
from mimetric.corpus.mine_options import MineOptions
from mimetric.models.encoders import create_encoder
from mimetric.train.checkpoint import read_settings, save, weights_of

TRAIN = [
    "train",
    "--data",
    "npz:set.npz",
    "--steps",
    "4",
    "--batch-size",
    "32",
    "--width",
    "8",
    "--device",
    "cpu",
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a data set of 96 vectors and the untrained encoder of one."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y = np.arange(96) % 6
    x = (rng.normal(size=(6, 5))[y] + 0.8 * rng.normal(size=(96, 5))).astype(np.float32)
    np.savez("set.npz", x=x, y=y)
    encoder = create_encoder("linear", (5,), 8)
    settings = {"encoder": "linear", "input_shape": [5], "width": 8, "objective": "supcon", "num_classes": 6}
    save(Path("run"), weights_of(encoder=encoder), settings)
    return Path("run")


def test_help_shows_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mine", "--help"]) == 0
    text = capsys.readouterr().out
    for field in fields(MineOptions):
        assert f"--{field.name.replace('_', '-')}" in text
    assert main(["train", "--help"]) == 0
    assert "--triplets" in capsys.readouterr().out


@pytest.mark.parametrize("out", ["hard.jsonl", "new/hard.parquet", "hard.csv"])
def test_a_file_is_written_and_what_was_left_out_is_said(
    run: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mine", "npz:set.npz", "--run", str(run), "--out", out]) == 0
    said = capsys.readouterr().out.splitlines()
    assert Path(out).stat().st_size > 0
    anchors = int(said[0].split(" of ")[1].split()[0])
    assert said[0] == f"wrote {out}: {3 * anchors} triplets of {anchors} anchors"
    assert said[2] == "left out: 0 copies, 0 rows whose copies have another class, 0 candidates too near"
    assert said[3] == f"Go on with it: mimetric train --data npz:set.npz --start run --triplets {out}"
    if out.endswith("jsonl"):
        first = json.loads(Path(out).read_text().splitlines()[0])
        assert [*first] == ["anchor", "positive", "negative", "positive_score", "negative_score"]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["triplet", "pair"])
def test_training_on_what_was_mined(run: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    mining = ["mine", "npz:set.npz", "--run", str(run), "--out", "hard.csv", "--output-format", form]
    assert main(mining) == 0
    for words in (
        ["--objective", "triplet"],
        ["--objective", "normalized-softmax", "--start", "run"],
    ):
        folder = Path(f"{words[1]}-run")
        assert main([*TRAIN, *words, "--triplets", "hard.csv", "--out", str(folder)]) == 0
        assert read_settings(folder)["triplets"] == "hard.csv"
    capsys.readouterr()
    assert main([*TRAIN, "--json", "--out", "whole", "--triplets", "hard.csv"]) == 0
    assert main(["mine", "npz:set.npz", "--run", "whole", "--out", "harder.jsonl"]) == 0
    assert main(["train", "--out", "whole", "--resume"]) == 0
    Path("hard.csv").write_text(Path("hard.csv").read_text().rpartition("\n")[0].rpartition("\n")[0])
    assert main(["train", "--out", "whole", "--resume"]) == 2
    assert "the training rows are others than those that the run began with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["npz:set.npz", "--run", "gone", "--out", "a.csv"],
            "checkpoint gone: no settings.json there; name the folder",
        ),
        (["npz:set.npz", "--run", "run", "--out", "."], "out: . is a folder; name a file in it"),
        (
            ["npz:set.npz", "--run", "run", "--out", "a.txt"],
            "out: must be a .jsonl or .csv or .parquet file, got a.txt",
        ),
        (
            ["npz:set.npz", "--run", "run", "--out", "set.npz/a.csv"],
            "out: cannot write to set.npz (File exists)",
        ),
        (["npz:gone.npz", "--run", "run", "--out", "a.csv"], "npz:gone.npz: cannot be read"),
        (
            ["digits", "--run", "run", "--out", "a.csv"],
            "encode: inputs must have rows of shape (5,), as those trained on",
        ),
        (
            ["npz:set.npz", "--run", "run", "--out", "a.csv", "--num-negatives", "0"],
            "num_negatives must be a whole",
        ),
        (
            ["npz:set.npz", "--run", "run", "--out", "a.csv", "--max-score", "-1"],
            "no candidate is left of any anchor",
        ),
        (
            ["npz:set.npz", "--run", "code", "--out", "a.csv"],
            "encoder: here:make is code, which runs at your word only",
        ),
    ],
)
def test_mistakes(run: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    save(Path("code"), {}, read_settings(run) | {"encoder": "here:make"})
    before = {file.name for file in Path().iterdir()}
    assert main(["mine", *words]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("mimetric mine: ")
    assert message in error
    assert {file.name for file in Path().iterdir()} == before


@pytest.mark.usefixtures("run")
def test_training_says_which_line_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    Path("hard.csv").write_text("anchor,positive,negative\n0,1,2\n")
    assert main([*TRAIN, "--triplets", "hard.csv", "--out", "new"]) == 2
    assert "hard.csv: line 2: " in capsys.readouterr().err
    assert not Path("new").exists()
