r"""The pair engine: an anchor's positives one by one, its negatives summed.

A loss says what a negative adds (`push`, a term of :mod:`mimetric.core.terms`) and how the positives
(`near`) and that sum (`far`) become the anchor's tightness and contrast (`sides`).  The engine does the
rest, once for all losses: similarities block by block, gathering the positives, taking them and the anchor
itself out of the negatives, the sums, the exact gradient, averaging (:mod:`mimetric.core.blocks`).

What has no near-and-far form is a function of whole rows of similarities: :func:`over_anchors`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, ParamSpec, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from .average import Side
from .block_loss import BlockLoss, PerAnchorLoss
from .blocks import Problem
from .checks import check_labels, check_rows
from .class_parallel import are_classes_cut
from .classes import Classes, Related, Relation
from .errors import InputError
from .forms import Form, NearFar, WholeRows
from .mined import Mined, Mining
from .pairing import Pairing, average_of, check_pairs, check_ungraded
from .processes import mean_of_processes, share_of
from .similarity import MIRRORED, Similarity, full_precision, in_one_type, lift, without_autocast
from .terms import Term

_Options = ParamSpec("_Options")


def pair_sums(
    where: str,
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    push: Term,
    sides: Callable[..., tuple[Side, Side]],
    tensors: tuple[Tensor, ...] = (),
    similarity: Similarity = "cosine",
    rows: tuple[Tensor, Tensor | None] | None = None,
    per_class: int | None = None,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""A loss from an anchor's positives, one by one, and its negatives, summed.

    Args:
        where: name of the loss, for messages.
        embeddings: (n, d) the anchors.
        labels: (n,) integer class ids, -1 unlabelled: a positive of nothing, a negative of everything; or (n, L) bool.
        references: (m, d) what anchors are compared with; None is the batch itself.
        reference_labels: (m,) their class ids.
        push: what a negative adds.
        sides: `sides(near, far, *tensors) -> (tightness, contrast)`, each one number per anchor, or a
            :class:`~mimetric.core.reduce.Mean` where it is averaged over something else than anchors.
        tensors: what else `sides` has a gradient for: 0-dimensional, or with a row per anchor (n, ...).
            Through a closure the gradient would be lost.  What a negative's cost needs a gradient for is
            lifted instead: a factor multiplies the anchors, and a boundary of each anchor is one more
            column of them beside a 1 in the references, under the dot product.
        similarity: the loss's own.
        rows: what minings measure angles between, where embeddings and references are lifted already.
        per_class: at most so many references are of one class, where that is known, as of class weights; else it is
            read off the labels, for which an accelerator waits.
        pairing: options that all pair losses share.
    """
    data = check_pairs(where, embeddings, labels, references, reference_labels, pairing)
    measured = (data[0], data[2]) if rows is None else rows
    mined = None if pairing.mining is None else Mined(pairing.mining, *measured)
    form = NearFar(push, sides, mined)
    return PairSums(where, form, *data, tensors, similarity, pairing, per_class=per_class)


def over_anchors(
    where: str,
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    cost: Callable[..., Side],
    similarity: Similarity = "cosine",
    pairing: Pairing = Pairing(),
) -> PairSums:
    """A loss from whole rows of similarities, `cost(rows)` by autograd inside each block.

    For what couples the pairs of an anchor otherwise than through one sum over negatives: triplets, ranked
    lists.  It has no tightness and contrast, and mines by itself.  Arguments as in :func:`pair_sums`.
    """
    if pairing.mining is not None:
        raise InputError(f"{where}: takes no mining; leave it out of the pairing")
    check_ungraded(where, pairing)
    data = check_pairs(where, embeddings, labels, references, reference_labels, pairing)
    return PairSums(where, WholeRows(cost), *data, (), similarity, pairing)


class Described(Protocol):
    """A loss on given data, described and not yet computed."""

    def total(self) -> Tensor:
        """Tightness + contrast, a scalar, or one number for each anchor."""

    def sides(self) -> tuple[Tensor, Tensor]:
        """(tightness, contrast), each with its own gradient."""


@dataclass(frozen=True, eq=False)
class PairSums:
    """A loss on given data, described and not yet computed."""

    where: str
    form: Form
    embeddings: Tensor
    labels: Tensor
    references: Tensor | None
    reference_labels: Tensor
    tensors: tuple[Tensor, ...]
    similarity: Similarity
    pairing: Pairing
    per_class: int | None = field(default=None, kw_only=True)

    def total(self) -> Tensor:
        """Tightness + contrast, a scalar (or one for each anchor): value and gradient in one pass over the pairs."""
        return self._value(1.0, 1.0)

    def sides(self) -> tuple[Tensor, Tensor]:
        """(tightness, contrast), two scalars, each with its own gradient: two passes."""
        if isinstance(self.form, WholeRows):
            raise InputError(
                f"{self.where}: has no tightness and contrast; it couples positives and negatives"
            )
        return self._value(1.0, 0.0), self._value(0.0, 1.0)

    def plain(self) -> Tensor:
        """The total by autograd on the whole n x m matrix: the formula itself, for tests."""
        problem, anchors, others = self.problem((1.0, 1.0))
        return problem.plain(anchors, others, self.tensors)

    def _value(self, of_tightness: float, of_contrast: float) -> Tensor:
        problem, anchors, others = self.problem((of_tightness, of_contrast))
        if problem.mirrored:
            others = cast(Tensor, others).detach()
        each = self.pairing.reduction == "none"
        problem = problem.shared(None if each else share_of(len(anchors)))
        loss = PerAnchorLoss if each else BlockLoss
        with without_autocast(anchors.device):
            value = loss.apply(problem, anchors, others, *self.tensors)  # type: ignore[no-untyped-call]
        return cast(Tensor, value if problem.share is None else mean_of_processes(value))

    def problem(self, weights: tuple[float, float]) -> tuple[Problem, Tensor, Tensor | None]:
        """What the block loop takes: lifted anchors, lifted references or None for the anchors themselves."""
        if self.references is not None and not len(self.references):
            return self.without_references().problem(weights)
        similarity = self.pairing.similarity or self.similarity
        with without_autocast(self.embeddings.device):
            if self.references is None:
                lifted = lift(similarity, full_precision(self.embeddings))
            else:
                lifted = lift(similarity, *in_one_type(self.embeddings, self.references))
        problem = Problem(
            self.form,
            self.relation(),
            weights,
            lifted.bounded,
            lifted.map,
            product_type=self._product_type(similarity),
            block=self.pairing.block,
            wants_gradient=torch.is_grad_enabled(),
            average=average_of(self.where, self.pairing, lifted.anchors),
            classes_cut=are_classes_cut(),
            mirrored=self.references is None and similarity in MIRRORED,
        )
        return problem, lifted.anchors, None if lifted.references is lifted.anchors else lifted.references

    def relation(self) -> Relation:
        """Who is whose positive, among references that are there."""
        n, own = len(self.embeddings), self.references is None
        ids, other_ids = self.ids()
        if self.pairing.related is None and self.labels.ndim == 1:
            others = None if own else self.reference_labels
            return Classes(self.labels, others, ids, other_ids, self.per_class)
        if ids is None:
            ids = torch.arange(n, device=self.labels.device)
            other_ids = ids if own else None
        if self.pairing.related is not None:
            return Related.by_matrix(self.pairing.related.to(self.labels.device), ids, other_ids)
        return Related.by_labels(self.labels, self.reference_labels, ids, other_ids)

    def ids(self) -> tuple[Tensor | None, Tensor | None]:
        """What each anchor is of and each reference, on the device of the labels; None where nothing was said."""
        given, others = self.pairing.ids, self.pairing.reference_ids
        own = self.references is None
        if (given is None) != (others is None) and not own:
            raise InputError(f"{self.where}: give ids and reference_ids both or neither")
        ids = None if given is None else check_labels(self.where, "ids", given, self.labels)
        if own or others is None:
            return ids, ids
        return ids, check_labels(self.where, "reference_ids", others, self.reference_labels)

    def _product_type(self, similarity: Similarity) -> torch.dtype | None:
        """Autocast's, where rounding in it moves no exponent by much: bfloat16 keeps 3 digits."""
        device = self.embeddings.device.type
        if (
            not torch.is_autocast_enabled(device)
            or self.form.scale > 20
            or similarity not in ("cosine", "dot")
        ):
            return None
        return torch.get_autocast_dtype(device)

    def without_references(self) -> PairSums:
        """The same as one reference that is every anchor itself: no positives, no negatives."""
        zero = torch.zeros(1, dtype=torch.int64, device=self.labels.device)
        zeros = zero.expand(len(self.labels))
        return replace(
            self,
            labels=zeros,
            references=F.pad(cast(Tensor, self.references), (0, 0, 0, 1)),
            reference_labels=zero,
            pairing=replace(self.pairing, ids=zeros, reference_ids=zero, related=None),
        )


class PairLossFunction(Protocol[_Options]):
    """A loss as a user calls it: a scalar, or its two sides."""

    def __call__(self, *args: _Options.args, **kwargs: _Options.kwargs) -> Tensor: ...

    def sides(self, *args: _Options.args, **kwargs: _Options.kwargs) -> tuple[Tensor, Tensor]:
        """(tightness, contrast): two scalars that add up to the loss, each with its own gradient."""


def pair_loss(body: Callable[_Options, Described]) -> PairLossFunction[_Options]:
    """Makes the description of a loss a function: `loss(...)` adds its sides, `loss.sides(...)` hands them out."""

    @wraps(body)
    def loss(*args: _Options.args, **kwargs: _Options.kwargs) -> Tensor:
        return body(*args, **kwargs).total()

    def sides(*args: _Options.args, **kwargs: _Options.kwargs) -> tuple[Tensor, Tensor]:
        return body(*args, **kwargs).sides()

    loss.__annotations__["return"] = Tensor
    loss.sides = sides  # type: ignore[attr-defined]
    return cast("PairLossFunction[_Options]", loss)


def pair_weights(
    loss: Callable[..., Tensor], sim: Tensor, labels: Any, *, mining: Mining | None = None
) -> Tensor:
    r"""How hard a loss pushes each pair: :math:`w_{ij} = n \, \partial L / \partial s_{ij}`.

    General pair weighting: the loss has the same gradient as :math:`\frac1n \sum_{ij} w_{ij} s_{ij}` with
    the weights held constant.  Negative on what is pulled together, positive on what is pushed apart.

    Args:
        loss: any pair loss that looks at an anchor's own similarities (not swapped triplets or lifted structure,
            which compare references with each other); options by :func:`functools.partial`.
        sim: (n, n) similarities, row i those of anchor i; the diagonal is left out.
        labels: (n,) integer class ids.
        mining: as in :class:`Pairing`; one that looks at similarities, for there are no rows with angles.

    Returns:
        (n, n) weights.
    Raises:
        InputError: sim is not square, or labels do not match it.

    Reference: Wang et al., CVPR 2019, arXiv:1904.06627, section 3.

    >>> from mimetric.losses import contrastive_loss
    >>> sim = torch.tensor([[1.0, 0.3, 0.8], [0.3, 1.0, 0.1], [0.8, 0.1, 1.0]])
    >>> pair_weights(contrastive_loss, sim, [0, 0, 1])
    tensor([[ 0.0000, -1.5000,  1.5000],
            [-1.5000,  0.0000,  0.0000],
            [ 1.5000,  0.0000,  0.0000]])
    """
    given = check_rows("pair_weights", "sim", sim).detach().requires_grad_()
    if given.shape[0] != given.shape[1]:
        raise InputError(f"pair_weights: sim must be square, got {tuple(given.shape)}")
    ids = torch.arange(len(given), device=given.device)
    # Anchors whose coordinates are their similarities to the references: the unit vectors.
    units = torch.eye(len(given), dtype=given.dtype, device=given.device)
    pairing = Pairing(ids=ids, reference_ids=ids, mining=mining, similarity="dot")
    with torch.enable_grad():
        value = loss(given, labels, units, labels, pairing=pairing)
    return torch.autograd.grad(value, given)[0] * len(given)
