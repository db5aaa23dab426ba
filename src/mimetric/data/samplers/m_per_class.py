"""Some rows of each of some classes, such that every row comes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mimetric.data.samplers.dealing import rows_of_classes
from mimetric.data.samplers.passes import PassSampler


class MPerClassSampler(PassSampler):
    r"""Batches of M rows of each of K different classes, and every row in every pass.

    In each pass the rows of a class are shuffled and cut into :math:`\lceil n_c / M \rceil` groups of M, so that a
    class comes the more often the more rows it has.  The last group is filled with the first rows of the class; a class
    of fewer than M rows gives them all, and then again from the first.  The groups of all classes fill
    :math:`B = \lceil \text{groups} / K \rceil` batches; what is left open goes to the classes drawn least often.

    **Coverage.** A class cannot be in a batch twice, so a class of more than B groups (more than about 1 / K of all
    rows) needs several passes.  It goes on where it was, and every row comes within the passes from k L to k L + L - 1
    for every k, where L is `epochs_to_cover`: :math:`\max_c \lceil \text{groups of } c / B \rceil`, mostly 1.

    A batch holds no row twice, but rows of classes smaller than M.  A pass is set up at once.  Memory: 8 bytes a row,
    24 a class; during a pass 8 more for each row it gives, and about 45 while it is set up.

    Args:
        labels: (n,) integer class ids.
        batch_size: over all processes; a multiple of `per_class`.
        per_class: M, rows of a class in a batch.
        seed: >= 0.
        rank, world: the process and how many there are.

    Attributes:
        epochs_to_cover: passes within which every row comes.
    Raises:
        InputError: labels are not (n,) integers, batch_size is no multiple of per_class, or there are fewer classes
            than a batch takes.

    >>> sampler = MPerClassSampler([0, 0, 0, 1, 1, 2], batch_size=4, per_class=2)
    >>> len(sampler), sampler.epochs_to_cover
    (2, 1)
    >>> sorted({row for batch in sampler for row in batch})
    [0, 1, 2, 3, 4, 5]
    """

    def __init__(
        self,
        labels: Any,
        *,
        batch_size: int,
        per_class: int = 4,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._rows = rows_of_classes("MPerClassSampler", labels, batch_size, per_class)
        self._per_class, self._places = per_class, batch_size // per_class
        groups = -(-self._rows.count // per_class)
        num = -(-int(groups.sum()) // self._places)
        super().__init__(batch_size=batch_size, num_batches=num, seed=seed, rank=rank, world=world)
        self.epochs_to_cover = -(-int(groups.max()) // num)
        self._large, self._times = groups > num, groups.clamp(max=num)
        self._least = bisect_left(
            range(num + 1), num * self._places, key=lambda least: int(self._times.clamp(min=least).sum())
        )

    def _parts(self, epoch: int) -> Iterator[Tensor]:
        random = self._random(epoch)
        rows = self._rows.shuffled(random)
        again = epoch % self.epochs_to_cover
        if again:  # a large class goes on in the order that its first pass had
            kept = self._rows.shuffled(self._random(epoch - again))
            rows = torch.where(self._large.repeat_interleave(self._rows.count), kept, rows)
        times = self._filled(random)
        classes, turn = _runs(times)
        turn += again * self.num_batches
        # The groups of rows class by class, where memory is fast; then they go to their batches.
        groups = self._rows.dealt(rows, classes, turn * self._per_class, self._per_class)
        order = torch.randperm(len(times), generator=random)
        which, turn = _runs(times.index_select(0, order))
        classes = order.index_select(0, which)
        at = (times.cumsum(0) - times).index_select(0, classes) + turn
        cells = _apart(classes.view(self._places, -1), random).T.flatten()
        rows = groups.index_select(0, at.index_select(0, cells))
        return iter((rows.view(self.num_batches, -1),))

    def _filled(self, random: torch.Generator) -> Tensor:
        """How often each class is drawn, so that all batches are full: the least often drawn are drawn more."""
        times: Tensor = self._times.clamp(min=self._least)
        raised = (self._times < self._least).nonzero().squeeze(1)
        over = int(times.sum()) - self.num_batches * self._places
        times[raised[torch.randperm(len(raised), generator=random)[:over]]] -= 1
        return times


def _runs(times: Tensor) -> tuple[Tensor, Tensor]:
    """Each i of times (c,) so often, side by side, and which time it is: (sum,) and (sum,)."""
    which = torch.arange(len(times)).repeat_interleave(times)
    start = times.cumsum(0) - times
    return which, torch.arange(len(which)) - start.index_select(0, which)


def _apart(classes: Tensor, random: torch.Generator) -> Tensor:
    """Which cell of classes (places, batches) each batch has at each place, so that it has no class twice.

    Cells of a class lie side by side, no more than there are batches: a class ends one line at most, and begins the
    next.  Each line is shuffled among the batches, the cells that it begins with among those without their class.
    """
    num = classes.shape[1]
    first = classes[1:, :1]  # the class that a line begins with: how many cells it has here and before
    ends, begins = ((some == first).sum(1).tolist() for some in (classes[:-1], classes[1:]))
    batches = torch.empty_like(classes)  # of each cell
    batches[0] = torch.randperm(num, generator=random)
    for place, (before, here) in enumerate(zip(ends, begins), start=1):
        order = torch.randperm(num, generator=random)
        has_it = torch.zeros(num, dtype=torch.bool)
        has_it[batches[place - 1, num - before :]] = True
        bad = has_it[order[:here]].nonzero().squeeze(1)
        if len(bad):
            good = here + (~has_it[order[here:]]).nonzero().squeeze(1)
            good = good[torch.randperm(len(good), generator=random)[: len(bad)]]
            order[bad], order[good] = order[good], order[bad]
        batches[place] = order
    cells = torch.arange(classes.numel()).view(classes.shape)
    return torch.empty_like(cells).scatter_(1, batches, cells)
