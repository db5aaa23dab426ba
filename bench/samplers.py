"""How long do samplers take with many classes?  10^6 rows, 10^5 classes, batches of 32 classes by 4 rows.

Run     python bench/samplers.py > bench/results/samplers.txt      (--quick: neither 10^7 rows nor the peer's hierarchy)
Target  beside MPerClassSampler of pytorch-metric-learning: construction 0.15 of its time, an epoch 0.001;
        a batch within a pass 1 ms; 10^7 rows set up in about a second
Beside  one torch.randperm of the rows (the floor), and MPerClassSampler and HierarchicalSampler of
        pytorch-metric-learning where installed.  The epoch of the first is extrapolated from 16 batches, its first
        batch from the 781 that it draws (by default) before it gives any.  The second draws all its batches when
        made, and again for each pass: 4 for each pair of 100 super-classes, extrapolated from 5 super-classes
Memory  bytes a row that tensors take, peak over construction and over a pass, beyond the labels
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

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
from report import Row, arguments, report
from timing import medians

ROWS, CLASSES, SUPERS, BATCH, PER_CLASS = 10**6, 10**5, 100, 128, 4
EPOCH = ROWS // BATCH
FLOOR = "floor: torch.randperm(rows)"
# Heads, and digits of milliseconds: a later batch takes microseconds.
COLUMNS = {
    "construct": ("construct", 2), "first": ("first batch", 2), "later": ("a later", 4), "epoch": ("epoch", 2),
    "lists": ("as lists", 2),
}  # fmt: skip
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


def theirs(labels: torch.Tensor, tree: bool) -> dict[str, tuple[float, float, float]]:
    """Seconds to construct, to the first batch and for an epoch of EPOCH batches; the `tree` takes long."""
    try:
        from pytorch_metric_learning.samplers import HierarchicalSampler as Tree
        from pytorch_metric_learning.samplers import MPerClassSampler as Flat
    except ModuleNotFoundError:
        return {}

    def make(length: int) -> Flat:
        return Flat(labels, PER_CLASS, batch_size=BATCH, length_before_new_iter=length)

    sampler = make(16 * BATCH)
    found = medians({"construct": lambda: make(16 * BATCH), "16": lambda: list(sampler)}, rounds=3)
    batch = found["16"] / 16
    rows = {"MPerClassSampler": (found["construct"], 100_000 // BATCH * batch, EPOCH * batch)}
    if not tree:
        return rows
    few = 5
    within = labels % SUPERS < few
    both = torch.stack((labels, labels % SUPERS), 1)[within].numpy()
    hierarchy = Tree(both, BATCH, PER_CLASS)
    found = medians({"all": lambda: Tree(both, BATCH, PER_CLASS), "batches": hierarchy.reshuffle}, rounds=3)
    branch = found["batches"] / len(hierarchy)
    every = 4 * SUPERS * (SUPERS - 1) / 2 * branch
    listed = (found["all"] - found["batches"]) * SUPERS / few
    return rows | {"HierarchicalSampler": (listed + every, every, EPOCH * branch)}


def large(rows: int = 10**7) -> Iterator[Row]:
    """Once each: 10^7 rows of 10^6 classes.  Prints what it yields."""
    labels = torch.randint(rows // 10, (rows,), generator=torch.Generator().manual_seed(0))
    print(
        f"\n{rows:,} rows, {rows // 10:,} classes; seconds of this process, best of 3; bytes a row at the peak\n"
    )
    print(f"{'':34}{'construct':>10}{'begin a pass':>13}{'construct':>12}{'pass':>10}")
    floor = seconds(lambda: torch.randperm(rows))
    print(f"{FLOOR:34}{'':10}{floor:13.2f}")
    yield {"rows": rows, "sampler": FLOOR, "begin_a_pass": floor}
    for name, make in makers(labels).items():
        construct, sampler = seconds(make), make()
        first = seconds(partial(begin, sampler))
        bytes_made, bytes_pass = peak(make) / rows, peak(partial(begin, sampler)) / rows
        print(f"{name:34}{construct:10.2f}{first:13.2f}{bytes_made:12.0f}{bytes_pass:10.0f}", flush=True)
        yield {
            "rows": rows, "sampler": name, "construct": construct, "begin_a_pass": first,
            "bytes_construct": bytes_made, "bytes_pass": bytes_pass,
        }  # fmt: skip
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


def table(labels: torch.Tensor, tree: bool) -> Iterator[Row]:
    """10^6 rows, in seconds; a ratio is ours over the peer's."""
    mine, pml = ours(labels), theirs(labels, tree)
    for name, key in ((FLOOR, "floor"), ("random_batches", "random"), ("class_balanced_batches", "balanced")):
        yield {"sampler": name, "epoch": mine[key]}
    each = {}
    for name, make in makers(labels).items():
        sampler = make()
        each[name] = EPOCH / len(sampler)  # a pass may have more batches
        construct, first, epoch, lists = (
            mine[f"{name} {of}"] for of in ("construct", "first", "tensors", "lists")
        )
        yield {
            "sampler": name, "construct": construct, "first": first, "later": later(sampler),
            "epoch": epoch * each[name], "lists": lists * each[name],
        }  # fmt: skip
    for name, (construct, first, lists) in pml.items():
        yield {
            "sampler": f"pytorch-metric-learning's {name}",
            "construct": construct,
            "first": first,
            "lists": lists,
        }
        yield {
            "sampler": f"  ours of it, {name}",
            "construct_ratio": mine[f"{name} construct"] / construct,
            "first_ratio": mine[f"{name} first"] / first,
            "lists_ratio": mine[f"{name} lists"] * each[name] / lists,
        }


def line(row: Row) -> str:
    """Milliseconds; ratios have an x behind them."""
    cells = (
        f"{1e3 * row[column]:.{digits}f}" if column in row
        else f"{row[f'{column}_ratio']:.6f}x" if f"{column}_ratio" in row
        else ""
        for column, (_, digits) in COLUMNS.items()
    )  # fmt: skip
    return f"{row['sampler']:44}" + "".join(f"{cell:>12}" for cell in cells)


def main() -> None:
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    labels = torch.randint(CLASSES, (ROWS,), generator=torch.Generator().manual_seed(0))
    with report(options) as rows:
        print(f"{ROWS:,} rows, {CLASSES:,} classes, batches of {BATCH} with {PER_CLASS} a class; one thread")
        print(f"an epoch is {EPOCH:,} batches of {BATCH}; milliseconds, medians\n")
        print(f"{'':44}" + "".join(f"{head:>12}" for head, _ in COLUMNS.values()))
        for row in table(labels, not options.quick):
            rows.append({"rows": ROWS} | row)
            print(line(row), flush=True)
        if not options.quick:
            rows.extend(large())


if __name__ == "__main__":
    main()
