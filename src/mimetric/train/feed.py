"""What the steps of a run are given: rows in memory or read from disk ahead of time, augmented on the device."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from copy import deepcopy
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from mimetric.core.errors import InputError
from mimetric.core.processes import world_size
from mimetric.data.batched import Transform
from mimetric.data.stored import StoredRows, read_ahead
from mimetric.data.transforms import augmentation
from mimetric.train.batches import EndlessBatches
from mimetric.train.options import FitOptions


class Batch(NamedTuple):
    """A batch and this process's share of it, on the device."""

    rows: Tensor  # (k,) places among the training rows, of this process
    share: Tensor  # (k,) where in `whole` they stand
    whole: Tensor  # (n,) places of all processes
    views: tuple[Tensor, ...]  # (k, ...) each: their contents; two, augmented apart, where views are compared
    faults: dict[int, str]  # rows of this process that could not be read -> why


class Feed:
    """The batches of a run with what is in them.

    Args:
        x: the training rows, on the device, or on disk.
        batches: which rows come next.
        device: where they are wanted.
        rank: which share of a batch is this process's: rows rank, rank + world, ...
        seed: of augmentation, with the step and the rank.
        options: augmentation and processes that read.
        views: how many times each row is augmented.

    Raises:
        InputError: augmentation of what is no image, or of numbers outside [0, 1].
    """

    def __init__(
        self,
        x: Tensor | StoredRows,
        batches: EndlessBatches,
        *,
        device: torch.device,
        rank: int,
        seed: int,
        options: FitOptions,
        views: int = 1,
    ) -> None:
        self._x, self._batches, self._device, self._rank, self._seed = x, batches, device, rank, seed
        self._options, self._views = options, views
        self._transform = _transform(x, options.augment)

    def coming(self, step: int, count: int) -> Generator[Batch]:
        """The next `count` batches, of step number `step` (from 0) and those after it.

        A batch counts as taken when it is given, whatever was read ahead; close this to end reading processes.
        """
        x, steps = self._x, range(step, step + count)
        return self._from_memory(x, steps) if isinstance(x, Tensor) else self._from_disk(x, steps)

    def _from_memory(self, x: Tensor, steps: range) -> Generator[Batch]:
        for step in steps:
            whole = next(self._batches)
            rows = whole[self._rank :: world_size()]
            yield Batch(rows, self._share(whole), whole, self._augmented(x.index_select(0, rows), step), {})

    def _from_disk(self, x: StoredRows, steps: range) -> Generator[Batch]:
        ahead = (rows[self._share(rows)].cpu() for rows in islice(deepcopy(self._batches), len(steps)))
        workers, pin, seed = self._options.workers, self._device.type == "cuda", self._mixed(steps.start)
        with closing(read_ahead(x, ahead, workers=workers, pin=pin, seed=seed)) as contents:
            for step, found in zip(steps, contents):
                if not len(found.x):
                    reason = next(iter(found.faults.values()))
                    raise InputError(f"no row of a batch can be read: {reason}; look at the files")
                whole = next(self._batches)
                share = self._share(whole)[found.good.to(whole.device)]
                views = self._augmented(found.x.to(self._device, non_blocking=True), step)
                yield Batch(whole[share], share, whole, views, found.faults)

    def _share(self, whole: Tensor) -> Tensor:
        """Places in a batch, some of each class, for statistics over the rows of a process."""
        return torch.arange(self._rank, len(whole), world_size(), device=whole.device)

    def _augmented(self, x: Tensor, step: int) -> tuple[Tensor, ...]:
        if self._transform is None:
            return (x,)
        generator = torch.Generator().manual_seed(self._mixed(step))
        return tuple(self._transform(x, generator) for _ in range(self._views))

    def _mixed(self, number: int) -> int:
        """A seed apart from those that dropout has in the same step."""
        return (self._seed * 1_000_003 + number + (1 + self._rank) * 2**40) % 2**63


def _transform(x: Tensor | StoredRows, words: str) -> Transform | None:
    if words == "none":
        return None
    if x.ndim != 4:
        kind = "texts" if x.dtype == torch.int32 else "vectors"
        raise InputError(f"augment: {words} changes images, these rows are {kind}; leave it out")
    first = x[:512] if isinstance(x, StoredRows) else x
    if first.dtype != torch.uint8 and not (first.is_floating_point() and _within(first)):
        raise InputError(
            f"augment: images must be bytes, or numbers in [0, 1], got {x.dtype}; scale them, or leave it out"
        )
    return augmentation(words, x.shape[2], x.shape[3])


def _within(x: Tensor) -> bool:
    return bool((x.min() >= 0) & (x.max() <= 1))
