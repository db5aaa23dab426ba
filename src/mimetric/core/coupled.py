r"""Losses whose anchors depend on one another: ordinary autograd on near and far of all anchors at once.

Lifted structure adds the negatives of a positive to those of its anchor; a histogram holds the similarities of all
pairs.  Near and far are a few numbers an anchor (:mod:`mimetric.core.passes`), so the loss is a plain formula on them.
Value and gradient are exact; the price is one product more than a loss takes that needs one pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from .average import Side, per_anchor
from .blocks import Problem
from .classes import Classes, ClassRuns, Relation
from .errors import InputError
from .forms import Form
from .pairing import Pairing, check_pairs, check_takes_no, check_ungraded
from .pairs import PairSums
from .passes import Between, Dots, near_and_far
from .pushes import OneSum, Push
from .reduce import Mean, Near
from .similarity import Similarity, lift
from .terms import Total


class Pairs(NamedTuple):
    """The positive pairs (P,) of some anchors; once where (p, i) is the same as (i, p)."""

    first: Tensor  # the anchor
    second: Tensor  # the reference
    symmetric: bool

    def over_anchors(self, x: Tensor, anchors: int) -> Tensor:
        """(..., P) -> (..., anchors), what both ends of a pair have where both are anchors."""
        found = x.new_zeros(*x.shape[:-1], anchors).index_add(-1, self.first, x)
        return found.index_add(-1, self.second, x) if self.symmetric else found


@dataclass(frozen=True, eq=False)
class Data:
    """What a coupled loss is made of: lifted rows, the first of which are the anchors."""

    problem: Problem
    rows: Tensor
    references: Tensor | None  # None is the rows themselves
    anchors: int  # how many rows are anchors; the others are the references again, as rows
    places: Tensor | None  # (m,) the row of each reference; None is its own place
    across: Callable[[], Relation]  # the rows of a reference's class
    row_labels: Tensor
    reference_labels: Tensor
    symmetric: bool  # the batch is its own reference, each similarity that of either row to the other
    plain: bool  # by autograd on whole matrices

    @property
    def others(self) -> Tensor:
        return self.rows if self.references is None else self.references

    @cached_property
    def runs(self) -> ClassRuns:
        """The classes of all rows."""
        return self.problem.classes.of(slice(None))

    def near_and_far(self, push: Push, shift: Tensor | None = None) -> tuple[Near, Tensor, Tensor]:
        """Of all rows; a shift, () or (m,), is taken off similarities."""
        return near_and_far(
            self.problem, push, self.rows, self.references, self.runs, shift=shift, plain=self.plain
        )

    @cached_property
    def negatives(self) -> Tensor:
        """(n,) how many each row has."""
        members = 1 + (self.runs.columns.diff(dim=1) != 0).sum(1)  # beyond a class its last is repeated
        if self.runs.absent is not None:
            members = members * ~self.runs.absent[:, 0]
        return (len(self.others) - members).to(self.rows.dtype)

    def mean_of_negatives(self) -> Tensor:
        """The mean product of all negative pairs, 0 over none."""
        count = self.negatives.sum().clamp(min=1)
        if self.references is not None or not isinstance(self.problem.classes, Classes):
            _, far, _ = self.near_and_far(OneSum(Total()))
            return far.sum() / count
        return cast(Tensor, Between.apply(self.rows, self.runs.columns[:, 0])) / count  # type: ignore[no-untyped-call]

    def rows_of_positives(self) -> Tensor:
        """(n, p) where the positives of the anchors stand among the rows."""
        columns = self.runs.columns[: self.anchors]
        return columns if self.places is None else self.places[columns]

    def positive_pairs(self) -> Pairs:
        """Of the anchors."""
        positive, columns = self.runs.positive[: self.anchors], self.runs.columns[: self.anchors]
        if self.symmetric:  # each pair once
            positive = positive & (columns > torch.arange(len(columns), device=columns.device)[:, None])
        first, place = positive.nonzero(as_tuple=True)
        return Pairs(first, columns[first, place], self.symmetric)

    def similarities(self, pairs: Pairs) -> Tensor:
        """(P,) of positive pairs."""
        products = cast(Tensor, Dots.apply(self.rows, self.others, pairs.first, pairs.second))  # type: ignore[no-untyped-call]
        return products if self.problem.map is None else self.problem.map.plain(products)

    def sums_of_pairs(self, push: Push, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Dot products (P,) of rows and references that are pairs, and far (P,) of the sum of each pair."""
        left, right = self.rows.index_select(0, first), self.others.index_select(0, second)
        problem = replace(self.problem, bounded=False)
        runs = ClassRuns(slice(None), *(None if x is None else x[first] for x in self.runs[1:]))  # type: ignore[arg-type]
        _, far, _ = near_and_far(problem, push, left + right, self.others, runs, plain=self.plain)
        return torch.linalg.vecdot(left, right), far


Parts = list[tuple[Side, Side]]
"""Tightness and contrast of one loss, or of several that are added, each with its own average."""


@dataclass(frozen=True, eq=False)
class CoupledSums(PairSums):
    """A loss of this form on given data, described and not yet computed."""

    anchors: int
    places: Tensor | None
    divided: bool
    parts: Callable[[Data], Parts]

    def sides(self) -> tuple[Tensor, Tensor]:
        if not self.divided:
            raise InputError(f"{self.where}: has no tightness and contrast")
        return super().sides()

    def plain(self) -> Tensor:
        return self._of(1.0, 1.0, plain=True)

    def _value(self, of_tightness: float, of_contrast: float) -> Tensor:
        return self._of(of_tightness, of_contrast, plain=False)

    def _of(self, of_tightness: float, of_contrast: float, *, plain: bool) -> Tensor:
        problem, rows, references = self.problem((of_tightness, of_contrast))
        with torch.autocast(rows.device.type, enabled=False):
            data = Data(
                problem,
                rows,
                references,
                self.anchors,
                self.places,
                self._across,
                self.labels,
                self.reference_labels,
                self._symmetric,
                plain,
            )
            parts = self.parts(data)
            if problem.average.reduction is not None:
                parts = [(_sum([per_anchor(t) for t, _ in parts]), _sum([per_anchor(c) for _, c in parts]))]
            averaged = [problem.average.of(sides, slice(0, self.anchors)) for sides in parts]
            if problem.average.reduction == "none":
                return problem.values(averaged[0])
            return _sum([problem.weighted(sides, self._divisors(problem, sides)) for sides in averaged])

    @property
    def _symmetric(self) -> bool:
        return self.references is None and (self.pairing.similarity or self.similarity) != "negative_snr"

    def _across(self) -> Relation:
        if self.references is None:
            return self.relation()
        ids, reference_ids = self.pairing.ids, self.pairing.reference_ids
        return replace(
            self,
            embeddings=self.references,
            labels=self.reference_labels,
            references=self.embeddings,
            reference_labels=self.labels,
            pairing=replace(self.pairing, ids=reference_ids, reference_ids=ids),
        ).relation()

    def _divisors(self, problem: Problem, sides: tuple[Side, Side]) -> list[Tensor | int]:
        first, second = (side.count.detach().sum() if isinstance(side, Mean) else None for side in sides)
        return problem.divisors([(first, second)], self.anchors)


def _sum(numbers: list[Tensor]) -> Tensor:
    return numbers[0] if len(numbers) == 1 else torch.stack(numbers).sum(0)


class _Held(NamedTuple):
    """All that the engine asks of a form whose blocks it does not run."""

    scale: float
    blocks_held: int


def coupled_sums(
    where: str,
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    parts: Callable[[Data], Parts],
    scale: float = 1.0,
    blocks_held: int = 1,
    references_as_rows: bool = False,
    by_class: bool = False,
    divided: bool = True,
    graded: bool = False,
    similarity: Similarity = "cosine",
    pairing: Pairing = Pairing(),
) -> PairSums:
    """A loss from the positives of all anchors and their sums over negatives.

    Args:
        where, embeddings, labels, references, reference_labels, similarity, pairing: as in
            :func:`~mimetric.core.pairs.pair_sums`; the pairing has no mining.
        parts: `parts(data)` gives tightness and contrast, one number or :class:`~mimetric.core.reduce.Mean` per
            anchor, by autograd on what `data.near_and_far(push)` hands out.
        scale: how much faster than a similarity the loss moves.
        blocks_held: how many arrays of the size of a block are alive at once.
        references_as_rows: for losses that ask what is near a positive: separate references are rows after the
            anchors, compared with themselves.
        by_class: for losses that ask for class ids, where a relation of pairs is not enough.
        divided: whether it has tightness and contrast; what has not leaves contrast at 0.
        graded: whether positives may be relevant to a degree.
    """
    check_takes_no(where, pairing, "mining")
    batch = checked(where, embeddings, labels, references, reference_labels, pairing, graded=graded)
    if by_class:
        check_class_ids(batch)
    anchors = len(batch.embeddings)
    places = None
    if references_as_rows and batch.references is not None:
        batch, places = _with_reference_rows(batch)
    form = cast(Form, _Held(scale, blocks_held))
    described = {**vars(batch), "form": form, "similarity": similarity}
    return CoupledSums(**described, anchors=anchors, places=places, divided=divided, parts=parts)


def check_class_ids(batch: PairSums) -> None:
    """For a loss that asks for classes, where a relation of pairs is not enough."""
    if batch.pairing.related is not None or batch.labels.ndim > 1:
        raise InputError(
            f"{batch.where}: needs one class id a row, got a relation of pairs; give labels (n,)"
        )


def checked(
    where: str,
    embeddings: Any,
    labels: Any,
    references: Any,
    reference_labels: Any,
    pairing: Pairing,
    *,
    graded: bool = False,
) -> PairSums:
    """The batch of a loss, with at least one reference."""
    if not graded:
        check_ungraded(where, pairing)
    data = check_pairs(where, embeddings, labels, references, reference_labels, pairing)
    batch = PairSums(where, cast(Form, _Held(1.0, 1)), *data, (), "cosine", pairing)
    return batch if batch.references is None or len(batch.references) else batch.without_references()


def _with_reference_rows(batch: PairSums) -> tuple[PairSums, Tensor]:
    """The references as rows after the anchors, and the row of each; a reference that is an anchor has the anchor's."""
    check_class_ids(batch)
    references, pairing = cast(Tensor, batch.references), batch.pairing
    n, m = len(batch.embeddings), len(references)
    places = torch.arange(n, n + m, device=batch.labels.device)
    ids = torch.arange(n + m, device=places.device)
    of_anchors, of_references = batch.ids()
    if n and of_anchors is not None and of_references is not None:
        ids = torch.cat((of_anchors, of_references))
        in_order, row = ids[:n].sort()
        found = torch.searchsorted(in_order, ids[n:].contiguous()).clamp(max=n - 1)
        places = torch.where(in_order[found] == ids[n:], row[found], places)
    weights = None if pairing.weights is None else F.pad(pairing.weights, (0, m))
    joined = replace(
        batch,
        embeddings=torch.cat((batch.embeddings, references)),
        labels=torch.cat((batch.labels, batch.reference_labels)),
        pairing=replace(pairing, ids=ids, reference_ids=ids[n:], weights=weights),
    )
    return joined, places


def similarity_of_rows(similarity: Similarity, first: Tensor, second: Tensor) -> Tensor:
    """(n,) the similarity of row i of one with row i of the other, by autograd."""
    lifted = lift(similarity, first, second)
    product = (lifted.anchors * lifted.references).sum(1)
    return product if lifted.map is None else lifted.map.plain(product)
