"""What does exact evaluation cost?  60,502 x 128 float32 in 11,316 classes, as in Stanford Online Products.

Run     python bench/evaluation.py > bench/results/evaluation.txt
Target  Recall@{1,10,100,1000} 1.5 times the similarity product on one thread and 2.0 on two; P@1, R-precision
        and MAP@R 2.0 times; at most 64 MiB beside the data
Beside  the product with torch.topk of as many neighbors as the question needs, scikit-learn's brute-force
        search, and the calculator of pytorch-metric-learning with its own search, where installed

Times are of 1,024 queries against all rows, in turns, medians of three.  Peaks are of one evaluation of all
rows in a process of its own, above what was resident when it began.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from mimetric.metrics import map_at_r, per_query, r_precision, recall_at_k, retrieval_metrics
from timing import medians

ROWS, CLASSES, WIDTH, QUERIES, BLOCK = 60_502, 11_316, 128, 1_024, 256
CUTOFFS = (1, 10, 100, 1000)
LARGEST_CLASS = 12

Calls = dict[str, Callable[[], object]]


def data() -> tuple[Tensor, Tensor]:
    """Unit rows around their class centers; classes have 2 to 12 rows, 5.35 on average."""
    torch.manual_seed(0)
    sizes = 2 + torch.binomial(torch.full((CLASSES,), LARGEST_CLASS - 2.0), torch.tensor(0.345)).long()
    y = torch.arange(CLASSES).repeat_interleave(sizes)[:ROWS]
    x = torch.randn(CLASSES, WIDTH)[y] + 2 * torch.randn(len(y), WIDTH)
    mixed = torch.randperm(len(y))
    return torch.nn.functional.normalize(x)[mixed], y[mixed]


def with_blocks(x: Tensor, k: int | None) -> Callable[[], object]:
    """The product of the queries with all rows, a block at a time in one buffer; its k largest where asked."""
    buffer = torch.empty(BLOCK, len(x))

    def run() -> None:
        for start in range(0, QUERIES, BLOCK):
            torch.mm(x[start : start + BLOCK], x.T, out=buffer)
            if k is not None:
                buffer.topk(k, dim=1)

    return run


def ours(x: Tensor, y: Tensor) -> Calls:
    search = x[:QUERIES], y[:QUERIES], x, y
    recalls = {f"recall_at_{k}": lambda ranks, k=k: recall_at_k(ranks, k) for k in CUTOFFS}
    within_r = {"recall_at_1": recalls["recall_at_1"], "map_at_r": map_at_r, "r_precision": r_precision}
    return {
        "Recall@1-1000": lambda: per_query(recalls, *search, depth=1),
        "P@1, R-precision, MAP@R": lambda: per_query(within_r, *search),
    }


def peers(x: Tensor, y: Tensor) -> Calls:
    calls: Calls = {
        "torch mm + topk(13)": with_blocks(x, LARGEST_CLASS + 1),
        "torch mm + topk(1001)": with_blocks(x, CUTOFFS[-1] + 1),
    }
    try:
        from sklearn.neighbors import NearestNeighbors
    except ModuleNotFoundError:
        return calls
    search = NearestNeighbors(algorithm="brute").fit(x.numpy())
    for k in (LARGEST_CLASS + 1, CUTOFFS[-1] + 1):
        calls[f"scikit-learn kneighbors({k})"] = lambda k=k: search.kneighbors(x[:QUERIES].numpy(), k)
    try:
        from pytorch_metric_learning.distances import CosineSimilarity
        from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
        from pytorch_metric_learning.utils.inference import CustomKNN
    except ModuleNotFoundError:
        return calls
    theirs = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r", "r_precision"),
        k="max_bin_count",
        knn_func=CustomKNN(CosineSimilarity(), batch_size=BLOCK),
    )
    calls["PML P@1, R-precision, MAP@R"] = lambda: theirs.get_accuracy(x[:QUERIES], y[:QUERIES], x, y)
    return calls


def resident(field: str) -> float:
    """MiB of a line of /proc/self/status (Linux)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


def whole_evaluation() -> None:
    """Prints peak, seconds and Recall@1 of all rows against all."""
    x, y = data()
    retrieval_metrics(x[:64], y[:64])
    ctypes.CDLL(None).malloc_trim(0)  # what making the data left behind is no room for the evaluation
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    before, start = resident("VmRSS"), time.perf_counter()
    found = retrieval_metrics(x, y, k=CUTOFFS)
    seconds = time.perf_counter() - start
    print(f"{resident('VmHWM') - before:.0f} MiB, {seconds:.0f} s, Recall@1 {found['recall_at_1']:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--whole", action="store_true", help="one evaluation of all rows, for its peak")
    options = parser.parse_args()
    if options.whole:
        return whole_evaluation()
    x, y = data()
    print(f"{len(x):,} x {WIDTH}, {CLASSES:,} classes; torch {torch.__version__}; times the product alone")
    for threads in options.threads:
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        seconds = medians({"product": with_blocks(x, None), **ours(x, y), **peers(x, y)}, seconds=0)
        product = seconds["product"]
        print(
            f"\n{threads} thread{'s' * (threads > 1)}: {product / QUERIES / len(x) * 1e9:.1f} ns an element"
        )
        for name, value in seconds.items():
            print(f"  {name:32}{value / product:6.2f}", flush=True)
    whole = subprocess.run([sys.executable, __file__, "--whole"], capture_output=True, text=True, check=True)
    print(f"\nall rows against all: peak {whole.stdout.strip()}")


if __name__ == "__main__":
    main()
