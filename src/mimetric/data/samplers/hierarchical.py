"""Classes of few super-classes in a batch: negatives that are alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mimetric.core.errors import InputError
from mimetric.data.samplers.dealing import Groups, Rounds, check_counts, check_ids
from mimetric.data.samplers.passes import PassSampler


class HierarchicalSampler(PassSampler):
    """Batches from a few super-classes, the same number of classes of each, and `per_class` rows of a class.

    All super-classes are dealt out in shuffled order before any comes again.  Within a pass a super-class deals out
    its classes in the same way, and a class its rows: each goes on where it stood when it came last.  So every
    super-class comes in every `super classes / supers_per_batch` batches, and each of its classes equally often, up to
    one; a pass need not hold every row.

    A super-class with fewer classes than a batch takes of it gives them again, with further rows; a class with too few
    rows gives them again from the first.  Apart from these a batch holds no row twice.  A class that stands under two
    super-classes is two classes here.

    Args:
        labels: (n,) integer class ids.
        super_labels: (n,) integer ids of the super-class of each row.
        batch_size: over all processes; a multiple of ``supers_per_batch * per_class``.
        per_class: rows of a class in a batch.
        supers_per_batch: super-classes in a batch.
        num_batches: batches a pass; None is as many as fit into n rows, and so many that every super-class comes.
        seed: >= 0.
        rank, world: the process and how many there are.

    Raises:
        InputError: labels are not (n,) integers, sizes do not fit one another, or there are fewer super-classes than
            a batch takes.

    Reference: the sampling of HierarchicalSampler in pytorch-metric-learning, which draws every combination of
    super-classes equally often (they are listed: with many super-classes too many), and gives smaller batches where
    classes are few.  Memory: 8 bytes a row and 24 a class, during a pass 8
    more; about 75 while made and 35 while a pass is set up.

    >>> tree = HierarchicalSampler([0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 0, 0, 1, 1, 1, 1],
    ...                            batch_size=4, per_class=2, supers_per_batch=1)
    >>> [sorted(batch) for batch in tree]
    [[0, 1, 2, 3], [4, 5, 6, 7]]
    """

    def __init__(
        self,
        labels: Any,
        super_labels: Any,
        *,
        batch_size: int,
        per_class: int = 4,
        supers_per_batch: int = 2,
        num_batches: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        where = "HierarchicalSampler"
        check_counts(where, batch_size=batch_size, per_class=per_class, supers_per_batch=supers_per_batch)
        if batch_size % (supers_per_batch * per_class):
            raise InputError(
                f"{where}: batch_size must be a multiple of supers_per_batch * per_class "
                f"({supers_per_batch} * {per_class}), got {batch_size}"
            )
        self._rows, self._classes = _tree(where, labels, super_labels)
        if supers_per_batch > len(self._classes):
            raise InputError(
                f"{where}: supers_per_batch must be at most {len(self._classes)}, the number of super-classes, "
                f"got {supers_per_batch}"
            )
        self._per_class, self._supers = per_class, supers_per_batch
        if num_batches is None:
            every = -(-len(self._classes) // supers_per_batch)
            num_batches = max(len(self._rows.members) // batch_size, every)
        super().__init__(batch_size=batch_size, num_batches=num_batches, seed=seed, rank=rank, world=world)

    def _parts(self, epoch: int) -> Iterator[Tensor]:
        random = self._random(epoch)
        supers = Rounds(len(self._classes), self._supers, random).sets(self.num_batches).flatten()
        of_each = self.batch_size // (self._supers * self._per_class)
        classes = self._classes.visited(supers, of_each, random).flatten()
        return iter((self._rows.visited(classes, self._per_class, random).view(self.num_batches, -1),))


def _tree(where: str, labels: Any, super_labels: Any) -> tuple[Groups, Groups]:
    """The rows of each class, and the classes of each super-class."""
    labels, over = (
        check_ids(where, name, ids) for name, ids in (("labels", labels), ("super_labels", super_labels))
    )
    if over.shape != labels.shape:
        raise InputError(
            f"{where}: super_labels must have shape {tuple(labels.shape)} to match labels, got {tuple(over.shape)}"
        )
    rows = labels.sort(stable=True).indices
    over, order = over.index_select(0, rows).sort(stable=True)
    rows = rows.index_select(0, order)
    labels = labels.index_select(0, rows)
    begins = torch.ones_like(rows)  # a class begins where either label changes
    begins[1:] = (over[1:] != over[:-1]) | (labels[1:] != labels[:-1])
    classes = Groups(rows, begins.cumsum(0))
    return classes, Groups.by(over.index_select(0, classes.start))
