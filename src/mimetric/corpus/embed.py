"""Inputs of any number as embeddings on disk, in bounded memory, and from where a killed process was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.core.files import writable_folder
from mimetric.corpus.parts import Parts, parts_of
from mimetric.data.inputs import Batch, Opened, Takes, batches, open_input
from mimetric.data.written import SUFFIXES
from mimetric.model import Model, load
from mimetric.train.checkpoint import read_settings
from mimetric.train.progress import Progress, Silent

PART_ROWS = 4096  # inputs between two parts on disk: what a killed process loses at most
ITEM_LENGTH = 80  # characters that are kept of a text, to be shown


@dataclass(frozen=True)
class Embedded:
    """What was written."""

    rows: int
    width: int
    columns: tuple[str, ...]
    gone_on_from: int  # inputs that an earlier process had read
    left_out: int  # inputs with a fault
    faults: tuple[str, ...]  # the first of these, in words


def embed_inputs(
    run: Path,
    inputs: Sequence[str],
    out: Path,
    *,
    columns: Mapping[str, str] = {},
    root: Path | None = None,
    bad: Literal["stop", "skip"] = "stop",
    batch_size: int = 256,
    device: str = "auto",
    progress: Progress = Silent(),
) -> Embedded:
    """Embed inputs by a trained model, and write them with their ids, and labels where they have some.

    The file holds `embeddings` (n, d) float32, unit rows, `ids` (n,) and, where the inputs have such, `labels`, `items`
    (the first 80 characters of texts), `split`, `query` and `gallery`: ``mimetric evaluate`` takes it where there are
    labels.  Rows are in the order of the inputs.

    Parts of 4,096 inputs lie in a hidden folder beside the file until it is whole.  After a crash, a kill or a row with
    a fault the same call goes on behind the last part, and its result is that of a call that was never stopped.  A
    change of the model or of the input files begins anew; pictures that a list names are not looked at for that.

    Args:
        run: folder of a run, of a checkpoint, or that :meth:`mimetric.model.Model.save` wrote.
        inputs: what :func:`mimetric.data.inputs.open_input` takes, in any number.
        out: .npz or .parquet; what was there is replaced at the end.
        columns, root: of lists, as :func:`mimetric.data.inputs.open_input` has them.
        bad: what to do with a row that cannot be read, or whose id was there before: stop, or leave it out.
        batch_size: rows embedded at once.
        device: "auto" is an accelerator if there is one; or "cpu", "cuda", ...
        progress: told of every part.

    Raises:
        InputError: in one line, with file and row, whatever is wrong; the file is then as it was.
    """
    out = out.expanduser()
    if out.suffix.lower() not in SUFFIXES or out.is_dir():
        raise InputError(f"out: must be a .npz or .parquet file, got {out}; name another by --out")
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}; try 256")
    if not inputs:
        raise InputError("name at least one input: a picture, a folder, a list, an npz file, or data by name")
    model = on_device(load(run), device)
    takes = takes_of(model)
    opened = [open_input(name, takes, columns, root) for name in inputs]
    if out.resolve() in (Path(name).expanduser().resolve() for name in inputs):
        raise InputError(f"out: {out} is one of the inputs; name another by --out")
    writable_folder(out.parent)
    weights = read_settings(Path(run).expanduser()).get("weights_sha256")
    begun = [weights, [one.state for one in opened], dict(columns), str(root)]
    try:
        with parts_of(out, begun) as parts:
            found = parts.read
            if found:
                progress.said(f"goes on behind the first {found:,} inputs")
            _embed(model, takes, opened, parts, bad == "skip", batch_size, progress)
            written = parts.assemble(out)
    except OSError as error:  # such as a full disk
        raise InputError(
            f"out: cannot write {out} ({error.strerror or error}); make room, and go on"
        ) from None
    width = model.settings["width"]
    return Embedded(parts.rows, width, tuple(written), found, parts.left_out, tuple(parts.faults))


def takes_of(model: Model) -> Takes:
    """What the encoder of a model takes."""
    return Takes(tuple(model.settings["input_shape"]), model.settings.get("input_dtype"))


def on_device(model: Model, device: str) -> Model:
    """The model, moved.

    Raises:
        InputError: no such device here.
    """
    best = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    try:
        model.encoder.to(best if device == "auto" else device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device: {device} is not available here ({reason}); use auto or cpu") from None
    return model


def encoded(model: Model, batch: Batch, skip: bool = False) -> tuple[NDArray[np.float32], Batch]:
    """Embeddings of a batch; rows whose embedding is not finite are faults like any other."""
    if not batch.rows:
        return np.empty((0, model.settings["width"]), np.float32), batch
    embeddings = model.encode(batch.x, batch_size=len(batch.x)).numpy()
    good = np.isfinite(embeddings).all(1)
    if good.all():
        return embeddings, batch
    faults = [
        f"{row.place or row.id}: the model gives no finite embedding"
        for row, fine in zip(batch.rows, good)
        if not fine
    ]
    if not skip:
        raise InputError(f"{faults[0]}; look at the input, or leave such rows out by --bad=skip")
    rows = [row for row, fine in zip(batch.rows, good) if fine]
    return embeddings[good], Batch(batch.x[good], rows, batch.read, batch.faults + faults)


def _embed(
    model: Model,
    takes: Takes,
    opened: Sequence[Opened],
    parts: Parts,
    skip: bool,
    size: int,
    progress: Progress,
) -> None:
    """The inputs behind those that were read before, part after part."""
    seen = chain.from_iterable(column.tolist() for column in parts.column("ids"))
    rows = islice(chain.from_iterable(one.rows() for one in opened), parts.read, None)
    stream = batches(rows, takes, batch_size=size, skip=skip, seen=seen)
    try:
        for part in _groups(stream, max(1, PART_ROWS // size)):
            done = [encoded(model, batch, skip) for batch in part]
            _add(parts, done)
            progress.said(f"{parts.rows:,} rows")
    except InputError as error:
        kept = (
            f"; {parts.read:,} inputs are done, and the same command goes on from there" if parts.read else ""
        )
        raise InputError(f"{error}{kept}") from None
    except KeyboardInterrupt:
        kept = f"{parts.read:,} inputs are done, and the same command goes on from there"
        raise KeyboardInterrupt(f"stopped by Ctrl-C; {kept}") from None
    if not parts.rows:
        why = (
            f"none of {parts.left_out:,} can be read: {parts.faults[0]}" if parts.faults else "they are empty"
        )
        raise InputError(f"inputs: no rows to embed, {why}")


def _groups(stream: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    while group := list(islice(stream, size)):
        yield group


def _add(parts: Parts, done: Sequence[tuple[NDArray[np.float32], Batch]]) -> None:
    rows = [row for _, batch in done for row in batch.rows]
    columns: dict[str, NDArray[Any]] = {
        "embeddings": np.concatenate([embeddings for embeddings, _ in done]),
        "ids": np.array([row.id for row in rows], np.str_),
        "labels": np.array([row.label for row in rows], np.str_),
        "items": np.array([row.item[:ITEM_LENGTH] for row in rows], np.str_),
        "part": np.array([row.part for row in rows], np.int8),
    }
    faults = [fault for _, batch in done for fault in batch.faults]
    parts.add(columns, sum(batch.read for _, batch in done), faults)
