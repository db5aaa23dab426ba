"""Which rows make a batch: M per class, or at random.  No Python loop over rows or classes.

Both go round: everything (every class, or every row) is dealt out once in shuffled order before
anything comes again, and a batch that spans two rounds still holds nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import Sampler

from mimetric.core.errors import InputError


def class_balanced_batches(
    labels: Tensor, *, batch_size: int, per_class: int = 4, num_batches: int, generator: torch.Generator
) -> Tensor:
    """Batches with `per_class` rows of each of `batch_size / per_class` different classes.

    All classes are dealt out in shuffled order, then shuffled again, so that after any batch two
    classes differ by at most one in how often they were drawn.  The rows of a class are drawn each
    time without replacement, all subsets alike; a class with fewer than `per_class` rows gives them
    all and then again from the first, starting at a random one.

    Rows with several labels stand in several classes.  One that would come a second time in a batch gives way to a
    row drawn from all, so that a batch holds nothing twice.

    Args:
        labels: (n,) integer class ids; or (n, L) bool, which of L labels each row has.  A relation (n, n) is
            such a matrix: column j has what belongs to row j, and is a class.  A class without rows is none.
        batch_size: a multiple of `per_class`.
        per_class: rows of a class in a batch; 4 gives each row three positives.
        num_batches: how many batches.
        generator: on the CPU; its state is all the randomness there is.

    Returns:
        (num_batches, batch_size) int64 row indices; rows of one class stand side by side.
    Raises:
        InputError: labels are neither (n,) integers nor (n, L) bool, batch_size is no multiple of per_class, or
            there are fewer classes than a batch takes, or fewer rows with several labels.

    >>> labels = torch.tensor([0, 0, 0, 1, 1, 1, 2])
    >>> rows = class_balanced_batches(
    ...     labels, batch_size=4, per_class=2, num_batches=3, generator=torch.Generator().manual_seed(0)
    ... )
    >>> labels[rows].flatten().bincount()  # two rows of two classes, three times
    tensor([4, 4, 4])
    """
    index = _PerClass(labels, batch_size, per_class)
    return index.batches(index.rounds(generator), num_batches)


def random_batches(
    rows: Tensor | int, *, batch_size: int, num_batches: int, generator: torch.Generator
) -> Tensor:
    """Batches of different rows; every row comes once before any comes again.

    Args:
        rows: how many rows there are, or anything with that length, such as their labels.
        batch_size, num_batches, generator: as in :func:`class_balanced_batches`.

    Returns:
        (num_batches, batch_size) int64 row indices.  What an epoch leaves over begins the next.
    Raises:
        InputError: fewer rows than a batch takes.
    """
    count = rows if isinstance(rows, int) else len(rows)
    if not 1 <= batch_size <= count:
        raise InputError(
            f"random_batches: batch_size must be in 1..{count}, the number of rows, got {batch_size}"
        )
    return _Rounds(count, batch_size, generator).groups(num_batches)


class ClassBalancedSampler(Sampler[list[int]]):
    """:func:`class_balanced_batches` for a DataLoader: ``DataLoader(data, batch_sampler=...)``.

    Each pass draws new batches.  Pass e of seed s is the same on every machine; `set_epoch` goes to
    any pass, as when training resumes.

    Args:
        labels: of the data set's rows, as :func:`class_balanced_batches` has them.
        batch_size, per_class: as in :func:`class_balanced_batches`.
        num_batches: batches a pass; None is as many as fit into n rows, at least one.
        seed: >= 0.

    >>> sampler = ClassBalancedSampler([0, 0, 0, 1, 1, 1, 2, 2, 2], batch_size=4, per_class=2)
    >>> len(sampler), [len(batch) for batch in sampler]
    (2, [4, 4])
    """

    def __init__(
        self,
        labels: Tensor | ArrayLike,
        *,
        batch_size: int,
        per_class: int = 4,
        num_batches: int | None = None,
        seed: int = 0,
    ) -> None:
        self._index = _PerClass(torch.as_tensor(labels), batch_size, per_class)
        self.batch_size = batch_size
        self.num_batches = max(1, len(self._index.rows) // batch_size) if num_batches is None else num_batches
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.num_batches

    def set_epoch(self, epoch: int) -> None:
        """The next pass is pass `epoch` (from 0)."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        # Torch seeds its CPU generator with 32 bits: mix both numbers into them.
        mixed = np.random.SeedSequence((self.seed, self.epoch)).generate_state(1)
        self.epoch += 1
        rounds = self._index.rounds(torch.Generator().manual_seed(int(mixed[0])))
        left, size = self.num_batches, 1
        while left > 0:  # few at first: the first batch comes at once
            size = min(2 * size, left, 256)
            yield from self._index.batches(rounds, size).tolist()
            left -= size


class _PerClass:
    """The rows of each class, side by side: class c has rows[start[c] : start[c] + count[c]]."""

    def __init__(self, labels: Tensor, batch_size: int, per_class: int) -> None:
        shared = labels.ndim == 2 and labels.dtype == torch.bool
        if not shared and (labels.ndim != 1 or labels.is_floating_point() or labels.is_complex()):
            raise InputError(
                "class_balanced_batches: labels must be (n,) integers or (n, labels) bool, "
                f"got {labels.dtype} {tuple(labels.shape)}"
            )
        if per_class < 1 or batch_size < 1 or batch_size % per_class:
            raise InputError(
                "class_balanced_batches: batch_size must be a multiple of per_class, "
                f"got {batch_size} and {per_class}"
            )
        if shared:
            ordered, self.rows = labels.cpu().T.nonzero().unbind(1)
        else:
            ordered, self.rows = labels.cpu().sort(stable=True)
        self.count = ordered.unique_consecutive(return_counts=True)[1]  # type: ignore[no-untyped-call]
        self.start = self.count.cumsum(0) - self.count
        self.shared_among = len(labels) if shared else 0
        if shared and batch_size > len(labels):
            raise InputError(
                f"class_balanced_batches: batch_size must be at most {len(labels)}, the number of rows, "
                f"got {batch_size}"
            )
        self.per_class, self.classes_a_batch = per_class, batch_size // per_class
        if self.classes_a_batch > len(self.count):
            raise InputError(
                f"class_balanced_batches: batch_size {batch_size} with {per_class} rows a class takes "
                f"{self.classes_a_batch} classes, got {len(self.count)}; lower batch_size or raise per_class"
            )

    def rounds(self, generator: torch.Generator) -> _Rounds:
        return _Rounds(len(self.count), self.classes_a_batch, generator)

    def batches(self, rounds: _Rounds, num: int) -> Tensor:
        classes = rounds.groups(num).flatten()
        # index_select is six times as fast as indexing here
        places = _subsets(self.count.index_select(0, classes), self.per_class, rounds.generator)
        places += self.start.index_select(0, classes)
        rows = self.rows.index_select(0, places.T.flatten()).view(num, -1)
        return _all_different(rows, self.shared_among, rounds.generator) if self.shared_among else rows


class _Rounds:
    """Deals 0..count-1 out in shuffled order, again and again, in groups that hold nothing twice."""

    def __init__(self, count: int, size: int, generator: torch.Generator) -> None:
        self.count, self.size, self.generator = count, size, generator
        self.left = torch.empty(0, dtype=torch.int64)  # of the round under way

    def groups(self, num: int) -> Tensor:
        parts, have = [self.left], len(self.left)
        while have < num * self.size:
            begun = have % self.size
            fresh = torch.randperm(self.count, generator=self.generator)
            if begun:  # what the begun group holds already goes to the group after it
                clash = torch.isin(fresh[: self.size], parts[-1][-begun:])
                fresh[: self.size] = fresh[: self.size][clash.sort(stable=True).indices]
            parts.append(fresh)
            have += self.count
        dealt = torch.cat(parts)
        self.left = dealt[num * self.size :]
        return dealt[: num * self.size].view(num, self.size)


def _all_different(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Rows (num, size) of which those that come again in their batch are replaced by others out of 0..count-1."""
    while True:
        ordered, place = rows.sort(dim=1, stable=True)
        again = torch.zeros_like(rows, dtype=torch.bool)
        again.scatter_(1, place, F.pad(ordered[:, 1:] == ordered[:, :-1], (1, 0)))
        if not again.any():
            return rows
        fresh = torch.randint(count, (int(again.sum()),), generator=generator)
        rows = rows.masked_scatter(again, fresh)


def _subsets(count: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """For each count (p,) a random subset of 0..count-1, as columns (size, p); short counts go round.

    Floyd's algorithm, all subsets at once: step j draws from 0..count-size+j, and takes the last of
    these where the draw is taken already.
    """
    chance = torch.rand(size, len(count), generator=generator, dtype=torch.float64)
    chosen = torch.empty(size, len(count), dtype=torch.int64)
    short, first = count < size, (chance[0] * count).long()
    for j in range(size):
        last = count - size + j
        draw = (chance[j] * (last + 1)).long()
        taken = (chosen[:j] == draw).any(0)
        chosen[j] = torch.where(short, (first + j) % count, torch.where(taken, last, draw))
    return chosen
