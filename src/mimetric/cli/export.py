"""The command ``mimetric export``."""

from __future__ import annotations

from pathlib import Path

from mimetric.cli.out_file import writable_file
from mimetric.core.errors import InputError

_SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors"}


def export(
    run: Path,
    /,
    *,
    onnx: Path | None = None,
    torch: Path | None = None,
    safetensors: Path | None = None,
    data: str | None = None,
) -> None:
    """Write a run's encoder for other programs, after comparing what it gives with torch on real inputs.

    The exported encoder takes batches of any size, of inputs as they were trained on, and gives embeddings of length 1.
    Its weights as safetensors are always written, beside the first file named unless you name them.

    Args:
        run: The folder of mimetric train, or a checkpoint of mimetric compare.
        onnx: File for ONNX, .onnx (extra onnx).
        torch: File for the program of torch.export, .pt2.
        safetensors: File for the weights, .safetensors.
        data: Data to compare on, in place of those of the run.
    """
    asked = {"onnx": onnx, "torch": torch, "safetensors": safetensors}
    named = {kind: path for kind, path in asked.items() if path is not None}
    if not named:
        raise InputError("name a file to write, by --onnx, --torch or --safetensors")
    from mimetric.export import export, real_inputs
    from mimetric.model import load

    model = load(run)
    files = {kind: writable_file(path, [_SUFFIXES[kind]], kind) for kind, path in named.items()}
    files.setdefault("safetensors", next(iter(files.values())).with_suffix(".safetensors"))
    inputs = real_inputs(model, data)
    for kind, made in export(model, inputs, files).items():
        print(f"wrote {files[kind]}: {len(made.content):,} bytes{_compared(made.difference, len(inputs))}")
        if kind == "onnx":
            print(
                f"opset {made.metadata['opset']}; input {made.metadata['input_shape']} {made.metadata['input_dtype']}"
            )


def _compared(difference: float | None, rows: int) -> str:
    return "" if difference is None else f"; outputs within {difference:.1e} of torch's on {rows} real inputs"
