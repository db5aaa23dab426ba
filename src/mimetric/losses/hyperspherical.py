"""Softmax on the hypersphere: two ways to keep class weights at length 1, and weights for classes never trained on."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..core.checks import check_batch, check_choice, check_classes, check_positive, check_rows
from ..core.classes import UNLABELLED
from ..core.errors import InputError
from ..core.exponentials import LogSumExp
from ..core.objective import Objective
from ..core.pairing import Pairing
from ..core.pairs import PairSums, pair_loss, pair_sums
from ..core.reduce import Near, log_add
from ..core.similarity import full_precision, normalized

Constraint = Literal["graph", "project"]
_NO_DIRECTION = 1e-6  # a mean of unit rows that is shorter points nowhere


@pair_loss
def hyperspherical_loss(
    embeddings: Any,
    labels: Any,
    weight: Any,
    *,
    scale: float = 10.0,
    constraint: Constraint = "graph",
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Cross-entropy of a classifier whose embeddings have length s and whose class weights have length 1.

    .. math:: \frac1n \sum_i -s \cos(x_i, \theta_{y_i}) + \log \sum_c e^{s \cos(x_i, \theta_c)}

    The value is that of :func:`normalized_softmax_loss` at temperature 1/s, and of cosine margin losses at margin 0;
    what the two constraints change is the gradient of the weights.  With C classes it is at least
    :math:`\log(1 + (C - 1) e^{-s C / (C - 1)})`, so s must grow like log C.  Tightness is the first term, contrast the
    second.  Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids in 0..C-1, or -1.
        weight: (C, d) one row per class, of any norm.
        scale: s > 0; 10 and 20 in the authors' code, of which 20 did better on new classes.
        constraint: "graph" differentiates through the weights' lengths, so their gradient is tangential.  "project"
            takes weights for rows of length 1 that they are moved back to after each step, as the authors' code does:
            the gradient has its radial part.  The module form moves them.
        pairing: what all pair losses share but similarity, which is the cosine.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, scale is not > 0, or an unknown word.

    Reference: Pereira et al., arXiv:2102.03243, with the normalized softmax of Wang et al., ACM MM 2017,
    arXiv:1704.06369.

    >>> x, weight = torch.eye(2), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> hyperspherical_loss(x, torch.tensor([0, 1]), weight, scale=1.0)
    tensor(0.3133)
    """
    where = "hyperspherical_loss"
    check_positive(where, scale=scale)
    check_choice(where, "constraint", constraint, ("graph", "project"))
    if pairing.similarity not in (None, "cosine"):
        raise InputError(f"{where}: compares cosines; leave similarity out of the pairing")
    embeddings, labels = check_batch(where, embeddings, labels)
    weight = check_rows(where, "weight", weight)
    check_classes(where, labels, len(weight))
    rows, weight = normalized(full_precision(embeddings)), full_precision(weight)
    # Their lengths are 1 in the value; the slope passes as if they had been 1 before.
    unit = normalized(weight) if constraint == "graph" else weight + (normalized(weight) - weight).detach()

    def sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        own = scale * near.sum(near.sim)
        return -own, torch.where(near.count > 0, log_add(own, far), 0)

    return pair_sums(
        where, rows, labels, unit, torch.arange(len(unit), device=unit.device),
        push=LogSumExp(scale), sides=sides, similarity="dot", per_class=1, pairing=pairing,
    )  # fmt: skip


class HypersphericalLoss(Objective):
    """Class weights (C, width) and :func:`hyperspherical_loss` on them.

    Under the constraint "project" each call first moves them back to length 1, which a step of the optimizer changed.
    """

    function = staticmethod(hyperspherical_loss)

    def __init__(
        self,
        width: int,
        num_classes: int,
        *,
        scale: float = 10.0,
        constraint: Constraint = "graph",
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(scale=scale, constraint=constraint, pairing=pairing)
        self.weight = nn.Parameter(normalized(torch.randn(num_classes, width)))

    def forward(
        self, embeddings: Any, labels: Any, references: Any = None, reference_labels: Any = None
    ) -> Tensor:
        if self.options["constraint"] == "project":
            self.project_()
        return super().forward(embeddings, labels, references, reference_labels)

    @torch.no_grad()
    def project_(self) -> None:
        """Moves the weights to length 1, as is due after a step of the optimizer; a zero row stays."""
        self.weight.copy_(normalized(self.weight))


class NovelClasses(NamedTuple):
    """Class weights made from examples."""

    classes: Tensor  # (k,) their ids, in order
    weight: Tensor  # (k, d) of length 1


def novel_class_weights(embeddings: Any, labels: Any) -> NovelClasses:
    r"""Class weights for classes never trained on: the direction of the mean of their unit embeddings.

    :math:`w_c = m_c / |m_c|` with :math:`m_c` the mean of :math:`x / |x|` over the rows of class c.  A cosine
    classifier takes them beside its own, with all else as it was::

        classes, weight = novel_class_weights(embed(support), support_labels)
        joint = torch.cat((normalized(objective.weight), weight))    # known and novel classes compete
        predicted = (embed(queries) @ joint.T).argmax(1)             # weight alone: disjoint, novel classes only

    Joint classification leans to the known classes, whose weights were trained: report both parts.

    Args:
        embeddings: (n, d) floating point, of any norm, a few of each class or many.
        labels: (n,) integer class ids; unlabelled rows (-1) are left out.

    Returns:
        Their ids (k,), and weights (k, d) with a gradient.
    Raises:
        InputError: shapes disagree, labels are not integers, or the embeddings of a class point in all directions.

    Reference: Pereira et al., arXiv:2102.03243.

    >>> novel_class_weights(torch.tensor([[2.0, 0.0], [0.0, 3.0], [0.0, -1.0]]), [5, 5, 9]).weight
    tensor([[ 0.7071,  0.7071],
            [ 0.0000, -1.0000]])
    """
    where = "novel_class_weights"
    embeddings, labels = check_batch(where, embeddings, labels)
    known = labels != UNLABELLED
    rows = normalized(full_precision(embeddings))[known]
    classes, index, sizes = torch.unique(labels[known], return_inverse=True, return_counts=True)
    means = rows.new_zeros(len(classes), rows.shape[1]).index_add(0, index, rows) / sizes[:, None]
    lost = classes[torch.linalg.vector_norm(means.detach(), dim=1) < _NO_DIRECTION].tolist()
    if lost:
        raise InputError(
            f"{where}: the embeddings of class {lost[0]} have no mean direction; leave the class out"
        )
    return NovelClasses(classes, normalized(means))
