"""What losses over class weights with a margin share: checked rows, and a softmax whose own class has its own logit.

The margin acts on the own class alone; what the other classes add is the plain log-sum of a softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..core.checks import check_batch, check_classes, check_positive, check_rows
from ..core.class_sums import ClassSums, Softmax
from ..core.class_terms import NearestCenters, SoftCenters, cosine_and_sine, shifted_cosine
from ..core.errors import InputError
from ..core.objective import Objective
from ..core.pairing import Pairing, check_takes_no
from ..core.pairs import PairSums, pair_sums
from ..core.reduce import FINITE, Near
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
        return self.weight.index_select(0, self.labels.clamp(0, len(self.weight) - 1))

    def of_rows(self, margin: Number) -> Number:
        """A margin of all rows, a number or (); of each row (n,) where classes have one each."""
        if not isinstance(margin, Tensor):
            return margin
        margin = margin.to(self.rows)
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
        logit: Callable[..., Tensor],
        margin: Number,
        scale: Number,
        *,
        penalty: Tensor | None = None,
        chosen: NearestCenters | SoftCenters | None = None,
    ) -> ClassSums:
        """A softmax over cosines times a scale, in which the own class has a logit of its own.

        Args:
            logit: `logit(cosine, margin)` of the own class, not yet scaled.
            margin: a number, () or (n,).
            scale: a number > 0, or a tensor ().
            penalty: () or (n,), added to the tightness of every labelled row.
            chosen: what becomes of the similarities to the centers of a class.
        """
        sides, tensors, scale = self._sides(logit, margin, scale, penalty)
        return ClassSums(
            self.where, self.rows, self.labels, self.weight, sides, self.pairing, tensors,
            scale=scale, centers=chosen,
        )  # fmt: skip

    def softmax_of(
        self,
        push: Term,
        own: Callable[[Near], Tensor],
        logit: Callable[..., Tensor],
        margin: Number,
        scale: Number,
    ) -> PairSums:
        """The same where another class is more than a similarity.

        Args:
            push: what the other classes add.
            own: the scaled similarity (k,) of the own class.
            logit, margin, scale: as in :meth:`softmax`.
        """
        sides_of, tensors, scale = self._sides(logit, margin, scale, None)

        def sides(near: Near, far: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
            here = near.count > 0
            tightness, contrast = sides_of(torch.where(here, own(near), 0), far, *tensors)
            return torch.where(here, tightness, 0), torch.where(here, contrast, 0)

        return pair_sums(
            self.where, normalized(self.rows) * scale, self.labels, normalized(self.weight), self.class_of_each,
            push=FullPrecision(push), sides=sides, tensors=tensors, similarity="dot",
            per_class=self.centers, pairing=self.pairing,
        )  # fmt: skip

    def _sides(
        self, logit: Callable[..., Tensor], margin: Number, scale: Number, penalty: Tensor | None
    ) -> tuple[Softmax, tuple[Tensor, ...], Number]:
        """Sides of such a softmax, what they take beside, and the scale."""
        if isinstance(scale, Tensor):
            scale = scale.to(self.rows)
        else:
            check_positive(self.where, scale=scale)

        def ours(own: Tensor, *tensors: Tensor) -> Tensor:
            left = iter(tensors)
            m, s = (next(left) if isinstance(each, Tensor) else each for each in (margin, scale))
            return s * logit(own / s, m)

        given = (margin, scale, penalty)
        tensors = tuple(each for each in given if isinstance(each, Tensor))
        return Softmax(ours, penalized=penalty is not None), tensors, scale


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


def angular_logit(cosine: Tensor, margin: Number, beyond: Beyond) -> Tensor:
    """cos(θ + m), and what is chosen in its place past π."""
    shifted = shifted_cosine(cosine, margin)
    if beyond == "cosine":
        return shifted
    if beyond == "easy":
        return torch.where(cosine > 0, shifted, cosine)
    of_cosine, of_sine = cosine_and_sine(margin)
    return torch.where(cosine > -of_cosine, shifted, cosine - margin * of_sine)


def straight_through(logit: Callable[..., Tensor], cosine: Tensor, margin: Number) -> Tensor:
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
