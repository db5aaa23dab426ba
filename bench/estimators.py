"""What the estimates of I(Z;Y) find where it is known, and what they cost.

K classes of equal size, each a normal of unit variance around a center of its own; the centers are drawn once,
at random, at about 3 from the middle, so that classes overlap in any number of dimensions.  The truth is log K
less the mean entropy of the exact posterior over 200,000 rows.  Estimates are of n rows: mean and standard
deviation over 10 draws.

Run: python bench/estimators.py > bench/results/estimators.txt
"""

from __future__ import annotations

import time
from math import log
from statistics import fmean, stdev

import torch

from mimetric.estimators import (
    conditional_mean_nn_entropy,
    mean_nn_entropy,
    probe_information,
    ross_information,
)

ESTIMATES = {
    "probe": probe_information,
    "Ross k=3": ross_information,
    "MeanNN difference": lambda z, y: mean_nn_entropy(z) - conditional_mean_nn_entropy(z, y),
}
TASKS = [(d, classes, n) for d in (2, 16, 64) for classes, n in ((10, 1000), (42, 1008), (42, 4032))]
DRAWS = 10


def drawn(centers: torch.Tensor, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (n, d) and labels (n,)."""
    y = torch.arange(n) % len(centers)
    return centers[y] + torch.randn(n, centers.shape[1], generator=generator), y


def truth(centers: torch.Tensor, generator: torch.Generator) -> float:
    """I(Z;Y) in nats, to about 0.003."""
    z, y = drawn(centers, 200_000, generator)
    log_posterior = (-torch.cdist(z, centers).square() / 2).log_softmax(1)
    return log(len(centers)) + log_posterior.gather(1, y[:, None]).mean().item()


def main() -> None:
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; nats, mean +- deviation of {DRAWS} draws"
    )
    names = "".join(f"{name:>24}" for name in ESTIMATES)
    print(f"{'d':>3} {'classes':>8} {'rows':>6} {'truth':>7}{names}{'seconds of each':>26}")
    for d, classes, n in TASKS:
        generator = torch.Generator().manual_seed(0)
        centers = 3 / d**0.5 * torch.randn(classes, d, generator=generator)
        found: dict[str, list[float]] = {name: [] for name in ESTIMATES}
        spent: dict[str, list[float]] = {name: [] for name in ESTIMATES}
        for _ in range(DRAWS):
            z, y = drawn(centers, n, generator)
            for name, estimate in ESTIMATES.items():
                began = time.perf_counter()
                found[name].append(estimate(z, y).item())
                spent[name].append(time.perf_counter() - began)
        cells = "".join(f"{fmean(values):>16.2f} +- {stdev(values):.2f}" for values in found.values())
        seconds = "".join(f"{min(values):>8.3f}" for values in spent.values())
        print(f"{d:>3} {classes:>8} {n:>6} {truth(centers, generator):>7.2f}{cells}  {seconds}", flush=True)


if __name__ == "__main__":
    main()
