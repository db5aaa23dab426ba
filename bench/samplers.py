"""How long do samplers take with many classes?  10^6 rows, 10^5 classes, batches of 32 classes by 4 rows.

Run     python bench/samplers.py > bench/results/samplers.txt
Target  beside MPerClassSampler of pytorch-metric-learning: construction 0.15 of its time, an epoch 0.001;
        a batch within a pass 1 ms; 10^7 rows set up in about a second
Beside  one torch.randperm of the rows (the floor), and MPerClassSampler and HierarchicalSampler of
        pytorch-metric-learning where installed.  The epoch of the first is extrapolated from 16 batches, its first
        batch from the 781 that it draws (by default) before it gives any.  The second draws all its batches when
        made, and again for each pass: 4 for each pair of 100 super-classes, extrapolated from 5 super-classes
Memory  bytes a row that tensors take, peak over construction and over a pass, beyond the labels
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import torch

from mimetric.data.samplers import (
    ClassBalancedSampler,
    HardClassSampler,
    HierarchicalSampler,
    MPerClassSampler,
    PassSampler,
    RandomRowSampler,
    class_balanced_batches,
    random_batches,
)
from timing import medians

ROWS, CLASSES, SUPERS, BATCH, PER_CLASS = 10**6, 10**5, 100, 128, 4
EPOCH = ROWS // BATCH
Make = Callable[[], PassSampler]


def makers(labels: torch.Tensor) -> dict[str, Make]:
    sizes = {"batch_size": BATCH, "per_class": PER_CLASS}
    return {
        "MPerClassSampler": lambda: MPerClassSampler(labels, **sizes),
        "HierarchicalSampler": lambda: HierarchicalSampler(labels, labels % SUPERS, **sizes),
        "ClassBalancedSampler": lambda: ClassBalancedSampler(labels, **sizes),
        "HardClassSampler": lambda: hard(labels),
        "RandomRowSampler": lambda: RandomRowSampler(len(labels), batch_size=BATCH),
    }


def hard(labels: torch.Tensor) -> HardClassSampler:
    """With 8 confused classes for each class, as a search among class means would find."""
    sampler = HardClassSampler(labels, batch_size=BATCH, per_class=PER_CLASS)
    confused = (torch.arange(len(sampler.classes))[:, None] + torch.arange(1, 9)) % len(sampler.classes)
    sampler._confuse(confused)
    return sampler


def begin(sampler: PassSampler) -> torch.Tensor:
    """Set a pass up, and its first batch."""
    return next(sampler.tensors())


def later(sampler: PassSampler, times: int = 100) -> float:
    """Median seconds of a batch within a pass, as a list."""
    batches, seconds = iter(sampler), []
    next(batches)
    for _ in range(times):
        start = time.perf_counter()
        next(batches)
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[times // 2]


def ours(labels: torch.Tensor) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    calls: dict[str, Callable[[], object]] = {
        "floor": lambda: torch.randperm(ROWS, generator=generator),
        "random": lambda: random_batches(ROWS, batch_size=BATCH, num_batches=EPOCH, generator=generator),
        "balanced": lambda: class_balanced_batches(
            labels, batch_size=BATCH, per_class=PER_CLASS, num_batches=EPOCH, generator=generator
        ),
    }
    for name, make in makers(labels).items():
        sampler = make()
        calls[f"{name} construct"] = make
        calls[f"{name} first"] = partial(begin, sampler)
        calls[f"{name} tensors"] = lambda sampler=sampler: sum(1 for _ in sampler.tensors())
        calls[f"{name} lists"] = lambda sampler=sampler: sum(1 for _ in sampler)
    return medians(calls, rounds=5)


def theirs(labels: torch.Tensor) -> dict[str, tuple[float, float, float]]:
    """Seconds to construct, to the first batch and for an epoch of EPOCH batches."""
    try:
        from pytorch_metric_learning.samplers import HierarchicalSampler as Tree
        from pytorch_metric_learning.samplers import MPerClassSampler as Flat
    except ModuleNotFoundError:
        return {}

    def make(length: int) -> Flat:
        return Flat(labels, PER_CLASS, batch_size=BATCH, length_before_new_iter=length)

    few = 5
    within = labels % SUPERS < few
    both = torch.stack((labels, labels % SUPERS), 1)[within].numpy()
    sampler, tree = make(16 * BATCH), Tree(both, BATCH, PER_CLASS)
    found = medians(
        {
            "construct": lambda: make(16 * BATCH),
            "16": lambda: list(sampler),
            "tree": lambda: Tree(both, BATCH, PER_CLASS),
            "tree batches": tree.reshuffle,
        },
        rounds=3,
    )
    batch, branch = found["16"] / 16, found["tree batches"] / len(tree)
    every = 4 * SUPERS * (SUPERS - 1) / 2 * branch
    listed = (found["tree"] - found["tree batches"]) * SUPERS / few
    return {
        "MPerClassSampler": (found["construct"], 100_000 // BATCH * batch, EPOCH * batch),
        "HierarchicalSampler": (listed + every, every, EPOCH * branch),
    }


def large(rows: int = 10**7) -> None:
    """Once each: 10^7 rows of 10^6 classes."""
    labels = torch.randint(rows // 10, (rows,), generator=torch.Generator().manual_seed(0))
    print(
        f"\n{rows:,} rows, {rows // 10:,} classes; seconds of this process, best of 3; bytes a row at the peak\n"
    )
    print(f"{'':34}{'construct':>10}{'begin a pass':>13}{'construct':>12}{'pass':>10}")
    print(f"{'floor: torch.randperm(rows)':34}{'':10}{seconds(lambda: torch.randperm(rows)):13.2f}")
    for name, make in makers(labels).items():
        construct, sampler = seconds(make), make()
        first = seconds(partial(begin, sampler))
        bytes_made, bytes_pass = peak(make) / rows, peak(partial(begin, sampler)) / rows
        print(f"{name:34}{construct:10.2f}{first:13.2f}{bytes_made:12.0f}{bytes_pass:10.0f}")
        del sampler


def seconds(call: Callable[[], object]) -> float:
    """Of processor time, which a loaded machine stretches least."""
    found = []
    for _ in range(3):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return min(found)


def peak(call: Callable[[], object]) -> float:
    """Bytes of tensors that are there at once, beyond those before the call."""
    with torch.profiler.profile(profile_memory=True) as profile:
        call()
    now = most = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def main() -> None:
    torch.set_num_threads(1)
    labels = torch.randint(CLASSES, (ROWS,), generator=torch.Generator().manual_seed(0))
    mine, pml = ours(labels), theirs(labels)
    print(f"{ROWS:,} rows, {CLASSES:,} classes, batches of {BATCH} with {PER_CLASS} a class; one thread")
    print(f"an epoch is {EPOCH:,} batches of {BATCH}; torch {torch.__version__}; milliseconds, medians")
    print(
        f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores: only ratios within this run count\n"
    )
    print(f"{'':34}{'construct':>10}{'first batch':>13}{'a later':>9}{'epoch':>12}{'as lists':>12}")
    line("floor: torch.randperm(rows)", None, None, None, mine["floor"])
    line("random_batches", None, None, None, mine["random"])
    line("class_balanced_batches", None, None, None, mine["balanced"])
    for name, make in makers(labels).items():
        sampler = make()
        cells = [mine[f"{name} {cell}"] for cell in ("construct", "first", "tensors", "lists")]
        each = EPOCH / len(sampler)  # a pass may have more batches
        line(name, cells[0], cells[1], later(sampler), cells[2] * each, cells[3] * each)
    for name, cells in pml.items():
        line(
            f"pytorch-metric-learning's, {version('pytorch-metric-learning')}",
            cells[0],
            cells[1],
            None,
            None,
            cells[2],
        )
        ratios = [
            mine[f"{name} {cell}"] / other for cell, other in zip(("construct", "first", "lists"), cells)
        ]
        each = EPOCH / len(makers(labels)[name]())
        print(f"{'  ours of it, ' + name:34}{ratios[0]:9.4f}x{ratios[1]:12.5f}x{ratios[2] * each:32.6f}x")
    large()


def line(name: str, *seconds: float | None) -> None:
    digits = (2, 2, 4, 2, 2)  # a later batch takes microseconds
    cells = ["" if value is None else f"{value * 1e3:.{d}f}" for value, d in zip((*seconds, None), digits)]
    print(f"{name:34}{cells[0]:>10}{cells[1]:>13}{cells[2]:>9}{cells[3]:>12}{cells[4]:>12}")


if __name__ == "__main__":
    main()
