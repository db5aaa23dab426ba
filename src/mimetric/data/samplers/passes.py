"""Samplers go over the data pass by pass: reproducible, shared among processes, taken up again at any batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from mimetric.core.errors import InputError
from mimetric.data.samplers.dealing import Rounds, all_different, check_counts, rows_of_classes

_PART = 256  # batches drawn together at most: the first come alone, and so at once
_VIEWS = 256  # batches looked at together: views of all at once take their time


class PassSampler(Sampler[list[int]]):
    """What all samplers share; a sampler of its own says in `_parts` which batches make a pass.

    Iterating gives one pass, as lists of row indices: ``DataLoader(data, batch_sampler=sampler)``; :meth:`tensors`
    gives the same as tensors.  Pass e of a seed is the same on every machine and in every process.  Iterating again
    begins the next pass, also where the last was left halfway.

    **Processes.** Process `rank` of `world` gets its share of every batch, and all shares together are the batch that
    one process would get: see :func:`share`.  Do not let Accelerate or a `DistributedSampler` share them again.

    **Taking up again.** `state_dict` is a few JSON numbers.  Loading it costs the beginning of a pass; the batches
    that follow are those that would have followed, also with another number of processes.  A `DataLoader` with
    workers asks ahead of the training: save its state with ``batch`` set to the number of batches trained on.

    Attributes:
        batch_size: rows of a batch, over all processes.
        num_batches: batches of a pass.
        epoch: the pass under way, or the next, from 0.
        batch: how many batches of it were given.
    """

    def __init__(self, *, batch_size: int, num_batches: int, seed: int, rank: int, world: int) -> None:
        where = type(self).__name__
        check_counts(where, batch_size=batch_size, num_batches=num_batches, world=world)
        if not isinstance(seed, int) or seed < 0:
            raise InputError(f"{where}: seed must be a whole number, at least 0, got {seed!r}")
        if not 0 <= rank < world:
            raise InputError(f"{where}: rank must be in 0..{world - 1}, below world ({world}), got {rank}")
        if world > batch_size:
            raise InputError(
                f"{where}: batch_size, over all processes, must be at least their number {world}, got {batch_size}"
            )
        self.batch_size, self.num_batches, self.seed = batch_size, num_batches, seed
        self.rank, self.world = rank, world
        self._begun = False  # whether the pass is under way
        self.set_epoch(0)

    def _parts(self, epoch: int) -> Iterator[Tensor]:
        """The batches of a pass, (some, batch_size) at a time, `num_batches` in all; depends on seed and pass alone."""
        raise NotImplementedError

    def _random(self, epoch: int) -> torch.Generator:
        # Torch seeds its CPU generator with 32 bits: mix both numbers into them.
        mixed = np.random.SeedSequence((self.seed, epoch)).generate_state(1)
        return torch.Generator().manual_seed(int(mixed[0]))

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[int]]:
        return (rows.tolist() for rows in self.tensors())

    def tensors(self) -> Iterator[Tensor]:
        """One pass, as int64 tensors; it is set up when its first batch is asked for."""
        # A DataLoader asks for an iterator twice and uses one: a pass begins with its first batch.
        if self._begun:
            self.set_epoch(self.epoch + 1)
        self._begun, skip = True, self.batch
        for part in self._parts(self.epoch):
            mine = share(part[skip:], self.rank, self.world)
            for rows in chain.from_iterable(torch.split(mine, _VIEWS)):
                self.batch += 1
                yield rows
            skip = max(0, skip - len(part))
        self.set_epoch(self.epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """The next pass is pass `epoch` (from 0), from its beginning."""
        self.epoch, self.batch, self._begun = epoch, 0, False

    def state_dict(self) -> dict[str, Any]:
        """JSON numbers: seed, pass and batch; and the sizes, to refuse other ones."""
        return {
            "seed": self.seed, "epoch": self.epoch, "batch": self.batch,
            "batch_size": self.batch_size, "num_batches": self.num_batches,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next pass goes on where the sampler was whose state this is; it had the same data and options.

        Raises:
            InputError: not a state of batches of this size and number.
        """
        where = f"{type(self).__name__}.load_state_dict"
        for name in ("seed", "epoch", "batch", "batch_size", "num_batches"):
            value = state.get(name)
            if not isinstance(value, int) or value < 0:
                raise InputError(f"{where}: {name} must be a number >= 0, got {value!r}")
        for name in ("batch_size", "num_batches"):
            if state[name] != getattr(self, name):
                raise InputError(
                    f"{where}: {name} was {state[name]} and is {getattr(self, name)}; "
                    "go on with the data and options of the saved run"
                )
        if state["batch"] > self.num_batches:
            raise InputError(f"{where}: batch must be in 0..{self.num_batches}, got {state['batch']}")
        self.seed = state["seed"]
        self.set_epoch(state["epoch"])
        self.batch = state["batch"]


def share(rows: Tensor, rank: int, world: int) -> Tensor:
    """The part (..., about size / world) of batches (..., size) that process `rank` of `world` gets.

    Parts lie one after another, so that rows of a class stay in one process where `world` divides the number of
    classes in a batch.  Where it does not divide the size, the first processes have one row more.

    >>> [share(torch.arange(5), rank, 2).tolist() for rank in range(2)]
    [[0, 1, 2], [3, 4]]
    """
    return rows.tensor_split(world, dim=-1)[rank]


class RandomRowSampler(PassSampler):
    """Different rows in random order; every row comes in every pass.

    A pass has n / batch_size batches, rounded up; the last is filled with rows of a new shuffle, so that no row
    comes more than twice in a pass and none twice in a batch.  Memory: 8 bytes a row during a pass, 16
    while it is set up.

    Args:
        rows: how many rows there are, or anything with that length, such as their labels.
        batch_size: over all processes, at most n.
        seed: >= 0.
        rank, world: the process and how many there are.

    >>> list(RandomRowSampler(5, batch_size=2))  # the last batch begins another shuffle
    [[1, 3], [0, 4], [2, 0]]
    """

    def __init__(self, rows: Any, *, batch_size: int, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        self._count = rows if isinstance(rows, int) else len(rows)
        check_counts("RandomRowSampler", batch_size=batch_size)
        if batch_size > self._count:
            raise InputError(
                f"RandomRowSampler: batch_size must be in 1..{self._count}, the number of rows, got {batch_size}"
            )
        num = -(-self._count // batch_size)
        super().__init__(batch_size=batch_size, num_batches=num, seed=seed, rank=rank, world=world)

    def _parts(self, epoch: int) -> Iterator[Tensor]:
        return iter((Rounds(self._count, self.batch_size, self._random(epoch)).sets(self.num_batches),))


class ClassBalancedSampler(PassSampler):
    """:func:`class_balanced_batches` pass by pass: every class as often as any other.

    Every class comes in every `classes / (batch_size / per_class)` batches.  Which rows of it come is up to chance:
    for every row, see :class:`MPerClassSampler`.  Memory: 8 bytes a row, 24 a class, and of
    batches 256 at a time.

    Args:
        labels: of the data set's rows, as :func:`class_balanced_batches` has them.
        batch_size: over all processes; a multiple of `per_class`.
        per_class: rows of a class in a batch.
        num_batches: batches a pass; None is as many as fit into n rows, and so many that every class comes.
        seed: >= 0.
        rank, world: the process and how many there are.

    >>> sampler = ClassBalancedSampler([0, 0, 0, 1, 1, 1, 2, 2, 2], batch_size=4, per_class=2)
    >>> len(sampler), [len(batch) for batch in sampler]
    (2, [4, 4])
    """

    def __init__(
        self,
        labels: Any,
        *,
        batch_size: int,
        per_class: int = 4,
        num_batches: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        labels = torch.as_tensor(labels)
        self._rows = rows_of_classes("ClassBalancedSampler", labels, batch_size, per_class, shared=True)
        self._per_class, self._shared_among = per_class, len(labels) if labels.ndim == 2 else 0
        if num_batches is None:
            num_batches = max(
                len(self._rows.members) // batch_size, -(-len(self._rows) * per_class // batch_size)
            )
        super().__init__(batch_size=batch_size, num_batches=num_batches, seed=seed, rank=rank, world=world)

    def _parts(self, epoch: int) -> Iterator[Tensor]:
        random = self._random(epoch)
        rounds = Rounds(len(self._rows), self.batch_size // self._per_class, random)
        for num in part_sizes(self.num_batches):
            rows = self._rows.subsets(rounds.sets(num).flatten(), self._per_class, random).view(num, -1)
            yield all_different(rows, self._shared_among, random) if self._shared_among else rows


def part_sizes(num_batches: int) -> Iterator[int]:
    """How many batches to draw together: 2, 4, 8, ... up to 256, until all are drawn."""
    size = 1
    while num_batches > 0:
        size = min(2 * size, num_batches, _PART)
        yield size
        num_batches -= size
