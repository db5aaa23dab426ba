"""A softmax over very many classes, whose weights are cut among processes."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from ..core.checks import check_batch, check_classes
from ..core.class_parallel import class_parallel, rows_of_all
from ..core.errors import InputError
from ..core.objective import Objective
from ..core.processes import world_size
from .margin import ArcFaceLoss, CosFaceLoss
from .proxy import NormalizedSoftmaxLoss
from .regression import P2SGradLoss

# Each compares a row with class weights alone, one for a class, and has no other numbers for each class.
_SUITED = (NormalizedSoftmaxLoss, CosFaceLoss, ArcFaceLoss, P2SGradLoss)


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
            as many classes as are held here; a margin that is one number.
        classes: ids of those, a run; together the runs of all processes are 0..num_classes-1.
        num_classes: of all processes.

    Raises:
        InputError: another objective, one with another number of classes, a run out of range, or labels not below
            num_classes.

    >>> objective = CutClasses(NormalizedSoftmaxLoss(8, 100), own_classes(100, 0, 1), 100)  # one process has all
    >>> objective(torch.randn(4, 8), [3, 99, 3, 70]).shape
    torch.Size([])
    """

    sides = None

    def __init__(self, objective: Objective, classes: range, num_classes: int) -> None:
        super().__init__()
        if not isinstance(objective, _SUITED):
            raise InputError(
                f"CutClasses: {type(objective).__name__} needs more of each class than its weight; "
                f"choose from {', '.join(kind.__name__ for kind in _SUITED)}"
            )
        margin = objective.options.get("margin", 0.0)
        if isinstance(margin, Tensor) and margin.ndim:
            raise InputError("CutClasses: margin must be one number for all classes")
        held = len(objective.weight)
        if held != len(classes) or classes.step != 1 or not 0 <= classes.start <= classes.stop <= num_classes:
            raise InputError(
                f"CutClasses: classes must be a run of {held} of 0..{num_classes - 1}, one for each weight of the "
                f"objective, got {classes}"
            )
        self.objective, self.classes, self.num_classes = objective, classes, num_classes

    def forward(self, embeddings: Any, labels: Any) -> Tensor:
        rows, labels = check_batch("CutClasses", embeddings, labels)
        check_classes("CutClasses", labels, self.num_classes)
        here = (labels >= self.classes.start) & (labels < self.classes.stop)
        places = torch.where(here, labels - self.classes.start, -1)
        if world_size() == 1:
            return cast(Tensor, self.objective(rows, places))
        with class_parallel():
            return cast(Tensor, self.objective(rows_of_all(rows), places))

    def extra_repr(self) -> str:
        return f"classes={self.classes}, num_classes={self.num_classes}"
