"""How long until a given Recall@1?  Our loop and evaluation beside pytorch-metric-learning's own trainer and tester.

Run     python bench/end_to_end.py > bench/results/end_to_end.txt      (--quick: one objective, less of all)
Data    Omniglot where ../shared holds it (964 classes to train on, 659 others to find), else the embedded glyphs;
        --data takes what `mimetric train --data` does, in memory and of 32 classes or more
Beside  pytorch_metric_learning.trainers.MetricLossOnly with its loss, its miner, its MPerClassSampler and its
        GlobalEmbeddingSpaceTester (faiss, one neighbor).  It imports neither torchvision nor record-keeper, and runs
        as it is; its progress bars are off, and rows come from a TensorDataset by its loader without worker processes,
        which is the fastest for rows in memory

Both start from the same weights, hand AdamW the same groups and learning rates along the same schedule, take batches of
the same number of classes and of rows of a class, drawn by each one's own sampler, and have losses of equal value and
gradient.  They take turns of some steps and a probe of Recall@1 among all test rows, until the target is reached or the
steps are over.  Seconds are of steps and probes together; medians over seeds, ratios of pairs.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"  # before tqdm is imported

import faiss
import numpy as np
import torch
from pytorch_metric_learning import distances, losses, miners, samplers, testers, trainers
from pytorch_metric_learning.utils import common_functions
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import TensorDataset

from mimetric.data.sources import load_data
from mimetric.metrics import per_query, recall_at_k
from mimetric.metrics.retrieval import Metric
from mimetric.train.loop import Training
from mimetric.train.options import FitOptions
from mimetric.train.start import first_encoder
from report import Row, arguments, report

# That the model has no part called embedder, and that a loss with a gradient is printed.
logging.getLogger("PML").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", "Converting a tensor with requires_grad=True")

OMNIGLOT = Path(__file__).parents[2] / "shared" / "data" / "omniglot" / "omniglot_28.npz"
EMBED = 512  # rows embedded at once by a probe of either
RECALL: dict[str, Metric] = {"recall_at_1": partial(recall_at_k, k=1)}
# Ours by name, and theirs: loss and miner.
OBJECTIVES: dict[str, Callable[[], tuple[nn.Module, nn.Module | None]]] = {
    "supcon:temperature=0.1": lambda: (losses.SupConLoss(temperature=0.1), None),
    "multi-similarity:mining=multi-similarity": lambda: (
        losses.MultiSimilarityLoss(alpha=2, beta=50, base=0.5), miners.MultiSimilarityMiner(epsilon=0.1),
    ),
    "contrastive": lambda: (
        losses.ContrastiveLoss(pos_margin=1, neg_margin=0.5, distance=distances.CosineSimilarity()), None,
    ),
}  # fmt: skip
QUICK = {"objectives": ["supcon:temperature=0.1"], "target": 0.5, "seeds": 2, "steps": 200}


@dataclass
class Side:
    """One that trains: what moves it on by some steps, what measures it, and what both took."""

    advance: Callable[[], object]
    probe: Callable[[], float]
    training: list[float] = field(default_factory=list)  # seconds of each turn
    probing: list[float] = field(default_factory=list)
    recalls: list[float] = field(default_factory=list)

    def turn(self) -> None:
        began = time.perf_counter()
        self.advance()
        trained = time.perf_counter()
        self.recalls.append(self.probe())
        self.training.append(trained - began)
        self.probing.append(time.perf_counter() - trained)

    @property
    def seconds(self) -> float:
        return sum(self.training) + sum(self.probing)


@dataclass(frozen=True)
class Rows:
    """What is trained on, and what is searched."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor


def ours(rows: Rows, objective: str, encoder: nn.Module, seed: int, every: int, options: FitOptions) -> Side:
    training = Training(rows.x, rows.y, objective, encoder=encoder, seed=seed, options=options)

    def recall() -> float:
        found = per_query(RECALL, training.embed(rows.test_x), rows.test_y, depth=1)
        return found["recall_at_1"].nanmean().item()

    return Side(partial(training.advance, every), recall)


def theirs(
    rows: Rows, objective: str, encoder: nn.Module, seed: int, every: int, options: FitOptions
) -> Side:
    common_functions.NUMPY_RANDOM = np.random.RandomState(seed)
    loss, miner = OBJECTIVES[objective]()
    optimizer = optimizer_of(encoder, options)
    trainer = trainers.MetricLossOnly(
        models={"trunk": encoder},
        optimizers={"trunk_optimizer": optimizer},
        lr_schedulers={
            "trunk_scheduler_by_iteration": LambdaLR(optimizer, partial(rate, steps=options.steps))
        },
        batch_size=options.batch_size,
        loss_funcs={"metric_loss": loss},
        mining_funcs={} if miner is None else {"tuple_miner": miner},
        dataset=TensorDataset(rows.x, rows.y),
        sampler=samplers.MPerClassSampler(
            rows.y, options.per_class, options.batch_size, length_before_new_iter=every * options.batch_size
        ),
        iterations_per_epoch=every,
        dataloader_num_workers=0,
        data_device=torch.device("cpu"),
    )
    tester = testers.GlobalEmbeddingSpaceTester(
        batch_size=EMBED,
        dataloader_num_workers=0,
        data_device=torch.device("cpu"),
        accuracy_calculator=AccuracyCalculator(include=("precision_at_1",), k=1),
    )
    test = {"test": TensorDataset(rows.test_x, rows.test_y)}
    level = "precision_at_1_level0"
    return Side(trainer.train, lambda: tester.test(test, 1, encoder)["test"][level])


def optimizer_of(encoder: nn.Module, options: FitOptions) -> torch.optim.Optimizer:
    """The groups of our loop."""
    decayed = [p for p in encoder.parameters() if p.ndim > 1]
    plain = [p for p in encoder.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": plain}]
    return torch.optim.AdamW(groups, lr=options.lr, weight_decay=0, fused=True)


def rate(step: int, steps: int) -> float:
    """The schedule of our loop: up along a line over a tenth of the steps, down along a cosine."""
    return min((step + 1) / max(1, steps // 10), (1 + float(np.cos(np.pi * step / steps))) / 2)


def sides(rows: Rows, objective: str, seed: int, every: int, options: FitOptions) -> tuple[Side, Side]:
    """Ours and theirs, from the same weights."""
    encoder = first_encoder(rows.x, seed, options).train()
    mine, other = (make(rows, objective, deepcopy(encoder), seed, every, options) for make in (ours, theirs))
    return mine, other


def race(rows: Rows, objective: str, seed: int, options: argparse.Namespace) -> tuple[Side, Side]:
    """Both in turns, ours first in every second of them."""
    pair = sides(rows, objective, seed, options.every, fit_options(options))
    for turn in range(options.steps // options.every):
        for side in pair[:: 1 if (turn + seed) % 2 else -1]:
            if not reached(side, options.target):
                side.turn()
    return pair


def fit_options(options: argparse.Namespace) -> FitOptions:
    return FitOptions(steps=options.steps, batch_size=options.batch_size, device="cpu")


def reached(side: Side, target: float) -> bool:
    return max(side.recalls, default=0.0) >= target


def summary(objective: str, pairs: list[tuple[Side, Side]], options: argparse.Namespace) -> Row:
    """Medians over seeds; nothing of those that miss the target where it is about reaching it."""

    def median(value: Callable[[Side], float | None], which: int) -> float | None:
        found = [value(pair[which]) for pair in pairs]
        return None if None in found else statistics.median(found)

    def ratio(value: Callable[[Side], float | None]) -> float | None:
        found = [tuple(map(value, pair)) for pair in pairs]
        return None if any(None in one for one in found) else statistics.median(a / b for a, b in found)

    def until(side: Side) -> float | None:
        return side.seconds if reached(side, options.target) else None

    def steps(side: Side) -> float | None:
        return len(side.recalls) * options.every if reached(side, options.target) else None

    def step(side: Side) -> float:
        return statistics.median(side.training) / options.every

    def probe(side: Side) -> float:
        return statistics.median(side.probing)

    values = {"seconds": until, "steps": steps, "seconds_a_step": step, "seconds_a_probe": probe}
    row: Row = {"objective": objective, "seeds": len(pairs)}
    row |= {f"ratio_{name}": ratio(value) for name, value in values.items()}
    for which, who in enumerate(("ours", "theirs")):
        row |= {f"{name}_{who}": median(value, which) for name, value in values.items()}
        row[f"recall_{who}"] = median(lambda side: side.recalls[-1], which)
    return row


def lines(row: Row) -> Iterator[str]:
    """Ratios first, then both."""
    yield row["objective"]
    for title, end in (("ours / theirs", None), ("ours", "ours"), ("pytorch-metric-learning", "theirs")):
        names = ("seconds", "steps", "seconds_a_step", "seconds_a_probe")
        values = [row[f"ratio_{name}" if end is None else f"{name}_{end}"] for name in names]
        if end is not None:
            values[2:] = [1e3 * value for value in values[2:]]
            values.append(row[f"recall_{end}"])
        digits = (2, 2, 2, 2) if end is None else (1, 0, 1, 0, 3)
        cells = ("-" if value is None else f"{value:.{d}f}" for value, d in zip(values, digits))
        yield f"  {title:28}" + "".join(f"{cell:>12}" for cell in cells)


def loaded(spec: str | None) -> tuple[str, Rows]:
    """The rows, and where they are from."""
    spec = spec or (f"npz:{OMNIGLOT}" if OMNIGLOT.exists() else "glyphs")
    data = load_data(spec)
    name = f"Omniglot, {OMNIGLOT.name}" if str(OMNIGLOT) in spec else spec
    parts = (data.split.train, data.split.test)
    return name, Rows(*(torch.from_numpy(of[part]) for part in parts for of in (data.x, data.y)))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", help="pictures or vectors in memory, of 32 classes or more")
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument(
        "--target", type=float, default=0.6, help="Recall@1 on the test, at which a side stops"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=500, help="of the learning rate's schedule, and at most")
    parser.add_argument("--every", type=int, default=25, help="steps between two probes")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    if "--quick" in sys.argv:
        parser.set_defaults(**QUICK)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    with report(options) as found:
        name, rows = loaded(options.data)
        print(
            f"{name}: {len(rows.x):,} rows to train on, {len(rows.test_x):,} to find; {options.threads} threads"
        )
        print(f"Recall@1 {options.target}, at most {options.steps} steps of {options.batch_size}; "
              f"{options.seeds} seeds; milliseconds a step and a probe")  # fmt: skip
        print(f"{'':30}{'seconds':>12}{'steps':>12}{'a step':>12}{'a probe':>12}{'recall':>12}")
        for objective in options.objectives:
            for side in sides(rows, objective, 0, 1, fit_options(options)):
                side.turn()  # what is set up at first
            pairs = [race(rows, objective, seed, options) for seed in range(options.seeds)]
            found.append({"data": name} | summary(objective, pairs, options))
            print("\n".join(lines(found[-1])), flush=True)


if __name__ == "__main__":
    main()
