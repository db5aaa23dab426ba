"""Softmax over many classes: seconds and peak memory of a step, ours beside pytorch-metric-learning and plain torch.

    python bench/classes.py [--classes 1000 10000 100000] > bench/results/classes.txt
    python bench/classes.py --classes 1000000 --rounds 1 --only arcface >> bench/results/classes.txt

256 rows, d = 128, float32; forward + backward.  Times are medians of paired calls over the floor, three products of
rows and class weights.  Memory is the resident peak above what is resident before the call, a fresh process for each,
and as much as all class weights take is 1.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from pytorch_metric_learning import losses as peer
from torch import nn

from engine_memory import resident
from mimetric import losses
from timing import medians

ROWS, WIDTH = 256, 128
Step = Callable[[], object]


def plain(num_classes: int) -> nn.Module:
    """What one would write in torch."""
    classifier = nn.Linear(WIDTH, num_classes)

    class Plain(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(classifier(x), y)

    return Plain()


MODULES: dict[str, Callable[[int], nn.Module]] = {
    "cross-entropy": lambda c: losses.CrossEntropyLoss(WIDTH, c),
    "torch cross_entropy": plain,
    "normalized-softmax": lambda c: losses.NormalizedSoftmaxLoss(WIDTH, c),
    "PML NormalizedSoftmaxLoss": lambda c: peer.NormalizedSoftmaxLoss(c, WIDTH),
    "arcface": lambda c: losses.ArcFaceLoss(WIDTH, c),
    "PML ArcFaceLoss": lambda c: peer.ArcFaceLoss(c, WIDTH),
    "arcface, a tenth of the classes": lambda c: losses.SampledClasses(
        losses.ArcFaceLoss(WIDTH, c), share=0.1
    ),
    "arcface, a tenth, sparse gradient": lambda c: losses.SampledClasses(
        losses.ArcFaceLoss(WIDTH, c), share=0.1, sparse=True
    ),
}


def step(name: str, num_classes: int) -> Step:
    torch.manual_seed(0)
    module, x = MODULES[name](num_classes), torch.randn(ROWS, WIDTH)
    y = torch.randint(num_classes, (ROWS,))

    def run() -> None:
        for parameter in module.parameters():
            parameter.grad = None
        module(x.detach().requires_grad_(), y).backward()

    return run


def floor(num_classes: int) -> Step:
    """The three products, in blocks of columns that stay near the core."""
    x, weight = torch.randn(ROWS, WIDTH), torch.randn(num_classes, WIDTH)
    to_x, to_weight = torch.zeros(ROWS, WIDTH), torch.empty(num_classes, WIDTH)

    def products() -> None:
        for start in range(0, num_classes, 2048):
            some = weight[start : start + 2048]
            sim = x @ some.T
            to_x.addmm_(sim, some)
            torch.mm(sim.T, x, out=to_weight[start : start + 2048])

    return products


def peak(name: str, num_classes: int) -> float:
    """Bytes, by a process of its own."""
    command = [sys.executable, __file__, "--point", name, str(num_classes)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def one_peak(name: str, num_classes: int) -> None:
    run = step(name, num_classes)
    step(name, 300)()  # what torch takes the first time
    with open("/proc/self/clear_refs", "w") as marks:
        marks.write("5")
    before = resident("VmRSS")
    run()
    print(resident("VmHWM") - before)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--classes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each call at each size")
    parser.add_argument("--rounds", type=int, default=30, help="at most, after one that does not count")
    parser.add_argument(
        "--only", default="", help="what is measured beside the floor: names that hold this word"
    )
    parser.add_argument("--point", nargs=2, metavar=("NAME", "CLASSES"), help="one peak, in bytes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.point:
        one_peak(options.point[0], int(options.point[1]))
        return
    print(f"torch {torch.__version__}, {platform.machine()}, 1 thread, {ROWS} rows, d = {WIDTH}, float32")
    print(f"the machine is shared: load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    names = [name for name in MODULES if options.only in name]
    for num_classes in options.classes:
        calls = {"floor": floor(num_classes)} | {name: step(name, num_classes) for name in names}
        found = medians(calls, seconds=options.seconds, rounds=options.rounds)
        del calls
        weights = 4 * WIDTH * num_classes
        head = (
            f"{num_classes:,} classes, floor {1e3 * found['floor']:.1f} ms, weights {weights / 2**20:.1f} MiB"
        )
        print(f"\n{head:58} {'floors':>8} {'memory':>8}")
        for name in names:
            memory = peak(name, num_classes) / weights
            print(f"  {name:56} {found[name] / found['floor']:8.2f} {memory:8.2f}", flush=True)


if __name__ == "__main__":
    main()
