"""Neural network classifier as mutual information evaluator: PC-softmax (Qin et al., 2021).

Claim    With the prior of the classes inside its log-sum, softmax estimates I(X;Y) whatever the prior, and classifies
         uneven classes better, each counting alike (arXiv:2106.10471).
Here     Five normals in 1 and in 10 coordinates, from 1/15 to 5/15 of 20,000 pairs, against the exact information.
         Handwritten digits, 8 images of every even class and all of the odd ones; five networks a seed.
Expect   Mean +- standard deviation over seeds 0-2, 2026-11-22.  Width 1: PC-softmax 1.015 +- 0.004 nats of 1.022,
         softmax taken for balanced 1.135 +- 0.002; width 10: 1.484 +- 0.003 of 1.487, and 1.600 +- 0.002.  With H(Y) of
         the labels softmax is as good.  On digits 93.1 +- 0.1 % against 89.7 +- 0.2 of softmax; counted as in training
         97.5 and 97.5.  Softmax less the log of its prior, which needs no training, has 93.1 +- 0.2: the gain is
         that of the correction, not of training with it.
Differs  Digits, and a small network from scratch, where the paper has MNIST and birds with a pretrained Inception-v3.
         Correcting plain softmax after training is not in the paper: it is the honest control.
Run      mimetric reproduce qin2021 [--data npz:PATH]
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from math import sqrt

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from mimetric.core.checks import check_positive
from mimetric.data.labelled import LabelledData
from mimetric.data.seen import load_seen
from mimetric.data.subsets import Scaled, scaled_rows
from mimetric.estimators import classifier_information, known, softmax_information
from mimetric.losses import CrossEntropyLoss, LinearClassifier, PCSoftmaxLoss
from mimetric.metrics import class_scores
from mimetric.models.encoders import embed
from mimetric.train.descent import descend
from mimetric.train.recipe import Claim, averaged

CENTERS = (0.0, 2.0, -2.0, 4.0, -4.0)  # of five classes, in every coordinate
SHARES = (1 / 15, 2 / 15, 3 / 15, 4 / 15, 5 / 15)  # of them


@dataclass(frozen=True)
class Options:
    """What can be set."""

    pairs: int = 20_000
    """Gaussian pairs for each estimate; as many again to test on."""
    steps: int = 600
    """Optimizer steps there, of 500 pairs."""
    data: str = "digits"
    """Images: digits, npz:PATH or folder:PATH, with classes that are trained on."""
    rare: int = 8
    """Training images kept of every class with an even number."""
    common: int = 1000
    """Training images kept at most of every other class."""
    image_steps: int = 300
    """Optimizer steps on them, of 64 images."""
    networks: int = 5
    """Networks in the mean of one seed, each on images of its own."""

    def __post_init__(self) -> None:
        check_positive("qin2021", pairs=self.pairs, steps=self.steps, rare=self.rare, common=self.common,
                       image_steps=self.image_steps, networks=self.networks)  # fmt: skip


@dataclass(frozen=True)
class Quick(Options):
    """A look in seconds."""

    pairs: int = 2000
    steps: int = 20
    image_steps: int = 10
    networks: int = 1


CLAIMS = (
    *(claim for width in (1, 10) for claim in (
        Claim(f"At width {width} PC-softmax is at most 0.05 nats below the true information.",
              f"pc_{width}", f"truth_{width}", -0.05),
        Claim(f"At width {width} it is at most 0.05 nats above.", f"truth_{width}", f"pc_{width}", -0.05),
        Claim(f"At width {width} softmax, taken for balanced, is 0.05 nats above.",
              f"softmax_{width}", f"truth_{width}", 0.05, source="ours"),
    )),
    Claim("Where test classes count alike, PC-softmax is 1.5 points more accurate than softmax.",
          "macro_pc", "macro_ce", 0.015, percent=True, source="ours"),
    Claim("Where they count as in training, PC-softmax with its prior put back is within 1 point of softmax.",
          "as_trained_pc", "as_trained_ce", -0.01, percent=True, source="ours"),
    Claim("Where they count alike, it is more accurate than softmax less its prior, which needs no training.",
          "macro_pc", "macro_ce_less_prior", percent=True, source="ours"),
)  # fmt: skip


def measure(options: Options, seed: int) -> dict[str, float]:
    """All numbers of one seed."""
    torch.manual_seed(seed)
    found: dict[str, float] = {}
    for width in (1, 10):
        found |= {f"{name}_{width}": value for name, value in gaussians(options, width).items()}
    data = load_seen(options.data, side=4)
    return found | averaged([images(data, options, 1000 * seed + i) for i in range(options.networks)])


def gaussians(options: Options, width: int) -> dict[str, float]:
    """Estimates of the information between uneven labels and normal rows around their centers, and the truth."""
    train, (test_x, test_y) = (labelled_gaussians(options.pairs, width) for _ in range(2))
    start = nn.Sequential(nn.Linear(width, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(),
                          nn.Linear(100, 100), nn.ReLU())  # fmt: skip
    learn = partial(scores, start, train, test_x, partial(torch.optim.Adam, lr=1e-3), (options.steps, 500))
    plain = learn(CrossEntropyLoss(100, len(CENTERS)))
    corrected = learn(LinearClassifier(PCSoftmaxLoss(prior=SHARES), 100, len(CENTERS)))
    # Only the direction of (1, ..., 1) tells classes apart; along it centers are sqrt(width) times as far.
    along = tuple(sqrt(width) * center for center in CENTERS)
    return {
        "truth": known.LabelledGaussians(along, SHARES).information,
        "pc": softmax_information(corrected, test_y, SHARES).item(),
        "softmax": softmax_information(plain, test_y).item(),
        "softmax_with_entropy": classifier_information(plain, test_y).item(),
    }


def labelled_gaussians(n: int, width: int) -> Scaled:
    """Rows (n, width) and labels (n,) in the shares of the classes."""
    y = torch.multinomial(torch.tensor(SHARES), n, replacement=True)
    return Scaled(torch.tensor(CENTERS)[y][:, None] + torch.randn(n, width), y)


def images(data: LabelledData, options: Options, seed: int) -> dict[str, float]:
    """Accuracy, each class counting alike or as in training, of networks trained on uneven classes."""
    torch.manual_seed(seed)
    train = scaled_rows(data, uneven(data, options, np.random.default_rng(seed)))
    test_x, test_y = scaled_rows(data, data.split.test)
    prior = torch.bincount(train.y).double() / len(train.y)
    channels, height, width = test_x.shape[1:]
    start = nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(64 * (height // 4) * (width // 4), 128), nn.ReLU(),
    )  # fmt: skip
    sgd = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
    learn = partial(scores, start, train, test_x, sgd, (options.image_steps, 64))
    plain = learn(CrossEntropyLoss(128, len(prior)))
    corrected = learn(LinearClassifier(PCSoftmaxLoss(prior=prior), 128, len(prior)))
    shift, alike = prior.log().float(), torch.full_like(prior, 1 / len(prior))

    def accuracy(f: Tensor, weights: Tensor) -> float:
        return float(class_scores(f, test_y).recall.double() @ weights)

    return {
        "macro_ce": accuracy(plain, alike), "macro_pc": accuracy(corrected, alike),
        "macro_ce_less_prior": accuracy(plain - shift, alike),
        "as_trained_ce": accuracy(plain, prior), "as_trained_pc": accuracy(corrected + shift, prior),
    }  # fmt: skip


def scores(
    start: nn.Module, train: Scaled, x: Tensor, optimizer: Callable[..., Optimizer], batches: tuple[int, int],
    head: CrossEntropyLoss | LinearClassifier,
) -> Tensor:  # fmt: skip
    """The logits of x after so many steps of a copy of the network, with batches of such a size."""
    net = deepcopy(start)
    made = optimizer([*net.parameters(), *head.parameters()])
    drawn = torch.randint(len(train.y), batches)
    descend(made, (head(net(train.x[rows]), train.y[rows]) for rows in drawn))
    return F.linear(embed(net, x), head.weight, head.bias)


def uneven(data: LabelledData, options: Options, rng: np.random.Generator) -> np.ndarray:
    """Training rows: few of the classes with even numbers, many of the others."""
    train = rng.permutation(data.split.train)
    most = [options.common if c % 2 else options.rare for c in range(len(data.class_names))]
    return np.concatenate([train[data.y[train] == c][:m] for c, m in enumerate(most)])
