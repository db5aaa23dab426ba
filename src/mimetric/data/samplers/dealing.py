"""Members of groups, and how they are dealt out: rows of classes, classes of super-classes.

All of it is a few passes of torch over all members at once.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mimetric.core.checks import as_tensor
from mimetric.core.errors import InputError

_CHANCE_BITS = 20  # every 8 cost another pass of the sort


class Groups:
    """Members side by side: group g has members[start[g] : start[g] + count[g]].  8 bytes a member, 24 a group."""

    def __init__(self, members: Tensor, ids: Tensor) -> None:
        """Members (n,) and the group's id of each (n,), those of a group side by side."""
        self.members = members
        self.ids, self.count = ids.unique_consecutive(return_counts=True)  # type: ignore[no-untyped-call]
        self.start = self.count.cumsum(0) - self.count

    @classmethod
    def by(cls, ids: Tensor) -> Groups:
        """The group of each of 0..n-1, (n,) integers; or (n, groups) bool, where one may be in several."""
        if ids.ndim == 2:
            ordered, members = ids.T.nonzero().unbind(1)
        else:
            ordered, members = ids.sort(stable=True)
        return cls(members, ordered)

    def __len__(self) -> int:
        return len(self.count)

    def shuffled(self, generator: torch.Generator) -> Tensor:
        """The members as they lie, those of each group in a new random order."""
        # One sort by group and chance: half the time of shuffling all, then sorting by group.  Of a pair in 10^6 the
        # chances are equal, which then stays in order.
        key = torch.arange(len(self)).repeat_interleave(self.count) << _CHANCE_BITS
        key += torch.empty_like(key).random_(1 << _CHANCE_BITS, generator=generator)
        return self.members.index_select(0, key.sort(stable=True).indices)

    def dealt(self, members: Tensor, groups: Tensor, first: Tensor, size: int) -> Tensor:
        """For each of groups (p,) the `size` members from place `first` (p,) on, going round: (p, size)."""
        place = first[:, None] + torch.arange(size)
        place %= self.count.index_select(0, groups)[:, None]
        place += self.start.index_select(0, groups)[:, None]
        return members.index_select(0, place.flatten()).view(-1, size)

    def visited(self, groups: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """At each visit (p,) of a group its next `size` members, in random order, going round: (p, size)."""
        return self.dealt(self.shuffled(generator), groups, came_before(groups) * size, size)

    def subsets(self, groups: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """At each visit (p,) of a group `size` of its members, all subsets alike: (p, size)."""
        # index_select is six times as fast as indexing here
        places = _subsets(self.count.index_select(0, groups), size, generator)
        places += self.start.index_select(0, groups)
        return self.members.index_select(0, places.T.flatten()).view(-1, size)


def rows_of_classes(where: str, labels: Any, batch_size: int, per_class: int, shared: bool = False) -> Groups:
    """Rows by class, for batches of `batch_size` rows, `per_class` of a class; `shared`: also of (n, L) bool labels.

    Raises:
        InputError: labels of another kind, sizes that do not fit one another, or fewer classes than a batch takes.
    """
    labels = check_ids(where, "labels", labels, shared)
    several = labels.ndim == 2
    check_counts(where, batch_size=batch_size, per_class=per_class)
    if batch_size % per_class:
        raise InputError(
            f"{where}: batch_size must be a multiple of per_class, got {batch_size} and {per_class}"
        )
    if several and batch_size > len(labels):
        raise InputError(
            f"{where}: batch_size must be at most {len(labels)}, the number of rows, got {batch_size}"
        )
    rows = Groups.by(labels)
    if batch_size // per_class > len(rows):
        raise InputError(
            f"{where}: batch_size {batch_size} with {per_class} rows a class takes {batch_size // per_class} "
            f"classes, got {len(rows)}; lower batch_size or raise per_class"
        )
    return rows


def check_ids(where: str, name: str, ids: Any, shared: bool = False) -> Tensor:
    """Integer ids (n,), or, `shared`, also bool (n, L): which of L each row has.  On the CPU."""
    found: Tensor = as_tensor(where, name, ids).cpu()
    if shared and found.ndim == 2 and found.dtype == torch.bool:
        return found
    if found.ndim != 1 or found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        kinds = "(n,) integers or (n, labels) bool" if shared else "(n,) integers"
        raise InputError(f"{where}: {name} must be {kinds}, got {found.dtype} {tuple(found.shape)}")
    return found


def check_counts(where: str, **counts: int) -> None:
    """Options that are whole numbers, at least 1."""
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise InputError(f"{where}: {name} must be a whole number, at least 1, got {count!r}")


class Rounds:
    """Deals 0..count-1 out in shuffled order, again and again, in sets of `size` that hold nothing twice."""

    def __init__(self, count: int, size: int, generator: torch.Generator) -> None:
        self.count, self.size, self.generator = count, size, generator
        self.left = torch.empty(0, dtype=torch.int64)  # of the round under way

    def sets(self, num: int) -> Tensor:
        """The next (num, size)."""
        parts, have = [self.left], len(self.left)
        while have < num * self.size:
            begun = have % self.size
            fresh = torch.randperm(self.count, generator=self.generator)
            if begun:  # what the begun set holds already goes to the set after it
                clash = torch.isin(fresh[: self.size], parts[-1][-begun:])
                fresh[: self.size] = fresh[: self.size][clash.sort(stable=True).indices]
            parts.append(fresh)
            have += self.count
        dealt = torch.cat(parts)
        self.left = dealt[num * self.size :]
        return dealt[: num * self.size].view(num, self.size)


def came_before(values: Tensor) -> Tensor:
    """How often each of values (p,) came before."""
    ordered, place = values.sort(stable=True)
    count = ordered.unique_consecutive(return_counts=True)[1]  # type: ignore[no-untyped-call]
    start = (count.cumsum(0) - count).repeat_interleave(count)
    return torch.empty_like(place).scatter_(0, place, torch.arange(len(values)) - start)


def came_again(sets: Tensor) -> Tensor:
    """Which entries of sets (num, size) stand in their set already, further to the left: bool."""
    ordered, place = sets.sort(dim=1, stable=True)
    again = F.pad(ordered[:, 1:] == ordered[:, :-1], (1, 0))
    return torch.zeros_like(again).scatter_(1, place, again)


def all_different(sets: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Sets (num, size) of which what comes again is replaced by others out of 0..count-1."""
    while (again := came_again(sets)).any():
        fresh = torch.randint(count, (int(again.sum()),), generator=generator)
        sets = sets.masked_scatter(again, fresh)
    return sets


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
