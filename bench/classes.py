"""Softmax over many classes: time and peak memory of a step, beside the floor and beside peers.

    python bench/classes.py [--classes 1000 100000 1000000] [--quick] [--json FILE]

256 rows, d = 128, float32; forward + backward.  Times are medians of paired calls over the floor, three products of
rows and class weights.  Memory is the resident peak above what is resident before the step, a fresh process for each;
the gradient of the weights is in it.  Peers are in `peers.py`; one that takes more than ten seconds a step, or more
than 10 GiB, "dies": up to how many classes each runs stands here.
"""

from __future__ import annotations

import torch

from contest import contest, head, line
from objectives import step
from peers import peers_of
from report import arguments, report

ROWS, WIDTH = 256, 128
UP_TO = {  # classes with which the peer runs
    "cross-entropy": 10**6,
    "normalized-softmax": 10**6,
    "cosface": 10**6,
    "arcface": 10**6,
    "arcface, a tenth of the classes": 10**6,
    "arcface, a tenth, sparse gradient": 10**6,
    "sphereface": 10**6,
    "proxy-nca": 10**6,
    "proxy-anchor": 10**5,
    "subcenter-arcface": 10**5,
    "soft-triple": 10**3,
}
OURS_UP_TO = {"subcenter-arcface": 10**5, "soft-triple": 10**3}  # three and ten centers for each class


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--classes", type=int, nargs="+", default=[10**3, 10**5, 10**6])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each call at each size")
    parser.add_argument("--rounds", type=int, default=30, help="at most, after one that does not count")
    parser.add_argument("--only", default="", help="losses whose name holds this word")
    options = parser.parse_args()
    if options.quick:
        options.classes, options.rounds = [10**3, 10**5], 2
    torch.set_num_threads(options.threads)
    with report(options) as rows:
        print(f"{options.threads} threads, {ROWS} rows, d = {WIDTH}, float32; forward + backward")
        for classes in options.classes:
            weights = 4 * WIDTH * classes / 2**20
            print("\n" + head(f"{classes:,} classes, weights {weights:.1f} MiB", memory=True))
            for loss, most in UP_TO.items():
                if options.only not in loss or classes > OURS_UP_TO.get(loss, classes):
                    continue
                found = contest(
                    step,
                    {"loss": loss, "n": ROWS, "d": WIDTH, "classes": classes},
                    dict.fromkeys(peers_of(loss), classes <= most),
                    seconds=options.seconds,
                    rounds=options.rounds,
                )
                rows += found
                for row in found:
                    print(line(loss, row), flush=True)


if __name__ == "__main__":
    main()
