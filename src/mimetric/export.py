"""A trained encoder as a file that other programs run: ONNX, torch.export, or weights as safetensors.

What is exported maps inputs as they were trained on, bytes included, to embeddings of length 1, as ``model.encode``
does: their products are cosines.  Nothing is written unless its outputs were compared with those of torch.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimetric.core.errors import InputError
from mimetric.core.files import write_whole
from mimetric.data.rows import like_training
from mimetric.data.sources import load_data
from mimetric.model import Model

TOLERANCE = (
    1e-4  # of a number of an embedding of length 1: float32 sums in another order differ by 1e-6 or so
)
_COMPARED = 32  # inputs


class Exported(NamedTuple):
    """A file's content, and by how much its outputs differ from torch's at most; None for weights, which have none."""

    content: bytes
    difference: float | None
    metadata: dict[str, str]


class UnitRows(nn.Module):
    """An encoder whose embeddings are scaled to length 1.

    >>> UnitRows(nn.Identity())(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input: Tensor) -> Tensor:
        return F.normalize(self.encoder(input).float(), dim=1)


def to_onnx(model: Model, inputs: Tensor) -> Exported:
    """The model as ONNX: `input` (batch, ...) to `embeddings` (batch, width), for batches of any size.

    Args:
        model: in evaluation mode, on the CPU.
        inputs: (n, ...) real inputs, at least 2: outputs are compared on all of them, and on batches of 1 and n - 1.

    Returns:
        :class:`Exported`; its metadata stand in the file as well, with the opset.
    Raises:
        InputError: the extra is not installed, the encoder is no graph or none that ONNX has operators for, or outputs
            differ.
    """
    onnx, _, onnxruntime = (_imported(name) for name in ("onnx", "onnxscript", "onnxruntime"))
    program = _program(model, inputs)
    with _quiet(), _one_line("onnx", model):
        proto = torch.onnx.export(
            program,
            (inputs,),
            dynamo=True,
            dynamic_shapes=({0: "batch"},),
            verbose=False,
            input_names=["input"],
            output_names=["embeddings"],
        ).model_proto  # type: ignore[union-attr]
    opset = next(one.version for one in proto.opset_import if one.domain in ("", "ai.onnx"))
    metadata = _metadata(model, inputs) | {"opset": str(opset)}
    onnx.helper.set_model_props(proto, metadata)
    content = proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(rows: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["embeddings"], {"input": rows.numpy()})[0])

    return Exported(content, _difference("onnx", run, model, inputs), metadata)


def to_torch(model: Model, inputs: Tensor) -> Exported:
    """The model as a program of torch.export, which ``torch.export.load`` reads without the model's code.

    Arguments, result and errors as in :func:`to_onnx`; metadata stand in the extra file ``metadata.json``.
    """
    metadata, file = _metadata(model, inputs), io.BytesIO()
    with _quiet():
        extra = {"metadata.json": json.dumps(metadata)}
        torch.export.save(_program(model, inputs), file, extra_files=extra)
        loaded = torch.export.load(io.BytesIO(file.getvalue())).module()
    return Exported(file.getvalue(), _difference("torch", loaded, model, inputs), metadata)


def to_safetensors(model: Model, inputs: Tensor) -> Exported:
    """The encoder's weights under the names of its modules, with the metadata in the header of the file."""
    metadata = _metadata(model, inputs)
    weights = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.encoder.state_dict().items()
    }
    return Exported(safetensors.torch.save(weights, metadata), None, metadata)


KINDS: Mapping[str, Callable[[Model, Tensor], Exported]] = {
    "safetensors": to_safetensors,
    "torch": to_torch,
    "onnx": to_onnx,
}


def real_inputs(model: Model, spec: str | None = None) -> Tensor:
    """Some rows (n, ...) of the test of the data that a model was trained on, or of other data.

    Raises:
        InputError: the model does not say what it was trained on, or rows are not like those.
    """
    spec = spec or model.settings.get("data")
    if not isinstance(spec, str):
        raise InputError("data: the run does not say what it was trained on; name data by --data")
    data, settings = load_data(spec), model.settings
    try:
        rows = like_training(
            data.x[data.split.test[:_COMPARED]], tuple(settings["input_shape"]), settings.get("input_dtype")
        )
    except InputError as error:
        raise InputError(f"{spec}: {error}") from None
    return torch.from_numpy(rows)


def export(model: Model, inputs: Tensor, files: Mapping[str, Path]) -> dict[str, Exported]:
    """Make and compare all files, then write them, each whole or not at all.

    Args:
        model: to be exported.
        inputs: (n, ...) as in :func:`to_onnx`.
        files: a path for each kind, one of ``KINDS``.

    Raises:
        InputError: as the functions of the kinds, with nothing written; or a place that cannot be written to.
    """
    made = {kind: KINDS[kind](model, inputs) for kind in files}
    for kind, exported in made.items():
        try:
            write_whole(files[kind], exported.content)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(f"{kind}: cannot write {files[kind]} ({reason}); name another file") from None
    return made


def _program(model: Model, inputs: Tensor) -> torch.export.ExportedProgram:
    """The graph of the encoder, for batches of any size."""
    if str(model.settings["encoder"]).startswith("hf:"):
        raise InputError(
            "hf: encoders find the words of a text by a tokenizer, which is no part of a graph; use --safetensors"
        )
    batch = torch.export.Dim("batch", min=1)
    with _quiet(), _one_line("torch", model), torch.no_grad():
        return torch.export.export(UnitRows(model.encoder).eval(), (inputs,), dynamic_shapes=({0: batch},))


def _metadata(model: Model, inputs: Tensor) -> dict[str, str]:
    settings = model.settings
    scaling = {"uint8": "bytes, scaled inside", "int32": "code points of NFC text, 0 behind the end"}
    dtype = str(inputs.dtype).removeprefix("torch.")
    return {
        "producer": f"mimetric {version('mimetric')}",
        "encoder": str(settings["encoder"]),
        "objective": str(settings["objective"]),
        "data": str(settings.get("data")),
        "input": "input",
        "input_shape": json.dumps(["batch", *inputs.shape[1:]]),
        "input_dtype": dtype,
        "input_values": scaling.get(dtype, "as trained on"),
        "output": "embeddings",
        "width": str(settings["width"]),
        "normalization": "embeddings have length 1",
    }


def _difference(kind: str, run: Callable[[Tensor], Tensor], model: Model, inputs: Tensor) -> float:
    """The largest difference from torch over batches of three sizes."""
    differences = []
    for rows in (inputs, inputs[:1], inputs[1:]):
        with torch.no_grad():
            found, want = run(rows), UnitRows(model.encoder).eval()(rows)
        if found.shape != want.shape:
            raise InputError(
                f"{kind}: outputs are {tuple(found.shape)}, torch's are {tuple(want.shape)}; none written"
            )
        differences.append((found - want).abs().max())
    largest = float(torch.stack(differences).max())  # nan if any is
    if not largest <= TOLERANCE:
        raise InputError(
            f"{kind}: outputs differ from torch's by up to {largest:.1e}, which is over {TOLERANCE:.0e}; none written"
        )
    return largest


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise InputError(f"onnx: needs {name}, not installed here: pip install 'mimetric[onnx]'") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says of packages that it does not find, and of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _one_line(kind: str, model: Model) -> Iterator[None]:
    """Whatever the exporters raise at an encoder that they cannot take, with the reason that lies deepest."""
    try:
        yield
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = str(cause).strip().splitlines()[0].partition(". ")[0]
        raise InputError(
            f"{kind}: the encoder {model.settings['encoder']} cannot be exported ({reason}); use --safetensors"
        ) from None
