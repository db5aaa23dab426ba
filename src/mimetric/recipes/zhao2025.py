"""KaLM-Embedding-V2: training techniques for a versatile embedding model (Zhao et al., 2025).

Claim    Focal weights, by which queries count the more the worse they find their positive, negatives blended from mined
         ones, and a soup, the average of fine-tuned models, each add a little (arXiv:2506.20923).
Here     Digits of scikit-learn, a small network, 5 epochs without labels, then 30 against negatives of ranks 50 to 100;
         nine arms of 3 networks; MAP@R of held-out digits.  4 minutes of one core for three seeds.
Expect   Mean +- standard deviation over seeds 0-2, 2026-11-22.  InfoNCE 93.9 +- 0.6 %, gamma 0.5 93.7 +- 0.6, gamma 2
         93.2 +- 0.7, pairs 93.9 +- 0.6, lists 94.0 +- 0.6.  All 27 soups gain: 0.3 +- 0.2, too little for three seeds.
         50 intents of clinc150 by a frozen MiniLM, 8 epochs: 87.4 +- 0.3, 86.8, 85.9, 87.4, 87.5; soups gain 0.2.
Differs  Not Qwen2-0.5B on texts; temperature 0.05; no Matryoshka or distillation.  The paper could not be read: details
         of weights and mixing are as others tell them.  A mixed negative counts for its own query alone.
Run      mimetric reproduce zhao2025 [--data npz:PATH [--kind vectors]]
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cosine_similarity

from mimetric.core.checks import check_positive
from mimetric.core.errors import InputError
from mimetric.core.neighbors import nearest_neighbors
from mimetric.core.pairing import Pairing
from mimetric.data.seen import load_seen
from mimetric.data.subsets import some_rows
from mimetric.data.transforms import Affine
from mimetric.losses import explicit_pairs, focal_nt_xent_loss, mixed_negatives
from mimetric.metrics import retrieval_metrics
from mimetric.mining import MaskMining
from mimetric.models.encoders import embed
from mimetric.models.soup import model_soup
from mimetric.train.descent import descend
from mimetric.train.recipe import Claim

Mode = Literal["pair", "list"]
MODES: tuple[Mode, ...] = ("pair", "list")
ARMS = {f"{gamma:g}_{mode or 'none'}": (gamma, mode) for gamma in (0, 0.5, 2) for mode in (None, *MODES)}
TUNINGS, MINED, FIRST, LAST = 3, 7, 50, 100  # tunings make a soup; mined from ranks of rows of other classes
SHAKE = Affine(angle=0.2, scale=(0.85, 1.15), move=1 / 8)


@dataclass(frozen=True)
class Options:
    """What can be set."""

    data: str = "digits"
    """Rows of classes that are trained on: digits, npz:PATH or folder:PATH."""
    kind: Literal["images", "vectors"] = "images"
    """What they are; texts are vectors by a frozen encoder."""
    rows: int = 2000
    """Training rows at most, and test rows at most."""
    epochs: int = 30
    """Passes of each fine-tuning, in batches of 100; a sixth as many without labels come before."""

    def __post_init__(self) -> None:
        check_positive("zhao2025", rows=self.rows, epochs=self.epochs)


@dataclass(frozen=True)
class Quick(Options):
    """A look in seconds."""

    rows: int = 200
    epochs: int = 1


CLAIMS = (
    Claim("Soups find at least what their ingredients do in the mean.", "map_soup", "map_ingredients", percent=True),
    Claim("They do in each of the nine arms.", "least_gain_of_soup", 0.0, percent=True),
    *(Claim(f"{when} fine-tuning, negatives mixed by {mode} are nearer to their query than what they are made of.",
            f"mixed_{mode}_{when.lower()}", f"parents_{mode}_{when.lower()}")
      for when in ("Before", "After") for mode in MODES),
    *(Claim(f"{what} finds more than InfoNCE.", f"map_{arm}", "map_0_none", percent=True)
      for what, arm in (("A focal weight (gamma 0.5)", "0.5_none"), ("Mixing by pair", "0_pair"),
                        ("Mixing by list", "0_list"), ("A soup of both (gamma 0.5, pair)", "soup_0.5_pair"))),
    *(Claim(f"Gamma {gamma:g}, mixing by {mode or 'nothing'}, costs at most 1 point.", f"map_{arm}", "map_0_none",
            at_least=-0.01, percent=True, source="ours")
      for arm, (gamma, mode) in ARMS.items() if gamma or mode),
)  # fmt: skip


def measure(options: Options, seed: int) -> dict[str, float]:
    """MAP@R of held-out rows by every arm and its soup, and cosines of training rows with negatives of theirs."""
    data, draw = load_seen(options.data, options.kind), np.random.default_rng(seed)
    (x, y), (test_x, test_y) = some_rows(data, draw, train=options.rows, test=options.rows)
    torch.manual_seed(seed)
    random = Generator().manual_seed(seed)
    start = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 128), nn.ReLU(), nn.Linear(128, 32))
    own, none = torch.arange(len(x)), torch.empty(len(x), 0).long()  # a row is its own class: no labels
    tune(start, x, own, none, 0, None, -(-options.epochs // 6), random)
    z = embed(start, x)
    ranked = nearest_neighbors(z, z, LAST, ids=y, reference_ids=y).indices[:, FIRST:]
    if bool((ranked < 0).any()):
        raise InputError(f"zhao2025: each class must leave {LAST} training rows of others; allow more rows")
    mined = ranked.gather(1, torch.rand(ranked.shape, generator=random).argsort(1)[:, :MINED])
    found = cosines(start, x, mined, "before")
    for arm, (gamma, mode) in ARMS.items():
        nets = [deepcopy(start) for _ in range(TUNINGS)]
        for number, net in enumerate(nets):  # the same batches, views and positives in every arm
            random = Generator().manual_seed(TUNINGS * seed + number)
            tune(net, x, y, mined, gamma, mode, options.epochs, random)
        if arm == "0.5_pair":
            found |= cosines(nets[0], x, mined, "after")
        soup = deepcopy(start)
        soup.load_state_dict(model_soup([net.state_dict() for net in nets]))
        *alone, whole = (retrieval_metrics(embed(n, test_x), test_y)["map_at_r"] for n in (*nets, soup))
        found |= {f"map_{arm}": fmean(alone), f"map_soup_{arm}": whole}
    alone, soups = ([found[f"map_{kind}{arm}"] for arm in ARMS] for kind in ("", "soup_"))
    found |= {"map_ingredients": fmean(alone), "map_soup": fmean(soups)}
    return found | {"least_gain_of_soup": min(after - before for before, after in zip(alone, soups))}


def tune(net: nn.Module, x: Tensor, y: Tensor, mined: Tensor, gamma: float, mode: Mode | None,
         epochs: int, random: Generator) -> None:  # fmt: skip
    """Views of rows find a row of their class among positives and mined negatives of all, and a mixed one of theirs."""
    same = (y[:, None] == y).float().fill_diagonal_(1e-9)  # a row finds itself where its class has no other

    def cost(batch: Tensor) -> Tensor:
        n, own = len(batch), x[batch]
        positives = (same[batch] * torch.rand(n, len(x), generator=random)).argmax(1)
        others = torch.cat([positives, mined[batch].flatten()])
        views = SHAKE(own, random) if x.ndim == 4 else own * (torch.rand(own.shape, generator=random) > 0.1)
        q, p, far = net(torch.cat([views, x[others]])).tensor_split([n, 2 * n])
        counted = y[batch, None] != y[others]
        if mode:
            far = torch.cat([far, mixed_negatives(q, far.view(n, MINED, -1), mode=mode)])
            counted = torch.cat([counted, torch.eye(n).bool()], 1)
        pairing = Pairing(mining=MaskMining(counted))
        return focal_nt_xent_loss(*explicit_pairs(q, p, far), temperature=0.05, gamma=gamma, pairing=pairing)

    order = torch.cat([torch.randperm(len(x), generator=random) for _ in range(epochs)])
    descend(torch.optim.Adam(net.parameters(), lr=1e-3), map(cost, torch.split(order, 100)))


def cosines(net: nn.Module, x: Tensor, mined: Tensor, when: str) -> dict[str, float]:
    """Means over rows: with a negative that is mixed, and with those it is made of."""
    z, found = embed(net, x), dict[str, float]()
    for mode in MODES:
        parents = z[mined[:, :2] if mode == "pair" else mined]
        near = cosine_similarity(z, mixed_negatives(z, parents, mode=mode))
        found[f"mixed_{mode}_{when}"] = float(near.mean())
        found[f"parents_{mode}_{when}"] = float(cosine_similarity(z[:, None], parents, dim=2).mean())
    return found
