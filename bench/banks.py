"""A batch against a memory bank: time and peak memory of a step, beside the floor and beside a peer.

    python bench/banks.py [--n 256 1024] [--held 8192] [--quick] [--json FILE]

"by references" hands a loss the rows held; "bank" also holds the batch in place of the oldest, as MemoryBank, and as
the peer's CrossBatchMemory does with every step.  Classes have four of the rows held; d = 128, float32.  Times are
multiples of the floor: similarities X Y^T in row blocks, slopes spread over both sides, though only the batch needs
its own.  Memory is the resident peak above what is resident before the step, a fresh process
for each.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from contest import OURS, contest, head, line
from mimetric.losses import ContrastiveLoss, SupConLoss
from mimetric.memory import MemoryBank
from peaks import Step
from peers import PML, Call, installed
from report import arguments, report
from timing import floor

WIDTH, PER_CLASS = 128, 4
LOSSES = {"contrastive": ContrastiveLoss(), "supcon": SupConLoss()}
WAYS = ("by references", "bank")


def step(who: str, *, loss: str, way: str, n: int, held: int) -> Step:
    """Forward and backward of n unit rows against rows held, by "floor", "mimetric" or "PML"."""
    if who == "floor":
        return floor(n, held, WIDTH)
    torch.manual_seed(0)
    classes = held // PER_CLASS
    bank = F.normalize(torch.randn(held, WIDTH)), torch.arange(held) % classes
    x, y = F.normalize(torch.randn(n, WIDTH)), torch.randint(classes, (n,))
    called = (ours if who == OURS else theirs)(loss, way, *bank)
    return lambda: called(x.detach().requires_grad_(), y).backward()


def ours(loss: str, way: str, rows: Tensor, labels: Tensor) -> Call:
    objective = LOSSES[loss]
    if way == "by references":
        return lambda x, y: objective(x, y, rows, labels)
    bank = MemoryBank(*rows.shape)
    bank.add(rows, labels)

    def against_bank(x: Tensor, y: Tensor) -> Tensor:
        value = bank.loss(objective, x, y)
        bank.add(x.detach(), y)
        return value

    return against_bank


def theirs(loss: str, way: str, rows: Tensor, labels: Tensor) -> Call:
    objective = PML[loss].make()
    if way == "by references":
        return lambda x, y: objective(x, y, ref_emb=rows, ref_labels=labels)
    from pytorch_metric_learning.losses import CrossBatchMemory

    bank = CrossBatchMemory(objective, WIDTH, len(rows))
    bank.add_to_memory(rows, labels, len(rows))
    return bank


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--n", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--held", type=int, nargs="+", default=[8192])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each call at each size")
    options = parser.parse_args()
    if options.quick:
        options.seconds = 0.2
    torch.set_num_threads(options.threads)
    with report(options) as rows:
        print(
            f"{options.threads} threads, d = {WIDTH}, float32, {PER_CLASS} rows held a class; forward + backward"
        )
        for n, held in product(options.n, options.held):
            print("\n" + head(f"{n} rows against {held:,}", memory=True))
            for loss, way in product(LOSSES, WAYS):
                found = contest(
                    step,
                    {"loss": loss, "way": way, "n": n, "held": held},
                    {"PML": True} if installed("PML") else {},
                    seconds=options.seconds,
                )
                rows += found
                for row in found:
                    print(line(f"{loss}, {way}", row), flush=True)


if __name__ == "__main__":
    main()
