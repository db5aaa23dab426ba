"""Forward and backward of every objective, beside the three products it cannot do without and beside a peer.

    python bench/losses.py [--threads 2] [--n 256 1024 4096] [--json]

Times are multiples of the floor: similarities X X^T (or X W^T with class weights) in row blocks and slopes
spread back over both sides, in reused buffers.  Each call is timed in turns with the others; medians.  The peer is
pytorch-metric-learning, where installed.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mimetric import losses
from mimetric.losses import Pairing
from mimetric.mining import MultiSimilarityMining
from timing import floor, medians

try:
    from pytorch_metric_learning import distances, miners
    from pytorch_metric_learning import losses as peer
except ImportError:
    peer = None

WIDTH, PER_CLASS = 128, 4
Call = Callable[[Tensor, Tensor], Tensor]


def ours(num_classes: int) -> dict[str, Call]:
    mined = Pairing(mining=MultiSimilarityMining())
    return {
        "contrastive": losses.contrastive_loss,
        "multi-similarity": losses.multi_similarity_loss,
        "multi-similarity, mined": losses.MultiSimilarityLoss(pairing=mined),
        "supcon": losses.supcon_loss,
        "nt-xent": losses.nt_xent_loss,
        "snca": losses.snca_loss,
        "squared-contrastive": losses.squared_contrastive_loss,
        "triplet-margin, all": losses.triplet_margin_loss,
        "triplet, semi-hard": losses.semi_hard_triplet_loss,
        "triplet, batch-hard": losses.batch_hard_triplet_loss,
        "triplet, soft": losses.soft_triplet_loss,
        "triplet, swapped": losses.swap_triplet_loss,
        "margin": losses.margin_loss,
        "circle": losses.circle_loss,
        "tuplet-margin": losses.tuplet_margin_loss,
        "intra-pair-variance": losses.intra_pair_variance_loss,
        "snr-contrastive": losses.snr_contrastive_loss,
        "lifted-structure": losses.lifted_structure_loss,
        "generalized-lifted-structure": losses.generalized_lifted_structure_loss,
        "histogram": losses.histogram_loss,
        "ranked-list": losses.ranked_list_loss,
        "fast-ap": losses.fast_ap_loss,
        "smooth-ap": losses.smooth_ap_loss,
        "angular": losses.angular_loss,
        "decoupled": losses.decoupled_loss,
        "focal-nt-xent": losses.focal_nt_xent_loss,
        "spce": losses.spce_loss,
        "cross-entropy, C = n/4": losses.CrossEntropyLoss(WIDTH, num_classes),
        "center, C = n/4": losses.CenterLoss(WIDTH, num_classes),
        "normalized-softmax, C = n/4": losses.NormalizedSoftmaxLoss(WIDTH, num_classes),
        "cosface, C = n/4": losses.CosFaceLoss(WIDTH, num_classes),
        "arcface, C = n/4": losses.ArcFaceLoss(WIDTH, num_classes),
        "proxy-nca, C = n/4": losses.ProxyNCALoss(WIDTH, num_classes),
        "proxy-anchor, C = n/4": losses.ProxyAnchorLoss(WIDTH, num_classes),
        "soft-triple, C = n/4": losses.SoftTripleLoss(WIDTH, num_classes),
    }


def peers(n: int, num_classes: int) -> dict[str, Call]:
    """The peer's counterpart of each name, where it has one and finishes at this size."""
    if peer is None:
        return {}
    cosine = distances.CosineSimilarity()
    mined, miner = peer.MultiSimilarityLoss(alpha=2, beta=50, base=0.5), miners.MultiSimilarityMiner(0.1)
    triplet, hardest = (
        peer.TripletMarginLoss(margin=0.1, distance=cosine),
        miners.BatchHardMiner(distance=cosine),
    )
    semi_hard = miners.TripletMarginMiner(margin=0.1, type_of_triplets="semihard", distance=cosine)
    found: dict[str, Call] = {
        "contrastive": peer.ContrastiveLoss(pos_margin=1, neg_margin=0.5, distance=cosine),
        "multi-similarity": peer.MultiSimilarityLoss(alpha=2, beta=50, base=0.5),
        "multi-similarity, mined": lambda x, y: mined(x, y, miner(x, y)),
        "supcon": peer.SupConLoss(temperature=0.1),
        "snca": peer.NCALoss(softmax_scale=20, distance=cosine),
        "triplet, batch-hard": lambda x, y: triplet(x, y, hardest(x, y)),
        "cross-entropy, C = n/4": _plain_classifier(num_classes),
        "normalized-softmax, C = n/4": peer.NormalizedSoftmaxLoss(num_classes, WIDTH),
        "cosface, C = n/4": peer.CosFaceLoss(num_classes, WIDTH),
        "arcface, C = n/4": peer.ArcFaceLoss(num_classes, WIDTH),
        "proxy-nca, C = n/4": peer.ProxyNCALoss(num_classes, WIDTH),
        "proxy-anchor, C = n/4": peer.ProxyAnchorLoss(num_classes, WIDTH),
        "soft-triple, C = n/4": peer.SoftTripleLoss(num_classes, WIDTH, centers_per_class=10),
    }
    if n <= 1024:
        found |= {  # the first lists n (k - 1) (n - k) triplets: 4096 rows need tens of GiB
            "triplet-margin, all": triplet,
            "triplet, semi-hard": lambda x, y: triplet(x, y, semi_hard(x, y)),
            "circle": peer.CircleLoss(m=0.4, gamma=80),
            "intra-pair-variance": peer.IntraPairVarianceLoss(),
            "generalized-lifted-structure": peer.GeneralizedLiftedStructureLoss(),
            "ranked-list": peer.RankedListLoss(margin=0.4, Tn=10),
            "fast-ap": peer.FastAPLoss(),
            "angular": peer.AngularLoss(),
        }
    if n <= 256:  # these take seconds and GiB beyond
        found |= {
            "nt-xent": peer.NTXentLoss(temperature=0.1),
            "triplet, soft": peer.TripletMarginLoss(margin=0, smooth_loss=True),
            "triplet, swapped": peer.TripletMarginLoss(margin=0.1, swap=True),
            "margin": peer.MarginLoss(),
            "tuplet-margin": peer.TupletMarginLoss(),
            "snr-contrastive": peer.SignalToNoiseRatioContrastiveLoss(),
            "lifted-structure": peer.LiftedStructureLoss(),
            "histogram": peer.HistogramLoss(n_bins=100),
        }
    return found


def _plain_classifier(num_classes: int) -> Call:
    """Plain torch, where the peer has nothing."""
    classifier = torch.nn.Linear(WIDTH, num_classes)
    return lambda x, y: F.cross_entropy(classifier(x), y)


def step(loss: Call, x: Tensor, y: Tensor) -> Callable[[], None]:
    def run() -> None:
        loss(x.detach().requires_grad_(), y).backward()

    return run


def measure(n: int, seconds: float) -> dict[str, dict[str, float]]:
    """Per objective, multiples of the floor: ours, and the peer's."""
    num_classes = n // PER_CLASS
    y = torch.arange(num_classes).repeat_interleave(PER_CLASS)
    x = F.normalize(torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(0)))
    theirs = peers(n, num_classes)
    rows = {}
    for name, loss in ours(num_classes).items():
        columns = num_classes if name == "spce" or "C = n/4" in name else n
        calls = {"floor": floor(n, columns, WIDTH), "mimetric": step(loss, x, y)}
        if name in theirs:
            calls["peer"] = step(theirs[name], x, y)
        found = medians(calls, seconds=seconds)
        rows[name] = {key: found[key] / found["floor"] for key in calls if key != "floor"}
        rows[name]["floor_ms"] = found["floor"] * 1e3
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--n", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each call at each size")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = {n: measure(n, options.seconds) for n in options.n}
    if options.json:
        print(json.dumps(table))
        return
    print(
        f"torch {torch.__version__}, {platform.machine()}, {options.threads} threads, d = {WIDTH}, float32, ",
        end="",
    )
    print(f"{PER_CLASS} rows a class; forward + backward")
    for n, rows in table.items():
        head = f"n = {n}, floor of pairs {rows['supcon']['floor_ms']:.2f} ms"
        print(f"\n{head:32} {'ours':>6} {'peer':>10} {'ours/peer':>10}")
        for name, row in rows.items():
            theirs = (
                f"{row['peer']:10.1f} {row['mimetric'] / row['peer']:10.3f}"
                if "peer" in row
                else f"{'-':>10} {'-':>10}"
            )
            print(f"  {name:30} {row['mimetric']:6.2f} {theirs}")


if __name__ == "__main__":
    main()
