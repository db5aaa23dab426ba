"""Peak memory of value and gradient, beside what the pair engine promises.

    python bench/engine_memory.py [--n 1024 4096 16384 32768] [--objectives ...] [--quick] [--json FILE]

The promise is at most 1.5 times (the blocks held + 4 n d floats), beside what torch and the rows themselves take.
The peak is the resident peak above what was resident before the step, a fresh process for each point.
"""

from __future__ import annotations

from typing import Any

import torch

from mimetric import named
from mimetric.core.class_sums import ClassSums
from peaks import Step, peak
from report import arguments, report

WIDTH, PER_CLASS = 128, 4
OBJECTIVES = (
    "contrastive", "multi-similarity", "multi-similarity:mining=multi-similarity", "supcon", "triplet",
    "nt-xent", "snca", "batch-hard-triplet", "semi-hard-triplet", "squared-contrastive",
    "spce", "cross-entropy", "normalized-softmax", "center", "supcon:similarity=negative-euclidean",
)  # fmt: skip
FEW = ("contrastive", "supcon", "triplet", "cross-entropy")


def problem_of(name: str, n: int) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """An objective with n rows and their labels."""
    y = torch.arange(n // PER_CLASS).repeat_interleave(PER_CLASS)
    objective = named.create(name, width=WIDTH, num_classes=n // PER_CLASS)
    return objective, torch.randn(n, WIDTH, requires_grad=True), y


def step(objective: str, n: int) -> Step:
    loss, x, y = problem_of(objective, n)
    return lambda: loss(x, y).backward()


def promised(name: str, n: int) -> tuple[float, float]:
    """MiB of the blocks held, and of 4 n d floats."""
    objective, x, y = problem_of(name, n)
    described = objective.function.__wrapped__(x, y, *objective.class_weights(), **objective.options)
    if isinstance(described, ClassSums):  # on class weights: no more than the pair engine would take
        described = described.general()
    problem, _, others = described.problem((1.0, 1.0))
    columns = n if others is None else len(others)
    blocks = problem.blocks(n, columns)[0].stop * columns * problem.blocks_held
    return 4 * blocks / 2**20, 4 * 4 * n * WIDTH / 2**20


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--n", type=int, nargs="+", default=[1024, 4096, 16384, 32768])
    parser.add_argument("--objectives", nargs="+", default=list(OBJECTIVES))
    options = parser.parse_args()
    if options.quick:
        options.n, options.objectives = [1024, 4096], list(FEW)
    torch.set_num_threads(options.threads)
    with report(options) as rows:
        print(
            f"{options.threads} threads; MiB above the rows, d = {WIDTH}, float32; promise = 1.5 (blocks + 4nd)"
        )
        print(f"{'objective':45} {'n':>6} {'of promise':>10} {'peak':>7} {'blocks':>7} {'4nd':>6}")
        for name in options.objectives:
            for n in options.n:
                taken = peak(step, {"objective": name, "n": n}) / 2**20
                blocks, floats = promised(name, n)
                share = taken / (1.5 * (blocks + floats))
                rows.append(
                    {
                        "objective": name, "n": n, "of_promise": share, "peak_mib": taken, "blocks_mib": blocks,
                        "floats_mib": floats,
                    }
                )  # fmt: skip
                print(f"{name:45} {n:6} {share:10.2f} {taken:7.1f} {blocks:7.1f} {floats:6.1f}", flush=True)


if __name__ == "__main__":
    main()
