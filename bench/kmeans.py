"""What do the clusters behind NMI cost?  60,502 unit rows x 128 of 11,316 classes, as many centers.

Run     python bench/kmeans.py --threads 1 2 > bench/results/kmeans.txt
Target  0.5 times the time of faiss.Kmeans at an equal objective value
Beside  faiss.Kmeans, scikit-learn's KMeans and MiniBatchKMeans, and the products of one pass over all rows alone

All begin at the same rows and take at most as many steps; each stops before where no row changes, or the objective no
longer.  They take turns; ratios are medians over turns.  The objective is the mean squared distance of a row to the
nearest final center, found for all in the same way.  At cosine 0.7 some clusters lose all rows: where their centers go
to is each library's own, and so is the objective.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from itertools import product

import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans, MiniBatchKMeans
from threadpoolctl import threadpool_limits
from torch import Tensor

from mimetric.core.kmeans import kmeans
from mimetric.core.neighbors import nearest_neighbors
from report import Row, arguments, report

try:
    import faiss
except ModuleNotFoundError:
    faiss = None

FULL, QUICK = (60_502, 11_316), (7_560, 1_414)  # rows and classes
WIDTH, BLOCK = 128, 512
OURS, PEER, PRODUCTS = "core.kmeans", "faiss.Kmeans", "one pass, products alone"
Call = Callable[[], Tensor]  # the centers found


def data(n: int, classes: int, cosine: float) -> Tensor:
    """Unit rows in random order, whose cosine is about that within a class and 0 between classes."""
    torch.manual_seed(0)
    y = torch.arange(n) % classes
    noise = (1 / cosine - 1) ** 0.5
    rows = torch.randn(classes, WIDTH)[y].add_(torch.randn(n, WIDTH), alpha=noise)
    return F.normalize(rows)[torch.randperm(n)]


def objective(rows: Tensor, centers: Tensor) -> float:
    nearest = nearest_neighbors(rows, centers, 1, similarity="negative_squared_euclidean")
    return -nearest.similarities.double().mean().item()


def products(rows: Tensor, start: Tensor) -> Tensor:
    """What one pass over all rows and centers cannot do without."""
    buffer = rows.new_empty(BLOCK, len(start))
    for part in rows.split(BLOCK):
        torch.mm(part, start.T, out=buffer[: len(part)])
    return start


def by_faiss(rows: Tensor, start: Tensor, iterations: int) -> Tensor:
    faiss.omp_set_num_threads(torch.get_num_threads())
    # Each cluster may have as many rows as there are: faiss would take a part of them.
    peer = faiss.Kmeans(
        rows.shape[1], len(start), niter=iterations, max_points_per_centroid=len(rows), min_points_per_centroid=1
    )  # fmt: skip
    peer.train(rows.numpy(), init_centroids=start.numpy())
    return torch.from_numpy(peer.centroids)


def by_sklearn(peer: KMeans | MiniBatchKMeans, rows: Tensor) -> Tensor:
    with threadpool_limits(torch.get_num_threads()):
        return torch.from_numpy(peer.fit(rows.numpy()).cluster_centers_)


def calls(rows: Tensor, start: Tensor, iterations: int) -> dict[str, Call]:
    like = {"init": start.numpy(), "n_init": 1, "max_iter": iterations, "random_state": 0}
    found: dict[str, Call] = {
        OURS: lambda: kmeans(rows, start, iterations=iterations).centers,
        PRODUCTS: lambda: products(rows, start),
        "scikit-learn KMeans": lambda: by_sklearn(KMeans(len(start), tol=0, algorithm="lloyd", **like), rows),
        "scikit-learn MiniBatchKMeans": lambda: by_sklearn(MiniBatchKMeans(len(start), **like), rows),
    }
    if faiss is not None:
        found[PEER] = lambda: by_faiss(rows, start, iterations)
    return found


def measure(rows: Tensor, clusters: int, iterations: int, turns: int) -> Iterator[Row]:
    """A row for each way, of medians over turns; each tries a little first."""
    start = rows[:clusters]  # they come in random order
    for call in calls(rows[:600], rows[:64], 1).values():
        call()
    ways = calls(rows, start, iterations)
    found = [{name: timed(call) for name, call in ways.items()} for _ in range(turns)]
    base = PEER if PEER in ways else OURS
    for name in found[0]:
        centers = found[0][name][1]
        yield {
            "way": name,
            "of": base,
            "ratio": statistics.median(turn[name][0] / turn[base][0] for turn in found),
            "seconds": statistics.median(turn[name][0] for turn in found),
            "objective": None if name == PRODUCTS else objective(rows, centers),
        }


def timed(call: Call) -> tuple[float, Tensor]:
    began = time.perf_counter()
    centers = call()
    return time.perf_counter() - began, centers


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[torch.get_num_threads()])
    parser.add_argument("--iterations", type=int, default=25, help="at most; 25 are the default of faiss")
    parser.add_argument(
        "--cosine", type=float, nargs="+", default=[0.35, 0.5, 0.7], help="within a class, about"
    )
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    n, classes = QUICK if options.quick else FULL
    with report(options) as found:
        print(f"{n:,} x {WIDTH} rows, {classes:,} centers, at most {options.iterations} steps")
        for threads, cosine in product(options.threads, options.cosine):
            torch.set_num_threads(threads)
            print(f"\n{f'cosine {cosine}, {threads} threads':32}{'ratio':>8}{'seconds':>9}{'objective':>11}")
            rows = data(n, classes, cosine)
            for row in measure(rows, classes, options.iterations, options.turns):
                found.append({"threads": threads, "cosine": cosine} | row)
                value = "-" if row["objective"] is None else f"{row['objective']:.6f}"
                print(f"  {row['way']:30}{row['ratio']:8.2f}{row['seconds']:9.2f}{value:>11}", flush=True)


if __name__ == "__main__":
    main()
