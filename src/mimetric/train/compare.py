"""Objectives side by side: the same encoder, batches, steps and evaluation for each, over a few seeds."""

from __future__ import annotations

import re
import time
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mimetric import named
from mimetric.core.errors import InputError
from mimetric.core.files import writable_folder
from mimetric.data.sources import LabelledData, load_data
from mimetric.models.encoders import embed
from mimetric.train.checkpoint import save
from mimetric.train.examples import Found, described, drawn_queries, nearest, write_pictures
from mimetric.train.loop import Training, first_encoder
from mimetric.train.machine import PeakMemory
from mimetric.train.options import CompareOptions
from mimetric.train.progress import Progress, Silent
from mimetric.train.quality import INFORMATION, Measured, informed, judged, looked_at
from mimetric.train.results import Run, summarize, write_results, write_runs

_INFORMED = (
    3  # probes of a run that measure information, beside the untrained encoder: it costs more than retrieval
)


def compare(options: CompareOptions = CompareOptions(), *, progress: Progress = Silent()) -> dict[str, Any]:
    """Train every objective with every seed on one budget; write and return what was measured.

    Into ``options.out`` go a checkpoint and a row of results.csv as each run ends, and results.json at
    the end; each file is whole or absent.

    Returns:
        The content of results.json: see :mod:`mimetric.train.results`.
    Raises:
        InputError: unknown data or objective, a folder that cannot be written, validation asked for
            where the data have none, or a loss that stops being finite.
    """
    names = [str(chosen) for chosen in named.parse_objectives(options.objectives)]
    data = load_data(options.data, seed=0)
    folder = writable_folder(options.out)
    parts = Parts(*(_part(data, rows) for rows in (data.split.train, data.split.validation, data.split.test)))
    queries = drawn_queries(parts.test.y)
    steps, count = options.num_steps(len(parts.train.y)), len(names) * options.seeds
    progress.started(f"{count} runs of {steps} steps", count * steps)
    baselines = {"raw_input": [_judged(embed(nn.Flatten(), parts.test.x), parts, seed=0)], "untrained": []}
    # What the very first step loads, about 75 MB, belongs to no objective.
    Training(*parts.train, names[0], options=options).advance(1)
    runs: list[Run] = []
    found: dict[str, list[list[Found]]] = {}
    for seed in range(options.seeds):
        encoder = first_encoder(data.x.shape[1:], seed, options)
        untrained = _judged(embed(encoder, parts.test.x), parts, seed)
        start = _point(0, 0.0, None, _validation(encoder, parts, inform=True), untrained)
        if options.select == "validation" and start["validation_recall_at_1"] is None:
            raise InputError(f"select: {options.data} has no validation rows to choose by; use last")
        baselines["untrained"].append(untrained)
        for name in names:
            training, run, embeddings = _run(name, seed, parts, start, options, progress)
            runs.append(run)
            found.setdefault(name, nearest(embeddings, queries))  # of the first seed
            _save(folder, training, run, options)
            write_runs(folder, runs)
            progress.said(_line(run))
    results = summarize(runs, baselines, data, options) | {"retrieval": described(data, queries, found)}
    write_results(folder, results)
    write_pictures(folder, data, results["retrieval"])
    return results


class Part(NamedTuple):
    """Rows (n, ...) and their labels (n,)."""

    x: Tensor
    y: Tensor


class Parts(NamedTuple):
    """The three parts of a data set; validation may be empty."""

    train: Part
    validation: Part
    test: Part


def _run(
    name: str, seed: int, parts: Parts, start: Measured, options: CompareOptions, progress: Progress
) -> tuple[Training, Run, Tensor]:
    """Train, looking at validation now and then; the model is handed back as it is judged, once, on the test.

    With it come what was measured, and the embeddings of the test.
    """
    memory, seconds = PeakMemory(), 0.0
    with memory:
        training = Training(*parts.train, name, seed=seed, options=options)
    modules = training.encoder, training.objective
    per_epoch = options.steps_per_epoch(len(parts.train.y))
    curve = [start | _sides(training)]
    best, states = 0, deepcopy([module.state_dict() for module in modules])
    stops = _stops(training.steps, options.probes)
    with_information = _stops(len(stops), _INFORMED)
    for probe, stop in enumerate(stops, start=1):
        began = time.perf_counter()
        with memory:
            loss = training.advance(stop - training.step, progress)
        seconds += time.perf_counter() - began
        validation = _validation(training.encoder, parts, inform=probe in with_information)
        point = _point(training.step, training.step / per_epoch, loss, validation, {})
        curve.append(point | _sides(training))
        if options.select == "last" or _recall(curve[-1]) > _recall(curve[best]):
            best, states = len(curve) - 1, deepcopy([module.state_dict() for module in modules])
    for module, state in zip(modules, states):
        module.load_state_dict(state)
    embeddings = embed(training.encoder, parts.test.x)
    quality = _judged(embeddings, parts, seed)
    curve[best] = curve[best] | _named("test", quality)
    measured = quality | {
        "tightness": curve[best]["tightness"],
        "contrast": curve[best]["contrast"],
        "train_seconds": seconds,
        "peak_memory_bytes": memory.bytes,
    }
    return training, Run(name, seed, curve[best]["step"], measured, curve), embeddings


def _part(data: LabelledData, rows: NDArray[np.int64]) -> Part:
    return Part(torch.from_numpy(data.x[rows]), torch.from_numpy(data.y[rows]))


def _stops(steps: int, probes: int) -> list[int]:
    """Steps after which to look, evenly spread, the last at the end; of probes, those that measure information.

    >>> _stops(500, 3), _stops(2, 6)
    ([167, 333, 500], [1, 2])
    """
    return sorted({max(1, round(steps * i / probes)) for i in range(1, probes + 1)})


def _validation(encoder: nn.Module, parts: Parts, *, inform: bool) -> Measured:
    embeddings = embed(encoder, parts.validation.x)
    found = looked_at(embeddings, parts.validation.y)
    return found | informed(embeddings, parts.validation.y) if inform else found


def _judged(embeddings: Tensor, parts: Parts, seed: int) -> Measured:
    return judged(embeddings, parts.test.y, seed)


def _sides(training: Training) -> Measured:
    """Tightness and contrast of the objective as it is now, on a few training batches."""
    return dict(zip(("tightness", "contrast"), training.sides() or (None, None)))


def _point(step: int, epoch: float, loss: float | None, validation: Measured, test: Measured) -> Measured:
    """One point of a learning curve; most have no test."""
    numbers = {"step": step, "epoch": epoch, "loss": loss}
    return numbers | _named("validation", validation) | _named("test", test)


def _named(part: str, found: Measured) -> Measured:
    return {f"{part}_{name}": found.get(name) for name in ("recall_at_1", "map_at_r", *INFORMATION)}


def _recall(point: Measured) -> float:
    return float(point["validation_recall_at_1"])


def _save(folder: Path, training: Training, run: Run, options: CompareOptions) -> None:
    name = re.sub(r"[^\w.=-]+", "_", run.objective)
    settings = training.settings | {"data": options.data, "step": run.step, "measured": run.measured}
    save(folder / "checkpoints" / f"{name}-seed{run.seed}", training.encoder, training.objective, settings)


def _line(run: Run) -> str:
    found = run.measured
    return (
        f"{run.objective}, seed {run.seed}: Recall@1 {found['recall_at_1']:.3f}, "
        f"trained in {found['train_seconds']:.1f} s"
    )
