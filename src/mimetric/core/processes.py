r"""A batch that lies in several processes: every process gets the loss and the gradient of the whole batch.

Rows of all processes are collected, :func:`gathered`, and every process then has the same batch.  What is computed
from it is what one process computes, whatever the loss: averages over pairs that cost something, class means,
histograms, running moments, a memory bank.  Gradients need no rule for each loss either.  Let :math:`L` be the loss and
:math:`g_p` the gradient that process p finds for the collected rows.  Backward adds the :math:`g_p` of all w processes
and hands each process its own rows, and both of these are right:

- every process computes all of L: each :math:`g_p` is the whole gradient, and their sum is w times it;
- every process takes a share :math:`L_p` of the anchors, :math:`L = \sum_p L_p`, and back-propagates :math:`w L_p`:
  the sum again is w times the gradient.  :func:`sharing` asks for this; the pair engine does it.

The factor w is what the average over processes takes away again that data-parallel training makes
(`DistributedDataParallel`, Accelerate), for the encoder and for what the loss learns.

One process, or none started: nothing is sent, and rows come back as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from .errors import InputError

_sharing = ContextVar("sharing", default=False)


def gathered(*rows: Tensor, sizes: Sequence[int] | None = None) -> tuple[Tensor, ...]:
    """The rows of all processes, in order of rank; all processes of the default group call it together.

    The gradient of what comes back is added up over processes and handed to the rows where they are from.

    Args:
        rows: tensors (n, ...) on one device; n may differ between processes, also be 0, and between tensors.  A step
            gathers all that the loss takes for each row: embeddings, labels, ids, weights, the rows of another view.
            Not what every process has already: class weights, a memory bank.
        sizes: how many rows each process has, the same for all tensors, where every process knows it.  None: the
            numbers are exchanged and read, for which an accelerator waits once a call.

    Returns:
        A tensor (N, ...) for each; N is the sum of the n.
    Raises:
        InputError: rows of one process hold more numbers than those of another, or are not as many as `sizes` says.

    >>> z, y = torch.randn(4, 2), torch.tensor([0, 0, 1, 1])
    >>> z, y = gathered(z, y)  # a single process: the same tensors
    """
    if world_size() > 1:
        rows = tuple(
            cast(Tensor, _Gathered.apply(each, sizes))  # type: ignore[no-untyped-call]
            for each, sizes in zip(rows, _sizes(rows) if sizes is None else _told(rows, sizes))
        )
    return rows


@contextmanager
def sharing(divided: bool = True) -> Iterator[None]:
    """Inside, processes that have the same batch divide the work of its loss; the result is the same.

    All processes call the loss together, on the rows that :func:`gathered` gave all of them.  Each makes the blocks of
    its share of the anchors; value and counts are added up.  Without it, in losses that do not run on the pair
    engine's blocks (swapped triplets, quadruplets), and where no gradient is wanted, each process does all of the work.
    A gradient for what was not gathered is that of the share, times w: the mean over processes is the whole.
    ``sharing(False)`` inside it ends it: where references differ, each process needs all anchors.

    >>> from mimetric.losses import supcon_loss
    >>> z, y = gathered(torch.eye(4), torch.tensor([0, 0, 1, 1]))
    >>> with sharing():
    ...     loss = supcon_loss(z, y)
    """
    before = _sharing.set(divided)
    try:
        yield
    finally:
        _sharing.reset(before)


def mean_of_processes(value: Tensor, count: float | Tensor = 1.0) -> Tensor:
    r""":math:`\sum_p n_p v_p / \sum_p n_p`, the same in every process; the gradient is w times that of the own value.

    For losses whose rows need no other rows, such as a softmax over logits: each process takes the mean over its own
    rows, and `count` is how many there are (their weights' sum, if the mean is weighted).  Nothing else is sent.

    >>> mean_of_processes(torch.tensor(2.0), count=32)
    tensor(2.)
    """
    if world_size() == 1:
        return value
    return cast(Tensor, _Mean.apply(value, torch.as_tensor(count).to(value)))  # type: ignore[no-untyped-call]


def average_over_processes(tensors: Sequence[Tensor]) -> None:
    """Puts the mean over processes in the place of each: of gradients after backward, of running statistics.

    All processes call it with as many tensors of the same shapes; each type and device travels as one.

    >>> average_over_processes([torch.ones(3)])  # one process: nothing happens
    """
    if world_size() == 1:
        return
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    with torch.no_grad():
        for same in kinds.values():
            flat = torch.cat([tensor.flatten() for tensor in same])
            dist.all_reduce(flat)
            parts = torch.split(flat / world_size(), [tensor.numel() for tensor in same])
            for tensor, part in zip(same, parts):
                tensor.copy_(part.view_as(tensor))


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether it is so in one of them, the same answer in all.

    >>> any_process(True, torch.device("cpu"))
    True
    """
    if world_size() == 1:
        return flag
    told = torch.tensor(float(flag), device=device)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return bool(told)


def wait_for_all() -> None:
    """Go on once every process has come here.

    >>> wait_for_all()  # one process: at once
    """
    if world_size() > 1:
        dist.barrier()


def world_size() -> int:
    """How many processes there are; 1 where none were started together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@dataclass(frozen=True)
class Share:
    """Which anchors of a batch that all processes have are this one's."""

    rank: int
    world: int

    def of(self, anchors: int) -> slice:
        """As many for each as can be."""
        return slice(self.rank * anchors // self.world, (self.rank + 1) * anchors // self.world)

    def summed(self, count: Tensor) -> Tensor:
        """A number of this share, added up over all."""
        total = count.detach().clone()
        dist.all_reduce(total)
        return total

    def collected(self, parts: Sequence[Tensor], anchors: int) -> list[Tensor]:
        """What each process has found for its share (k, ...), of all anchors; as with :func:`gathered`."""
        shares = [Share(rank, self.world).of(anchors) for rank in range(self.world)]
        sizes = [share.stop - share.start for share in shares]
        # A share has rows; what has none was not asked for.
        return [_Gathered.apply(each, sizes) if len(each) else each for each in parts]  # type: ignore[no-untyped-call]


def share_of(anchors: int) -> Share | None:
    """This process's share, with an anchor at least; None where the work is not divided.

    Without a gradient it is not: a loss may look at all anchors on the way, to count what it weighs them by.
    """
    world = world_size() if _sharing.get() and torch.is_grad_enabled() else 1
    return Share(dist.get_rank(), world) if 1 < world <= anchors else None


def _sizes(rows: Sequence[Tensor]) -> list[list[int]]:
    """How many rows each process has of each tensor, after a look at their shapes: all at once."""
    here = [[len(each), each.shape[1:].numel()] for each in rows]
    mine = torch.tensor(here, device=rows[0].device)
    every = [torch.empty_like(mine) for _ in range(world_size())]
    dist.all_gather(every, mine)
    found = torch.stack(every).tolist()
    for process, theirs in enumerate(found):
        for (_, width), (_, other) in zip(here, theirs):
            if width != other:
                raise InputError(
                    f"gathered: rows must hold as many numbers in every process, got {width} in process "
                    f"{dist.get_rank()} and {other} in process {process}"
                )
    return [[theirs[i][0] for theirs in found] for i in range(len(rows))]


def _told(rows: Sequence[Tensor], sizes: Sequence[int]) -> list[list[int]]:
    """The same, as the caller knows it."""
    rank = dist.get_rank()
    for each in rows:
        if len(sizes) != world_size() or sizes[rank] != len(each):
            raise InputError(
                f"gathered: sizes must be the rows of each of {world_size()} processes, {len(each)} of process {rank}, "
                f"got {list(sizes)}"
            )
    return [list(sizes)] * len(rows)


class _Gathered(torch.autograd.Function):
    """apply(rows (n, ...), sizes) -> (N, ...)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        sent = rows.new_zeros(max(sizes), *rows.shape[1:])
        sent[: len(rows)] = rows
        every = [torch.empty_like(sent) for _ in sizes]
        dist.all_gather(every, sent)
        return torch.cat([part[:size] for part, size in zip(every, sizes)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _Returned.apply(grad, ctx.sizes), None  # type: ignore[no-untyped-call]


class _Returned(torch.autograd.Function):
    """apply(rows (N, ...), sizes) -> (n, ...): the sum over processes, of which each keeps its own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes, rank = sizes, dist.get_rank()
        total = rows.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)  # a reduce-scatter would send half of it; not every backend has one
        start = sum(sizes[:rank])
        return total[start : start + sizes[rank]]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _Gathered.apply(grad, ctx.sizes), None  # type: ignore[no-untyped-call]


class _Mean(torch.autograd.Function):
    """apply(value (), count ()) -> (), the weighted mean over processes; what arrives in backward is averaged too."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, count: Tensor) -> Tensor:
        sums = torch.stack((torch.where(count > 0, value * count, 0), count))  # a mean over no rows is NaN
        dist.all_reduce(sums)
        ctx.factor = dist.get_world_size() * count / sums[1]
        return sums[0] / sums[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return ctx.factor * _Mean.apply(grad, torch.ones_like(grad)), None  # type: ignore[no-untyped-call]
