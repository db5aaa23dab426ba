"""What a run begins with: its rows, the first encoder of a seed, its objective, its device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from mimetric import catalog, named
from mimetric.core.checks import check_labels
from mimetric.core.classes import UNLABELLED
from mimetric.core.errors import InputError
from mimetric.core.objective import ObjectiveSum
from mimetric.data.stored import StoredRows, stored
from mimetric.models.encoders import create_encoder, embed, joined
from mimetric.train.checkpoint import load_encoder, read_settings
from mimetric.train.options import FitOptions


def checked_rows(x: Any, y: Any, device: torch.device) -> tuple[Tensor | StoredRows, Tensor, int]:
    """Labelled rows, if in memory on the device, their labels there, renumbered from 0, and the number of classes."""
    kept = stored(x)
    x = torch.as_tensor(x) if kept is None else kept
    if x.ndim < 2 or not len(x):
        raise InputError(f"fit: x must have shape (n, ...) with n >= 1, got {tuple(x.shape)}")
    y = check_labels("fit", "y", y, cast(Tensor, x))
    if kept is None and x.is_floating_point():
        x = x.float()
        if not torch.isfinite(x).all():
            raise InputError("fit: x holds values that are not finite; drop or fill those rows")
    if (y == UNLABELLED).any():
        labelled = y != UNLABELLED
        x, y = x[labelled] if kept is None else kept.chosen(labelled), y[labelled]
    classes, y = torch.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise InputError(
            f"fit: y must hold at least two classes, got {len(classes)}; add rows of another class"
        )
    return x.to(device) if isinstance(x, Tensor) else x, y.to(device), len(classes)


def first_encoder(x: Tensor | StoredRows, seed: int, options: FitOptions) -> nn.Module:
    """The encoder that every run of this seed starts from, for rows like those of x.

    A callable of the user's runs: options are the user's word, where they are not read from a file.
    """
    if options.start is not None:
        found = load_encoder(Path(options.start).expanduser())
        if found.settings["input_shape"] != list(x.shape[1:]):
            raise InputError(
                f"start: the encoder of {options.start} takes rows of shape {tuple(found.settings['input_shape'])}, "
                f"got {tuple(x.shape[1:])}; start from a run on such data"
            )
        return found.encoder
    with seeded(seed):
        return create_encoder(encoder_name(x, options), x.shape[1:], options.width, user_code=True)


def encoder_name(x: Tensor | StoredRows, options: FitOptions) -> str:
    """What ``auto`` stands for where shapes do not tell: texts are rows of int32, code points."""
    if options.start is not None:
        return str(read_settings(Path(options.start).expanduser())["encoder"])
    texts = x.ndim == 2 and x.dtype == torch.int32
    return "text_transformer" if texts and options.encoder == "auto" else options.encoder


def created_objective(objective: str | nn.Module, width: int, num_classes: int) -> nn.Module:
    """The module itself, or a new one by name."""
    if isinstance(objective, nn.Module):
        return objective
    chosen = named.parse_objectives(objective)
    if len(chosen) != 1:
        raise InputError(f"fit: one objective at a time, got {objective!r}; compare takes several")
    return named.create(chosen[0], width=width, num_classes=num_classes)


def compares_views(objective: nn.Module) -> bool:
    """Whether it is made for two views of each row, and for nothing else."""
    made = {entry.module for entry in catalog.entries().values() if entry.references == "other view"}
    parts = objective.objectives if isinstance(objective, ObjectiveSum) else [objective]
    return all(type(part) in made for part in parts)


def created_accelerator(options: FitOptions) -> Accelerator:
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
def seeded(seed: int) -> Iterator[None]:
    """Random numbers from `seed` inside; the caller's go on afterwards as if nothing had been drawn."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def embed_rows(encoder: nn.Module, x: Tensor | StoredRows) -> Tensor:
    """Embeddings (n, d) of rows in memory or on disk, as :func:`~mimetric.models.encoders.embed` makes them."""
    if isinstance(x, Tensor):
        return embed(encoder, x)
    return joined((embed(encoder, part) for part in x.parts()), len(x))
