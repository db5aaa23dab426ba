"""Every loss with options, beside its plain loops: what the laws run over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

import reference
from mimetric import losses
from mimetric.core.checks import check_rows
from mimetric.core.pairs import pair_loss
from mimetric.mining import MultiSimilarityMining


@dataclass(frozen=True)
class Case:
    name: str
    loss: Any
    loops: Callable[..., tuple[float, float]]
    options: dict[str, Any] = field(default_factory=dict)
    mining: Any = None
    classes: int = 0  # how many weights it takes, 0 if it compares the batch
    similarity: str = "cosine"
    tolerance: float = 1e-9  # of a value beside plain loops

    def __call__(self, x, y, *against, **pairing):
        return self.loss(x, y, *self._against(x, against), **self.options, pairing=self.pairing(**pairing))

    def sides(self, x, y, *against, **pairing):
        return self.loss.sides(
            x, y, *self._against(x, against), **self.options, pairing=self.pairing(**pairing)
        )

    def plain(self, x, y, *against, **pairing):
        body = self.loss.__wrapped__
        return body(x, y, *self._against(x, against), **self.options, pairing=self.pairing(**pairing)).plain()

    def pairing(self, **options):
        return losses.Pairing(mining=self.mining, **options)

    def _against(self, x, against):
        return against or (self.weight(x),) if self.classes else against

    def weight(self, x):
        """Class weights, the same every time."""
        generator = torch.Generator().manual_seed(3)
        x = torch.as_tensor(x)
        return torch.randn(self.classes, x.shape[1], dtype=torch.float64, generator=generator).to(x)

    def expected(self, x, y, *against):
        against = [a.tolist() for a in self._against(x, against)]
        return self.loops(x.tolist(), y.tolist(), *against)


# Losses that take more than class weights, with the rest made from these: the laws know one kind.


@pair_loss
def center_loss(x, y, weight, *, pairing):
    body = losses.center_loss.__wrapped__
    return body(x, y, weight, weight[:, 0], weight / 2, center_weight=0.1, pairing=pairing)


def center_loops(x, y, weight):
    bias, centers = [w[0] for w in weight], [[v / 2 for v in w] for w in weight]
    return reference.center(x, y, weight, bias, centers, center_weight=0.1)


@pair_loss
def pce_loss(x, y, weight, *, pairing):
    rows = check_rows("pce_loss", "embeddings", x)
    return losses.pce_loss.__wrapped__(x, y, (rows @ weight.T).softmax(1), lam=0.5, pairing=pairing)


def pce_loops(x, y, weight):
    return reference.pce(x, y, reference.classified(x, weight), lam=0.5)


CASES = [
    Case("contrastive", losses.contrastive_loss, reference.contrastive),
    Case("contrastive-loose", losses.contrastive_loss,
         partial(reference.contrastive, positive=0.9, negative=-0.3), {"positive": 0.9, "negative": -0.3}),
    # A distance by a product has half the digits near 0.
    Case("squared-contrastive", losses.squared_contrastive_loss, reference.squared_contrastive,
         similarity="negative_euclidean", tolerance=2e-7),
    Case("multi-similarity", losses.multi_similarity_loss, reference.multi_similarity),
    Case("multi-similarity-soft", losses.multi_similarity_loss,
         partial(reference.multi_similarity, beta=4.0), {"beta": 4.0}),
    Case("multi-similarity-mined", losses.multi_similarity_loss,
         partial(reference.multi_similarity, epsilon=0.1), mining=MultiSimilarityMining()),
    Case("supcon", losses.supcon_loss, reference.supcon),
    Case("supcon-cold", losses.supcon_loss, partial(reference.supcon, temperature=0.01), {"temperature": 0.01}),
    Case("supcon-warm", losses.supcon_loss, partial(reference.supcon, temperature=1.0), {"temperature": 1.0}),
    Case("supcon-inside", losses.supcon_loss, partial(reference.supcon, form="inside"), {"form": "inside"}),
    Case("nt-xent", losses.nt_xent_loss, reference.nt_xent),
    Case("nt-xent-cold", losses.nt_xent_loss, partial(reference.nt_xent, temperature=0.01), {"temperature": 0.01}),
    Case("snca", losses.snca_loss, reference.snca),
    Case("triplet-margin", losses.triplet_margin_loss, reference.triplet_margin),
    Case("semi-hard-triplet", losses.semi_hard_triplet_loss, partial(reference.semi_hard_triplet, margin=0.3),
         {"margin": 0.3}),
    Case("batch-hard-triplet", losses.batch_hard_triplet_loss, reference.batch_hard_triplet),
    Case("cross-entropy", losses.cross_entropy_loss, reference.softmax, classes=101, similarity="dot"),
    Case("cross-entropy-smooth", losses.cross_entropy_loss, partial(reference.softmax, label_smoothing=0.1),
         {"label_smoothing": 0.1}, classes=101, similarity="dot"),
    Case("normalized-softmax", losses.normalized_softmax_loss,
         partial(reference.softmax, temperature=0.05, similarity="cosine"), classes=101),
    Case("center", center_loss, center_loops, classes=101, similarity="dot"),
    Case("pce", pce_loss, pce_loops, classes=101, similarity="dot"),
    Case("spce", losses.spce_loss, reference.spce, similarity="dot"),
]  # fmt: skip
PAIRS = [case for case in CASES if not case.classes]
"""Those that compare the batch with itself or with references."""


def names(case: Case) -> str:
    return case.name
