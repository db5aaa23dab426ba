"""What losses over class weights with a margin share: checked rows, and a softmax whose own class has its own logit.

The margin acts on the own class alone; what the other classes add is the plain log-sum of a softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..core.checks import check_batch, check_classes, check_positive, check_rows
from ..core.class_sums import ClassSums
from ..core.class_terms import shifted_cosine
from ..core.errors import InputError
from ..core.objective import Objective
from ..core.pairs import Pairing, PairSums, check_takes_no, pair_sums
from ..core.reduce import FINITE, Near, log_add_to
from ..core.similarity import full_precision, normalized
from ..core.terms import FullPrecision, Term

Number = float | Tensor
Beyond = Literal["linear", "cosine", "easy"]
"""What becomes of an angular margin where the angle and it together pass π."""


def nearest(near: Near) -> Tensor:
    """(k,) the largest similarity of each anchor, 0 without any."""
    top = torch.where(near.valid, near.sim, FINITE).amax(1)
    return torch.where(near.count > 0, top, 0)


@dataclass(frozen=True, eq=False)
class AgainstClasses:
    """Rows to be compared with class weights, checked, in full precision."""

    where: str
    rows: Tensor  # (n, d)
    labels: Tensor  # (n,)
    weight: Tensor  # (C K, d), the K centers of a class side by side
    centers: int  # K
    pairing: Pairing

    @property
    def class_of_each(self) -> Tensor:
        """(C K,) the class of each row of the weight."""
        return torch.arange(len(self.weight), device=self.weight.device) // self.centers

    def own_weight(self) -> Tensor:
        """(n, d) the weight of each row's class, where a class has one; any for an unlabelled row."""
        return self.weight[self.labels.clamp(0, len(self.weight) - 1)]

    def number(self, given: Number) -> Tensor:
        """An option as a tensor like the rows, with its gradient if it is one."""
        return given.to(self.rows) if isinstance(given, Tensor) else self.rows.new_full((), given)

    def of_rows(self, margin: Number) -> Tensor:
        """A margin of all rows () or, from one for each class, of each row (n,); an unlabelled one takes any."""
        margin = self.number(margin)
        if margin.ndim == 0:
            return margin
        classes = len(self.weight) // self.centers
        if margin.shape != (classes,):
            raise InputError(
                f"{self.where}: margin must be a number or have shape ({classes},), one for each class, "
                f"got {tuple(margin.shape)}"
            )
        return margin[self.labels.clamp(0, classes - 1)]

    def softmax(
        self,
        logit: Callable[[Tensor, Tensor], Tensor],
        margin: Tensor,
        scale: Number,
        *,
        penalty: Tensor | None = None,
    ) -> ClassSums:
        """A softmax over cosines times a scale, in which the own class has a logit of its own.

        Args:
            logit: `logit(cosine, margin)` of the own class, not yet scaled.
            margin: () or (n,).
            scale: a number > 0, or a tensor ().
            penalty: () or (n,), added to the tightness of every labelled row.
        """
        scale, tensors = self._numbers(scale, margin, penalty)
        return ClassSums(
            self.where, self.rows, self.labels, self.weight, partial(_margin_softmax, logit), self.pairing, tensors,
            scale=scale,
        )  # fmt: skip

    def softmax_of(
        self,
        push: Term,
        own: Callable[[Near], Tensor],
        logit: Callable[[Tensor, Tensor], Tensor],
        margin: Tensor,
        scale: Number,
        *,
        penalty: Tensor | None = None,
    ) -> PairSums:
        """The same where a class is more than a similarity.

        Args:
            push: what the other classes add.
            own: the scaled similarity (k,) of the own class, from those of its centers.
            logit, margin, scale, penalty: as in :meth:`softmax`.
        """
        scale, tensors = self._numbers(scale, margin, penalty)

        def sides(near: Near, far: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
            here = near.count > 0
            tightness, contrast = _margin_softmax(logit, torch.where(here, own(near), 0), far, *tensors)
            return torch.where(here, tightness, 0), torch.where(here, contrast, 0)

        return pair_sums(
            self.where, normalized(self.rows) * scale, self.labels, normalized(self.weight), self.class_of_each,
            push=FullPrecision(push), sides=sides, tensors=tensors, similarity="dot",
            per_class=self.centers, pairing=self.pairing,
        )  # fmt: skip

    def _numbers(
        self, scale: Number, margin: Tensor, penalty: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The scale, and what the sides take."""
        if not isinstance(scale, Tensor):
            check_positive(self.where, scale=scale)
        scale = self.number(scale)
        return scale, (margin, scale) if penalty is None else (margin, scale, penalty)


def _margin_softmax(
    logit: Callable[[Tensor, Tensor], Tensor],
    own: Tensor,
    rest: Tensor,
    margin: Tensor,
    scale: Tensor,
    penalty: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Tightness and contrast from the scaled similarity of the own class, and the log-sum of the others."""
    ours = scale * logit(own / scale, margin)
    return -ours if penalty is None else penalty - ours, log_add_to(ours, rest)


def against_classes(
    where: str, embeddings: Any, labels: Any, weight: Any, pairing: Pairing, centers: int = 1
) -> AgainstClasses:
    """Rows, labels below C and weights (C K, d) that fit; a pairing without what means nothing here."""
    check_takes_no(where, pairing, "similarity", "mining", "related")
    rows, labels = check_batch(where, embeddings, labels)
    weight = check_rows(where, "weight", weight)
    check_classes(where, labels, len(weight) // centers)
    if weight.shape[1] != rows.shape[1]:
        raise InputError(
            f"{where}: weight must have {rows.shape[1]} columns to match embeddings {tuple(rows.shape)}, "
            f"got {tuple(weight.shape)}"
        )
    return AgainstClasses(where, full_precision(rows), labels, full_precision(weight), centers, pairing)


def angular_logit(cosine: Tensor, margin: Tensor, beyond: Beyond) -> Tensor:
    """cos(θ + m), and what is chosen in its place past π."""
    shifted = shifted_cosine(cosine, margin)
    if beyond == "cosine":
        return shifted
    if beyond == "easy":
        return torch.where(cosine > 0, shifted, cosine)
    return torch.where(cosine > -margin.cos(), shifted, cosine - margin * margin.sin())


def straight_through(logit: Callable[[Tensor, Tensor], Tensor], cosine: Tensor, margin: Tensor) -> Tensor:
    """The logit, with the gradient of the cosine."""
    return cosine + (logit(cosine, margin) - cosine).detach()


def class_weights(*shape: int) -> nn.Parameter:
    """Random rows of length about 1, as parameters."""
    return nn.Parameter(torch.randn(*shape) / shape[-1] ** 0.5)


def learn(objective: Objective, **options: Number) -> None:
    """Options that came as parameters are the objective's own, to be learned."""
    for name, value in options.items():
        if isinstance(value, nn.Parameter):
            objective.register_parameter(name, value)
