"""One objective trained and judged, in a folder from which a run that was stopped or killed goes on.

The folder is a checkpoint (:mod:`mimetric.train.checkpoint`), of the end of an epoch or of where the run was stopped::

    settings.json                       the options, a hash of the rows of each part, the machine, and which of these
    weights-*, state-*                  the model to be judged so far; where the training stands
    run.toml                            the options, for --config to repeat it; split-*.npz which rows are which
    metrics.jsonl                       the learning curve so far: a point at the end of each epoch
    results.json, results.csv           at the end, as a comparison of one objective and one seed has them
    report.html, README.md              the same to look at; the model card, with intervals over test classes
    examples.json, pictures.npz         what the model makes of a few test items, and their pictures
    bad-batch.*                         a batch whose loss was not finite, if that stopped the run
"""

from __future__ import annotations

import json
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from mimetric import named
from mimetric.core.errors import InputError
from mimetric.core.files import remove_others, writable_folder, write_whole
from mimetric.data.pair_files import read_pair_file
from mimetric.data.saved_splits import split_hash, write_split
from mimetric.data.sources import LabelledData, load_data
from mimetric.data.stored import DeadWorkerError, digest_of
from mimetric.models.names import parse_encoder
from mimetric.report.card import CARD, model_card
from mimetric.report.page import write_report
from mimetric.train.bad_batch import BadBatchError
from mimetric.train.checkpoint import SETTINGS, State, read_settings, read_state, read_weights
from mimetric.train.config import CONFIG, write_config
from mimetric.train.evaluate import evaluate_test
from mimetric.train.examples import EXAMPLES, PICTURES, Examples
from mimetric.train.loop import Training
from mimetric.train.machine import PeakMemory, environment
from mimetric.train.options import EvaluateOptions, TrainOptions
from mimetric.train.progress import Progress, Silent
from mimetric.train.results import summarize, write_results, write_runs
from mimetric.train.state import commit, restore, state_of
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

METRICS = "metrics.jsonl"
REPORT = "report.html"
_REWRITTEN = (METRICS, "results.csv", "results.json", PICTURES, EXAMPLES, REPORT, CARD, CONFIG)
_ON_CARD = EvaluateOptions(metrics="recall_at_1,recall_at_10,map_at_r,r_precision")
_MAY_CHANGE = {
    "device",
    "bad_loss",
    "workers",
}  # when a run goes on: with another of the rest it were another run


def train(
    options: TrainOptions = TrainOptions(),
    *,
    data: LabelledData | None = None,
    resume: bool = False,
    progress: Progress = Silent(),
) -> dict[str, Any]:
    """Train one objective, looking at validation after each epoch, and judge it on the test as ``compare`` does.

    At the end of each epoch, and where it is stopped, the run is saved; from there it goes on to the numbers of a run
    that was never stopped, on one machine's CPU bit for bit.  Ctrl-C and a request to end (SIGTERM) let the step under
    way finish.

    Args:
        options: all there is to choose.  Of a run that goes on, those it began with: give `out`, and no others but
            `device`, `bad_loss` and `workers`.
        data: in place of what `options` name, such as :func:`~mimetric.data.arrays.as_data` makes of arrays.
        resume: go on with the run in ``options.out``.
        progress: told of every step.

    Returns:
        The content of results.json: see :mod:`mimetric.train.results`.
    Raises:
        InputError: unknown data or objective, a folder that holds a run already or none to go on with, a disk that is
            full, validation asked for where the data have none, or a loss that is not finite.
        KeyboardInterrupt: stopped; its message says how to go on.
    """
    if data is not None:
        options = replace(options, data=data.name)
    folder, options = options.out, _asked(options, resume=resume)
    data = load_data(options.data, seed=0) if data is None else data
    together = _together(options, data)
    parts = parts_of(data)
    untrained, start = first_look(parts, options.seed, options)
    _check_validation(options, start)
    memory = PeakMemory()
    with memory:
        training = Training(
            *parts.train,
            options.objective,
            seed=options.seed,
            options=options,
            together=together,
        )
    if training.rank:
        progress = Silent()  # the first process speaks for all, and writes
    run = WatchedRun(training, parts, start, memory, select=options.select)
    settings = training.settings | _settings(options, data, parts)
    if resume:
        _restore(run, folder, settings)
    writable_folder(folder)
    if not training.rank:
        split = write_split(folder, data.split, data.y)
        write_config(folder, options)
    progress.started(f"{options.objective}, seed {options.seed}: {training.steps} steps", training.steps)
    progress.advanced(training.step)
    with _told_how_to_go_on(folder, training):
        _train(run, folder, settings, options, progress)
        judged, embeddings = run.judge()
        baselines = {"raw_input": [raw_input(parts)], "untrained": [untrained]}
        results = summarize([judged], baselines, data, options)
        examples = Examples(data, judged.seed)
        examples.show(judged.objective, judged.seed, embeddings, training.model["objective"])
        results["retrieval"] = examples.retrieval()
        if not training.rank:
            write_runs(folder, [judged])
            examples.write(folder, results["retrieval"])
            write_results(folder, results)
            write_report(results, folder / REPORT)
            tested = evaluate_test(embeddings, parts, _ON_CARD, seed=options.seed).as_json()
            write_whole(folder / CARD, model_card(settings, results, tested).encode())
            remove_others(folder, [*_REWRITTEN, "split-*.npz"], [*_REWRITTEN, split.name])
    progress.said(described_run(judged))
    return results


def _asked(options: TrainOptions, *, resume: bool) -> TrainOptions:
    """The options with the objective's full name, or those that the run in their folder began with."""
    folder, objectives = options.out, named.parse_objectives(options.objective)
    if len(objectives) > 1:
        raise InputError(f"objective: name one, got {options.objective!r}; compare takes several")
    options = replace(options, objective=str(objectives[0]))
    if not resume:
        if any((folder / name).exists() for name in (SETTINGS, "results.json")):
            raise InputError(f"out: {folder} holds a run; go on with it by --resume, or name another folder")
        return options
    if not (folder / SETTINGS).exists():
        raise InputError(
            f"resume: no run in {folder}; name its folder by --out, or begin one without --resume"
        )
    return _begun_with(options, read_settings(folder))


def _train(
    run: WatchedRun, folder: Path, settings: dict[str, Any], options: TrainOptions, progress: Progress
) -> None:
    """Up to the end, saving the run at the end of each epoch and where it is stopped."""
    training = run.training
    stops = sorted(
        {*range(training.steps_per_epoch, training.steps, training.steps_per_epoch), training.steps}
    )
    informed = spread(len(stops), INFORMED)
    if not (folder / SETTINGS).exists():
        _save(run, folder, settings)
    with _stopped_by_signals(training):
        for look, stop in enumerate(stops, start=1):
            if stop <= run.curve[-1]["step"]:
                continue  # before the run was taken up again
            if options.patience is not None and run.looks_in_vain() >= options.patience:
                progress.said(
                    f"no better on validation for {options.patience} epochs: stopped at step {training.step}"
                )
                break
            try:
                run.advance(stop, inform=look in informed, progress=progress)
            except BadBatchError as error:
                raise error if training.rank else error.kept_in(folder) from None
            _save(run, folder, settings)
            if training.stopped:
                raise KeyboardInterrupt


def _save(run: WatchedRun, folder: Path, settings: dict[str, Any]) -> None:
    training = run.training
    if training.rank and training.classes is None:
        return
    state = state_of(training)
    lines = "".join(json.dumps(point, allow_nan=False) + "\n" for point in run.curve)
    if not training.rank:
        write_whole(folder / METRICS, lines.encode())
    steps = {"step": run.best["step"], "steps_done": training.step}  # of the model, and of the state
    whole = State(state.tensors, state.values | {"run": run.state()})
    commit(folder, training, run.weights, settings | steps, whole)


def _restore(run: WatchedRun, folder: Path, settings: dict[str, Any]) -> None:
    saved = read_settings(folder)
    if saved.get("split") != settings["split"]:
        raise InputError(
            f"{settings['data']}: the data are not those that the run in {folder} began with; train again"
        )
    classes = run.training.classes
    state, weights = read_state(folder, saved, classes), read_weights(folder, saved, classes)
    try:
        restore(run.training, state)
        run.restore(state.values.get("run", {}), weights)
    except InputError as error:
        raise InputError(f"checkpoint {folder}: {error}") from None


def _begun_with(asked: TrainOptions, saved: dict[str, Any]) -> TrainOptions:
    """The options that a run began with; those that may change are as they are asked for now, if they are."""
    names = [field.name for field in fields(TrainOptions) if field.name != "out"]
    try:
        begun = replace(asked, **{name: saved[name] for name in names})
    except (KeyError, TypeError) as error:
        raise InputError(f"checkpoint {asked.out}: its settings lack {error}; train again") from None
    changed = {
        field.name: getattr(asked, field.name)
        for field in fields(TrainOptions)
        if getattr(asked, field.name) not in (getattr(begun, field.name), field.default)
    }
    for name in changed.keys() - _MAY_CHANGE:
        raise InputError(
            f"{name}: the run in {asked.out} has {saved[name]}, got {changed[name]}; a run goes on with its own "
            "options, leave it out"
        )
    if parse_encoder(begun.encoder).source == "code" and asked.encoder != begun.encoder:
        raise InputError(
            f"encoder: the run in {asked.out} has {begun.encoder}, which is code; name it again by --encoder if you "
            "trust it"
        )
    return replace(begun, **changed)


def _settings(options: TrainOptions, data: LabelledData, parts: Parts) -> dict[str, Any]:
    """Beside those of the training: the options, the rows of each part by what is in them, and the machine."""
    given = {
        name: value for name, value in asdict(options).items() if name not in ("out", "objective", "steps")
    }
    split = {
        name: {"items": len(part.y), "classes": len(torch.unique(part.y)), "sha256": digest_of(*part)}
        for name, part in (("train", parts.train), ("validation", parts.validation), ("test", parts.test))
    }
    told = {"kind": data.split.kind, "hash": split_hash(data.split, data.y), **split}
    return given | {"split": told, "environment": environment()}


def _together(options: TrainOptions, data: LabelledData) -> Tensor | None:
    if options.triplets is None:
        return None
    return torch.from_numpy(read_pair_file(Path(options.triplets).expanduser(), data))


def _check_validation(options: TrainOptions, start: dict[str, Any]) -> None:
    for name, asked in (
        ("select", options.select == "validation"),
        ("patience", options.patience is not None),
    ):
        if asked and start["validation_recall_at_1"] is None:
            raise InputError(f"{name}: {options.data} has no validation rows to look at; leave it out")


@contextmanager
def _stopped_by_signals(training: Training) -> Iterator[None]:
    """Ctrl-C and a request to end let the step under way finish; a second one acts at once."""

    def stop(number: int, _: FrameType | None) -> None:
        training.stop()
        signal.signal(number, before[number])

    heard = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    found: dict[int, Any] = {number: signal.getsignal(number) for number in heard}
    before = {number: how for number, how in found.items() if how not in (None, signal.SIG_IGN)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, how in before.items():
            signal.signal(number, how)


@contextmanager
def _told_how_to_go_on(folder: Path, training: Training) -> Iterator[None]:
    """What ends a run early says what is left of it, and the command that goes on."""
    go_on = f"mimetric train --out {shlex.quote(str(folder))} --resume"
    try:
        yield
    except KeyboardInterrupt:
        if not (folder / SETTINGS).exists():
            raise
        at = read_settings(folder)["steps_done"]
        raise KeyboardInterrupt(
            f"stopped; saved at step {at} of {training.steps}, go on by: {go_on}"
        ) from None
    except DeadWorkerError as error:
        if not (folder / SETTINGS).exists():
            raise
        raise InputError(f"{error}; go on by: {go_on}") from None
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = f"go on by: {go_on}" if (folder / SETTINGS).exists() else "begin again"
        raise InputError(f"out: cannot write to {folder} ({reason}); make room, then {remedy}") from None
