"""The flag --config, and what a run writes for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mimetric.cli import command_line, main
from mimetric.core.errors import InputError


def options(*words: str) -> object:
    _, bound, _ = command_line().parse_args(words, exit_on_error=False, print_error=False)
    return bound.kwargs["options"]


def test_flags_go_on_top_of_the_file_and_the_file_on_top_of_defaults(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text('objectives = "supcon,spce"\nlr = 0.1\nsteps = 7\ncut_classes = true\nclip = 2')
    found = options("compare", "--config", str(file), "--steps", "9")
    assert (found.objectives, found.lr, found.steps, found.clip) == ("supcon,spce", 0.1, 9, 2.0)
    assert found.cut_classes is True
    assert found.seeds == 3
    file.write_text('metrics = "auc"')
    assert options("evaluate", "run", "--config", str(file)).metrics == "auc"


@pytest.mark.parametrize(
    ("command", "text", "message"),
    [
        (["train"], "objectives = 'supcon'", "unknown key objectives; did you mean objective?"),
        (["compare"], "steps = '3'", "steps must be a whole number, got '3'"),
        (["evaluate", "run"], "target_frm = 0.1", "unknown key target_frm; did you mean target_fmr?"),
        (["train"], "steps = 0", "steps must be a whole number, at least 1, got 0; try 500"),
        (["reproduce"], "", "config: there are no options without a recipe; name one"),
    ],
)
def test_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], text: str, message: str
) -> None:
    file = tmp_path / "my.toml"
    file.write_text(text)
    assert main([*command, "--config", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"mimetric {command[0]}: ")
    assert message in error
    assert error.count("\n") == 1


def test_code_that_a_file_names_runs_at_the_word_of_the_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text('encoder = "my.module:make"')
    with pytest.raises(InputError, match="is code; name it again by --encoder"):
        options("train", "--config", str(file))
    assert options("train", "--config", str(file), "--encoder", "my.module:make").encoder == "my.module:make"


@pytest.mark.slow
def test_the_file_of_a_run_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--data", "digits", "--steps", "6", "--width", "8", "--lr", "0.003", "--device", "cpu"]
    first = [
        "compare",
        *small,
        "--objectives",
        "supcon:temperature=0.2,center",
        "--seeds",
        "1",
        "--probes",
        "2",
    ]
    assert main([*first, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["compare", "--config", "runs/compare/run.toml", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["curves"] == found["curves"]
    assert again["settings"] == found["settings"]
    files = [Path(f"runs/{name}/run.toml").read_bytes() for name in ("compare", "compare-2")]
    assert files[0] == files[1]
