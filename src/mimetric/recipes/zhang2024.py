"""Threshold-consistent margin loss for open-world deep metric learning (Zhang et al., ICLR 2024).

Claim    Losses that find more have classes that fit one threshold less alike (a higher OPIS, the variance over classes
         of utility at one threshold); two margins on hard pairs (TCM), added to any loss, lower OPIS by tens of percent
         and cost no recall (arXiv:2307.04047).
Here     Glyphs, 300 steps of 16 classes x 4 for four losses alone and three with TCM; Recall@1, OPIS x 1,000 and the
         share of same pairs accepted at one false match in a hundred, on 3,000 images of unseen scripts.  SupCon also
         on unseen images of seen characters.  2.7 minutes of one core for three seeds.
Expect   Mean +- standard deviation over seeds 0-2, 2026-11-22: Recall@1, OPIS; with TCM.  Contrastive 45.2
         +- 1.8 % and 29.1 +- 1.3; triplets 53.3 +- 1.1 and 29.9 +- 2.1, 56.3 +- 2.7 and 27.5 +- 2.3; multi-similarity
         58.9 +- 1.4 and 27.3 +- 2.9, 56.3 +- 3.0 and 27.3 +- 2.4; SupCon 56.3 +- 1.9 and 36.5 +- 4.1, 57.3 +- 1.3 and
         33.6 +- 3.5, on seen characters 29.5 +- 1.7 and 26.8 +- 3.0.  So TCM cuts OPIS by 5 +- 4 % here, not by tens,
         and mostly leaves recall alone: likely as an encoder this weak errs more than thresholds of classes differ.
         What finds more is not less consistent: the ranks of recall and OPIS are rather opposed (-0.27 +- 0.12).
Differs  A small network from scratch on characters, where the paper has ResNet-50 and ViT on birds, cars, products and
         iNaturalist.  TCM has its authors' margins (0.9 and 0.5) beside every loss.  Their tables could not be read.
Run      mimetric reproduce zhang2024 [--data npz:PATH --seen npz:PATH:by=rows]
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy.stats import spearmanr

from mimetric.core.checks import check_positive
from mimetric.data.labelled import LabelledData
from mimetric.data.seen import load_seen, load_unseen
from mimetric.data.subsets import class_after_class
from mimetric.metrics import opis, pair_roc, retrieval_metrics, tar_at_far
from mimetric.train.loop import fit
from mimetric.train.options import FitOptions
from mimetric.train.recipe import Claim

BASES = {
    "contrastive": "contrastive:negative=0.5",
    "triplet": "triplet-margin:margin=0.1",
    "ms": "multi-similarity",
    "supcon": "supcon:temperature=0.1",
}
HELPED = ("triplet", "ms", "supcon")
ARMS = BASES | {f"{name}_tcm": f"{BASES[name]}+threshold-consistent-margin" for name in HELPED}


@dataclass(frozen=True)
class Options:
    """What can be set."""

    data: str = "glyphs"
    """Images to find unseen classes in: glyphs, npz:PATH or folder:PATH."""
    seen: str = "glyphs:by=rows"
    """Images of classes that are trained on; :by=rows splits any data so."""
    steps: int = 300
    """Optimizer steps of each loss, of 16 classes with 4 images each."""
    test: int = 3000
    """Test images at most, of whole classes."""

    def __post_init__(self) -> None:
        check_positive("zhang2024", steps=self.steps, test=self.test)


@dataclass(frozen=True)
class Quick(Options):
    """A look in seconds."""

    seen: str = "digits"
    steps: int = 2
    test: int = 300


CLAIMS = (
    Claim("Among losses, those that find more unseen classes have a higher OPIS: their ranks agree.",
          "recall_and_opis_rank_alike", 0.0),
    *(claim for base in HELPED for claim in (
        Claim(f"On unseen classes TCM lowers the OPIS of {base}.", f"opis_{base}", f"opis_{base}_tcm"),
        Claim(f"It costs {base} at most 1 point of Recall@1.", f"recall_{base}_tcm", f"recall_{base}",
              at_least=-0.01, percent=True),
    )),
    Claim("On unseen classes TCM lowers OPIS by a fifth, in the mean of the three.", "mean_cut", 0.2, percent=True),
    Claim("On seen classes TCM lowers the OPIS of supcon.", "opis_seen_supcon", "opis_seen_supcon_tcm"),
    Claim("There it costs at most 1 point of Recall@1.", "recall_seen_supcon_tcm", "recall_seen_supcon",
          at_least=-0.01, percent=True),
    Claim("There it accepts no fewer same pairs at one false match in a hundred.",
          "tar_seen_supcon_tcm", "tar_seen_supcon", percent=True),
)  # fmt: skip


def measure(options: Options, seed: int) -> dict[str, float]:
    """Recall@1, OPIS and true matches of every loss alone and of some with TCM."""
    data, seen = load_unseen(options.data), load_seen(options.seen)
    found: dict[str, float] = {}
    for name, objective in ARMS.items():
        found |= judged(name, data, objective, options, seed)
    for name in ("supcon", "supcon_tcm"):
        found |= judged(f"seen_{name}", seen, ARMS[name], options, seed)
    ranks = ([found[f"{number}_{name}"] for name in BASES] for number in ("recall", "opis"))
    return found | {
        "recall_and_opis_rank_alike": float(spearmanr(*ranks).statistic),
        "mean_cut": fmean(1 - found[f"opis_{name}_tcm"] / found[f"opis_{name}"] for name in HELPED),
    }


def judged(name: str, data: LabelledData, objective: str, options: Options, seed: int) -> dict[str, float]:
    """A network trained by one loss, on the test rows."""
    adam = FitOptions(steps=options.steps, batch_size=64, per_class=4, lr=5e-3, device="cpu")
    run = fit(data.x[data.split.train], data.y[data.split.train], objective, seed=seed, options=adam)
    rows = class_after_class(data.split.test, data.y, np.random.default_rng(seed))[: options.test]
    z, y = run.embed(data.x[rows]), data.y[rows]
    found = opis(z, y)
    return {
        f"recall_{name}": retrieval_metrics(z, y)["recall_at_1"],
        f"opis_{name}": 1000 * found.opis,
        f"opis_of_extremes_{name}": 1000 * found.epsilon_opis,
        f"tar_{name}": tar_at_far(pair_roc(z, y), 1e-2),
    }
