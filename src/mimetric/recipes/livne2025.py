"""cMIM: contrastive mutual information machine (Livne, 2025).

Claim    A MIM, an auto-encoder rewarded for sharp codes where a VAE is penalized, gets codes that classify better with
         a term that parts the codes of a batch in angle, without augmentations and at the same reconstruction; the
         last hidden layer of its decoder is an even better embedding (arXiv:2502.19642).
Here     Scikit-learn's digits without labels, 1,200 steps of 100 for each of six arms, codes of 32 numbers; linear
         probes on held-out codes and on the decoder's last hidden layer.  About 2 minutes of one core for three seeds.
Expect   Mean +- standard deviation over seeds 0-2, 2026-11-22.  Accuracy on codes, on the hidden layer: VAE 75.9 +- 2.5
         and 59.9 +- 3.2 %, MIM 94.7 +- 0.8 and 95.2 +- 0.4, cMIM 94.8 +- 0.7 and 95.7 +- 0.6, its term times 32 95.2 +-
         0.5 and 95.3 +- 1.2, InfoNCE 96.4 +- 0.8.  Squared error of pixels: VAE 0.069, MIM 0.014 +- 0.001, cMIM 0.013;
         mean cosine of codes 0.12 +- 0.02, cMIM 0.10 +- 0.01, at temperature 1 0.02 +- 0.01.  So MIM beats a VAE by
         far, and cMIM parts codes and keeps the picture; that it classifies better three seeds cannot tell: digits are
         nearly solved, and its term is at most 0.7 nats, nearly 0 once codes are at right angles.
Differs  Small networks on 8 x 8 pixels, a Bernoulli decoder; the paper has MNIST-like sets and molecules, and reports
         ranks.  Its formulas are taken from its group's published code.  The InfoNCE arm is ours: two views with
         dropped pixels and noise, the mean as code.
Run      mimetric reproduce livne2025 [--data npz:PATH]
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from math import log, pi

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mimetric.core.checks import check_positive
from mimetric.data.seen import load_seen
from mimetric.data.subsets import some_rows
from mimetric.losses import nt_xent_loss, self_contrast_loss
from mimetric.metrics import anisotropy, linear_probe_accuracy
from mimetric.train.descent import descend
from mimetric.train.recipe import Claim

WIDTH = 32  # of the codes
LEAST = -6.0  # log of the standard deviations: MIM rewards small ones without end


# Which latent cost, the weight of the contrastive term, its temperature.
ARMS = {
    "vae": ("vae", 0.0, 1.0),
    "mim": ("mim", 0.0, 1.0),
    "cmim": ("mim", 1.0, 0.1),
    "cmim_warm": ("mim", 1.0, 1.0),
    "cmim_heavy": ("mim", 32.0, 1.0),  # ours: the term is at most 0.7 nats, beside sums over pixels
    "infonce": ("infonce", 1.0, 0.1),
}


@dataclass(frozen=True)
class Options:
    """What can be set."""

    data: str = "digits"
    """Images: digits, npz:PATH or folder:PATH, with classes that are trained on."""
    rows: int = 6000
    """Training images at most."""
    steps: int = 1200
    """Optimizer steps of every arm, of 100 images."""

    def __post_init__(self) -> None:
        check_positive("livne2025", rows=self.rows, steps=self.steps)


@dataclass(frozen=True)
class Quick(Options):
    """A look in seconds."""

    rows: int = 100
    steps: int = 20


CLAIMS = (
    Claim("cMIM's codes classify better than MIM's.", "linear_cmim", "linear_mim", percent=True),
    Claim("cMIM's codes classify better than those of InfoNCE on two noisy views.",
          "linear_cmim", "linear_infonce", percent=True),
    Claim("cMIM reconstructs as well as MIM, within 5%.", "saved_by_cmim", 0.0, at_least=-0.05, percent=True),
    Claim("At temperature 1 it parts codes: their mean cosine is lower.", "cosine_mim", "cosine_cmim_warm"),
    Claim("The decoder's last hidden layer classifies better than the codes.",
          "linear_hidden_cmim", "linear_cmim", percent=True),
    Claim("MIM's codes classify 10 points better than a VAE's.",
          "linear_mim", "linear_vae", at_least=0.1, percent=True, source="ours"),
    Claim("With the term times 32, codes classify better than MIM's.",
          "linear_cmim_heavy", "linear_mim", percent=True, source="ours"),
)  # fmt: skip


def measure(options: Options, seed: int) -> dict[str, float]:
    """Accuracy on codes and hidden layer, error of reconstruction and mean cosine of every arm."""
    data, rng = load_seen(options.data), np.random.default_rng(seed)
    train, test = some_rows(data, rng, train=options.rows, test=2000)
    x, test_x = train.x.flatten(1), test.x.flatten(1)
    torch.manual_seed(seed)
    pixels = x.shape[1]
    start = nn.ModuleDict({
        "encoder": nn.Sequential(nn.Linear(pixels, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(),
                                 nn.Linear(128, 2 * WIDTH)),
        "hidden": nn.Sequential(nn.Linear(WIDTH, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()),
        "pixels": nn.Linear(128, pixels),
    })  # fmt: skip
    found: dict[str, float] = {}
    for name in ARMS:
        torch.manual_seed(seed)
        net = deepcopy(start)
        adam = torch.optim.Adam(net.parameters(), lr=1e-3)
        descend(adam, (cost(net, x[rows], name) for rows in torch.randint(len(x), (options.steps, 100))))
        with torch.no_grad():
            codes, test_codes = (net["encoder"](part).chunk(2, 1)[0] for part in (x, test_x))
            hidden, test_hidden = net["hidden"](codes), net["hidden"](test_codes)
            seen = net["pixels"](test_hidden).sigmoid()
        found |= {
            f"linear_{name}": linear_probe_accuracy(codes, train.y, test_codes, test.y),
            f"linear_hidden_{name}": linear_probe_accuracy(hidden, train.y, test_hidden, test.y),
            f"mse_{name}": float((seen - test_x).square().mean()),
            f"cosine_{name}": float(anisotropy(test_codes)),
        }
    return found | {"saved_by_cmim": 1 - found["mse_cmim"] / found["mse_mim"]}


def cost(net: nn.ModuleDict, x: Tensor, arm: str) -> Tensor:
    """Of a batch, in nats for each image: summed over pixels and over the code."""
    kind, weight, temperature = ARMS[arm]
    if kind == "infonce":
        ids = torch.arange(len(x))
        views = [x * (torch.rand_like(x) > 0.15) + 0.1 * torch.randn_like(x) for _ in range(2)]
        first, second = (net["encoder"](view).chunk(2, 1)[0] for view in views)
        return nt_xent_loss(first, ids, second, ids, temperature=temperature)
    mean, log_std = net["encoder"](x).chunk(2, 1)
    log_std = log_std.clamp(min=LEAST)
    code = mean + log_std.exp() * torch.randn_like(mean)
    seen = net["pixels"](net["hidden"](code))
    error = binary_cross_entropy_with_logits(seen, x, reduction="none").sum(1)
    total = (error + latent_cost(code, mean, log_std, kind)).mean()
    return total + weight * self_contrast_loss(code, temperature=temperature)


def latent_cost(code: Tensor, mean: Tensor, log_std: Tensor, kind: str) -> Tensor:
    """What codes (n, d) drawn from normals cost: MIM rewards a high density, a VAE penalizes it."""
    log_q = -(((code - mean) / log_std.exp()).square() / 2 + log_std + log(2 * pi) / 2).sum(1)
    log_prior = -(code.square() / 2 + log(2 * pi) / 2).sum(1)
    return log_q - log_prior if kind == "vae" else -(log_q + log_prior) / 2
