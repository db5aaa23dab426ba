"""What each estimator of information finds where it is known, and what it costs.

Tasks are of mimetric.estimators.known, where I is exact, and one of normal classes around random centers in all
coordinates, where the truth is the mean over 200,000 rows of the exact posterior, right to about 0.003.  For each task
and number of rows: bias and spread (standard deviation) of the estimates over independent draws, in nats, and the least
seconds that one took.  Estimates that are fitted by steps are drawn less often.

scikit-learn stands beside where it has the same estimate: its nearest neighbors take one coordinate each.

Run: python bench/estimators.py > bench/results/estimators.txt      (--quick: fewer rows, draws and tasks)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import fmean, stdev
from typing import Any

import torch
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
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
from report import Row, arguments, report

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


def by_sklearn(estimate: Callable[..., Any]) -> Estimate:
    return lambda x, y: torch.as_tensor(
        estimate(x.numpy(), y.numpy().ravel(), n_neighbors=3, random_state=0)[0]
    )


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
# Of one coordinate.
LABELLED_PEER: Mapping[str, Estimate] = {"scikit-learn Ross": by_sklearn(mutual_info_classif)}
PAIRED_PEER: Mapping[str, Estimate] = {"scikit-learn KSG": by_sklearn(mutual_info_regression)}
COUNTED: Mapping[str, Estimate] = {
    name: partial(label_information, correction=name)
    for name in ("none", "miller-madow", "jackknife", "chao-shen", "nsb")
}

FOUR = (-3.0, -1.0, 1.0, 3.0)
TASKS: Sequence[tuple[str, Any, Sequence[Mapping[str, Estimate]]]] = (
    ("5 overlapping uniforms", known.LabelledUniforms(5), [LABELLED, LABELLED_PEER]),
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
         [PAIRED, *[PAIRED_PEER] * (width == 1), FITTED])
        for width, nats in ((1, 1.0), (10, 2.0), (10, 6.0))
    ),
    ("normal pairs, bent and wound", known.Mapped(
        known.CorrelatedGaussians.with_information(1.0, width=2), of_x=known.bimodal, of_y=known.spiral),
     [PAIRED, FITTED]),
    ("Student-t pairs, 3 degrees", known.StudentT(0.8, width=2), [PAIRED, FITTED]),
    ("uniform, and noise of 0.1 added", known.AdditiveUniform(0.1), [PAIRED, PAIRED_PEER, FITTED]),
    ("table of 20 x 20, mostly diagonal", known.Table(tuple(
        tuple(0.03 if a == b else 0.4 / 380 for b in range(20)) for a in range(20))), [COUNTED]),
)  # fmt: skip


QUICK = ("5 overlapping uniforms", "42 classes in all of 16", "normal pairs, 1 + 1", "table of 20 x 20")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--draws", type=int, help="10, or 3 with --quick")
    parser.add_argument("--rows", type=int, nargs="+", help="500 2000, or 500 with --quick")
    parser.add_argument("--only", nargs="+", help="tasks whose name holds one of these")
    options = parser.parse_args()
    draws = options.draws or (3 if options.quick else 10)
    sizes = options.rows or ([500] if options.quick else [500, 2000])
    only = options.only or (QUICK if options.quick else [""])
    with report(options) as found:
        print(
            f"{torch.get_num_threads()} threads; nats over {draws} draws, fitted ones over {min(draws, SLOW_DRAWS)}"
        )
        print(f"{'task':40}{'rows':>6}{'truth':>7}  {'estimate':18}{'bias':>9}{'spread':>9}{'seconds':>9}")
        for task in TASKS:
            if any(word in task[0] for word in only):
                found.extend(bench(*task, sizes, draws))


def bench(
    name: str, task: Any, groups: Sequence[Mapping[str, Estimate]], sizes: Sequence[int], draws: int
) -> Iterator[Row]:
    """Prints what it yields."""
    truth = task.information
    for rows, group in product(sizes, groups):
        times = min(draws, SLOW_DRAWS) if group is FITTED else draws
        for estimate, function in group.items():
            bias, spread, seconds = measured(function, task, rows, times, truth)
            yield {
                "task": name, "rows": rows, "truth": truth, "estimate": estimate,
                "bias": bias, "spread": spread, "seconds": seconds,
            }  # fmt: skip
            line = (
                f"{name:40}{rows:>6}{truth:>7.2f}  {estimate:18}{in_nats(bias, '+'):>9}{in_nats(spread):>9}"
            )
            print(f"{line}{seconds:>9.3f}", flush=True)


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
