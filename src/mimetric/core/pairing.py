"""What all pair losses share: their options, and the checks of what they are given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .average import REDUCTIONS, Average, Reduction
from .checks import check_choice, check_references, check_relation, check_rows, check_shared_labels
from .errors import InputError
from .mined import Mining
from .similarity import SIMILARITIES, Similarity, full_precision, normalized


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
