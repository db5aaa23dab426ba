"""The module form of a loss: its options, and its class weights where it has any."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from torch import Tensor, nn

from .errors import InputError


class Objective(nn.Module):
    """Options bound to a loss function.

    Called as `objective(embeddings, labels, references=None, reference_labels=None)`.  An objective with
    parameters (class weights) compares embeddings with those, handed to its function in the order in which
    they were registered, and takes no references.
    """

    function: ClassVar[Any]  # a PairLossFunction, as a staticmethod

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

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
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())

    def _against(self, references: Any, reference_labels: Any) -> tuple[Any, ...]:
        weights = tuple(self.parameters())
        if weights and references is not None:
            raise InputError(
                f"{type(self).__name__}: takes no references, it compares embeddings with its own weights"
            )
        return weights or (references, reference_labels)
