"""What a comparison measured, as results.json and results.csv.

``results.json`` (schema_version 1); a *metric* is ``{mean, low, high, values}`` over seeds, or None::

    data          spec, name, note, split, input_shape; sha256 of all rows and labels, split_sha256 of which rows are
                   which; train, validation, test: {items, classes}
    settings      every option that changes numbers; steps and epochs as they came out
    environment   versions, processor, threads
    objectives    {name: {seeds, recall_at_1, map_at_r, r_precision, nmi,
                   information_discriminative, information_generative,
                   information_kernel_lower, information_kernel_upper, information_gaussian,
                   entropy, conditional_entropy, information_warnings: [words of any seed],
                   tightness, contrast,             (None where the loss has no such sides)
                   train_seconds, peak_memory_bytes, standing, behind_best, still_rising, note}}
    baselines     {raw_input, untrained: {recall_at_1, map_at_r, r_precision, nmi, and the information}}
    curves        {name: [one per seed: {seed, step: [...], epoch: [...], loss: [...],
                   tightness, contrast, cross_entropy, pairwise_cross_entropy, simplified_pairwise_cross_entropy,
                   validation_recall_at_1, validation_map_at_r,
                   validation_information_discriminative, ..., and the same of test_}]}
    information   rows: at most so many are measured; validation, test: {rows, classes, label_entropy}
    retrieval     {seed, queries: [{row, label}], neighbors: {name: [one list per query, nearest first:
                   {row, label, similarity}]}, first_right: {name: [how far down the first item of the query's class
                   is, 0: nowhere]}, drawn: so many of the queries are drawn, the others are those found worst};
                   examples.json and pictures.npz beside it have more: see :mod:`mimetric.train.examples`
    tuning        None, or {trials, seed, objectives: {name: {space: {option: {low, high, log, default}},
                   chosen: {option: value}, validation_recall_at_1, asked_validation_recall_at_1 (before tuning),
                   trials: [{values, validation_recall_at_1}]}}}

With tuning, the numbers of an objective are of its chosen options and learning rates; `settings` has those asked for.
The trials saw training and validation rows only.
A curve begins with the untrained encoder (step 0, loss None); a loss is the mean since the point before.
The test is looked at there and where the model is judged; in between its values are None.  Information is measured
at the first and last point and two between; elsewhere it is None.
Both views of I(Z;Y), H(Z) (`entropy`) and H(Z|Y) are in nats and of unit rows: see :mod:`mimetric.views`; H(Y)
(`label_entropy`) of the rows measured is the most that I(Z;Y) can be.  Tightness and contrast are in the loss's
own units, on training batches; and there the cross-entropy of what is a linear classifier, beside its pairwise forms
(:func:`mimetric.views.bounds`), in nats.
What cannot be measured, such as validation without validation classes, is None.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from mimetric.core.files import write_whole
from mimetric.data.saved_splits import split_hash
from mimetric.data.sources import LabelledData
from mimetric.data.stored import digest_of, stored
from mimetric.train.intervals import standings, summary
from mimetric.train.machine import environment
from mimetric.train.options import CompareOptions, TrainOptions
from mimetric.train.quality import INFORMATION, INFORMATION_ROWS, RETRIEVAL, Measured, ceiling

QUALITY = (*RETRIEVAL, "nmi", *INFORMATION)
PER_RUN = (*QUALITY, "tightness", "contrast", "train_seconds", "peak_memory_bytes")
RISE = 0.02  # a rise of Recall@1 over the last third of the steps that is worth a longer run


@dataclass(frozen=True)
class Run:
    """One objective with one seed, judged at `step`; `curve` holds what was measured on the way."""

    objective: str
    seed: int
    step: int
    measured: Measured
    curve: list[Measured]


def summarize(
    runs: Sequence[Run],
    baselines: Mapping[str, Sequence[Measured]],
    data: LabelledData,
    options: CompareOptions | TrainOptions,
) -> dict[str, Any]:
    """The content of results.json, from the runs of all objectives over the same seeds."""
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        by_name.setdefault(run.objective, []).append(run)
    standing = standings(
        {name: [run.measured["recall_at_1"] for run in own] for name, own in by_name.items()}
    )
    return {
        "schema_version": 1,
        "data": _data(data, options),
        "settings": _settings(data, options),
        "environment": environment(),
        "objectives": {name: _objective(own) | standing[name] for name, own in by_name.items()},
        "baselines": {name: _metrics(own, QUALITY) for name, own in baselines.items()},
        "curves": {name: [_curve(run) for run in own] for name, own in by_name.items()},
        "information": _information(data),
        "tuning": None,
    }


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """results.json, whole or as it was."""
    write_whole(folder / "results.json", json.dumps(results, indent=1, allow_nan=False).encode())


def write_runs(folder: Path, runs: Sequence[Run]) -> None:
    """results.csv: a row for each objective and seed that is done."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("objective", "seed", "step", *PER_RUN))
    for run in runs:
        table.writerow((run.objective, run.seed, run.step, *(run.measured[name] for name in PER_RUN)))
    write_whole(folder / "results.csv", text.getvalue().encode())


def _objective(runs: Sequence[Run]) -> dict[str, Any]:
    rise = _rise(runs)
    note = f"still rising: Recall@1 on validation grew by {rise:.3f} in the last third of the steps; give it more"
    warnings = chain.from_iterable(run.measured["information_warnings"] for run in runs)
    return {
        "seeds": [run.seed for run in runs],
        **_metrics([run.measured for run in runs], PER_RUN),
        "information_warnings": list(dict.fromkeys(warnings)),
        "still_rising": rise > RISE,
        "note": note if rise > RISE else None,
    }


def _metrics(found: Sequence[Measured], names: Sequence[str]) -> dict[str, Any]:
    """A summary of each metric; None where some run has no value."""
    columns = {name: [one[name] for one in found] for name in names}
    return {name: None if None in values else summary(values) for name, values in columns.items()}


def _rise(runs: Sequence[Run]) -> float:
    """How much Recall@1 on validation grew over the last third of the steps, on average over seeds.

    0 where validation cannot be measured.
    """
    rises = []
    for run in runs:
        end = run.curve[-1]
        before = [point for point in run.curve if 3 * point["step"] <= 2 * end["step"]][-1]
        if end["validation_recall_at_1"] is None:
            return 0.0
        rises.append(end["validation_recall_at_1"] - before["validation_recall_at_1"])
    return fmean(rises)


def _curve(run: Run) -> dict[str, Any]:
    return {"seed": run.seed, **{name: [point[name] for point in run.curve] for name in run.curve[0]}}


def _information(data: LabelledData) -> dict[str, Any]:
    parts = {"validation": data.split.validation, "test": data.split.test}
    ceilings = {name: ceiling(torch.from_numpy(data.y[rows])) for name, rows in parts.items()}
    return {"rows": INFORMATION_ROWS, **ceilings}


def _data(data: LabelledData, options: CompareOptions | TrainOptions) -> dict[str, Any]:
    parts = {"train": data.split.train, "validation": data.split.validation, "test": data.split.test}
    return {
        "spec": options.data,
        "name": data.name,
        "note": data.note,
        "split": data.split.kind,
        "sha256": digest_of(stored(data.x) or torch.from_numpy(data.x), torch.from_numpy(data.y)),
        "split_sha256": split_hash(data.split, data.y),
        "input_shape": list(data.x.shape[1:]),
        **{
            name: {"items": len(rows), "classes": len(np.unique(data.y[rows]))}
            for name, rows in parts.items()
        },
    }


def _settings(data: LabelledData, options: CompareOptions | TrainOptions) -> dict[str, Any]:
    rows = len(data.split.train)
    steps = options.num_steps(rows)
    settings = asdict(options) | {"steps": steps, "epochs": steps / options.steps_per_epoch(rows)}
    return {name: value for name, value in settings.items() if name not in ("data", "out")}
