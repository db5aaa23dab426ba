"""What does exact evaluation cost?  Sizes of the standard sets, beside the product alone and beside other libraries.

Run     python bench/evaluation.py > bench/results/evaluation.txt     (--large adds 10^6 references; --quick is a part)
Target  60,502 x 128, 11,316 classes: Recall@{1,10,100,1000} 1.5 times the similarity product on one thread and 2.0 on
        two; P@1, R-precision and MAP@R 2.0 times; at most 64 MiB beside the data.  10^6 x 128, 10^4 queries, all
        metrics of ranks: 2.0 times, at most 256 MiB
Beside  the product with torch.topk of as many neighbors as the question needs, faiss-cpu's flat index, scikit-learn's
        brute-force search, the calculator of pytorch-metric-learning with its own search, and torchmetrics on a few
        queries.  What is not installed is left out, with a line

Times are of some queries against all rows, taken in turns, medians; multiples of the product of the same queries, or
for torchmetrics, which sees fewer queries, of the product's share.  Peaks are of one evaluation of all rows (of 10^4
queries among 10^6) in a process of its own, above what was resident when it began.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mimetric import metrics
from mimetric.core.neighbors import nearest_neighbors
from mimetric.metrics import per_query, recall_at_k
from mimetric.metrics.retrieval import Metric
from peaks import taken
from report import Row, arguments, report
from timing import medians

BLOCK = 256
CUTOFFS = (1, 10, 100, 1000)
FEW = 32  # queries of what takes seconds for each thousand
PEERS = {
    "faiss": "faiss-cpu", "sklearn": "scikit-learn", "pytorch_metric_learning": "pytorch-metric-learning",
    "torchmetrics": "torchmetrics",
}  # fmt: skip
RECALLS: dict[str, Metric] = {f"recall_at_{k}": partial(recall_at_k, k=k) for k in CUTOFFS}
WITHIN_R: dict[str, Metric] = {
    "recall_at_1": RECALLS["recall_at_1"],
    "map_at_r": metrics.map_at_r,
    "r_precision": metrics.r_precision,
}
ALL: dict[str, Metric] = RECALLS | WITHIN_R | {
    "mrr": metrics.reciprocal_rank,
    "map": metrics.average_precision,
    "map_at_10": partial(metrics.average_precision_at_k, k=10),
    "precision_at_10": partial(metrics.precision_at_k, k=10),
    "ndcg": metrics.ndcg,
}  # fmt: skip

Calls = dict[str, Callable[[], object]]


class Size(NamedTuple):
    """A set to search, and how many of its rows are queries."""

    rows: int
    width: int
    classes: int
    timed: int  # queries of a timed call
    whole: int  # queries of a whole evaluation


SIZES = {
    "tiny": Size(600, 16, 50, 64, 600),
    "birds": Size(5_924, 512, 100, 1_024, 5_924),  # as CUB-200-2011's test half
    "products": Size(60_502, 128, 11_316, 1_024, 60_502),  # as Stanford Online Products'
    "products-512": Size(60_502, 512, 11_316, 512, 60_502),
    "million": Size(1_000_000, 128, 200_000, 256, 10_000),
}
DEFAULT = ("birds", "products", "products-512")
QUICK_QUERIES = 256  # timed, and none of the evaluations of other libraries as a whole


def data(size: Size) -> tuple[Tensor, Tensor]:
    """Unit rows around their class centers; class sizes spread from 0.4 to 1.6 of their mean.

    A class stands out by about as much in any width: the cosine of two of its rows is 2.3 times the spread of cosines.
    """
    torch.manual_seed(0)
    mean = size.rows / size.classes
    spread = 0.4 * mean + 1.2 * mean * torch.rand(size.classes)
    y = torch.arange(size.classes).repeat_interleave(spread.round().long().clamp(min=2))
    y = torch.cat((y, torch.randint(size.classes, (max(0, size.rows - len(y)),))))
    y = y[torch.randperm(len(y))[: size.rows]]
    noise = (size.width**0.5 / 2.3 - 1) ** 0.5
    x = torch.randn(size.classes, size.width)[y].add_(torch.randn(size.rows, size.width), alpha=noise)
    return torch.nn.functional.normalize(x), y


def with_blocks(x: Tensor, queries: int, k: int | None) -> Callable[[], object]:
    """The product of queries with all rows, a block at a time in one buffer; its k largest where asked."""
    buffer = torch.empty(min(BLOCK, queries), len(x))

    def run() -> None:
        for start in range(0, queries, BLOCK):
            block = x[start : min(start + BLOCK, queries)]
            sim = torch.mm(block, x.T, out=buffer[: len(block)])
            if k is not None:
                sim.topk(k, dim=1)

    return run


def ours(x: Tensor, y: Tensor, queries: int) -> Calls:
    search = x[:queries], y[:queries], x, y
    return {
        "Recall@1-1000": lambda: per_query(RECALLS, *search, depth=1),
        "P@1, R-precision, MAP@R": lambda: per_query(WITHIN_R, *search),
        f"all {len(ALL)} metrics": lambda: per_query(ALL, *search),
        "10 nearest": lambda: nearest_neighbors(x[:queries], x, 10),
        "100 nearest": lambda: nearest_neighbors(x[:queries], x, 100),
    }


def peers(x: Tensor, y: Tensor, queries: int) -> Calls:
    """Of each library that is installed, as many neighbors as MAP@R and Recall@1000 need."""
    largest = int(torch.bincount(y).max())
    depths = [k for k in (largest + 1, CUTOFFS[-1] + 1) if k <= len(x)]
    calls: Calls = {f"torch mm + topk({k})": with_blocks(x, queries, k) for k in depths}
    if find_spec("faiss"):
        calls |= {f"faiss flat({k})": call for k, call in _faiss(x, queries, depths).items()}
    if find_spec("sklearn"):
        from sklearn.neighbors import NearestNeighbors

        search = NearestNeighbors(algorithm="brute").fit(x.numpy())
        asked = x[:queries].numpy()
        calls |= {f"scikit-learn kneighbors({k})": partial(search.kneighbors, asked, k) for k in depths}
    if find_spec("pytorch_metric_learning"):
        calls["PML P@1, R-precision, MAP@R"] = _calculator(x, y, queries)
    if find_spec("torchmetrics"):
        calls[f"torchmetrics MAP, of {FEW}"] = _torchmetrics(x, y)
    return calls


def _faiss(x: Tensor, queries: int, depths: list[int]) -> dict[int, Callable[[], object]]:
    import faiss

    index = faiss.IndexFlatIP(x.shape[1])
    index.add(x.numpy())

    def search(k: int) -> None:
        faiss.omp_set_num_threads(torch.get_num_threads())
        index.search(x[:queries].numpy(), k)

    return {k: partial(search, k) for k in depths}


def _calculator(x: Tensor, y: Tensor, queries: int) -> Callable[[], object]:
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    theirs = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r", "r_precision"),
        k="max_bin_count",
        knn_func=CustomKNN(CosineSimilarity(), batch_size=BLOCK),
    )
    return lambda: theirs.get_accuracy(x[:queries], y[:queries], x, y)


def _torchmetrics(x: Tensor, y: Tensor) -> Callable[[], object]:
    from torchmetrics.retrieval import RetrievalMAP

    def run() -> None:
        sim, hits = x[:FEW] @ x.T, y[:FEW, None] == y
        query = torch.arange(FEW)[:, None].expand_as(sim).flatten()
        RetrievalMAP()(sim.flatten(), hits.flatten(), indexes=query)

    return run


def whole_evaluation(size: Size, who: str) -> None:
    """Prints peak in MiB and seconds of an evaluation of the whole set, and Recall@1 where it is ours."""
    x, y = data(size)
    queries = slice(0, size.whole)
    # The set itself where all rows are queries: each is left out of its own references.
    search = (x, y) if size.whole == size.rows else (x[queries], y[queries], x, y)
    calls: Calls = {
        "mimetric": lambda: per_query(ALL, *search),
        "pytorch_metric_learning": lambda: _calculator(x, y, size.whole)(),
        "faiss": lambda: _faiss(x, size.whole, [int(torch.bincount(y).max()) + 1]).popitem()[1](),
    }
    per_query(ALL, x[:64], y[:64])
    found: dict[str, Any] = {}
    start = time.perf_counter()
    peak = taken(lambda: found.update(found=calls[who]()))
    seconds = time.perf_counter() - start
    recall = found["found"]["recall_at_1"].nanmean().item() if who == "mimetric" else None
    print(json.dumps({"peak_mib": peak / 2**20, "seconds": seconds, "recall_at_1": recall}))


def whole(name: str, who: str) -> Row:
    """The same by a process of its own."""
    command = [sys.executable, __file__, "--sizes", name, "--whole", who]
    done = subprocess.run(command, capture_output=True, text=True)
    return json.loads(done.stdout) if not done.returncode else {"fails_with": done.returncode}


def timed(size: Size, threads: int) -> tuple[float, dict[str, float]]:
    """Seconds of the product, and what each takes in multiples of it."""
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    x, y = data(size)
    calls = {"product": with_blocks(x, size.timed, None)} | ours(x, y, size.timed) | peers(x, y, size.timed)
    seconds = medians(calls, seconds=0)
    product = seconds["product"]
    queries = {name: FEW if name.startswith("torchmetrics") else size.timed for name in seconds}
    return product, {name: value / product * size.timed / queries[name] for name, value in seconds.items()}


def bench(name: str, size: Size, threads: list[int], whos: list[str]) -> Iterator[Row]:
    """Prints what it yields."""
    print(f"\n{name}: {size.rows:,} x {size.width}, {size.classes:,} classes")
    for number in threads:
        product, found = timed(size, number)
        element = product / size.timed / size.rows * 1e9
        print(f"\n{name}, {number} thread{'s' * (number > 1)}: {element:.1f} ns an element")
        for what, ratio in found.items():
            print(f"  {what:32}{ratio:8.2f}", flush=True)
            yield {
                "set": name,
                "threads": number,
                "what": what,
                "of_product": ratio,
                "ns_an_element": element,
            }
    for who in whos:
        row = whole(name, who)
        yield {"set": name, "what": f"{size.whole:,} queries, all cores", "who": who} | row
        told = f"fails with {row['fails_with']}" if "fails_with" in row else (
            f"peak {row['peak_mib']:.0f} MiB, {row['seconds']:.1f} s"
        )  # fmt: skip
        recall = f", Recall@1 {row['recall_at_1']:.3f}" if row.get("recall_at_1") else ""
        print(f"  {size.whole:,} queries, all cores, {who}: {told}{recall}", flush=True)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--sizes", nargs="+", choices=SIZES, help=f"{' '.join(DEFAULT)}; products with --quick"
    )
    parser.add_argument("--large", action="store_true", help="10^6 references as well, with 10^4 queries")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--whole", metavar="WHO", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = [*(options.sizes or (["products"] if options.quick else DEFAULT)), *["million"] * options.large]
    if options.whole:
        whole_evaluation(SIZES[names[0]], options.whole)
        return
    others = (
        [] if options.quick else [peer for peer in ("pytorch_metric_learning", "faiss") if find_spec(peer)]
    )
    with report(options) as rows:
        print("times the product alone")
        for module, package in PEERS.items():
            if not find_spec(module):
                print(f"{package} is not installed: left out")
        for name in names:
            size = SIZES[name]
            if options.quick:
                size = size._replace(timed=min(QUICK_QUERIES, size.timed))
            rows.extend(bench(name, size, options.threads, ["mimetric", *others]))


if __name__ == "__main__":
    main()
