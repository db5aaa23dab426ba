"""How long do samplers take with many classes?  10^6 rows, 10^5 classes, batches of 32 classes by 4 rows.

Run     python bench/samplers.py > bench/results/samplers.txt
Target  construction 0.15 s, first batch 1 ms, an epoch 0.03 s
Beside  one torch.randperm of the rows (the floor), and MPerClassSampler of pytorch-metric-learning
        where installed; its epoch is extrapolated from 16 batches, its first batch from the 781 that
        it draws (by default) before it gives any
"""

from __future__ import annotations

from importlib.metadata import version

import torch

from mimetric.data.samplers import ClassBalancedSampler, class_balanced_batches, random_batches
from timing import medians

ROWS, CLASSES, BATCH, PER_CLASS = 10**6, 10**5, 128, 4
EPOCH = ROWS // BATCH


def ours(labels: torch.Tensor) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    sampler = ClassBalancedSampler(labels, batch_size=BATCH, per_class=PER_CLASS)
    return medians(
        {
            "floor": lambda: torch.randperm(ROWS, generator=generator),
            "construct": lambda: ClassBalancedSampler(labels, batch_size=BATCH, per_class=PER_CLASS),
            "first": lambda: next(iter(sampler)),
            "epoch, lists": lambda: sum(1 for _ in sampler),
            "construct + epoch, tensor": lambda: class_balanced_batches(
                labels, batch_size=BATCH, per_class=PER_CLASS, num_batches=EPOCH, generator=generator
            ),
            "random": lambda: random_batches(ROWS, batch_size=BATCH, num_batches=EPOCH, generator=generator),
        }
    )


def theirs(labels: torch.Tensor) -> dict[str, float] | None:
    try:
        from pytorch_metric_learning.samplers import MPerClassSampler
    except ModuleNotFoundError:
        return None

    def make(length: int) -> MPerClassSampler:
        return MPerClassSampler(labels, PER_CLASS, batch_size=BATCH, length_before_new_iter=length)

    sampler = make(16 * BATCH)
    found = medians({"construct": lambda: make(16 * BATCH), "16": lambda: list(sampler)})
    batch = found["16"] / 16
    return {"construct": found["construct"], "first": 100_000 // BATCH * batch, "epoch": EPOCH * batch}


def main() -> None:
    torch.set_num_threads(1)
    labels = torch.randint(CLASSES, (ROWS,), generator=torch.Generator().manual_seed(0))
    mine, pml = ours(labels), theirs(labels)
    epoch = mine["construct + epoch, tensor"] - mine["construct"]
    print(f"{ROWS:,} rows, {CLASSES:,} classes, batches of {BATCH} with {PER_CLASS} a class; one thread")
    print(f"an epoch is {EPOCH:,} batches; torch {torch.__version__}; milliseconds\n")
    print(f"{'':34}{'construct':>10}{'first batch':>13}{'epoch':>12}")
    line(f"{'floor: torch.randperm(rows)':34}", None, None, mine["floor"])
    line(f"{'random_batches':34}", None, None, mine["random"])
    line(f"{'class_balanced_batches (tensor)':34}", mine["construct"], None, epoch)
    line(f"{'ClassBalancedSampler (lists)':34}", mine["construct"], mine["first"], mine["epoch, lists"])
    if pml:
        name = f"pytorch-metric-learning {version('pytorch-metric-learning')}"
        line(f"{name:34}", pml["construct"], pml["first"], pml["epoch"])
        ratios = (pml["construct"] / mine["construct"], pml["first"] / mine["first"])
        print(f"{'its ratio to ClassBalancedSampler':34}{ratios[0]:9.0f}x{ratios[1]:12.0f}x", end="")
        print(f"{pml['epoch'] / mine['epoch, lists']:11.0f}x")


def line(name: str, *seconds: float | None) -> None:
    cells = ["" if value is None else f"{value * 1e3:.1f}" for value in seconds]
    print(f"{name}{cells[0]:>10}{cells[1]:>13}{cells[2]:>12}")


if __name__ == "__main__":
    main()
