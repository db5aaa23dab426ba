"""What the training loop costs beside a bare torch loop with the same encoder, rows, loss and optimizer.

    python bench/loop.py > bench/results/loop.txt      (--quick: two cases, fewer turns)

Both draw the same batches, hand AdamW the same three groups, and clip and average where options say so, the bare loop
by torch's own means.  The bare loop neither looks for losses that are not finite, nor seeds its steps, nor keeps its
losses.  The two take turns of a few steps; the ratio is the median over turns of ours over the bare one's, beside its
quartiles.
The lightest encoder shows most: a step of the heavier ones hides the same microseconds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mimetric import named
from mimetric.data.sources import load_data
from mimetric.train.batches import EndlessBatches
from mimetric.train.loop import Training
from mimetric.train.options import FitOptions
from mimetric.train.start import first_encoder
from report import Row, arguments, report

STEPS = 10
OPTIONS = FitOptions(steps=100_000, device="cpu")
CASES = {
    "images 28 x 28, conv": ("glyphs", {}),
    "images 28 x 28, conv, all options": ("glyphs", {"ema": 0.99, "clip": 1.0, "bad_loss": "skip"}),
    "images 8 x 8, conv": ("digits", {}),
    "images 8 x 8, mlp": ("digits", {"encoder": "mlp"}),
}
QUICK = ("images 28 x 28, conv", "images 8 x 8, mlp")


def bare(x: torch.Tensor, y: torch.Tensor, objective: str, options: FitOptions) -> Callable[[], None]:
    """Some steps of the shortest loop there is."""
    encoder = first_encoder(x, 0, options).train()
    labels = torch.unique(y, return_inverse=True)[1]
    loss = named.create(objective, width=options.width, num_classes=int(labels.max()) + 1)
    groups = [
        {"params": [p for p in encoder.parameters() if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in encoder.parameters() if p.ndim <= 1]},
        {"params": list(loss.parameters()), "lr": options.objective_lr},
    ]
    groups = [group for group in groups if group["params"]]
    optimizer = torch.optim.AdamW(groups, lr=options.lr, weight_decay=0, fused=True)
    schedule = LambdaLR(optimizer, lambda step: 1 / (1 + step))
    batches, modules = EndlessBatches(labels, 0, options), nn.ModuleList((encoder, loss))
    average = AveragedModel(modules, multi_avg_fn=get_ema_multi_avg_fn(options.ema)) if options.ema else None

    def steps() -> None:
        for _ in range(STEPS):
            rows = next(batches)
            loss(encoder(x[rows]), labels[rows]).backward()
            if options.clip:
                nn.utils.clip_grad_norm_(modules.parameters(), options.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            if average:
                average.update_parameters(modules)

    return steps


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(x: torch.Tensor, y: torch.Tensor, objective: str, options: FitOptions, turns: int) -> Row:
    plain = bare(x, y, objective, options)
    training = Training(x, y, objective, options=options)
    calls = (plain, partial(training.advance, STEPS))
    found = [[seconds(call) for call in calls] for _ in range(turns + 2)][2:]
    theirs, ours = (statistics.median(column) for column in zip(*found))
    low, ratio, high = statistics.quantiles((mine / other for other, mine in found), n=4)
    return {
        "objective": objective, "ratio": ratio, "low": low, "high": high,
        "bare_ms": 1e3 * theirs / STEPS, "ours_ms": 1e3 * ours / STEPS,
    }  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--turns", type=int, help="40, or 15 with --quick")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    turns = options.turns or (15 if options.quick else 40)
    with report(options) as rows:
        print(f"{options.threads} threads; batches of {OPTIONS.batch_size}; milliseconds a step, medians over {turns} "
              f"turns of {STEPS} steps")  # fmt: skip
        print(f"{'':34} {'objective':<20} {'ratio':>6} {'quartiles':>14} {'bare':>7} {'ours':>7}")
        for name in QUICK if options.quick else CASES:
            spec, changes = CASES[name]
            data = load_data(spec)
            x, y = (torch.from_numpy(part[data.split.train]) for part in (data.x, data.y))
            for objective in ("supcon", "normalized-softmax"):
                row = measure(x, y, objective, replace(OPTIONS, **changes), turns)
                rows.append({"case": name} | row)
                quartiles = f"{row['low']:.3f} to {row['high']:.3f}"
                print(
                    f"{name:<34} {objective:<20} {row['ratio']:6.3f} {quartiles:>14} {row['bare_ms']:7.2f} "
                    f"{row['ours_ms']:7.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
