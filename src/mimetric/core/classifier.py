"""The module form of losses on logits, and a linear classifier that makes embeddings logits."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from .logits import LinearLogits
from .objective import Bound, Objective


class LogitsLoss(Bound):
    """A loss of logits (n, C) and labels: called as `loss(logits, labels)`.

    For embeddings give it a :class:`LinearClassifier`.  A loss without two sides has None for `sides`.
    """

    def forward(self, logits: Any, labels: Any) -> Tensor:
        return cast(Tensor, self.function(logits, labels, **self.options))

    def sides(self, logits: Any, labels: Any) -> tuple[Tensor, Tensor]:
        """(tightness, contrast): two scalars that add up to the loss."""
        return cast(tuple[Tensor, Tensor], self.function.sides(logits, labels, **self.options))


class LinearClassifier(Objective):
    """A linear classifier, weight (C, width) and bias (C,), and a loss on its logits: an objective of embeddings.

    Losses that need the logit of the class and the log-sum of the others never hold the logits of all classes.

    >>> import torch
    >>> from mimetric.losses import PCSoftmaxLoss
    >>> objective = LinearClassifier(PCSoftmaxLoss(prior=[0.5, 0.3, 0.2]), width=8, num_classes=3)
    >>> objective(torch.randn(4, 8), [0, 1, 2, 0]).shape
    torch.Size([])
    """

    def __init__(self, loss: LogitsLoss, width: int, num_classes: int) -> None:
        super().__init__()
        self.loss = loss
        classifier = nn.Linear(width, num_classes)
        self.weight, self.bias = classifier.weight, classifier.bias
        if loss.sides is None:
            self.sides = None

    @property
    def options(self) -> dict[str, Any]:
        """Those of its loss."""
        return self.loss.options

    def class_weights(self) -> tuple[Tensor, ...]:
        """Weight and bias."""
        return self.weight, self.bias

    def logits(self, embeddings: Any) -> LinearLogits:
        """Of rows (n, width), not computed yet."""
        return LinearLogits(embeddings, self.weight, self.bias)

    def forward(
        self, embeddings: Any, labels: Any, references: Any = None, reference_labels: Any = None
    ) -> Tensor:
        self._against(references, reference_labels)  # takes none
        return cast(Tensor, self.loss(self.logits(embeddings), labels))

    def sides(
        self, embeddings: Any, labels: Any, references: Any = None, reference_labels: Any = None
    ) -> tuple[Tensor, Tensor]:
        """(tightness, contrast): two scalars that add up to the loss."""
        self._against(references, reference_labels)  # takes none
        return self.loss.sides(self.logits(embeddings), labels)
