"""Evaluation of what lies on disk: a file of embeddings, or the checkpoints of runs on the test of their data."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mimetric.core.errors import InputError
from mimetric.data.embeddings import EmbeddedSet, read_embeddings
from mimetric.data.sources import LabelledData, load_data
from mimetric.data.splits import TEST, TRAIN
from mimetric.data.stored import StoredRows
from mimetric.evaluation import Evaluation, evaluate, leaks
from mimetric.metrics.named import check_names
from mimetric.train.checkpoint import SETTINGS, Checkpoint, SavedEncoder, load_encoder
from mimetric.train.options import EvaluateOptions
from mimetric.train.progress import Progress, Silent
from mimetric.train.start import embed_rows
from mimetric.train.watched import Parts, parts_of


def evaluate_source(
    source: Path, options: EvaluateOptions = EvaluateOptions(), *, progress: Progress = Silent()
) -> Evaluation | dict[str, Evaluation]:
    """Evaluate a file of embeddings, one checkpoint, or all checkpoints of a comparison.

    Args:
        source: an npz or Parquet file of embeddings; the folder of a checkpoint, as that of a run is; or the folder
            that a comparison wrote, with many.
        options: what is measured, and on which data.
        progress: told of every run.

    Returns:
        One :class:`~mimetric.evaluation.Evaluation` of a file or a checkpoint; of a comparison one for each
        checkpoint, by the name of its folder, such as ``supcon-seed0``.
    Raises:
        InputError: nothing there to evaluate, or as :func:`evaluate_file` and :func:`evaluate_run`.
    """
    check_names("metrics", options.names)  # before work begins
    source = source.expanduser()
    if not source.is_dir():
        return evaluate_file(source, options)
    found = [source] if (source / SETTINGS).exists() else sorted(f.parent for f in _inside(source))
    if not found:
        raise InputError(
            f"{source}: no run there; name a folder that mimetric train or compare wrote, one of its checkpoints, or a "
            "file of embeddings, .npz or .parquet"
        )
    progress.started(f"evaluating {source}", len(found))
    data, evaluations = cache(load_data), {}
    for folder in found:
        run = load_encoder(folder)
        evaluations[folder.name] = evaluate_run(run, data(_spec(run, options)), options)
        progress.advanced(1)
    return evaluations.popitem()[1] if found == [source] else evaluations


def evaluate_file(path: Path, options: EvaluateOptions = EvaluateOptions()) -> Evaluation:
    """Evaluate a file that :func:`~mimetric.data.embeddings.read_embeddings` reads.

    Rows that it marks as test are evaluated, else all; its queries are searched among its gallery where it marks
    them, else each row among the others.

    Raises:
        InputError: the file is damaged, or nothing of it is left to evaluate.
    """
    if options.data is not None:
        raise InputError(f"data: is for runs, {path} holds embeddings with labels of its own; leave it out")
    held = read_embeddings(path)
    test = np.ones(len(held.labels), bool) if held.split is None else held.split == TEST
    query, gallery = (test if marks is None else test & marks for marks in (held.query, held.gallery))
    for name, rows in (("query", query), ("gallery", gallery)):
        if not rows.any():
            raise InputError(f"{path}: no row is both test in split and {name}; mark some")
    against = () if held.gallery is None else _rows(held, gallery)
    found = evaluate(
        *_rows(held, query), *against,
        metrics=options.names, target_fmr=options.target_fmr,
        logits=None if held.logits is None else held.logits[query],
    )  # fmt: skip
    if held.split is None:
        return found
    shared = leaks(*_rows(held, held.split == TRAIN), *_rows(held, query | gallery))
    return Evaluation(found.metrics, (*found.warnings, *shared))


def evaluate_run(
    run: SavedEncoder | Checkpoint, data: LabelledData, options: EvaluateOptions = EvaluateOptions()
) -> Evaluation:
    """Evaluate a checkpoint on the test rows of data, split as in training: the rows that the run was judged by.

    Raises:
        InputError: rows of another shape than the encoder takes.
    """
    shape, takes = tuple(data.x.shape[1:]), tuple(run.settings["input_shape"])
    if shape != takes:
        raise InputError(f"{data.name}: rows must be {takes}, which the encoder was trained on, got {shape}")
    parts, seed = parts_of(data), run.settings.get("seed", 0)
    found = evaluate_test(embed_rows(run.encoder, parts.test.x), parts, options, seed=seed)
    return Evaluation(found.metrics, (*found.warnings, *_of_the_data(run, data)))


def evaluate_test(
    embeddings: Tensor, parts: Parts, options: EvaluateOptions = EvaluateOptions(), *, seed: int = 0
) -> Evaluation:
    """Evaluate embeddings of the test rows of data: each query among the others, or among the gallery if there is one.

    Args:
        embeddings: (rows of the test, width), in their order.
        parts: whose test it is; what it shares with the training rows is a warning.
        options: what is measured.
        seed: of k-means and of the bootstrap.
    """
    labels, query = parts.test.y, parts.query
    searched = torch.ones(len(labels), dtype=torch.bool) if query is None else query
    against = () if query is None else (embeddings[~searched], labels[~searched])
    found = evaluate(
        embeddings[searched], labels[searched], *against,
        metrics=options.names, target_fmr=options.target_fmr, seed=seed,
    )  # fmt: skip
    shared = leaks(_bytes(parts.train.x), parts.train.y, _bytes(parts.test.x), labels)
    return Evaluation(found.metrics, (*found.warnings, *shared))


def _bytes(x: Tensor | StoredRows) -> Tensor:
    """The rows in memory; of rows on disk, which might not fit there, a hash of the bytes of each, (n, 16)."""
    if isinstance(x, Tensor):
        return x
    hashes = (blake2b(row.numpy(), digest_size=16).digest() for part in x.parts() for row in part)
    return torch.frombuffer(bytearray(b"".join(hashes)), dtype=torch.uint8).view(len(x), 16)


def _inside(folder: Path) -> list[Path]:
    """The settings of the checkpoints in the folder of a comparison, or in its folder of checkpoints."""
    return [*folder.glob(f"checkpoints/*/{SETTINGS}"), *folder.glob(f"*/{SETTINGS}")]


def _spec(run: SavedEncoder, options: EvaluateOptions) -> str:
    spec = options.data or run.settings.get("data")
    if not isinstance(spec, str):
        raise InputError("data: the run does not say what it was trained on; name data by --data")
    return spec


def _of_the_data(run: SavedEncoder | Checkpoint, data: LabelledData) -> list[str]:
    """Whether these are the data of the run, as far as it remembers them."""
    trained, said = run.settings.get("data"), run.settings.get("num_classes")
    if trained != data.name:
        return [f"these are other data than the run was trained on, {trained}"]
    classes = len(np.unique(data.y[data.split.train]))
    if classes != said:
        return [f"the data have changed: {classes:,} classes to train on, the run had {said:,}"]
    return []


def _rows(held: EmbeddedSet, rows: NDArray[np.bool_]) -> tuple[Any, Any]:
    return held.embeddings[rows], held.labels[rows]
