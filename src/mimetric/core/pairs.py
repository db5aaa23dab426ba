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

from .average import REDUCTIONS, Average, Reduction, Side
from .block_loss import BlockLoss, PerAnchorLoss
from .blocks import Problem
from .checks import (
    check_choice,
    check_labels,
    check_references,
    check_relation,
    check_rows,
    check_shared_labels,
)
from .class_parallel import are_classes_cut
from .classes import Classes, Related, Relation
from .errors import InputError
from .forms import Form, NearFar, WholeRows
from .mined import Mined, Mining
from .processes import mean_of_processes, share_of
from .similarity import (
    MIRRORED,
    SIMILARITIES,
    Similarity,
    full_precision,
    in_one_type,
    lift,
    normalized,
    without_autocast,
)
from .terms import Term

_Options = ParamSpec("_Options")


@dataclass(frozen=True)
class Pairing:
    """What all pair losses share.

    Attributes:
        ids: (n,) integer, what each row is of: a reference with the id of an anchor is the anchor itself,
            and no pair of it.  None: rows of a batch that is its own reference are told apart by index,
            and a separate reference is never the anchor itself.
        reference_ids: (m,) the same of the references.
        related: (n, m) bool, which references are an anchor's positives, in place of all labels (which may be
            None); m is n without references.  Or (n, m) floating point, how relevant each is: 0 is a negative, and a
            positive of relevance w counts as w positives, in every sum, mean and log-sum of positives (a few losses
            refuse it).  With labels alone the same label says so; labels of shape (n, L), bool, say which of L
            labels a row has, and rows that share one are positives.
        mining: which positives stay and which negatives count, see :mod:`mimetric.mining`.
        similarity: None is the loss's own (cosine, unless its docstring says otherwise).
        reduction: None is the loss's own average, which its docstring has.  ``"anchors"`` is a mean over all
            anchors, ``"active"`` over those that cost something, ``"sum"`` a sum over anchors, ``"none"`` a number
            (n,) for each; a loss that averages over pairs is then a mean over each anchor's own.
        weights: (n,) floating point >= 0, how much each anchor counts in an average, or times which it stands in a
            sum.  For class weights (C,) give ``class_weights[labels]``.  No gradient goes to them.
        block: anchors in a block; None lets the engine choose.  Changes no result.
    """

    ids: Tensor | None = None
    reference_ids: Tensor | None = None
    related: Tensor | None = None
    mining: Mining | None = None
    similarity: Similarity | None = None
    reduction: Reduction | None = None
    weights: Tensor | None = None
    block: int | None = None

    def __post_init__(self) -> None:
        if self.block is not None and self.block < 1:
            raise InputError(f"Pairing: block must be at least 1, got {self.block}")
        if self.similarity is not None:
            check_choice("Pairing", "similarity", self.similarity, SIMILARITIES)
        if self.reduction is not None:
            check_choice("Pairing", "reduction", self.reduction, REDUCTIONS)
        for name in ("related", "weights"):
            given = getattr(self, name)
            if not (given is None or isinstance(given, Tensor)):
                kind = type(given).__name__
                raise InputError(
                    f"Pairing: {name} must be a tensor, got {kind}; write torch.as_tensor({name})"
                )


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


def check_pairs(
    where: str, embeddings: Any, labels: Any, references: Any, reference_labels: Any, pairing: Pairing
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Anchors and their labels, references (None is the batch itself) and theirs, as tensors that fit."""
    embeddings = check_rows(where, "embeddings", embeddings)
    if pairing.related is not None:  # in place of all labels
        labels = torch.zeros(len(embeddings), dtype=torch.int64)
        reference_labels = None if references is None else torch.zeros(len(references), dtype=torch.int64)
    labels = check_shared_labels(where, "labels", labels, embeddings)
    references, others = check_references(where, embeddings, labels, references, reference_labels)
    if pairing.related is not None:
        check_relation(where, "related", pairing.related, (len(labels), len(others)))
    return embeddings, labels, references, others


def check_takes_no(where: str, pairing: Pairing, *names: str) -> None:
    """Options of a pairing that mean nothing to a loss."""
    for name in names:
        if getattr(pairing, name) is not None:
            raise InputError(f"{where}: takes no {name}; leave it out of the pairing")


def check_ungraded(where: str, pairing: Pairing) -> None:
    """Refuse relevance, for losses that rank positives or compare them with each other."""
    if pairing.related is not None and pairing.related.is_floating_point():
        raise InputError(f"{where}: takes no graded relevance; write related > 0")


def check_unit_pairs(
    where: str, embeddings: Any, labels: Any, references: Any, reference_labels: Any, pairing: Pairing
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """The same, rows scaled to length 1, for losses whose numbers are Euclidean distances of such rows."""
    if pairing.similarity not in (None, "negative_euclidean"):
        raise InputError(f"{where}: measures Euclidean distances; leave similarity out of the pairing")
    rows, labels, others, other_labels = check_pairs(
        where, embeddings, labels, references, reference_labels, pairing
    )
    rows = normalized(full_precision(rows))
    if others is None:
        return rows, labels, None, None
    return rows, labels, normalized(full_precision(others)), other_labels


def check_pairs_apart(
    where: str, embeddings: Any, labels: Any, references: Any, reference_labels: Any, pairing: Pairing
) -> tuple[Tensor, Tensor, Tensor, Tensor, Pairing]:
    """The same, as rows whose dot product is the similarity (cosine, or dot where asked for).

    References are there in any case, a batch told apart from itself by ids: for losses that change its anchors.
    """
    embeddings, labels, references, others = check_pairs(
        where, embeddings, labels, references, reference_labels, pairing
    )
    given = [full_precision(rows) for rows in (embeddings, references) if rows is not None]
    rows = given if pairing.similarity == "dot" else [normalized(each) for each in given]
    if references is None:
        ids = torch.arange(len(labels), device=labels.device) if pairing.ids is None else pairing.ids
        pairing = replace(pairing, ids=ids, reference_ids=ids)
    return rows[0], labels, rows[-1], others, replace(pairing, similarity="dot")


def average_of(where: str, pairing: Pairing, anchors: Tensor) -> Average:
    """Reduction and weights of a pairing, for anchors (n, ...)."""
    given = pairing.weights
    if given is None:
        return Average(pairing.reduction)
    if given.shape != (len(anchors),) or not given.is_floating_point():
        raise InputError(
            f"{where}: weights must be floating point of shape ({len(anchors)},), one for each anchor, "
            f"got {str(given.dtype).removeprefix('torch.')} of shape {tuple(given.shape)}"
        )
    return Average(pairing.reduction, given.detach().to(anchors))


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
