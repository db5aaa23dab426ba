from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from mimetric.cli import main
from mimetric.train.options import TrainOptions

SMALL = ["train", "--data", "digits", "--objective", "normalized-softmax", "--steps", "4", "--device", "cpu"]


def test_help_shows_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    for field in fields(TrainOptions):
        assert f"--{field.name.replace('_', '-')}" in text
    assert "--resume" in text
    assert "[default: multi-similarity]" in text


def test_a_run_from_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(SMALL) == 0
    text = capsys.readouterr().out
    assert text.startswith("normalized-softmax, digits: split within classes")
    assert "\nrecall_at_1  0." in text
    assert text.endswith("\nRun: runs/train; with intervals: mimetric evaluate runs/train\n")

    assert main([*SMALL, "--json"]) == 0  # the next free folder
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(Path("runs/train-2/results.json").read_text())

    assert main(["train", "--resume", "--json"]) == 0  # the folder without a number
    again = json.loads(capsys.readouterr().out)
    assert again["curves"] == found["curves"]

    assert main(["evaluate", "runs/train", "--metrics", "recall_at_1", "--json"]) == 0
    recall = json.loads(capsys.readouterr().out)["metrics"]["recall_at_1"]["mean"]
    assert recall == pytest.approx(found["objectives"]["normalized-softmax"]["recall_at_1"]["mean"], abs=2e-3)
    assert main(["explain", "runs/train", "0", "--out", "seen.png"]) == 0
    assert Path("seen.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--objective", "supcom"], "unknown objective 'supcom'; did you mean supcon?"),
        (["--objective", "supcon,spce"], "objective: name one, got 'supcon,spce'; compare takes several"),
        (["--resume"], "resume: no run in run; name its folder by --out, or begin one without --resume"),
        (["--ema", "1.5"], "ema must lie between 0 and 1, got 1.5; try 0.999"),
        (["--clip", "0"], "clip must be a number above 0, got 0.0; try 1"),
        (["--bad-loss", "skp"], "invalid value"),
        (["--patience", "0"], "patience must be a whole number, at least 1, got 0; try 1"),
    ],
)
def test_mistakes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--out", "run", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
