"""Metrix: mixup for deep metric learning (Venkataramanan et al., ICLR 2022).

Claim    Mixing positives with negatives, as inputs, features or embeddings, and giving pair losses labels in [0, 1]
         finds unseen classes better; features help most, embeddings more than inputs.  Mixed examples lie nearer to
         unseen test examples than training examples do: a lower utilization (arXiv:2106.04990).
Here     Scikit-learn's digits, 3 classes to train and 5 to find, 25 epochs for two losses alone and in three modes, 3
         networks a seed.  1.5 minutes of one core for three seeds.
Expect   Mean +- standard deviation over seeds 0-2, 2026-11-22.  Recall@1: multi-similarity 88.4 +- 0.4 %, with inputs
         91.0 +- 1.0, features 90.7 +- 0.4, embeddings 89.9 +- 0.5; contrastive 89.2 +- 0.6, 88.5 +- 0.3, 89.0 +- 0.5,
         89.0 +- 0.3.  Mixed examples cut utilization by 54 +- 2 % or more, of contrastive by 31 +- 2.  So it helps
         the loss that looks at hard pairs, the other not at all, whose order of modes is not the paper's either.
Differs  A small network from scratch, where the paper has an ImageNet ResNet-50 on birds, cars, products; contrastive
         on cosines, in means over pairs.  Only positives are mixed with negatives, not anchors, as in half its steps.
Run      mimetric reproduce venkataramanan2022 [--data npz:PATH]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mimetric.core.checks import check_positive
from mimetric.data.seen import load_unseen
from mimetric.data.subsets import some_rows
from mimetric.losses import contrastive_loss, multi_similarity_loss
from mimetric.losses.mixed import mixed_contrastive_loss, mixed_multi_similarity_loss, rows_to_mix
from mimetric.metrics import retrieval_metrics, utilization
from mimetric.train.descent import descend
from mimetric.train.recipe import Claim, averaged

WEIGHT, MIXED = 0.4, 3  # of the mixed loss; mixed examples of each anchor
# A loss of a batch, and of mixed examples.
BASES: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "contrastive": (contrastive_loss, mixed_contrastive_loss),
    "ms": (partial(multi_similarity_loss, alpha=18.0, beta=75.0, base=0.77), mixed_multi_similarity_loss),
}
# The layer before which a mode mixes: embeddings behind the last, which sets lengths to 1.
MODES = {"input": 0, "feature": 2, "embedding": 4}


@dataclass(frozen=True)
class Options:
    """What can be set."""

    data: str = "digits:by=1/2"
    """Images to find unseen classes in: digits:by=1/2, glyphs, npz:PATH or folder:PATH."""
    epochs: int = 25
    """Passes over the training rows, of 100 in a batch."""
    starts: int = 3
    """Networks of each arm, over which a seed averages."""
    rows: int = 2000
    """Training and test rows at most."""

    def __post_init__(self) -> None:
        check_positive("venkataramanan2022", epochs=self.epochs, starts=self.starts, rows=self.rows)


@dataclass(frozen=True)
class Quick(Options):
    """A look in seconds."""

    epochs: int = 1
    starts: int = 1
    rows: int = 200


CLAIMS = (
    *(Claim(f"With mixed {mode}s {base} finds unseen classes better.",
            f"recall_{base}_{mode}", f"recall_{base}", percent=True) for base in BASES for mode in MODES),
    *(Claim(f"Features help {base} more than {mode}s.", f"recall_{base}_feature", f"recall_{base}_{mode}", percent=True)
      for base in BASES for mode in ("embedding", "input")),
    Claim("With mixed inputs or features multi-similarity gains a point of Recall@1, in the mean of both.",
          "gain_ms", 0.01, percent=True, source="ours"),
    *(Claim(f"Mixed examples cut the utilization of {base} by 40 %, in every mode.",
            f"utilization_cut_{base}", 0.4, percent=True, source="ours") for base in BASES),
)  # fmt: skip


class Unit(nn.Module):
    """Rows at length 1."""

    def forward(self, x: Tensor) -> Tensor:
        return normalize(x, dim=-1)


def measure(options: Options, seed: int) -> dict[str, float]:
    """Recall@1 and MAP@R on unseen classes and utilization of every arm, means over the starts."""
    return averaged([of_start(options, seed * options.starts + start) for start in range(options.starts)])


def of_start(options: Options, seed: int) -> dict[str, float]:
    """The same of one network of each arm."""
    data, rng = load_unseen(options.data), np.random.default_rng(seed)
    (x, y), (test_x, test_y) = some_rows(data, rng, train=options.rows, test=options.rows)
    x, test_x = x.flatten(1), test_x.flatten(1)
    found, cuts = dict[str, float](), dict[str, float]()
    for base in BASES:
        for mode in (None, *MODES):
            name = f"{base}_{mode}" if mode else base
            torch.manual_seed(seed)
            net = nn.Sequential(nn.Linear(x.shape[1], 128), nn.ReLU(), nn.Linear(128, 32), Unit())
            train_on(net, x, y, base, mode, options.epochs)
            with torch.no_grad():
                z, queries = net(x), net(test_x)
                parts = torch.split(torch.randperm(len(x)), 100)
                mixed = [mixtures(net, x[i], y[i], mode or "embedding")[1].flatten(0, 1) for i in parts]
            metrics = retrieval_metrics(queries, test_y)
            found |= {
                f"recall_{name}": metrics["recall_at_1"],
                f"map_at_r_{name}": metrics["map_at_r"],
                f"utilization_{name}": float(utilization(queries, z).mean()),
                f"utilization_mixed_{name}": float(utilization(queries, torch.cat([z, *mixed])).mean()),
            }
            cuts[name] = 1 - found[f"utilization_mixed_{name}"] / found[f"utilization_{name}"]
        found[f"utilization_cut_{base}"] = min(cuts[name] for name in cuts if name.startswith(base))
    gains = [found[f"recall_ms_{mode}"] - found["recall_ms"] for mode in ("input", "feature")]
    return found | {"gain_ms": fmean(gains)}


def train_on(net: nn.Sequential, x: Tensor, y: Tensor, base: str, mode: str | None, epochs: int) -> None:
    """Adam at 1e-3, by one loss and, in some mode, its mixed form."""
    clean, mixed = BASES[base]

    def of_batch(rows: Tensor) -> Tensor:
        z = net(x[rows])
        loss = clean(z, y[rows])
        if mode:
            anchors, examples, share = mixtures(net, x[rows], y[rows], mode)
            loss = loss + WEIGHT * mixed((z[anchors, None] * examples).sum(2), share)
        return loss

    batches = (rows for _ in range(epochs) for rows in torch.split(torch.randperm(len(x)), 100))
    descend(torch.optim.Adam(net.parameters(), lr=1e-3), map(of_batch, batches))


def mixtures(net: nn.Sequential, x: Tensor, y: Tensor, mode: str) -> tuple[Tensor, Tensor, Tensor]:
    """Anchors (t,), their mixed examples (t, k, d), and the share of the positive in them, one for the batch."""
    share, layer = torch.distributions.Beta(2.0, 2.0).sample(), MODES[mode]
    rows, there = rows_to_mix(net(x), y, MIXED), net[:layer](x)
    mixed = share * there[rows.positives] + (1 - share) * there[rows.negatives]
    return rows.anchors, net[layer:](mixed), share
