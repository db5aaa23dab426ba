"""Objectives side by side: the same encoder, batches, steps and evaluation for each, over a few seeds."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from mimetric import named
from mimetric.core.errors import InputError
from mimetric.core.files import writable_folder
from mimetric.data.saved_splits import write_split
from mimetric.data.sources import LabelledData, load_data
from mimetric.train.bad_batch import BadBatchError
from mimetric.train.checkpoint import save
from mimetric.train.config import write_config
from mimetric.train.examples import Examples
from mimetric.train.loop import Training
from mimetric.train.machine import PeakMemory, launched
from mimetric.train.options import CompareOptions
from mimetric.train.progress import Progress, Silent
from mimetric.train.quality import Measured
from mimetric.train.results import Run, summarize, write_results, write_runs
from mimetric.train.trials import TRIAL_SEED, Judge, Tuned, begun_with, check_trials, tune_all, tuning
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


def compare(
    options: CompareOptions = CompareOptions(),
    *,
    data: LabelledData | None = None,
    resume: bool = False,
    progress: Progress = Silent(),
) -> dict[str, Any]:
    """Train every objective with every seed on one budget; write and return what was measured.

    Into ``options.out`` go a checkpoint and a row of results.csv as each run ends, and results.json at
    the end; each file is whole or absent.  With ``options.trials`` each objective is tuned first, on validation alone
    (:mod:`mimetric.train.trials`), and compared as it came out.

    Args:
        options: all there is to choose.
        data: in place of what `options` name, such as :func:`~mimetric.data.arrays.as_data` makes of arrays.
        resume: go on with the study in ``options.out``, with the options it began with, or more trials; the trials
            that ended are kept, and the runs of the seeds are made anew.
        progress: told of every step.

    Returns:
        The content of results.json: see :mod:`mimetric.train.results`.
    Raises:
        InputError: unknown data or objective, a folder that cannot be written or holds a study already, validation
            asked for where the data have none, or a loss that stops being finite.
    """
    if resume:
        options = begun_with(options)
    names = [str(chosen) for chosen in named.parse_objectives(options.objectives)]
    if launched()[1] > 1:
        raise InputError("runs in one process; mimetric train takes several")
    if data is None:
        data = load_data(options.data, seed=0)
    else:
        options = replace(options, data=data.name)
    check_trials(options, data, resume=resume)
    folder = writable_folder(options.out)
    write_config(folder, options)
    write_split(folder, data.split, data.y)
    parts = parts_of(data)
    examples = Examples(data)
    steps, count = options.num_steps(len(parts.train.y)), len(names) * (options.seeds + (options.trials or 0))
    progress.started(f"{count} runs of {steps} steps", count * steps)
    baselines = {"raw_input": [raw_input(parts)], "untrained": []}
    # What the very first step loads, about 75 MB, belongs to no objective.
    Training(*parts.train, names[0], options=options).advance(1)
    tuned = {name: Tuned(name, options) for name in names}
    if options.trials:
        tuned = tune_all(names, options, data, _judge(parts, options, progress), progress)
    runs: list[Run] = []
    for seed in range(options.seeds):
        untrained, start = first_look(parts, seed, options)
        if options.select == "validation" and start["validation_recall_at_1"] is None:
            raise InputError(f"select: {options.data} has no validation rows to choose by; use last")
        baselines["untrained"].append(untrained)
        for name in names:
            try:
                run = _run(tuned[name].objective, seed, parts, start, tuned[name].options, progress)
            except BadBatchError as error:
                raise error.kept_in(folder) from None
            judged, embeddings = run.judge()
            judged = replace(judged, objective=name)  # as it was asked for, whatever options were found
            runs.append(judged)
            examples.show(name, seed, embeddings, run.training.model["objective"])
            _save(folder, run, judged, options)
            write_runs(folder, runs)
            progress.said(described_run(judged))
    results = summarize(runs, baselines, data, options) | {
        "retrieval": examples.retrieval(),
        "tuning": tuning(tuned, options.trials),
    }
    write_results(folder, results)
    examples.write(folder, results["retrieval"])
    return results


def _judge(parts: Parts, options: CompareOptions, progress: Progress) -> Judge:
    """Recall@1 on validation of a trial; its test rows are the validation rows, so that no test can be looked at."""
    parts = parts._replace(test=parts.validation, query=None)
    _, start = first_look(parts, TRIAL_SEED, options)
    probes = 1 if options.select == "last" else options.probes

    def judge(objective: str, tried: CompareOptions) -> float:
        run = _run(objective, TRIAL_SEED, parts, start, replace(tried, probes=probes), progress, informed=0)
        return float(run.best["validation_recall_at_1"])

    return judge


def _run(
    name: str,
    seed: int,
    parts: Parts,
    start: Measured,
    options: CompareOptions,
    progress: Progress,
    *,
    informed: int = INFORMED,
) -> WatchedRun:
    """Train, looking at validation now and then; so many of these looks measure information."""
    memory = PeakMemory()
    with memory:
        training = Training(*parts.train, name, seed=seed, options=options)
    run = WatchedRun(training, parts, start, memory, select=options.select)
    stops = spread(training.steps, options.probes)
    measuring = spread(len(stops), informed)
    for probe, stop in enumerate(stops, start=1):
        run.advance(stop, inform=probe in measuring, progress=progress)
    return run


def _save(folder: Path, run: WatchedRun, judged: Run, options: CompareOptions) -> None:
    name = re.sub(r"[^\w.=-]+", "_", judged.objective)
    settings = run.training.settings | {
        "data": options.data,
        "step": judged.step,
        "measured": judged.measured,
    }
    save(folder / "checkpoints" / f"{name}-seed{judged.seed}", run.weights, settings)
