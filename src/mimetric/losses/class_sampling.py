"""Softmax over a random share of many classes: those of the batch's rows, and some others."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ..core.checks import as_tensor, check_batch, check_classes
from ..core.classes import UNLABELLED
from ..core.errors import InputError


def sample_classes(
    labels: Any, num_classes: int, count: int, *, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Some classes, those of the labels among them, and the labels as places in that list.

    Args:
        labels: (n,) integer class ids in 0..num_classes-1, or -1.
        num_classes: C.
        count: how many; raised to the number of labels, so that each finds its class.
        generator: of the draw, on the device of the labels.

    Returns:
        Class ids (k,) in ascending order, and labels (n,) in 0..k-1 or -1.  No number is read off an accelerator.
    Raises:
        InputError: num_classes or count is not at least 1.

    Cost: one random number for each class, O(C).

    >>> generator = torch.Generator().manual_seed(0)
    >>> sample_classes(torch.tensor([7, 2, -1, 7]), 10, 4, generator=generator)
    (tensor([1, 2, 5, 7]), tensor([ 3,  1, -1,  3]))
    """
    if num_classes < 1 or count < 1:
        raise InputError(
            f"sample_classes: num_classes and count must be at least 1, got {num_classes} and {count}"
        )
    labels = as_tensor("sample_classes", "labels", labels)
    known = labels != UNLABELLED
    check_classes("sample_classes", labels, num_classes)
    count = min(num_classes, max(count, len(labels)))
    if count == num_classes:
        return torch.arange(num_classes, device=labels.device), labels
    rank = torch.rand(num_classes, device=labels.device, generator=generator)
    rank = rank.index_add(0, labels.clamp(min=0), known.to(rank.dtype))  # above all that has no row
    chosen = rank.topk(count).indices.sort().values
    return chosen, torch.where(known, torch.searchsorted(chosen, labels), labels)


class SampledClasses(nn.Module):
    r"""An objective with class weights, each step over a share of the classes alone.

    Classes of the batch's rows always take part, others by chance, alike.  So the log-sum of a softmax is over fewer
    terms and about :math:`-\log(\text{share})` too small: a lower loss, with nearly the gradient where many classes are
    far away.  Time and the memory of a step shrink with the share; weights and their gradient stay (C, d), unless
    ``sparse``.  In evaluation mode all classes count.

    Args:
        objective: one with class weights, such as :class:`ArcFaceLoss` or a :class:`LinearClassifier`; parameters whose
            first size is the number of classes are cut.
        share: of the classes, in (0, 1].
        sparse: whether the gradient of class weights is a sparse tensor of the rows that took part, for optimizers that
            move those rows alone, such as ``torch.optim.SGD`` without momentum and ``torch.optim.SparseAdam``.

    Raises:
        InputError: share out of range, or an objective without class weights.

    Reference: An et al., CVPR 2022, arXiv:2203.15565 (Partial FC), who sample a tenth of the classes.

    >>> from mimetric.losses import ArcFaceLoss
    >>> objective = SampledClasses(ArcFaceLoss(8, num_classes=1000), share=0.1)
    >>> objective(torch.randn(4, 8), [3, 999, 3, 70]).backward()
    >>> int((objective.objective.weight.grad != 0).any(1).sum())
    100
    """

    def __init__(self, objective: nn.Module, *, share: float = 0.1, sparse: bool = False) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise InputError(f"SampledClasses: share must lie in (0, 1], got {share}")
        self.objective, self.share, self.sparse = objective, share, sparse
        weights = [value for value in objective.parameters() if value.ndim > 1]
        if not weights:
            raise InputError(
                f"SampledClasses: {type(objective).__name__} has no class weights; give an objective that has"
            )
        self._num_classes = len(weights[0])

    def forward(self, embeddings: Any, labels: Any) -> Tensor:
        if not self.training:
            return cast(Tensor, self.objective(embeddings, labels))
        embeddings, labels = check_batch("SampledClasses", embeddings, labels)
        count = max(1, round(self.share * self._num_classes), len(labels))
        if count >= self._num_classes and not self.sparse:
            return cast(Tensor, self.objective(embeddings, labels))
        chosen, places = sample_classes(labels, self._num_classes, count)
        cut = {
            name: self._rows(value, chosen)
            for name, value in self.objective.named_parameters()
            if value.ndim and len(value) == self._num_classes
        }
        return cast(Tensor, functional_call(self.objective, cut, (embeddings, places)))

    def extra_repr(self) -> str:
        return f"share={self.share}, sparse={self.sparse}"

    def _rows(self, weight: Tensor, chosen: Tensor) -> Tensor:
        if weight.ndim == 2 and self.sparse:
            return F.embedding(chosen, weight, sparse=True)
        return weight.index_select(0, chosen)
