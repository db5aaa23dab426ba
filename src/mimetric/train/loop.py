"""One run: an encoder and an objective moved step by step over data in memory, on Accelerate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from mimetric import named
from mimetric.core.checks import check_labels
from mimetric.core.classes import UNLABELLED
from mimetric.core.errors import InputError
from mimetric.data.samplers import class_balanced_batches, random_batches
from mimetric.models.encoders import create_encoder, embed
from mimetric.train.cached import embed_in_chunks, warn_of_batch_statistics
from mimetric.train.options import FitOptions
from mimetric.train.progress import Progress, Silent

_BETWEEN_CHECKS = 50  # steps: reading a loss off an accelerator waits for it


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

    Attributes:
        encoder, objective: the modules being trained.
        step, steps: how many optimizer steps are done, and how many there are.
        losses: (steps,) the loss of each step done, on the device; nan for those to come.
        settings: JSON values, from which a checkpoint of named modules can be rebuilt.
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
        self._accelerator, self._options, self._seed = _accelerator(options), options, seed
        device = self._accelerator.device
        self._x, self._y, num_classes = _checked(x, y, device)
        if options.batch_size > len(self._x):
            raise InputError(
                f"batch_size must be at most {len(self._x)}, the number of training rows, got {options.batch_size}"
            )
        shape = self._x.shape[1:]
        self.encoder = (first_encoder(shape, seed, options) if encoder is None else encoder).to(device)
        if options.chunk is not None and options.chunk < options.batch_size:
            warn_of_batch_statistics(self.encoder, options.chunk)
        width = embed(self.encoder, self._x[:1]).shape[1]
        with _seeded(seed):
            self.objective = _objective(objective, width, num_classes).to(device)
        self.step, self.steps = 0, options.num_steps(len(self._x))
        self.losses = torch.full((self.steps,), torch.nan, device=device)
        self.settings = {option.name: getattr(options, option.name) for option in fields(FitOptions)} | {
            "encoder": options.encoder if encoder is None else type(encoder).__name__,
            "objective": objective if isinstance(objective, str) else type(objective).__name__,
            "input_shape": list(shape), "width": width, "num_classes": num_classes,
            "steps": self.steps, "seed": seed,
        }  # fmt: skip
        self._batches = _batches(self._y, seed, options)
        groups = _groups(self.encoder, self.objective, options)
        optimizer = torch.optim.AdamW(groups, fused=device.type in ("cpu", "cuda"))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, self.steps))
        self._forward, self._optimizer, self._schedule = self._accelerator.prepare(
            self.encoder.train(), optimizer, schedule
        )

    def advance(self, steps: int, progress: Progress = Silent()) -> float:
        """Take that many more steps, fewer if the run ends before, and return their mean loss.

        Raises:
            InputError: a loss is not finite.
        """
        first, end = self.step, min(self.step + steps, self.steps)
        with _seeded(self._seed * 1_000_003 + first):  # dropout does not depend on what happened in between
            while self.step < end:
                start, self.step = self.step, min(self.step + _BETWEEN_CHECKS, end)
                for step in range(start, self.step):
                    self.losses[step] = self._take(next(self._batches))
                self._check_finite(start, self.step)
                progress.advanced(self.step - start)
        return float(self.losses[first:end].mean())

    def embed(self, x: Any) -> Tensor:
        """Embeddings (n, d) of any rows by the encoder as it is now, in evaluation mode."""
        return embed(self.encoder, torch.as_tensor(x))

    def sides(self, num_batches: int = 4) -> tuple[float, float] | None:
        """Mean tightness and contrast over the run's first batches, by the model as it is now.

        In evaluation mode and in the loss's own units; None where the loss has no such sides.
        """
        sides = getattr(self.objective, "sides", None)
        if sides is None:
            return None
        with torch.no_grad():
            found = [
                torch.stack(sides(self.embed(self._x[batch]), self._y[batch]))
                for batch in islice(_batches(self._y, self._seed, self._options), num_batches)
            ]
        tightness, contrast = torch.stack(found).mean(0).tolist()
        return tightness, contrast

    def _take(self, batch: Tensor) -> Tensor:
        x, chunk = self._x[batch], self._options.chunk
        embeddings = self._forward(x) if chunk is None else embed_in_chunks(self._forward, x, chunk)
        loss: Tensor = self.objective(embeddings, self._y[batch])
        self._accelerator.backward(loss)
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad()
        return loss.detach()

    def _check_finite(self, start: int, stop: int) -> None:
        bad = (~torch.isfinite(self.losses[start:stop])).nonzero()
        if len(bad):
            step = start + int(bad[0])
            raise InputError(
                f"{self.settings['objective']}: the loss is {float(self.losses[step])} at step {step + 1} "
                f"of {self.steps}; lower lr ({self._options.lr}) "
                f"or objective_lr ({self._options.objective_lr})"
            )


def first_encoder(input_shape: Sequence[int], seed: int, options: FitOptions) -> nn.Module:
    """The encoder that every run of this seed starts from."""
    with _seeded(seed):
        return create_encoder(options.encoder, input_shape, options.width)


def _accelerator(options: FitOptions) -> Accelerator:
    # Accelerate keeps one setting per Python process; each run here has its own.
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        accelerator = Accelerator(cpu=options.device == "cpu", mixed_precision=options.precision)
    except ValueError as error:
        raise InputError(f"precision: {options.precision} does not work here ({error}); use no") from None
    if options.device not in ("auto", accelerator.device.type):
        raise InputError(f"device: {options.device} is not available here; use auto or cpu")
    if accelerator.num_processes > 1:
        raise InputError("device: training on several processes is not there yet; start one process")
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


def _batches(labels: Tensor, seed: int, options: FitOptions) -> Iterator[Tensor]:
    """Indices of one batch after another, drawn an epoch at a time, the same for every objective."""
    generator = torch.Generator().manual_seed(seed)
    size, num = options.batch_size, options.steps_per_epoch(len(labels))
    per_class = _per_class(options, len(torch.unique(labels)))
    while True:
        if options.sampler == "class-balanced":
            epoch = class_balanced_batches(
                labels, batch_size=size, per_class=per_class, num_batches=num, generator=generator
            )
        else:
            epoch = random_batches(len(labels), batch_size=size, num_batches=num, generator=generator)
        yield from epoch.to(labels.device)


def _per_class(options: FitOptions, num_classes: int) -> int:
    """As asked, or with few classes the least that fills a batch: 10 classes give 128 = 8 x 16."""
    size = options.batch_size
    fits = (m for m in range(options.per_class, size) if size % m == 0 and size // m <= num_classes)
    return next(fits, size)


def _groups(encoder: nn.Module, objective: nn.Module, options: FitOptions) -> list[dict[str, Any]]:
    """Weight decay on the encoder's matrices and filters only; the objective's scale is its own matter."""
    trained = [p for p in encoder.parameters() if p.requires_grad]
    rate = options.lr
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "lr": rate, "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "lr": rate, "weight_decay": 0.0},
        {"params": list(objective.parameters()), "lr": options.objective_lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _rate(step: int, steps: int) -> float:
    """Share of the highest learning rate: up along a line over a tenth of the steps, down along a cosine."""
    warm_up = max(1, steps // 10)
    return min((step + 1) / warm_up, (1 + math.cos(math.pi * step / steps)) / 2)
