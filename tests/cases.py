"""Every loss with options, beside its plain loops: what the laws run over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

import reference
from mimetric import losses
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


CASES = [
    Case("contrastive", losses.contrastive_loss, reference.contrastive),
    Case("contrastive-loose", losses.contrastive_loss,
         partial(reference.contrastive, positive=0.9, negative=-0.3), {"positive": 0.9, "negative": -0.3}),
    Case("multi-similarity", losses.multi_similarity_loss, reference.multi_similarity),
    Case("multi-similarity-soft", losses.multi_similarity_loss,
         partial(reference.multi_similarity, beta=4.0), {"beta": 4.0}),
    Case("multi-similarity-mined", losses.multi_similarity_loss,
         partial(reference.multi_similarity, epsilon=0.1), mining=MultiSimilarityMining()),
    Case("supcon", losses.supcon_loss, reference.supcon),
    Case("supcon-cold", losses.supcon_loss, partial(reference.supcon, temperature=0.01), {"temperature": 0.01}),
    Case("supcon-warm", losses.supcon_loss, partial(reference.supcon, temperature=1.0), {"temperature": 1.0}),
    Case("supcon-inside", losses.supcon_loss, partial(reference.supcon, form="inside"), {"form": "inside"}),
    Case("triplet-margin", losses.triplet_margin_loss, reference.triplet_margin),
    Case("cross-entropy", losses.cross_entropy_loss, reference.softmax, classes=101, similarity="dot"),
    Case("cross-entropy-smooth", losses.cross_entropy_loss, partial(reference.softmax, label_smoothing=0.1),
         {"label_smoothing": 0.1}, classes=101, similarity="dot"),
    Case("normalized-softmax", losses.normalized_softmax_loss,
         partial(reference.softmax, temperature=0.05, similarity="cosine"), classes=101),
    Case("spce", losses.spce_loss, reference.spce, similarity="dot"),
]  # fmt: skip
PAIRS = [case for case in CASES if not case.classes]
"""Those that compare the batch with itself or with references."""


def names(case: Case) -> str:
    return case.name
