"""A softmax over very many classes, whose weights are cut among processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..core.checks import check_batch, check_classes
from ..core.class_parallel import class_parallel, rows_of_all
from ..core.errors import InputError
from ..core.processes import world_size
from .class_sampling import SampledClasses
from .margin import ArcFaceLoss, CosFaceLoss
from .proxy import NormalizedSoftmaxLoss
from .regression import P2SGradLoss

# Each compares a row with class weights alone, one for a class, and has no other numbers for each class.
_SUITED = (NormalizedSoftmaxLoss, CosFaceLoss, ArcFaceLoss, P2SGradLoss)


def keep_classes(objective: nn.Module, classes: range) -> None:
    """Leave an objective of all classes the weights of some, for :class:`CutClasses`.

    Made whole and cut in every process, with the same random numbers, weights are those of one process.

    Raises:
        InputError: an objective that does not suit :class:`CutClasses`, or no classes.

    >>> objective = NormalizedSoftmaxLoss(8, 100)
    >>> keep_classes(objective, own_classes(100, rank=1, world=3))
    >>> objective.weight.shape
    torch.Size([33, 8])
    """
    weight = _suited(objective).weight
    if not classes:
        raise InputError(f"keep_classes: {len(weight)} classes are fewer than processes; start fewer")
    objective.weight = nn.Parameter(weight.detach()[classes.start : classes.stop].clone())


def own_classes(num_classes: int, rank: int, world: int) -> range:
    """The classes of a process: runs of ids, as long as can be for each.

    >>> [own_classes(10, rank, 3) for rank in range(3)]
    [range(0, 3), range(3, 6), range(6, 10)]
    """
    return range(rank * num_classes // world, (rank + 1) * num_classes // world)


class CutClasses(nn.Module):
    """An objective with the weights of some classes, and those of the others in other processes.

    All processes call it together, on the rows that :func:`~mimetric.core.processes.gathered` gave all of them:

        mine = own_classes(num_classes, rank, world)
        objective = CutClasses(ArcFaceLoss(width, len(mine)), mine, num_classes)
        z, y = gathered(encoder(x), y)
        objective(z, y).backward()

    Value and gradients are those of one process with all classes.  The encoder's gradient is then to be averaged over
    processes, as data-parallel training does; that of the class weights is whole and not to be averaged, so keep this
    module out of `DistributedDataParallel`.  A process holds its weights, their gradient and the optimizer's numbers,
    C / w rows each; a step exchanges the rows, their gradient and about 4 numbers a row.

    Args:
        objective: :class:`NormalizedSoftmaxLoss`, :class:`CosFaceLoss`, :class:`ArcFaceLoss` or :class:`P2SGradLoss` of
            as many classes as are held here; a margin that is one number.  Or a :class:`SampledClasses` around one:
            then each process draws a share of its own classes, and all of the batch's are there.
        classes: ids of those, a run; together the runs of all processes are 0..num_classes-1.
        num_classes: of all processes.

    Raises:
        InputError: another objective, one with another number of classes, a run out of range, or labels not below
            num_classes.

    >>> objective = CutClasses(NormalizedSoftmaxLoss(8, 100), own_classes(100, 0, 1), 100)  # one process has all
    >>> objective(torch.randn(4, 8), [3, 99, 3, 70]).shape
    torch.Size([])
    """

    def __init__(self, objective: nn.Module, classes: range, num_classes: int) -> None:
        super().__init__()
        held = len(_suited(_inner(objective)).weight)
        if held != len(classes) or classes.step != 1 or not 0 <= classes.start <= classes.stop <= num_classes:
            raise InputError(
                f"CutClasses: classes must be a run of {held} of 0..{num_classes - 1}, one for each weight of the "
                f"objective, got {classes}"
            )
        self.objective, self.classes, self.num_classes = objective, classes, num_classes

    def forward(self, embeddings: Any, labels: Any) -> Tensor:
        return cast(Tensor, self._with(self.objective, embeddings, labels))

    def sides(self, embeddings: Any, labels: Any) -> tuple[Tensor, Tensor]:
        """(tightness, contrast) over all classes: two scalars that add up to the loss."""
        return cast(tuple[Tensor, Tensor], self._with(_inner(self.objective).sides, embeddings, labels))

    def _with(self, loss: Callable[..., Any], embeddings: Any, labels: Any) -> Any:
        rows, labels = check_batch("CutClasses", embeddings, labels)
        check_classes("CutClasses", labels, self.num_classes)
        here = (labels >= self.classes.start) & (labels < self.classes.stop)
        places = torch.where(here, labels - self.classes.start, -1)
        if world_size() == 1:
            return loss(rows, places)
        with class_parallel():
            return loss(rows_of_all(rows), places)

    def extra_repr(self) -> str:
        return f"classes={self.classes}, num_classes={self.num_classes}"


def _inner(objective: nn.Module) -> Any:
    return objective.objective if isinstance(objective, SampledClasses) else objective


def _suited(objective: nn.Module) -> Any:
    """The objective itself, if class weights are all that it has of each class."""
    if not isinstance(objective, _SUITED):
        raise InputError(
            f"CutClasses: {type(objective).__name__} needs more of each class than its weight; "
            f"choose from {', '.join(kind.__name__ for kind in _SUITED)}"
        )
    margin = objective.options.get("margin", 0.0)
    if isinstance(margin, Tensor) and margin.ndim:
        raise InputError("CutClasses: margin must be one number for all classes")
    return objective
