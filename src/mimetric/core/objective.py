"""The module form of a loss: its options, and its class weights where it has any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from .errors import InputError


class Objective(nn.Module):
    """Options bound to a loss function.

    Called as `objective(embeddings, labels, references=None, reference_labels=None)`.  A parameter that has the
    name of an option is learned in its place.  Any other is class weights: an objective with such compares
    embeddings with those, handed to its function in the order in which they were registered, and takes no
    references.  A loss without two sides has None for `sides`.

    Objectives add up: ``a + 0.1 * b`` is an :class:`ObjectiveSum`.
    """

    function: ClassVar[Any]  # a PairLossFunction, as a staticmethod

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._options = options

    @property
    def options(self) -> dict[str, Any]:
        """What its function is called with, learned options as parameters."""
        learned = {name: value for name, value in self.named_parameters() if name in self._options}
        return self._options | learned

    @property
    def takes_references(self) -> bool:
        """Whether it compares embeddings with references, and not with class weights of its own."""
        return not self._class_weights()

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

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._options.items())

    def __add__(self, other: Objective | ObjectiveSum) -> ObjectiveSum:
        return ObjectiveSum([(1.0, self)]) + other

    def __mul__(self, factor: float) -> ObjectiveSum:
        return ObjectiveSum([(float(factor), self)])

    __rmul__ = __mul__

    def _against(self, references: Any, reference_labels: Any) -> tuple[Any, ...]:
        weights = self._class_weights()
        if weights and references is not None:
            raise InputError(
                f"{type(self).__name__}: takes no references, it compares embeddings with its own weights"
            )
        return weights or (references, reference_labels)

    def _class_weights(self) -> tuple[Tensor, ...]:
        return tuple(value for name, value in self.named_parameters() if name not in self._options)


class ObjectiveSum(nn.Module):
    """Objectives on the same embeddings, times factors, added; made by ``a + 0.1 * b``.

    References go to those objectives that compare with references, class weights to those that own them.

    >>> import torch
    >>> from mimetric.losses import ContrastiveLoss, SupConLoss
    >>> both = SupConLoss() + 0.1 * ContrastiveLoss()
    >>> x, y = torch.eye(4), [0, 0, 1, 1]
    >>> bool(both(x, y) == SupConLoss()(x, y) + 0.1 * ContrastiveLoss()(x, y))
    True
    """

    def __init__(self, parts: Sequence[tuple[float, Objective]]) -> None:
        super().__init__()
        self.factors = [factor for factor, _ in parts]
        self.objectives = nn.ModuleList(objective for _, objective in parts)
        if any(objective.sides is None for _, objective in parts):
            self.sides = None  # type: ignore[assignment, method-assign]

    def forward(
        self, embeddings: Any, labels: Any, references: Any = None, reference_labels: Any = None
    ) -> Tensor:
        found = [
            one(embeddings, labels, *against) for one, against in self._parts(references, reference_labels)
        ]
        return cast(Tensor, sum(factor * value for factor, value in zip(self.factors, found)))

    def sides(
        self, embeddings: Any, labels: Any, references: Any = None, reference_labels: Any = None
    ) -> tuple[Tensor, Tensor]:
        """(tightness, contrast): two scalars that add up to the loss."""
        found = [
            one.sides(embeddings, labels, *against)
            for one, against in self._parts(references, reference_labels)
        ]
        tightness, contrast = (sum(f * side for f, side in zip(self.factors, sides)) for sides in zip(*found))
        return cast(Tensor, tightness), cast(Tensor, contrast)

    def extra_repr(self) -> str:
        return f"factors={self.factors}"

    def __add__(self, other: Objective | ObjectiveSum) -> ObjectiveSum:
        return ObjectiveSum([*self._weighted(), *(other * 1.0)._weighted()])

    def __mul__(self, factor: float) -> ObjectiveSum:
        return ObjectiveSum([(factor * own, objective) for own, objective in self._weighted()])

    __rmul__ = __mul__

    def _weighted(self) -> list[tuple[float, Objective]]:
        return [(factor, cast(Objective, one)) for factor, one in zip(self.factors, self.objectives)]

    def _parts(self, references: Any, reference_labels: Any) -> Iterator[tuple[Objective, tuple[Any, ...]]]:
        for _, objective in self._weighted():
            yield objective, ((references, reference_labels) if objective.takes_references else ())
