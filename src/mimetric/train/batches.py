"""The batches of a run, one after another, and where among them it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from mimetric.data.samplers import Batches, class_balanced_batches, random_batches
from mimetric.train.options import FitOptions


class EndlessBatches(Iterator[Tensor]):
    """Indices of one batch after another, drawn an epoch at a time, the same for every objective.

    Args:
        labels: (n,) of the training rows, on the device where indices are wanted.
        seed: of what is drawn.
        options: sampler, batch size and items of each class.
        together: (lines, 2 or 3) rows that come together, such as triplets, in place of the sampler: a batch is as many
            lines as fit in it, and every line comes in each pass; a row that several of them hold comes once.
    """

    def __init__(
        self, labels: Tensor, seed: int, options: FitOptions, together: Tensor | None = None
    ) -> None:
        self._labels, self._options, self._together = labels, options, together
        self._per_class = _per_class(options, len(torch.unique(labels)))
        self._generator = torch.Generator().manual_seed(seed)
        self._epoch = self._draw()

    def __next__(self) -> Tensor:
        batch = next(self._epoch, None)
        if batch is None:
            self._epoch = self._draw()
            batch = next(self._epoch)
        return batch if self._together is None else torch.unique(self._together[batch])

    def state_dict(self) -> dict[str, Any]:
        """JSON values: the epoch under way, and how many of its batches were given."""
        return self._epoch.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as the batches did whose state this is.

        Raises:
            InputError: the state is none of such batches.
        """
        self._epoch.load_state_dict(state)

    def _draw(self) -> Batches:
        size, num = self._options.batch_size, self._options.steps_per_epoch(len(self._labels))
        if self._together is not None:
            count = len(self._together)
            lines = min(count, max(1, size // self._together.shape[1]))
            epoch = random_batches(
                count, batch_size=lines, num_batches=-(-count // lines), generator=self._generator
            )
        elif self._options.sampler == "random":
            epoch = random_batches(
                len(self._labels), batch_size=size, num_batches=num, generator=self._generator
            )
        else:
            epoch = class_balanced_batches(
                self._labels,
                batch_size=size,
                per_class=self._per_class,
                num_batches=num,
                generator=self._generator,
            )
        return epoch.to(self._labels.device)


def _per_class(options: FitOptions, num_classes: int) -> int:
    """As asked, or with few classes the least that fills a batch: 10 classes give 128 = 8 x 16."""
    size = options.batch_size
    fits = (m for m in range(options.per_class, size) if size % m == 0 and size // m <= num_classes)
    return next(fits, size)
