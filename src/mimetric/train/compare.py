"""Objectives side by side: the same encoder, batches, steps and evaluation for each, over a few seeds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mimetric import named
from mimetric.core.errors import InputError
from mimetric.core.files import writable_folder
from mimetric.data.saved_splits import write_split
from mimetric.data.sources import load_data
from mimetric.train.bad_batch import BadBatchError
from mimetric.train.checkpoint import save
from mimetric.train.examples import Found, described, drawn_queries, nearest, write_pictures
from mimetric.train.loop import Training
from mimetric.train.machine import PeakMemory, launched
from mimetric.train.options import CompareOptions
from mimetric.train.progress import Progress, Silent
from mimetric.train.quality import Measured
from mimetric.train.results import Run, summarize, write_results, write_runs
from mimetric.train.watched import (
    INFORMED,
    Parts,
    WatchedRun,
    described_run,
    first_look,
    parts_of,
    raw_input,
    spread,
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
    if launched()[1] > 1:
        raise InputError("runs in one process; mimetric train takes several")
    data = load_data(options.data, seed=0)
    folder = writable_folder(options.out)
    write_split(folder, data.split, data.y)
    parts = parts_of(data)
    queries = drawn_queries(parts.test.y)
    steps, count = options.num_steps(len(parts.train.y)), len(names) * options.seeds
    progress.started(f"{count} runs of {steps} steps", count * steps)
    baselines = {"raw_input": [raw_input(parts)], "untrained": []}
    # What the very first step loads, about 75 MB, belongs to no objective.
    Training(*parts.train, names[0], options=options).advance(1)
    runs: list[Run] = []
    found: dict[str, list[list[Found]]] = {}
    for seed in range(options.seeds):
        untrained, start = first_look(parts, seed, options)
        if options.select == "validation" and start["validation_recall_at_1"] is None:
            raise InputError(f"select: {options.data} has no validation rows to choose by; use last")
        baselines["untrained"].append(untrained)
        for name in names:
            try:
                run = _run(name, seed, parts, start, options, progress)
            except BadBatchError as error:
                raise error.kept_in(folder) from None
            judged, embeddings = run.judge()
            runs.append(judged)
            found.setdefault(name, nearest(embeddings, queries))  # of the first seed
            _save(folder, run, judged, options)
            write_runs(folder, runs)
            progress.said(described_run(judged))
    results = summarize(runs, baselines, data, options) | {"retrieval": described(data, queries, found)}
    write_results(folder, results)
    write_pictures(folder, data, results["retrieval"])
    return results


def _run(
    name: str, seed: int, parts: Parts, start: Measured, options: CompareOptions, progress: Progress
) -> WatchedRun:
    """Train, looking at validation now and then."""
    memory = PeakMemory()
    with memory:
        training = Training(*parts.train, name, seed=seed, options=options)
    run = WatchedRun(training, parts, start, memory, select=options.select)
    stops = spread(training.steps, options.probes)
    informed = spread(len(stops), INFORMED)
    for probe, stop in enumerate(stops, start=1):
        run.advance(stop, inform=probe in informed, progress=progress)
    return run


def _save(folder: Path, run: WatchedRun, judged: Run, options: CompareOptions) -> None:
    name = re.sub(r"[^\w.=-]+", "_", judged.objective)
    settings = run.training.settings | {
        "data": options.data,
        "step": judged.step,
        "measured": judged.measured,
    }
    save(folder / "checkpoints" / f"{name}-seed{judged.seed}", run.weights, settings)
