from __future__ import annotations

import builtins
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from mimetric import export as exporting
from mimetric.cli import main
from mimetric.core.errors import InputError
from mimetric.data.sources import load_data
from mimetric.export import Exported, export, real_inputs, to_onnx, to_safetensors, to_torch
from mimetric.model import Model
from mimetric.models.encoders import create_encoder
from mimetric.train.checkpoint import save, weights_of

GEN = torch.Generator().manual_seed(0)


def model_of(name: str, shape: tuple[int, ...], width: int = 8) -> Model:
    """An untrained encoder whose norms have seen something."""
    torch.manual_seed(0)
    encoder = create_encoder(name, shape, width)
    settings = {
        "encoder": name,
        "objective": "supcon",
        "input_shape": list(shape),
        "width": width,
        "num_classes": 10,
    }
    return Model(encoder.eval(), settings)


def pictures(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=GEN)


def texts(count: int, length: int) -> Tensor:
    rows = torch.randint(32, 1000, (count, length), dtype=torch.int32, generator=GEN)
    return rows * (torch.arange(length) < torch.arange(1, count + 1)[:, None])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a set of pictures, 80 of them, and the checkpoint of a linear encoder of them."""
    monkeypatch.chdir(tmp_path)
    np.savez("set.npz", x=pictures(80, 1, 8, 8).numpy(), y=np.arange(80) % 4)
    model = model_of("linear", (1, 8, 8))
    save(Path("run"), weights_of(encoder=model.encoder), model.settings | {"data": "npz:set.npz"})
    return Path("run")


@pytest.mark.slow
def test_the_program_is_the_model_for_batches_of_any_size() -> None:
    model, x = model_of("linear", (3, 5)), torch.randn(7, 3, 5, generator=GEN)
    made = to_torch(model, x)
    assert made.difference is not None
    assert made.difference <= 1e-6
    extra = {"metadata.json": ""}
    loaded = torch.export.load(io.BytesIO(made.content), extra_files=extra).module()
    for rows in (x, x[:1], torch.cat((x, x, x))):
        torch.testing.assert_close(loaded(rows), model.encode(rows))
    told = json.loads(extra["metadata.json"])
    assert told == made.metadata
    assert (told["input_shape"], told["width"], told["objective"]) == ('["batch", 3, 5]', "8", "supcon")
    assert told["normalization"] == "embeddings have length 1"


def test_weights_go_back_into_the_modules(tmp_path: Path) -> None:
    model = model_of("linear", (6,))
    made = to_safetensors(model, torch.zeros(2, 6))
    (tmp_path / "a.safetensors").write_bytes(made.content)
    again = create_encoder("linear", (6,), 8)
    again.load_state_dict(safetensors.torch.load(made.content))
    for name, weights in model.encoder.state_dict().items():
        assert torch.equal(again.state_dict()[name], weights)
    with safetensors.safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata() == made.metadata
    assert made.difference is None


def test_outputs_that_differ_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = model_of("linear", (4,)), torch.randn(5, 4, generator=GEN)
    files = {"safetensors": tmp_path / "a.safetensors", "torch": tmp_path / "a.pt2"}
    for wrong, message in (
        (
            lambda rows: model.encode(rows) + 0.01,
            r"outputs differ from torch's by up to 1.0e-02, which is over 1e-04",
        ),
        (lambda rows: model.encode(rows) * torch.nan, "by up to nan, which is over"),
        (lambda rows: model.encode(rows)[:1], r"outputs are \(1, 8\), torch's are \(5, 8\); none written"),
    ):

        def made(model: Model, inputs: Tensor, wrong: Any = wrong) -> Exported:
            return Exported(b"", exporting._difference("torch", wrong, model, inputs), {})

        monkeypatch.setitem(exporting.KINDS, "torch", made)
        with pytest.raises(InputError, match=message):
            export(model, x, files)
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_has_no_graph_is_said_in_one_line() -> None:
    class Sorting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if float(x.sum()) > 0 else -x

    model, x = Model(Sorting(), model_of("linear", (4,)).settings), torch.ones(3, 4)
    with pytest.raises(
        InputError, match=r"torch: the encoder linear cannot be exported \(.*\); use --safetensors"
    ) as caught:
        to_torch(model, x)
    assert "\n" not in str(caught.value)
    words = Model(Sorting(), model.settings | {"encoder": "hf:somebody/model"})
    with pytest.raises(InputError, match="by a tokenizer, which is no part of a graph; use --safetensors"):
        to_torch(words, x)


@pytest.mark.usefixtures("run")
def test_real_inputs_are_rows_of_the_test() -> None:
    model = model_of("linear", (1, 8, 8))
    with pytest.raises(
        InputError, match="data: the run does not say what it was trained on; name data by --data"
    ):
        real_inputs(model)
    data = load_data("npz:set.npz")
    x = real_inputs(model, "npz:set.npz")
    assert torch.equal(x, torch.from_numpy(data.x[data.split.test[:32]]))
    np.savez("other.npz", x=np.random.default_rng(0).normal(size=(40, 3)), y=np.arange(40) % 4)
    with pytest.raises(InputError, match=r"other.npz: inputs must have rows of shape \(1, 8, 8\)"):
        real_inputs(model, "npz:other.npz")


@pytest.mark.slow
def test_the_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), "--torch", "new/model.pt2"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("wrote new/model.pt2: ")
    assert said[0].endswith("real inputs")
    assert said[1] == f"wrote new/model.safetensors: {Path('new/model.safetensors').stat().st_size:,} bytes"
    assert len(said) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a file to write, by --onnx, --torch or --safetensors"),
        (["--torch", "."], "torch: . is a folder; name a file in it"),
        (["--torch", "a.onnx"], "torch: must be a .pt2 file, got a.onnx; name another by --torch"),
        (
            ["--onnx", "run/settings.json/a.onnx"],
            "onnx: cannot write to run/settings.json (File exists); name another",
        ),
        (["--safetensors", "a.safetensors", "--data", "npz:gone.npz"], "npz:gone.npz: cannot be read"),
    ],
)
def test_mistakes(run: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path().rglob("*"))
    assert main(["export", str(run), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"mimetric export: {message}")
    assert error.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


def test_folders_that_are_no_run_and_code_of_the_user(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = json.loads((run / "settings.json").read_text())
    save(Path("code"), {}, settings | {"encoder": "here:make"})
    for folder, message in (
        (".", "checkpoint .: no settings.json there; name the folder of a run"),
        ("code", "encoder: here:make is code, which runs at your word only"),
    ):
        assert main(["export", folder, "--safetensors", "a.safetensors"]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not Path("a.safetensors").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_extra_is_named(
    run: Path, package: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def found(name: str) -> Any:
        if name == package:
            raise ModuleNotFoundError(name=name)
        return builtins

    monkeypatch.setattr(exporting, "import_module", found)
    assert main(["export", str(run), "--onnx", "a.onnx"]) == 2
    assert capsys.readouterr().err == (
        f"mimetric export: onnx: needs {package}, not installed here: pip install 'mimetric[onnx]'\n"
    )
    assert not list(Path().glob("a.*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["conv", "resnet18:channels=8", "vit_tiny", "efficientnet_lite0", "text_transformer:depth=1"]
)
def test_onnx_is_the_model(name: str) -> None:
    onnx, runtime = (pytest.importorskip(package) for package in ("onnx", "onnxruntime"))
    pytest.importorskip("onnxscript")
    if name == "efficientnet_lite0":
        pytest.importorskip("efficientnet_lite_pytorch")
    x = texts(6, 12) if name.startswith("text") else pictures(6, 3, 32, 32)
    model = model_of(name, tuple(x.shape[1:]))
    made = to_onnx(model, x)
    assert made.difference is not None
    assert made.difference <= 1e-5
    proto = onnx.load_from_string(made.content)
    onnx.checker.check_model(proto)
    assert {one.key: one.value for one in proto.metadata_props} == made.metadata
    assert str(proto.opset_import[0].version) == made.metadata["opset"]
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    session = runtime.InferenceSession(made.content, providers=["CPUExecutionProvider"])
    many = torch.cat((x, x.flip(0), x[:2]))
    [found] = session.run(None, {"input": many.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model.encode(many), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_onnx_says_what_it_has_no_operator_for() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    with pytest.raises(
        InputError, match=r"onnx: the encoder bag_of_words cannot be exported \(.*cummax.*\); use --safe"
    ):
        to_onnx(model_of("bag_of_words", (12,)), texts(4, 12))


@pytest.mark.slow
def test_the_command_writes_onnx(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    assert main(["export", str(run), "--onnx", "model.onnx"]) == 0
    said = capsys.readouterr()
    assert "real inputs\nopset " in said.out
    assert '; input ["batch", 1, 8, 8] uint8\n' in said.out
    assert said.err == ""
