"""One run: an encoder and an objective moved step by step over data in memory or on disk, on Accelerate."""

from __future__ import annotations

import math
from collections import deque
from contextlib import closing
from dataclasses import fields
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from mimetric.core.errors import InputError
from mimetric.core.processes import any_process, gathered, sharing, world_size
from mimetric.data.stored import StoredRows, deaths_named, digest_of
from mimetric.losses import CutClasses, SampledClasses, keep_classes, own_classes
from mimetric.models.encoders import embed
from mimetric.train.bad_batch import BadBatchError
from mimetric.train.batches import EndlessBatches
from mimetric.train.cached import embed_in_chunks, warn_of_batch_statistics
from mimetric.train.feed import Batch, Feed
from mimetric.train.learner import Learner
from mimetric.train.options import FitOptions
from mimetric.train.progress import Progress, Silent
from mimetric.train.start import (
    checked_rows,
    compares_views,
    created_accelerator,
    created_objective,
    embed_rows,
    encoder_name,
    first_encoder,
    seeded,
)


def fit(
    x: Any,
    y: Any,
    objective: str | nn.Module = "multi-similarity",
    *,
    encoder: nn.Module | None = None,
    seed: int = 0,
    options: FitOptions = FitOptions(),
    progress: Progress = Silent(),
) -> Training:
    """Train an encoder with an objective on rows of numbers: what :func:`mimetric.model.fit` does.

    Args:
        x: (n, ...) rows as there, but no texts and no labelled data.
        y: (n,) integer class ids, as there.
        objective, encoder, seed, options, progress: as there.

    Returns:
        The finished :class:`Training`: its `encoder`, its `objective` and the `losses` of all steps.
    Raises:
        InputError: as there.

    >>> x, y = torch.randn(64, 8), torch.arange(64) % 4
    >>> run = fit(x, y, "supcon", options=FitOptions(steps=3, batch_size=16))
    >>> run.embed(x).shape
    torch.Size([64, 64])
    """
    training = Training(x, y, objective, encoder=encoder, seed=seed, options=options)
    progress.started("fit", training.steps)
    training.advance(training.steps, progress)
    return training


class Training:
    """A run that can be moved on in parts and looked at in between; the arguments are those of :func:`fit`.

    :mod:`mimetric.train.state` saves it and takes it up again.

    Attributes:
        encoder, objective: the modules being trained.
        step, steps: how many batches are done, and how many there are.
        steps_per_epoch: how many of them make a pass over the rows.
        losses: (steps,) the loss of each batch done, on the CPU; nan for those to come.
        settings: JSON values, from which a checkpoint of named modules can be rebuilt.
        stopped: whether :meth:`stop` was called.
        rank: of this process; several, started by torchrun or ``accelerate launch``, each embed a share of every batch
            and move the same weights.
        together: rows of x that come together in batches, as :class:`~mimetric.train.batches.EndlessBatches` has it.
        classes: whose weights this process has, where they are cut among processes; None where each has all.
        x, y: the labelled rows, on the device or on disk, and their labels from 0, on the device.
        left_out: rows on disk that could not be read, and why.
        batches, learner: the batches to come; what a loss changes.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        objective: str | nn.Module,
        *,
        encoder: nn.Module | None = None,
        seed: int = 0,
        options: FitOptions = FitOptions(),
        together: Tensor | None = None,
    ) -> None:
        self._options, self._seed, accelerator = options, seed, created_accelerator(options)
        device, self.rank = accelerator.device, accelerator.process_index
        self.x, self.y, num_classes = checked_rows(x, y, device)
        if options.batch_size > len(self.x):
            raise InputError(
                f"batch_size must be at most {len(self.x)}, the number of training rows, got {options.batch_size}"
            )
        shape = self.x.shape[1:]
        self.encoder = (first_encoder(self.x, seed, options) if encoder is None else encoder).to(device)
        if options.chunk is not None and options.chunk < options.batch_size:
            warn_of_batch_statistics(self.encoder, options.chunk)
        width = embed(self.encoder, self.x[:1]).shape[1]
        with seeded(seed):
            self.objective = created_objective(objective, width, num_classes)
        self.classes = own_classes(num_classes, self.rank, world_size()) if options.cut_classes else None
        if self.classes is not None:
            keep_classes(self.objective, self.classes)
        self.objective = self.objective.to(device)
        self.step, self.steps, self.stopped = 0, options.num_steps(len(self.x)), False
        self.steps_per_epoch = options.steps_per_epoch(len(self.x))
        self.losses = torch.full((self.steps,), torch.nan)
        self.settings = {option.name: getattr(options, option.name) for option in fields(FitOptions)} | {
            "encoder": encoder_name(self.x, options) if encoder is None else type(encoder).__name__,
            "objective": objective if isinstance(objective, str) else type(objective).__name__,
            "input_shape": list(shape), "input_dtype": str(self.x.dtype).removeprefix("torch."),
            "width": width, "num_classes": num_classes, "steps": self.steps, "seed": seed,
        }  # fmt: skip
        self.together = None if together is None else together.to(device)
        self.batches = EndlessBatches(self.y, seed, options, self.together)
        self._feed = Feed(
            self.x, self.batches, device=device, rank=self.rank, seed=seed, options=options,
            views=2 if compares_views(self.objective) else 1,
        )  # fmt: skip
        self.left_out: dict[int, str] = {}
        self._unheard: deque[_Taken] = deque()
        share = options.class_share
        self._loss = self._of_all_classes(
            self.objective if share is None else SampledClasses(self.objective, share=share)
        )
        cut = [] if self.classes is None else [cast(nn.Parameter, self.objective.weight)]
        self.learner = Learner(
            accelerator, self.encoder, self.objective, steps=self.steps, options=options, cut=cut
        )

    @property
    def model(self) -> dict[str, nn.Module]:
        """`encoder` and `objective` as they are judged and saved: the running averages if there are any."""
        return dict(zip(("encoder", "objective"), self.learner.average or self.learner.modules))

    def advance(self, steps: int, progress: Progress = Silent()) -> float:
        """Take that many more steps, fewer if the run ends or is stopped before, and return their mean loss.

        Random numbers depend on seed and step alone, so that a run in parts is the run as a whole.

        Raises:
            BadBatchError: a loss is not finite, unless such batches are skipped.  What lies on disk is from before.
            DeadWorkerError: a process that reads rows has ended.
            InputError: a row on disk cannot be read, unless such are skipped.
        """
        first, end = self.step, min(self.step + steps, self.steps)
        self._sound = torch.ones((), dtype=torch.bool, device=self.y.device)
        self._unheard.clear()
        with (
            torch.random.fork_rng(range(torch.cuda.device_count())),
            deaths_named(self._options.workers),
            closing(self._feed.coming(first, end - first)) as coming,
        ):
            while self.step < end:
                self.stopped = any_process(self.stopped, self.y.device)
                if self.stopped:
                    break
                _seed_generators(self._seed * 1_000_003 + self.step, self.y.device)
                batch = next(coming)
                for row in batch.faults.keys() - self.left_out.keys():
                    progress.said(f"row {row} is left out: {batch.faults[row]}")
                self.left_out |= batch.faults
                self._take(batch)
                self.step += 1
                if len(self._unheard) > self._behind:
                    self._settle(self._unheard.popleft())
                progress.advanced(1)
            while self._unheard:
                self._settle(self._unheard.popleft())
        return self.mean_loss(first)

    def stop(self) -> None:
        """End :meth:`advance` after the step under way; a signal handler or another thread may call this."""
        self.stopped = True

    def mean_loss(self, first: int) -> float:
        """Mean of the finite losses from step `first` on; nan where there are none."""
        done = self.losses[first : self.step]
        return float(done[torch.isfinite(done)].mean())

    def embed(self, x: Any) -> Tensor:
        """Embeddings (n, d) of any rows by the model as it is now, in evaluation mode."""
        return embed_rows(self.model["encoder"], x if isinstance(x, StoredRows) else torch.as_tensor(x))

    def sides(self, num_batches: int = 4) -> tuple[float, float] | None:
        """Mean tightness and contrast over the run's first batches, by the model as it is now.

        In evaluation mode and in the loss's own units; None where the loss has no such sides.
        """
        sides = getattr(self._of_all_classes(self.model["objective"]), "sides", None)
        if sides is None:
            return None
        with torch.no_grad():
            found = [
                torch.stack(sides(self.embed(self.x[batch]), self.y[batch]))
                for batch in islice(
                    EndlessBatches(self.y, self._seed, self._options, self.together), num_batches
                )
            ]
        tightness, contrast = torch.stack(found).mean(0).tolist()
        return tightness, contrast

    @cached_property
    def rows_digest(self) -> str:
        """A hash of the rows and their labels: what a run that goes on must find again."""
        return digest_of(self.x, self.y, *(() if self.together is None else (self.together,)))

    def _of_all_classes(self, objective: nn.Module) -> nn.Module:
        """The objective as it takes labels of all classes, also those whose weights other processes have."""
        if self.classes is None:
            return objective
        return CutClasses(objective, self.classes, self.settings["num_classes"])

    def _take(self, batch: Batch) -> None:
        """One step."""
        rows, held = batch.rows, self.learner.held()
        views = self._embedded(batch.views)
        if world_size() > 1:
            *views, share = gathered(*views, batch.share)
            in_order = share.argsort()
            views, rows = [view[in_order] for view in views], batch.whole[share[in_order]]
        y = self.y[rows]
        with sharing():
            loss: Tensor = (
                self._loss(views[0], y) if len(views) == 1 else self._loss(views[0], rows, views[1], rows)
            )
        good = self._is_good(loss.detach(), {"rows": rows, "y": y, "embeddings": views[0].detach()})
        self.learner.learn(loss, self.step, good, held)

    def _is_good(self, loss: Tensor, tensors: dict[str, Tensor]) -> Tensor | bool:
        """Whether the step may be learned from: settled at once, or found by the device, which the host hears later."""
        taken = _Taken(self.step, *_sent(loss), tensors)
        if not self._behind:
            return self._settle(taken)
        self._unheard.append(taken)
        good = torch.isfinite(loss) & self._sound
        if self._options.bad_loss == "stop":
            self._sound = good  # nor is anything learned that follows, until the host hears of it
        return good

    def _embedded(self, views: tuple[Tensor, ...]) -> list[Tensor]:
        """Embeddings of the views, all in one pass."""
        encoder, chunk = self.learner.encoder, self._options.chunk
        x = views[0] if len(views) == 1 else torch.cat(views)
        embeddings: Tensor = encoder(x) if chunk is None else embed_in_chunks(encoder, x, chunk)
        return [embeddings] if len(views) == 1 else list(embeddings.chunk(len(views)))

    def _settle(self, taken: _Taken) -> bool:
        """Note the loss of a step, and whether it is finite; end the run if not, unless such are skipped."""
        if taken.arrived is not None:
            taken.arrived.synchronize()
        value = float(taken.loss)
        self.losses[taken.step] = value
        finite = math.isfinite(value)
        if finite or (self._options.bad_loss == "skip" and self.learner.is_finite()):
            return finite
        self.step, self.losses[taken.step :] = taken.step, torch.nan
        raise self._bad_batch(value, taken.tensors | {"x": self.x[taken.tensors["rows"]]})

    @property
    def _behind(self) -> int:
        """How many steps the host hears late of a loss: an accelerator computes the next one meanwhile."""
        return int(self.y.device.type == "cuda")

    def _bad_batch(self, loss: float, tensors: dict[str, Tensor]) -> BadBatchError:
        name, options = self.settings["objective"], self._options
        remedy = f"lower lr ({options.lr}) or objective_lr ({options.objective_lr})"
        if self.learner.is_finite():
            remedy += ", or leave such batches out (bad_loss: skip)"
        facts = {"step": self.step + 1, "loss": str(loss), "objective": name, "seed": self._seed}
        return BadBatchError(
            f"{name}: the loss is {loss} at step {self.step + 1} of {self.steps}; {remedy}", tensors, facts
        )


class _Taken(NamedTuple):
    """A step that was begun."""

    step: int
    loss: Tensor  # on the CPU, once it has arrived
    arrived: torch.Event | None
    tensors: dict[str, Tensor]  # what is kept of a bad batch


def _sent(loss: Tensor) -> tuple[Tensor, torch.Event | None]:
    """On its way to the CPU, and what tells that it is there; other work of the device goes on behind it."""
    if loss.device.type != "cuda":
        return loss, None
    here = torch.empty(loss.shape, dtype=loss.dtype, pin_memory=True).copy_(loss, non_blocking=True)
    arrived: torch.Event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()
    return here, arrived


def _seed_generators(seed: int, device: torch.device) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
