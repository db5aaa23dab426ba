"""Batches drawn in one go from a generator: some rows of each of some classes, or rows at random.

Both go round: everything (every class, or every row) is dealt out once in shuffled order before
anything comes again, and a batch that spans two rounds still holds nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from mimetric.core.errors import InputError
from mimetric.data.samplers.dealing import Rounds, all_different, rows_of_classes


def class_balanced_batches(
    labels: Tensor, *, batch_size: int, per_class: int = 4, num_batches: int, generator: torch.Generator
) -> Batches:
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
        :class:`Batches`, whose `rows` are (num_batches, batch_size); rows of one class stand side by side.
    Raises:
        InputError: labels are neither (n,) integers nor (n, L) bool, batch_size is no multiple of per_class, or
            there are fewer classes than a batch takes, or fewer rows with several labels.

    >>> labels = torch.tensor([0, 0, 0, 1, 1, 1, 2])
    >>> batches = class_balanced_batches(
    ...     labels, batch_size=4, per_class=2, num_batches=3, generator=torch.Generator().manual_seed(0)
    ... )
    >>> labels[batches.rows].flatten().bincount()  # two rows of two classes, three times
    tensor([4, 4, 4])
    """
    of_class = rows_of_classes("class_balanced_batches", labels, batch_size, per_class, shared=True)

    def draw(random: torch.Generator) -> Tensor:
        classes = Rounds(len(of_class), batch_size // per_class, random).sets(num_batches)
        rows = of_class.subsets(classes.flatten(), per_class, random).view(num_batches, -1)
        return rows if labels.ndim == 1 else all_different(rows, len(labels), random)

    return Batches(draw, generator)


def random_batches(
    rows: Tensor | int, *, batch_size: int, num_batches: int, generator: torch.Generator
) -> Batches:
    """Batches of different rows; every row comes once before any comes again.

    Args:
        rows: how many rows there are, or anything with that length, such as their labels.
        batch_size, num_batches, generator: as in :func:`class_balanced_batches`.

    Returns:
        :class:`Batches`, whose `rows` are (num_batches, batch_size).  What a round leaves over begins the next.
    Raises:
        InputError: fewer rows than a batch takes.
    """
    count = rows if isinstance(rows, int) else len(rows)
    if not 1 <= batch_size <= count:
        raise InputError(
            f"random_batches: batch_size must be in 1..{count}, the number of rows, got {batch_size}"
        )
    return Batches(lambda random: Rounds(count, batch_size, random).sets(num_batches), generator)


class Batches(Iterator[Tensor]):
    """Batches drawn in one go and given out one by one; can be taken up again at any of them.

    They are drawn when made, so that the generator stands where the next draw begins.  The state is
    the generator's before the draw, as 632 numbers, and how many batches were given: loading it draws
    the same batches again and leaves the generator as it was left then.

    Attributes:
        rows: (num_batches, batch_size) int64 row indices, all of them.

    >>> batches = random_batches(4, batch_size=2, num_batches=2, generator=torch.Generator().manual_seed(0))
    >>> first, state = next(batches), batches.state_dict()
    >>> again = random_batches(4, batch_size=2, num_batches=2, generator=torch.Generator())
    >>> again.load_state_dict(state)
    >>> torch.equal(next(again), next(batches))
    True
    """

    def __init__(self, draw: Callable[[torch.Generator], Tensor], generator: torch.Generator) -> None:
        self._draw, self._generator = draw, generator
        self._start, self._given = generator.get_state(), 0
        self.rows = draw(generator)

    def __len__(self) -> int:
        return len(self.rows)

    def __next__(self) -> Tensor:
        if self._given == len(self.rows):
            raise StopIteration
        self._given += 1
        return self.rows[self._given - 1]

    def to(self, device: torch.device | str) -> Batches:
        """Itself, with all batches on that device."""
        self.rows = self.rows.to(device)
        return self

    def state_dict(self) -> dict[str, Any]:
        """JSON numbers: `generator`, its state before the draw, and `batch`, how many were given."""
        return {"generator": self._start.view(torch.int64).tolist(), "batch": self._given}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as the batches did whose state this is; they had the same arguments.

        Raises:
            InputError: not a state of so many batches.
        """
        given = state.get("batch")
        if not (isinstance(given, int) and 0 <= given <= len(self)):
            raise InputError(
                f"load_state_dict: batch must be a number in 0..{len(self)}, the number of batches, "
                f"got {given!r}; give the arguments that the saved batches had"
            )
        size = self._start.numel() // 8
        try:
            start = torch.tensor(state.get("generator"), dtype=torch.int64).view(torch.uint8)
            self._generator.set_state(start)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(
                f"load_state_dict: generator must be {size} numbers; give what state_dict returned"
            ) from None
        self._start, self._given = start, given
        self.rows = self._draw(self._generator).to(self.rows.device)
