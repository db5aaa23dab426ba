"""One run: an encoder and an objective moved step by step over data in memory, on Accelerate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from mimetric import named
from mimetric.core.checks import check_labels
from mimetric.core.classes import UNLABELLED
from mimetric.core.digests import digest
from mimetric.core.errors import InputError
from mimetric.core.processes import any_process, gathered, sharing, world_size
from mimetric.models.encoders import create_encoder, embed
from mimetric.train.bad_batch import BadBatchError
from mimetric.train.batches import EndlessBatches
from mimetric.train.cached import embed_in_chunks, warn_of_batch_statistics
from mimetric.train.learner import Learner
from mimetric.train.options import FitOptions
from mimetric.train.progress import Progress, Silent


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
    """Train an encoder with an objective on arrays in memory.

    On one machine's CPU, the same arguments give the same numbers bit for bit; objectives of one seed start
    from the same encoder and see the same batches.  The caller's random state is left alone.

    Args:
        x: (n, c, h, w) images, uint8 or floating point, or (n, d) vectors; whatever else an encoder of
            your own takes.  An array or a tensor.
        y: (n,) integer class ids, any numbers; rows with -1, unlabelled, are left out.
        objective: a name with options (``"multi-similarity:beta=40"``), or a module called
            ``objective(embeddings, labels)`` that returns a scalar, with labels 0, 1, ...; what it
            learns is trained too.
        encoder: any module from rows of x to (n, d), trained in place; None makes the one of `options`.
        seed: of the initialization and of the batches.
        options: everything else.
        progress: told of every few steps.

    Returns:
        The finished :class:`Training`: its `encoder`, its `objective` and the `losses` of all steps.
    Raises:
        InputError: shapes or types that do not fit, values that are not finite, a device that is not
            there, or a loss that stops being finite.

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
        x, y: the labelled rows on the device, and their labels from 0.
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
    ) -> None:
        self._options, self._seed, accelerator = options, seed, _accelerator(options)
        device, self.rank = accelerator.device, accelerator.process_index
        self.x, self.y, num_classes = _checked(x, y, device)
        if options.batch_size > len(self.x):
            raise InputError(
                f"batch_size must be at most {len(self.x)}, the number of training rows, got {options.batch_size}"
            )
        shape = self.x.shape[1:]
        self.encoder = (first_encoder(self.x, seed, options) if encoder is None else encoder).to(device)
        if options.chunk is not None and options.chunk < options.batch_size:
            warn_of_batch_statistics(self.encoder, options.chunk)
        width = embed(self.encoder, self.x[:1]).shape[1]
        with _seeded(seed):
            self.objective = _objective(objective, width, num_classes).to(device)
        self.step, self.steps, self.stopped = 0, options.num_steps(len(self.x)), False
        self.steps_per_epoch = options.steps_per_epoch(len(self.x))
        self.losses = torch.full((self.steps,), torch.nan)
        self.settings = {option.name: getattr(options, option.name) for option in fields(FitOptions)} | {
            "encoder": _encoder_name(self.x, options) if encoder is None else type(encoder).__name__,
            "objective": objective if isinstance(objective, str) else type(objective).__name__,
            "input_shape": list(shape), "width": width, "num_classes": num_classes,
            "steps": self.steps, "seed": seed,
        }  # fmt: skip
        self.batches = EndlessBatches(self.y, seed, options)
        self.learner = Learner(accelerator, self.encoder, self.objective, steps=self.steps, options=options)

    @property
    def model(self) -> dict[str, nn.Module]:
        """`encoder` and `objective` as they are judged and saved: the running averages if there are any."""
        return dict(zip(("encoder", "objective"), self.learner.average or self.learner.modules))

    def advance(self, steps: int, progress: Progress = Silent()) -> float:
        """Take that many more steps, fewer if the run ends or is stopped before, and return their mean loss.

        Random numbers depend on seed and step alone, so that a run in parts is the run as a whole.

        Raises:
            BadBatchError: a loss is not finite, unless such batches are skipped.  What lies on disk is from before.
        """
        first, end = self.step, min(self.step + steps, self.steps)
        with _seeded(self._seed):
            while self.step < end:
                self.stopped = any_process(self.stopped, self.y.device)
                if self.stopped:
                    break
                _seed_generators(self._seed * 1_000_003 + self.step, self.y.device)
                self.losses[self.step] = self._take(next(self.batches))
                self.step += 1
                progress.advanced(1)
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
        return embed(self.model["encoder"], torch.as_tensor(x))

    def sides(self, num_batches: int = 4) -> tuple[float, float] | None:
        """Mean tightness and contrast over the run's first batches, by the model as it is now.

        In evaluation mode and in the loss's own units; None where the loss has no such sides.
        """
        sides = getattr(self.model["objective"], "sides", None)
        if sides is None:
            return None
        with torch.no_grad():
            found = [
                torch.stack(sides(self.embed(self.x[batch]), self.y[batch]))
                for batch in islice(EndlessBatches(self.y, self._seed, self._options), num_batches)
            ]
        tightness, contrast = torch.stack(found).mean(0).tolist()
        return tightness, contrast

    @cached_property
    def rows_digest(self) -> str:
        """A hash of the rows and their labels: what a run that goes on must find again."""
        return digest(self.x, self.y)

    def _take(self, rows: Tensor) -> float:
        """One step; the loss of its batch."""
        world = world_size()
        mine = rows[self.rank :: world]  # some of each class, for statistics over the rows of a process
        x, y, chunk = self.x[mine], self.y[mine], self._options.chunk
        skips = self._options.bad_loss == "skip"
        buffers = list(self.learner.modules.buffers()) if skips else []
        held = [buffer.clone() for buffer in buffers]
        encoder = self.learner.encoder
        embeddings = encoder(x) if chunk is None else embed_in_chunks(encoder, x, chunk)
        if world > 1:
            places = torch.arange(len(rows), device=y.device)
            in_order = torch.cat([places[rank::world] for rank in range(world)]).argsort()
            embeddings, y = (each[in_order] for each in gathered(embeddings, y))
        with sharing():
            loss: Tensor = self.objective(embeddings, y)
        value = float(loss.detach())  # waits for an accelerator: the price of never learning from a bad loss
        if math.isfinite(value):
            self.learner.learn(loss, self.step)
        elif not (skips and self.learner.is_finite()):
            raise self._bad_batch(value, {"rows": rows, "x": self.x[rows], "y": y, "embeddings": embeddings})
        else:
            for buffer, before in zip(buffers, held):
                buffer.copy_(before)  # such as running statistics, which have seen the batch
        return value

    def _bad_batch(self, loss: float, tensors: dict[str, Tensor]) -> BadBatchError:
        name, options = self.settings["objective"], self._options
        remedy = f"lower lr ({options.lr}) or objective_lr ({options.objective_lr})"
        if self.learner.is_finite():
            remedy += ", or leave such batches out (bad_loss: skip)"
        facts = {"step": self.step + 1, "loss": str(loss), "objective": name, "seed": self._seed}
        return BadBatchError(
            f"{name}: the loss is {loss} at step {self.step + 1} of {self.steps}; {remedy}", tensors, facts
        )


def first_encoder(x: Tensor, seed: int, options: FitOptions) -> nn.Module:
    """The encoder that every run of this seed starts from, for rows like those of x.

    A callable of the user's runs: options are the user's word, where they are not read from a file.
    """
    with _seeded(seed):
        return create_encoder(_encoder_name(x, options), x.shape[1:], options.width, user_code=True)


def _encoder_name(x: Tensor, options: FitOptions) -> str:
    """What ``auto`` stands for where shapes do not tell: texts are rows of int32, code points."""
    texts = x.ndim == 2 and x.dtype == torch.int32
    return "text_transformer" if texts and options.encoder == "auto" else options.encoder


def _accelerator(options: FitOptions) -> Accelerator:
    # Accelerate keeps one setting per Python process; each run here has its own.
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        cpu = options.device == "cpu" or not torch.accelerator.is_available()
        accelerator = Accelerator(cpu=cpu, mixed_precision=options.precision)
    except ValueError as error:
        raise InputError(f"precision: {options.precision} does not work here ({error}); use no") from None
    if options.device not in ("auto", accelerator.device.type):
        raise InputError(f"device: {options.device} is not available here; use auto or cpu")
    return accelerator


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers from `seed` inside; the caller's go on afterwards as if nothing had been drawn."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def _checked(x: Any, y: Any, device: torch.device) -> tuple[Tensor, Tensor, int]:
    """Labelled rows and their labels on the device, labels renumbered from 0, and the number of classes."""
    x = torch.as_tensor(x)
    if x.ndim < 2 or not len(x):
        raise InputError(f"fit: x must have shape (n, ...) with n >= 1, got {tuple(x.shape)}")
    y = check_labels("fit", "y", y, x)
    if x.is_floating_point():
        x = x.float()
        if not torch.isfinite(x).all():
            raise InputError("fit: x holds values that are not finite; drop or fill those rows")
    if (y == UNLABELLED).any():
        x, y = x[y != UNLABELLED], y[y != UNLABELLED]
    classes, y = torch.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise InputError(
            f"fit: y must hold at least two classes, got {len(classes)}; add rows of another class"
        )
    return x.to(device), y.to(device), len(classes)


def _objective(objective: str | nn.Module, width: int, num_classes: int) -> nn.Module:
    """The module itself, or a new one by name."""
    if isinstance(objective, nn.Module):
        return objective
    chosen = named.parse_objectives(objective)
    if len(chosen) != 1:
        raise InputError(f"fit: one objective at a time, got {objective!r}; compare takes several")
    return named.create(chosen[0], width=width, num_classes=num_classes)


def _seed_generators(seed: int, device: torch.device) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
