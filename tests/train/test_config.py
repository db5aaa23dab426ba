"""Options as a file: strict to read, whole to write."""

from __future__ import annotations

import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from mimetric.core.errors import InputError
from mimetric.train.config import read_config, write_config
from mimetric.train.options import CompareOptions, EvaluateOptions, TrainOptions


def written(folder: Path, text: str | bytes) -> Path:
    file = folder / "my.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


@pytest.mark.parametrize(
    "options",
    [
        TrainOptions(objective="supcon:temperature=0.07", clip=1.5, lr=1e-7, epochs=3),
        CompareOptions(data='npz:odd "name"\\Ω.npz', trials=4, chunk=16, select="validation"),
        EvaluateOptions(target_fmr=0.01),
    ],
)
def test_what_is_written_is_read_again(tmp_path: Path, options: object) -> None:
    write_config(tmp_path, options)
    assert type(options)(**read_config(tmp_path / "run.toml", type(options))) == options


def test_every_option_is_written_but_none_and_the_folder(tmp_path: Path) -> None:
    options = CompareOptions(out=tmp_path)
    write_config(tmp_path, options)
    given = {key: value for key, value in asdict(options).items() if value is not None and key != "out"}
    assert tomllib.loads((tmp_path / "run.toml").read_text()) == given


def test_types_are_those_of_the_fields(tmp_path: Path) -> None:
    read = read_config(written(tmp_path, 'lr = 1\nclip = 2\nout = "a/b"\ncut_classes = true'), TrainOptions)
    assert read == {"lr": 1.0, "clip": 2.0, "out": Path("a/b"), "cut_classes": True}
    assert type(read["lr"]) is type(read["clip"]) is float


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stpes = 3", "unknown key stpes; did you mean steps?"),
        ("batch-size = 3", "unknown key batch-size; did you mean batch_size?"),
        ("[train]\nsteps = 3", "unknown key train; "),
        ('steps = "3"', "steps must be a whole number, got '3'"),
        ("steps = 3.0", "steps must be a whole number, got 3.0"),
        ("steps = true", "steps must be a whole number, got True"),
        ("chunk = 1.5", "chunk must be a whole number, got 1.5"),
        ("data = 3", "data must be text in quotes, got 3"),
        ("lr = [1]", r"lr must be a number, got \[1\]"),
        ("cut_classes = 1", "cut_classes must be true or false, got 1"),
        ("out = 1", "out must be a path in quotes, got 1"),
        ('select = "lst"', "select: unknown value 'lst'; did you mean last?"),
        ('encoder = "my.module:make"', "encoder my.module:make is code; name it again by --encoder"),
        ("steps == 3", "is no TOML: "),
        ("steps = 3\nsteps = 4", "is no TOML: "),
        (b"data = '\xff'", "is no TOML: "),
        ("lr = " + "[" * 5000, "is no TOML: "),
    ],
)
def test_mistakes_are_one_line_that_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        read_config(file, TrainOptions)
    assert str(caught.value).startswith(f"config: {file}")
    assert "\n" not in str(caught.value)


def test_what_is_given_elsewhere_is_left_out_once_it_is_checked(tmp_path: Path) -> None:
    file = written(tmp_path, 'steps = 3\nencoder = "my.module:make"')
    assert read_config(file, TrainOptions, given={"encoder"}) == {"steps": 3}
    with pytest.raises(InputError, match="steps must be"):
        read_config(written(tmp_path, "steps = 0.5"), TrainOptions, given={"steps"})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(InputError, match="cannot be read: "):
            read_config(path, TrainOptions)
