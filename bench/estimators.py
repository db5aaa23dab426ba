"""What each estimator of information finds where it is known, and what it costs.

Tasks are of mimetric.estimators.known, where I is exact, and one of normal classes around random centers in all
coordinates, where the truth is the mean over 200,000 rows of the exact posterior, right to about 0.003.  For each task
and number of rows: bias and spread (standard deviation) of the estimates over independent draws, in nats, and the least
seconds that one took.  Estimates that are fitted by steps are drawn less often.

Run: python bench/estimators.py > bench/results/estimators.txt
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from mimetric.estimators import (
    classifier_information,
    conditional_mean_nn_entropy,
    fit_bound,
    gaussian_information,
    gaussian_label_information,
    known,
    ksg_information,
    label_information,
    mean_nn_entropy,
    mixed_information,
    mixture_information,
    probe_information,
    ross_information,
)

Estimate = Callable[[Tensor, Tensor], Tensor]
SLOW_DRAWS = 3
DRAW_TRUTH = 200_000


@dataclass(frozen=True)
class RandomCenters:
    """Classes of equal size, normal of variance 1 around centers that are at about 3 from the middle in any width."""

    width: int
    classes: int

    @property
    def centers(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return 3 / self.width**0.5 * torch.randn(self.classes, self.width, generator=generator)

    @property
    def information(self) -> float:
        z, y = self.sample(DRAW_TRUTH, torch.Generator().manual_seed(1))
        return classifier_information(-torch.cdist(z, self.centers).square() / 2, y).item()

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        y = torch.arange(n) % self.classes
        return self.centers[y] + torch.randn(n, self.width, generator=generator), y


def fitted(bound: Any) -> Estimate:
    return lambda x, y: fit_bound(x, y, bound=bound).value


LABELLED: Mapping[str, Estimate] = {
    "probe": probe_information,
    "Ross, k=3": ross_information,
    "kernel lower": lambda z, y: mixture_information(z, y).lower,
    "kernel upper": lambda z, y: mixture_information(z, y).upper,
    "Gaussian": gaussian_label_information,
    "MeanNN difference": lambda z, y: mean_nn_entropy(z) - conditional_mean_nn_entropy(z, y),
    "mixed, k=3": lambda z, y: mixed_information(z, torch.nn.functional.one_hot(y).double()),
}
PAIRED: Mapping[str, Estimate] = {
    "KSG 1, k=3": ksg_information,
    "KSG 2, k=3": partial(ksg_information, variant=2),
    "mixed, k=3": mixed_information,
    "Gaussian": gaussian_information,
}
FITTED: Mapping[str, Estimate] = {
    name: fitted(name) for name in ("infonce", "nwj", "dv", "js", "smile", "club", "l1out")
}
COUNTED: Mapping[str, Estimate] = {
    name: partial(label_information, correction=name)
    for name in ("none", "miller-madow", "jackknife", "chao-shen", "nsb")
}

FOUR = (-3.0, -1.0, 1.0, 3.0)
TASKS: Sequence[tuple[str, Any, Sequence[Mapping[str, Estimate]]]] = (
    ("5 overlapping uniforms", known.LabelledUniforms(5), [LABELLED]),
    *(
        (f"16 classes in 2 of {2 + noise} dimensions", known.LabelledGaussians(FOUR, width=2, noise=noise), [LABELLED])
        for noise in (0, 14, 62)
    ),
    *(
        (f"{classes} classes in all of {width} dimensions", RandomCenters(width, classes), [LABELLED])
        for width in (2, 16, 64)
        for classes in (10, 42)
    ),
    *(
        (f"normal pairs, {width} + {width} coordinates", known.CorrelatedGaussians.with_information(nats, width=width),
         [PAIRED, FITTED])
        for width, nats in ((1, 1.0), (10, 2.0), (10, 6.0))
    ),
    ("normal pairs, bent and wound", known.Mapped(
        known.CorrelatedGaussians.with_information(1.0, width=2), of_x=known.bimodal, of_y=known.spiral),
     [PAIRED, FITTED]),
    ("Student-t pairs, 3 degrees", known.StudentT(0.8, width=2), [PAIRED, FITTED]),
    ("uniform, and noise of 0.1 added", known.AdditiveUniform(0.1), [PAIRED, FITTED]),
    ("table of 20 x 20, mostly diagonal", known.Table(tuple(
        tuple(0.03 if a == b else 0.4 / 380 for b in range(20)) for a in range(20))), [COUNTED]),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--rows", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--only", default="", help="tasks whose name holds this")
    options = parser.parse_args()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; nats over {options.draws} draws, fitted ones "
        f"over {min(options.draws, SLOW_DRAWS)}"
    )
    print(f"{'task':40}{'rows':>6}{'truth':>7}  {'estimate':18}{'bias':>9}{'spread':>9}{'seconds':>9}")
    for name, task, groups in (one for one in TASKS if options.only in one[0]):
        truth = task.information
        for rows, group in product(options.rows, groups):
            draws = min(options.draws, SLOW_DRAWS) if group is FITTED else options.draws
            for estimate, function in group.items():
                bias, spread, seconds = measured(function, task, rows, draws, truth)
                row = f"{name:40}{rows:>6}{truth:>7.2f}  {estimate:18}{in_nats(bias, '+'):>9}{in_nats(spread):>9}"
                row += f"{seconds:>9.3f}"
                print(row, flush=True)


def in_nats(value: float, sign: str = "") -> str:
    """A few digits, where a bound without a floor fell deep as well."""
    return format(value, f"{sign}.2f" if abs(value) < 1e4 else f"{sign}.0e")


def measured(
    estimate: Estimate, task: Any, rows: int, draws: int, truth: float
) -> tuple[float, float, float]:
    """Bias, spread and seconds of an estimate, every one on the same draws."""
    generator = torch.Generator().manual_seed(2)
    found, seconds = [], []
    for _ in range(draws):
        x, y = task.sample(rows, generator)
        began = time.perf_counter()
        found.append(estimate(x, y).item())
        seconds.append(time.perf_counter() - began)
    return fmean(found) - truth, stdev(found) if draws > 1 else 0.0, min(seconds)


if __name__ == "__main__":
    main()
