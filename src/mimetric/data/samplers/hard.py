"""Classes that the model confuses, drawn together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from mimetric.core.checks import as_tensor
from mimetric.core.errors import InputError
from mimetric.core.neighbors import nearest_neighbors
from mimetric.data.samplers.dealing import Rounds, all_different, came_again, check_counts, rows_of_classes
from mimetric.data.samplers.passes import PassSampler, part_sizes


class HardClassSampler(PassSampler):
    """Batches of classes that are hard to tell apart: each of some first classes, and classes confused with it.

    Of the K classes in a batch, ``K / together`` are first classes.  They are dealt out: every class is one before any
    is again.  The others are drawn from those that the model confuses with them, for each first class from its
    `nearest`; where these are too few, from all.  All are different.  Rows are drawn as in `class_balanced_batches`.

    What is confused changes as the model learns: hand it over by :meth:`confuse_by_means` or
    :meth:`confuse_by_counts` as often as you like; it holds from the next pass on.  Before, classes are drawn from all.

    Args:
        labels: (n,) integer class ids.
        batch_size: over all processes; a multiple of ``per_class * together``.
        per_class: rows of a class in a batch.
        together: classes drawn together, the first included.
        nearest: confused classes to draw from, at least ``together - 1``.
        num_batches: batches a pass; None is as many as fit into n rows, and so many that every class is a first one.
        seed: >= 0.
        rank, world: the process and how many there are; all hand over the same means or counts.

    Attributes:
        classes: (c,) the class ids, in the order of means and counts.
    Raises:
        InputError: labels are not (n,) integers, sizes do not fit one another, or there are fewer classes than a
            batch takes.

    After Sohn (NIPS 2016, "hard negative class mining"), who begins a batch with one random class and adds the class
    that violates most, one by one, among a random part of all.  The state holds the confused classes as well:
    2 `nearest` numbers for each class.  Memory: 8 bytes a row, 24 + 8 `nearest` a class, and
    of batches 256 at a time.

    >>> labels = torch.arange(8).repeat_interleave(2)
    >>> hard = HardClassSampler(labels, batch_size=4, per_class=2, together=2, nearest=1)
    >>> hard.confuse_by_counts(torch.eye(4).repeat_interleave(2, 0).repeat_interleave(2, 1))  # 0 with 1, 2 with 3
    >>> labels[next(hard.tensors())].tolist()
    [4, 4, 5, 5]
    """

    def __init__(
        self,
        labels: Any,
        *,
        batch_size: int,
        per_class: int = 4,
        together: int = 4,
        nearest: int = 8,
        num_batches: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        where = "HardClassSampler"
        self._rows = rows_of_classes(where, labels, batch_size, per_class)
        check_counts(where, together=together, nearest=nearest)
        if batch_size % (per_class * together):
            raise InputError(
                f"{where}: batch_size must be a multiple of per_class * together ({per_class} * {together}), "
                f"got {batch_size}"
            )
        if nearest < together - 1:
            raise InputError(
                f"{where}: nearest must be at least together - 1 ({together - 1}), got {nearest}"
            )
        self._per_class, self._nearest = per_class, nearest
        self._places = batch_size // per_class
        self._firsts = self._places // together
        self._confused = torch.empty(len(self._rows), 0, dtype=torch.int64)  # -1: no more
        self.classes = self._rows.ids
        if num_batches is None:
            num_batches = max(len(self._rows.members) // batch_size, -(-len(self._rows) // self._firsts))
        super().__init__(batch_size=batch_size, num_batches=num_batches, seed=seed, rank=rank, world=world)

    def confuse_by_means(self, means: Any) -> None:
        """From the next pass on, classes whose means have the highest cosine are confused.

        Args:
            means: (c, d) the mean embedding of each of `classes`.  The search is exact: c * c * d products.
        Raises:
            InputError: not a finite mean for each class.
        """
        means = as_tensor("confuse_by_means", "means", means)
        if means.ndim != 2 or len(means) != len(self._rows):
            raise InputError(
                f"confuse_by_means: means must have shape ({len(self._rows)}, width), a row for each of classes, "
                f"got {tuple(means.shape)}"
            )
        self._confuse(nearest_neighbors(means, k=self._nearest).indices.cpu())

    def confuse_by_counts(self, counts: Any) -> None:
        """From the next pass on, classes are confused that were taken for one another, most often first.

        Args:
            counts: (c, c) how often each of `classes` was taken for each, >= 0; both directions are added up.
        Raises:
            InputError: another shape, or a count below 0 or not a number.
        """
        counts = as_tensor("confuse_by_counts", "counts", counts).cpu()
        size = len(self._rows)
        if counts.shape != (size, size):
            raise InputError(
                f"confuse_by_counts: counts must have shape {(size, size)}, classes by classes, "
                f"got {tuple(counts.shape)}"
            )
        if not bool((counts >= 0).all()):
            raise InputError("confuse_by_counts: counts must be numbers >= 0")
        most, confused = (counts + counts.T).fill_diagonal_(0).topk(min(self._nearest, size))
        self._confuse(torch.where(most > 0, confused, -1))

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self._used = self._confused

    def state_dict(self) -> dict[str, Any]:
        """As of every sampler, and of each class those confused with it, in this pass and in the next."""
        return super().state_dict() | {
            "confused": self._used.tolist(),
            "confused_next": self._confused.tolist(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As of every sampler."""
        used, following = (self._table(state, name) for name in ("confused", "confused_next"))
        super().load_state_dict(state)
        self._used, self._confused = used, following

    def _table(self, state: Mapping[str, Any], name: str) -> Tensor:
        size = len(self._rows)
        try:
            table = torch.tensor(state[name], dtype=torch.int64)
            fits = table.ndim == 2 and len(table) == size and bool(((table >= -1) & (table < size)).all())
        except (KeyError, TypeError, ValueError):
            fits = False
        if not fits:
            raise InputError(
                f"HardClassSampler.load_state_dict: {name} must be a list of class numbers below {size} for each of "
                f"{size} classes; give what state_dict returned, for the same data"
            )
        return table

    def _confuse(self, confused: Tensor) -> None:
        self._confused = confused
        if not self._begun and not self.batch:
            self._used = confused

    def _parts(self, epoch: int) -> Iterator[Tensor]:
        return self._drawn(self._used, self._random(epoch))

    def _drawn(self, confused: Tensor, random: torch.Generator) -> Iterator[Tensor]:
        rounds = Rounds(len(self._rows), self._firsts, random)
        for num in part_sizes(self.num_batches):
            classes = self._beside(rounds.sets(num), confused, random)
            yield self._rows.subsets(classes.flatten(), self._per_class, random).view(num, -1)

    def _beside(self, firsts: Tensor, confused: Tensor, random: torch.Generator) -> Tensor:
        """First classes (num, firsts) and others confused with them, all different: (num, places)."""
        others = confused[firsts]  # (num, firsts, nearest)
        others = others.gather(2, torch.rand(others.shape, generator=random).argsort(2))
        # One more for each first class, then a second for each, ...
        drawn = torch.cat((firsts, others.transpose(1, 2).flatten(1)), 1)
        first = firsts[:, :1]
        drawn = torch.where(drawn < 0, first, drawn)
        new_first = came_again(drawn).sort(dim=1, stable=True).indices
        usable = drawn.gather(1, new_first)[:, : self._places]
        short = first.expand(-1, max(0, self._places - usable.shape[1]))
        return all_different(torch.cat((usable, short), 1), len(self._rows), random)
