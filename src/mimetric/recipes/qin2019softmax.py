"""Softmax is not an artificial trick: an information-theoretic view of softmax (Qin and Kim, 2019).

Claim    The log-softmax of the true class, plus log C, is what outputs tell of a label given the input: training
         raises it, it has bounds for random outputs, and its map hides one class in an image of many
         (arXiv:1910.02629).
Here     scikit-learn's digits.  Information: a network 64-64-10 with dropout, 40 epochs over 1,200 rows, and 200 random
         outputs for each held-out row.  Hiding: a small convolutional network on windows of mosaics of 3 x 3 digits;
         in 200 mosaics of held-out digits all zeros are to vanish.  22 seconds of one core for three seeds.
Expect   Mean +- standard deviation over seeds 0-2, 2026-11-22.  Information of held-out outputs rises from
         -0.01 +- 0.01 to 2.12 +- 0.01 of 2.30 nats; with dropout 1.97 +- 0.02, between bounds of 1.29 +- 0.01 and
         2.11 +- 0.01 for every row.  The map hides 100.0 +- 0.0 % of the zeros' ink, leaves 81.0 +- 5.5 % of others';
         CAM of the same area 99.1 +- 1.4 and 79.3 +- 6.0, softmax above one half 99.8 +- 0.3 and 93.8 +- 1.6.
         So information hides a class, at its natural threshold of 0 too much of the others; three seeds do not tell
         whether below 30 %, nor tell it from CAM, whose threshold is taken from it.
Differs  The paper's experiments could not be read: its abstract and figure captions state the claims; bounds, networks,
         sizes and the threshold are ours.  The number is a log-ratio under a uniform reference of labels, not
         Shannon's conditional information: outputs are a function of the input.
Run      mimetric reproduce qin2019softmax
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import NamedTuple

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from mimetric.core.checks import check_positive
from mimetric.data.samplers import Batches, class_balanced_batches, random_batches
from mimetric.estimators import sampled_information, softmax_information
from mimetric.explain import information_map
from mimetric.train.descent import descend
from mimetric.train.recipe import Claim

CLASSES, TRAIN = 10, 1200
HIDDEN = 0  # the digit to hide, as in the paper's figure
EDGE = (7, 7, 7, 7)  # around a mosaic, so that windows reach over its border


@dataclass(frozen=True)
class Options:
    """What can be set."""

    steps: int = 750
    """Optimizer steps of the network with dropout, of 64 rows."""
    draws: int = 200
    """Random outputs for each held-out row."""
    mosaic_steps: int = 2000
    """Optimizer steps of the convolutional network, of 64 windows."""

    def __post_init__(self) -> None:
        check_positive("qin2019softmax", steps=self.steps, draws=self.draws, mosaic_steps=self.mosaic_steps)


@dataclass(frozen=True)
class Quick(Options):
    """A look in seconds."""

    steps: int = 60
    draws: int = 20
    mosaic_steps: int = 60


CLAIMS = (
    Claim("Training raises the information of held-out outputs from about 0 to 1.95 nats of log 10 = 2.30.",
          "information_last", "information_first", at_least=1.85),
    Claim("The mean over random outputs lies between the bounds, for every row.", "rows_between_bounds", 1.0),
    Claim("The information map hides 70% of the ink of all zeros.", "hidden_of_zeros", 0.7, percent=True),
    Claim("It leaves 70% of the ink of other digits.", "left_of_others", 0.7, percent=True),
    Claim("It hides more of the zeros than a class activation map of the same area.",
          "hidden_of_zeros", "hidden_of_zeros_by_cam", percent=True, source="ours"),
)  # fmt: skip


class Digits(NamedTuple):
    """Images (n, 1, 8, 8) in [0, 1] and their digits."""

    x: Tensor
    y: Tensor


def measure(options: Options, seed: int) -> dict[str, float]:
    """All numbers of one seed."""
    data = load_digits()
    x, y = torch.from_numpy(data.images).float()[:, None] / 16, torch.from_numpy(data.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    train, held = (Digits(x[rows], y[rows]) for rows in torch.split(order, [TRAIN, len(x) - TRAIN]))
    return information(train, held, options, seed) | hiding(train, held, options, seed)


def information(train: Digits, held: Digits, options: Options, seed: int) -> dict[str, float]:
    """The conditional view before and after training, and its bounds for outputs made random by dropout."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, CLASSES))
    with torch.no_grad():
        first = softmax_information(net.eval()(held.x), held.y)
    random = torch.Generator().manual_seed(0)
    learn(
        net.train(),
        train,
        random_batches(train.y, batch_size=64, num_batches=options.steps, generator=random),
    )
    with torch.no_grad():
        last = softmax_information(net.eval()(held.x), held.y)
        net.train()
        found = sampled_information(torch.stack([net(held.x) for _ in range(options.draws)]), held.y)
    between = (found.lower <= found.mean + 1e-9) & (found.mean <= found.upper + 1e-9)
    return {
        "information_first": float(first), "information_last": float(last),
        "rows_between_bounds": float(between.double().mean()),
        "random_lower": float(found.lower.mean()), "random_mean": float(found.mean.mean()),
        "random_upper": float(found.upper.mean()),
    }  # fmt: skip


def hiding(train: Digits, held: Digits, options: Options, seed: int) -> dict[str, float]:
    """The share of ink that goes where a window holds information on zeros, in mosaics of held-out digits."""
    torch.manual_seed(seed)
    net = nn.Sequential(  # one output for each window of 8 x 8; an eleventh class is background
        nn.Conv2d(1, 32, 5), nn.ReLU(), nn.Conv2d(32, 64, 4), nn.ReLU(), nn.Conv2d(64, CLASSES + 1, 1),
    )  # fmt: skip
    cut, random = windows(*mosaics(train, 300)), torch.Generator().manual_seed(0)
    learn(net, cut, class_balanced_batches(cut.y, batch_size=6 * (CLASSES + 1), per_class=6,
                                           num_batches=options.mosaic_steps, generator=random))  # fmt: skip
    images, digits = mosaics(held, 200)
    with torch.no_grad():
        maps = net(F.pad(images, EDGE))
    scores = information_map(maps, torch.full((len(maps),), HIDDEN))
    hidden, by_half = over_pixels(scores) > 0, over_pixels(scores) > log((CLASSES + 1) / 2)
    cam = over_pixels(maps[:, HIDDEN])
    by_cam = cam >= cam.flatten().sort(descending=True).values[hidden.sum()]  # as many pixels
    ink = images[:, 0]
    zeros, others = ink * (digits == HIDDEN), ink * (digits != HIDDEN)
    return {
        "hidden_of_zeros": share(zeros, hidden), "left_of_others": 1 - share(others, hidden),
        "hidden_of_zeros_by_cam": share(zeros, by_cam), "left_of_others_by_cam": 1 - share(others, by_cam),
        "hidden_of_zeros_by_half": share(zeros, by_half), "left_of_others_by_half": 1 - share(others, by_half),
        "hidden_area": float(hidden.double().mean()),
    }  # fmt: skip


def learn(net: nn.Module, data: Digits, batches: Batches) -> None:
    """Cross-entropy and Adam at 1e-3."""
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    descend(adam, (F.cross_entropy(net(data.x[rows]).flatten(1), data.y[rows]) for rows in batches))


def mosaics(data: Digits, count: int) -> tuple[Tensor, Tensor]:
    """Images (count, 1, 24, 24) of nine digits each, drawn at random, and whose pixel is whose (count, 24, 24)."""
    drawn = torch.randint(len(data.x), (count, 3, 3))
    images = data.x[drawn, 0].permute(0, 1, 3, 2, 4).reshape(count, 1, 24, 24)
    return images, data.y[drawn].repeat_interleave(8, 1).repeat_interleave(8, 2)


def windows(images: Tensor, digits: Tensor) -> Digits:
    """Windows of 8 x 8: of a digit where at most 1 pixel off it, background where 3 or more; those between are left."""
    x = F.pad(images, EDGE).unfold(2, 8, 1).unfold(3, 8, 1)[:, 0]  # (count, 31, 31, 8, 8)
    place = torch.arange(31) - 7  # of the first pixel in the mosaic
    nearest = (place / 8).round().clamp(0, 2).long() * 8
    off = (place - nearest).abs()
    off = torch.maximum(off[:, None], off)
    y = digits[:, nearest][:, :, nearest].where(off <= 1, CLASSES)
    kept = ((off <= 1) | (off >= 3)).expand(y.shape)
    return Digits(x[kept][:, None], y[kept])


def over_pixels(scores: Tensor) -> Tensor:
    """(n, 24, 24) of each pixel the highest of all windows that it lies in, from scores (n, 31, 31)."""
    return F.max_pool2d(scores[:, None], 8, stride=1)[:, 0]


def share(ink: Tensor, mask: Tensor) -> float:
    """How much of the ink the mask covers."""
    return float((ink * mask).sum() / ink.sum())
