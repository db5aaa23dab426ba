"""The module form of a loss: its options, and its class weights where it has any; and sums of such."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from .errors import InputError


class Bound(nn.Module):
    """Options bound to a function: a parameter that has the name of an option is learned in its place."""

    function: ClassVar[Any]  # as a staticmethod
    sides: Any = None  # (tightness, contrast), of what has them

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._options = options

    @property
    def options(self) -> dict[str, Any]:
        """What its function is called with, learned options as parameters."""
        learned = {name: value for name, value in self.named_parameters() if name in self._options}
        return self._options | learned

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._options.items())

    def __add__(self, other: Bound | ObjectiveSum) -> ObjectiveSum:
        return ObjectiveSum([(1.0, self)]) + other

    def __mul__(self, factor: float) -> ObjectiveSum:
        return ObjectiveSum([(float(factor), self)])

    __rmul__ = __mul__


class Objective(Bound):
    """A loss of embeddings and labels, which is what a training loop takes.

    Called as `objective(embeddings, labels, references=None, reference_labels=None)`.  A parameter that
    has no option's name is class weights: an objective with such compares embeddings with those, handed to its
    function in the order in which they were registered, and takes no references.  A loss without two sides has None
    for `sides`.

    Objectives add up: ``a + 0.1 * b`` is an :class:`ObjectiveSum`.
    """

    @property
    def takes_references(self) -> bool:
        """Whether it compares embeddings with references, and not with class weights of its own."""
        return not self.class_weights()

    def forward(
        self, embeddings: Any, labels: Any, references: Any = None, reference_labels: Any = None
    ) -> Tensor:
        against = self._against(references, reference_labels)
        return cast(Tensor, self.function(embeddings, labels, *against, **self.options))

    def sides(
        self, embeddings: Any, labels: Any, references: Any = None, reference_labels: Any = None
    ) -> tuple[Tensor, Tensor]:
        """(tightness, contrast): two scalars that add up to the loss."""
        against = self._against(references, reference_labels)
        return cast(tuple[Tensor, Tensor], self.function.sides(embeddings, labels, *against, **self.options))

    def _against(self, references: Any, reference_labels: Any) -> tuple[Any, ...]:
        weights = self.class_weights()
        if weights and references is not None:
            raise InputError(
                f"{type(self).__name__}: takes no references, it compares embeddings with its own weights"
            )
        return weights or (references, reference_labels)

    def class_weights(self) -> tuple[Tensor, ...]:
        """The learned numbers that stand for classes, in the order of its function's arguments."""
        return tuple(value for name, value in self.named_parameters() if name not in self._options)


class Regularizer(Objective):
    """A function of the rows of a batch alone: labels and references are not looked at.

    All of it is contrast; one that keeps no rows apart has None for `sides`.
    """

    def forward(
        self,
        embeddings: Any,
        labels: Any = None,  # noqa: ARG002
        references: Any = None,  # noqa: ARG002
        reference_labels: Any = None,  # noqa: ARG002
    ) -> Tensor:
        return cast(Tensor, self.function(embeddings, **self.options))

    def sides(
        self,
        embeddings: Any,
        labels: Any = None,  # noqa: ARG002
        references: Any = None,  # noqa: ARG002
        reference_labels: Any = None,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        """(0, the value)."""
        value = self.forward(embeddings)
        return torch.zeros_like(value), value


class WeightRegularizer(Bound):
    """A function of class weights: called as `regularizer(weight)`, or added to an objective that has such.

    All of it is contrast; one that keeps no classes apart has None for `sides`.
    """

    def forward(self, weight: Any) -> Tensor:
        return cast(Tensor, self.function(weight, **self.options))

    def sides(self, weight: Any) -> tuple[Tensor, Tensor]:
        """(0, the value)."""
        value = self.forward(weight)
        return torch.zeros_like(value), value


class ObjectiveSum(nn.Module):
    """Objectives on the same embeddings, times factors, added; made by ``a + 0.1 * b``.

    References go to those objectives that compare with references, class weights to those that own them, and the
    first class weights of all to regularizers of class weights.

    >>> import torch
    >>> from mimetric.losses import ContrastiveLoss, SupConLoss
    >>> both = SupConLoss() + 0.1 * ContrastiveLoss()
    >>> x, y = torch.eye(4), [0, 0, 1, 1]
    >>> bool(both(x, y) == SupConLoss()(x, y) + 0.1 * ContrastiveLoss()(x, y))
    True
    """

    def __init__(self, parts: Sequence[tuple[float, Bound]]) -> None:
        super().__init__()
        self.factors = [factor for factor, _ in parts]
        self.objectives = nn.ModuleList(objective for _, objective in parts)
        if any(objective.sides is None for _, objective in parts):
            self.sides = None  # type: ignore[assignment, method-assign]

    def forward(
        self, embeddings: Any, labels: Any, references: Any = None, reference_labels: Any = None
    ) -> Tensor:
        batch = (embeddings, labels, references, reference_labels)
        return cast(Tensor, sum(factor * one(*self._data(one, *batch)) for factor, one in self._weighted()))

    def sides(
        self, embeddings: Any, labels: Any, references: Any = None, reference_labels: Any = None
    ) -> tuple[Tensor, Tensor]:
        """(tightness, contrast): two scalars that add up to the loss."""
        batch = (embeddings, labels, references, reference_labels)
        weighted = [(factor, cast(Objective, one)) for factor, one in self._weighted()]
        found = [[factor * side for side in one.sides(*self._data(one, *batch))] for factor, one in weighted]
        tightness, contrast = (sum(sides) for sides in zip(*found))
        return cast(Tensor, tightness), cast(Tensor, contrast)

    def extra_repr(self) -> str:
        return f"factors={self.factors}"

    def __add__(self, other: Bound | ObjectiveSum) -> ObjectiveSum:
        return ObjectiveSum([*self._weighted(), *(other * 1.0)._weighted()])

    def __mul__(self, factor: float) -> ObjectiveSum:
        return ObjectiveSum([(factor * own, objective) for own, objective in self._weighted()])

    __rmul__ = __mul__

    def _weighted(self) -> list[tuple[float, Bound]]:
        return [(factor, cast(Bound, one)) for factor, one in zip(self.factors, self.objectives)]

    def _data(
        self, one: Bound, embeddings: Any, labels: Any, references: Any, reference_labels: Any
    ) -> tuple[Any, ...]:
        """What a part is called with."""
        if isinstance(one, WeightRegularizer):
            return (self._class_weights(one),)
        if cast(Objective, one).takes_references:
            return embeddings, labels, references, reference_labels
        return embeddings, labels

    def _class_weights(self, regularizer: WeightRegularizer) -> Tensor:
        found = (
            weight for one in self.objectives if isinstance(one, Objective) for weight in one.class_weights()
        )
        weight = next(found, None)
        if weight is None:
            raise InputError(
                f"{type(regularizer).__name__}: regularizes class weights; add it to an objective that has such, "
                "as in normalized-softmax"
            )
        return weight
