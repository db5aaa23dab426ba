"""A run that is looked at now and then: its learning curve, the best model on the way, and how it is judged."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mimetric.core.classifier import LinearClassifier
from mimetric.core.errors import InputError
from mimetric.data.sources import LabelledData
from mimetric.data.stored import StoredRows, stored
from mimetric.losses import CrossEntropyLoss
from mimetric.train.checkpoint import part_of, weights_of
from mimetric.train.loop import Training
from mimetric.train.machine import PeakMemory
from mimetric.train.options import FitOptions, Select
from mimetric.train.progress import Progress, Silent
from mimetric.train.quality import INFORMATION, Measured, informed, judged, looked_at
from mimetric.train.results import Run
from mimetric.train.start import embed_rows, first_encoder
from mimetric.views import bounds, drawn_rows

INFORMED = (
    3  # looks of a run that measure information, beside the untrained encoder: it costs more than retrieval
)
BOUND = ("cross_entropy", "pairwise_cross_entropy", "simplified_pairwise_cross_entropy")
_BOUND_ROWS = 512  # of training, on which these are measured


class Part(NamedTuple):
    """Rows (n, ...), in memory or on disk, and their labels (n,)."""

    x: Tensor | StoredRows
    y: Tensor


class Parts(NamedTuple):
    """The three parts of a data set; validation may be empty."""

    train: Part
    validation: Part
    test: Part
    query: Tensor | None = (
        None  # (n,) bool: test rows that are searched among the others; None is all, among all
    )


def parts_of(data: LabelledData) -> Parts:
    """The rows of each part; those of a mapped array, such as decoded pictures, stay on disk."""
    kept = stored(data.x)

    def part(rows: NDArray[np.int64]) -> Part:
        x = torch.from_numpy(data.x[rows]) if kept is None else kept.chosen(torch.from_numpy(rows))
        return Part(x, torch.from_numpy(data.y[rows]))

    split = data.split
    query = None if split.query is None else torch.from_numpy(np.isin(split.test, split.query))
    return Parts(part(split.train), part(split.validation), part(split.test), query)


def raw_input(parts: Parts) -> Measured:
    """What the inputs themselves find; pictures on disk are shrunk, as all their pixels might not fit in memory."""
    x = parts.test.x
    flat = nn.Flatten() if isinstance(x, Tensor) else _Shrunk()
    return judged(embed_rows(flat, x), parts.test.y, 0, parts.query)


def first_look(parts: Parts, seed: int, options: FitOptions) -> tuple[Measured, Measured]:
    """What the untrained encoder of a seed finds on the test, and the point where its learning curves begin."""
    encoder = first_encoder(parts.train.x, seed, options)
    untrained = judged(embed_rows(encoder, parts.test.x), parts.test.y, seed, parts.query)
    return untrained, _point(0, 0.0, None, _validation(encoder, parts, inform=True), untrained)


class WatchedRun:
    """A training, its learning curve, and the model to be judged: the last, or the best on validation.

    Args:
        training: that has just begun.
        parts: of the data that it trains on.
        start: where its curve begins, as :func:`first_look` has it.
        memory: begun before the training was made.
        select: which model is judged.

    Attributes:
        curve: points, the last of them where the training was looked at last.
        best: the point of the model to be judged.
        weights: of the model to be judged, as :func:`~mimetric.train.checkpoint.save` takes them.
    """

    def __init__(
        self, training: Training, parts: Parts, start: Measured, memory: PeakMemory, *, select: Select
    ) -> None:
        self.training, self._parts, self._select = training, parts, select
        self._memory, self._seconds = memory, 0.0
        self._per_epoch = training.steps_per_epoch
        self.curve = [start | _sides(training)]
        self._best, self.weights = 0, weights_of(**training.model)

    @property
    def best(self) -> Measured:
        return self.curve[self._best]

    def advance(self, stop: int, *, inform: bool, progress: Progress = Silent()) -> None:
        """Train up to step `stop` and look at validation; nothing to look at if it is stopped on the way.

        Args:
            stop: after how many steps.
            inform: whether information is measured too.
            progress: told of every step.
        """
        training, began = self.training, time.perf_counter()
        with self._memory:
            training.advance(stop - training.step, progress)
        self._seconds += time.perf_counter() - began
        if training.step < stop:
            return
        mean = training.mean_loss(self.curve[-1]["step"])
        loss = mean if math.isfinite(mean) else None  # every batch was left out
        validation = _validation(training.model["encoder"], self._parts, inform=inform)
        point = _point(stop, stop / self._per_epoch, loss, validation, {})
        self.curve.append(point | _sides(training))
        if self._select == "last" or _recall(self.curve[-1]) > _recall(self.best):
            self._best, self.weights = len(self.curve) - 1, weights_of(**training.model)

    def looks_in_vain(self) -> int:
        """How many looks have passed since the one of the highest Recall@1 on validation."""
        recalls = [_recall(point) for point in self.curve]
        return len(recalls) - 1 - recalls.index(max(recalls))

    def judge(self) -> tuple[Run, Tensor]:
        """Measure the model to be judged, once, on the test; its embeddings of the test."""
        for name, module in self.training.model.items():
            module.load_state_dict(part_of(self.weights, name))
        embeddings, seed = self.training.embed(self._parts.test.x), self.training.settings["seed"]
        quality = judged(embeddings, self._parts.test.y, seed, self._parts.query)
        point = self.curve[self._best] = self.best | _named("test", quality)
        measured = quality | {
            "tightness": point["tightness"],
            "contrast": point["contrast"],
            "train_seconds": self._seconds,
            "peak_memory_bytes": self._memory.bytes,
        }
        name = self.training.settings["objective"]
        return Run(name, seed, point["step"], measured, self.curve), embeddings

    def state(self) -> dict[str, Any]:
        """JSON values for :meth:`restore`; the training and the weights have states of their own."""
        return {
            "curve": self.curve,
            "best": self._best,
            "seconds": self._seconds,
            "peak_memory_bytes": self._memory.bytes,
        }

    def restore(self, values: Mapping[str, Any], weights: dict[str, Tensor]) -> None:
        """Go on from there.

        Raises:
            InputError: values are missing.
        """
        try:
            self.curve, self._best = list(values["curve"]), int(values["best"])
            self._seconds, self._memory.bytes = float(values["seconds"]), int(values["peak_memory_bytes"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the state of the run is damaged ({error}); train again") from None
        self.weights = weights


def described_run(run: Run) -> str:
    """A line for people."""
    found = run.measured
    return (
        f"{run.objective}, seed {run.seed}: Recall@1 {found['recall_at_1']:.3f}, "
        f"trained in {found['train_seconds']:.1f} s"
    )


def spread(steps: int, looks: int) -> list[int]:
    """Steps after which to look, evenly spread, the last at the end; of looks, those that measure information.

    >>> spread(500, 3), spread(2, 6)
    ([167, 333, 500], [1, 2])
    """
    return sorted({max(1, round(steps * i / looks)) for i in range(1, looks + 1)})


class _Shrunk(nn.Module):
    """Pictures averaged down to 16 x 16 where they are larger, as vectors; vectors as they are."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        return (F.adaptive_avg_pool2d(x, 16) if x.ndim == 4 and min(x.shape[2:]) > 16 else x).flatten(1)


def _validation(encoder: nn.Module, parts: Parts, *, inform: bool) -> Measured:
    embeddings = embed_rows(encoder, parts.validation.x)
    found = looked_at(embeddings, parts.validation.y)
    return found | informed(embeddings, parts.validation.y) if inform else found


def _sides(training: Training) -> Measured:
    """Tightness and contrast of the objective as it is now, on a few training batches."""
    found: Measured = dict(zip(("tightness", "contrast"), training.sides() or (None, None)))
    return found | dict(zip(BOUND, _bound(training)))


def _bound(training: Training) -> tuple[float | None, ...]:
    """Cross-entropy of a linear classifier on rows of a few training classes, and both its pairwise forms."""
    objective = training.model["objective"]
    if not isinstance(objective, CrossEntropyLoss | LinearClassifier):
        return (None,) * len(BOUND)
    rows = drawn_rows(training.y, _BOUND_ROWS)
    embeddings = training.embed(training.x[rows])
    found = bounds(embeddings, training.y[rows], objective.weight, objective.bias)
    return found.ce, found.pce, found.spce


def _point(step: int, epoch: float, loss: float | None, validation: Measured, test: Measured) -> Measured:
    """One point of a learning curve; most have no test."""
    numbers = {"step": step, "epoch": epoch, "loss": loss}
    return numbers | _named("validation", validation) | _named("test", test)


def _named(part: str, found: Measured) -> Measured:
    return {f"{part}_{name}": found.get(name) for name in ("recall_at_1", "map_at_r", *INFORMATION)}


def _recall(point: Measured) -> float:
    return float(point["validation_recall_at_1"])
