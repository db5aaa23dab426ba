"""Two processes on one machine: what a step exchanges, counted beside the formula of docs/scale.md, and what it takes.

    python bench/processes.py [--rows 1024 4096] [--classes 100000] > bench/results/processes.txt   (--quick: less)

Loss and gradient of rows of d = 128 in float32, one thread in each process, gloo on the loopback device.  Milliseconds
are the least of a few steps: of processor time of one process, which other work on the machine stretches least, and by
the clock.  Bytes are what a process receives where rings send: all of the others' rows and labels, and 2 (w - 1) / w of
what is added up, such as the gradient of all rows.  Lifted structure also sends near and far of each row.  A softmax
whose class weights are cut adds up four numbers more of each row: its similarity to its class, whether that is here, a
maximum and a sum.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.multiprocessing import SimpleQueue

from mimetric import losses
from mimetric.core.processes import gathered, sharing, world_size
from report import Row, arguments, report

WIDTH, TIMES = 128, 3
MEMBERS = 4  # rows of a class in a batch
CLASS_ROWS = 1024  # of the softmax over many classes
PAIRS = {
    "SupCon": losses.SupConLoss,
    "contrastive": losses.ContrastiveLoss,
    "lifted structure": losses.LiftedStructureLoss,
}
Step = Callable[[], object]


def rows_exchanged(rows: int, world: int, numbers: int = WIDTH) -> float:
    """Rows of the others, their labels, and the gradient of all."""
    own = rows // world
    return (rows - own) * (4 * numbers + 8) + added(4 * rows * numbers, world)


def added(size: float, world: int) -> float:
    """What a process receives of numbers that are added up over all."""
    return 2 * (world - 1) / world * size


@contextmanager
def counted() -> Iterator[list[float]]:
    """Bytes that each exchange inside brings to a process."""
    received: list[float] = []
    gather, reduce, world = dist.all_gather, dist.all_reduce, world_size()

    def all_gather(parts: list[torch.Tensor], sent: torch.Tensor) -> object:
        received.append((world - 1) * sent.nbytes)
        return gather(parts, sent)

    def all_reduce(numbers: torch.Tensor, *how: object) -> object:
        received.append(added(numbers.nbytes, world))
        return reduce(numbers, *how)

    dist.all_gather, dist.all_reduce = all_gather, all_reduce
    try:
        yield received
    finally:
        dist.all_gather, dist.all_reduce = gather, reduce


def least(step: Step) -> tuple[float, float]:
    """Milliseconds of processor time, and by the clock, after one step that does not count."""
    step()
    taken = []
    for _ in range(TIMES):
        if world_size() > 1:
            dist.barrier()
        start = time.process_time(), time.perf_counter()
        step()
        taken.append((time.process_time() - start[0], time.perf_counter() - start[1]))
    cpu, clock = (1e3 * min(column) for column in zip(*taken))
    return cpu, clock


def batch(rows: int, rank: int, world: int) -> tuple[torch.Tensor, torch.Tensor]:
    own = rows // world
    x = torch.randn(own, WIDTH, generator=torch.Generator().manual_seed(rank), requires_grad=True)
    return x, (torch.arange(own) + rank * own) // MEMBERS


def pair_step(name: str, rows: int, rank: int, world: int, divided: bool = True) -> Step:
    x, y = batch(rows, rank, world)
    objective = PAIRS[name]()

    def step() -> None:
        x.grad = None
        z, labels = gathered(x, y)
        with sharing() if divided else nullcontext():
            objective(z, labels).backward()

    return step


def class_step(classes: int, rows: int, rank: int, world: int) -> Step:
    x, y = batch(rows, rank, world)
    mine = losses.own_classes(classes, rank, world)
    objective = losses.CutClasses(losses.ArcFaceLoss(WIDTH, len(mine)), mine, classes)

    def step() -> None:
        x.grad = objective.objective.weight.grad = None
        objective(*gathered(x, y)).backward()

    return step


def exchange_alone(rows: int, rank: int, world: int) -> Step:
    x, y = batch(rows, rank, world)

    def step() -> None:
        x.grad = None
        gathered(x, y)[0].sum().backward()

    return step


def work(rank: int, world: int, meeting: str, told: SimpleQueue[Row], rows: list[int], classes: int) -> None:
    """What one of `world` processes does; the first prints and tells its rows."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=world)

    def tell(what: str, step: Step, count: int, formula: float = 0.0) -> None:
        with counted() if world > 1 else nullcontext([]) as received:
            step()
        cpu, clock = least(step)
        row: Row = {"processes": world, "rows": count, "what": what, "cpu_ms": cpu, "clock_ms": clock}
        line = f"  {what:44}{cpu:9.1f}{clock:9.1f}"
        if world > 1:
            row |= {"bytes": sum(received), "formula": formula}
            line += f"{row['bytes']:14,.0f}{formula:14,.0f}"
        if rank == 0:
            told.put(row)
            print(line, flush=True)

    several = world > 1
    for count in rows:
        if rank == 0:
            print(f"\nprocesses: {world}, rows: {count:,}", flush=True)
        received = rows_exchanged(count, world)
        if several:
            tell("rows and their gradient alone", exchange_alone(count, rank, world), count, received)
        for name in PAIRS:
            coupled = 1 + MEMBERS if name == "lifted structure" and several else 0
            exchanged = rows_exchanged(count, world, WIDTH + coupled)
            tell(name, pair_step(name, count, rank, world), count, exchanged)
            if several:
                tell(f"{name}, not divided", pair_step(name, count, rank, world, False), count, received)
    if rank == 0:
        print(f"\nprocesses: {world}, rows: {CLASS_ROWS:,}, classes: {classes:,}", flush=True)
    received = rows_exchanged(CLASS_ROWS, world) + added(4 * CLASS_ROWS * 4, world)
    tell(f"ArcFace, {classes:,} classes", class_step(classes, CLASS_ROWS, rank, world), CLASS_ROWS, received)
    if several:
        dist.destroy_process_group()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--rows", type=int, nargs="+", help="of all processes together: 1024 4096; 1024 with --quick"
    )
    parser.add_argument("--classes", type=int, help="100,000, or 10,000 with --quick")
    options = parser.parse_args()
    counts = options.rows or ([1024] if options.quick else [1024, 4096])
    classes = options.classes or (10_000 if options.quick else 100_000)
    told: SimpleQueue[Row] = mp.get_context("spawn").SimpleQueue()
    with report(options) as rows, tempfile.TemporaryDirectory() as folder:
        print(f"d = {WIDTH}, float32")
        print(f"  {'loss and gradient':44}{'cpu, ms':>9}{'clock':>9}{'bytes':>14}{'formula':>14}", flush=True)
        for world in (1, 2):
            mp.spawn(work, (world, str(Path(folder) / f"meeting-{world}"), told, counts, classes), world)
            while not told.empty():
                rows.append(told.get())


if __name__ == "__main__":
    main()
