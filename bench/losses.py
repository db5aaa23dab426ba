"""Forward and backward of every loss: time and peak memory, beside the floor and beside peers.

    python bench/losses.py [--n 256 1024 4096 16384] [--d 128 512] [--memory] [--only WORD] [--quick] [--json FILE]

Times are multiples of the floor: similarities X X^T (or X W^T with class weights) in row blocks and slopes
spread back over both sides, in reused buffers.  Each call is timed in turns with the others; medians.  Classes have
four rows; peers, and up to how many rows each runs, are in `peers.py`.  Beyond it "dies".

Memory is the resident peak above what was resident before, a fresh process for each point.  The end of the table is
how time and memory grow with the number of rows: the exponent of a power, least squares over all n measured.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from contest import contest, head, line
from objectives import CLASSES, PAIRS, step
from peers import peers_of
from report import Row, arguments, report
from timing import growth

PER_CLASS = 4
LARGE = 16_384  # rows from which one turn after the first has to do


def measure(loss: str, n: int, d: int, *, seconds: float, least: int, memory: bool) -> list[Row]:
    return contest(
        step,
        {"loss": loss, "n": n, "d": d, "classes": n // PER_CLASS},
        {library: n <= peer.up_to for library, peer in peers_of(loss).items()},
        seconds=seconds,
        least=1 if n >= LARGE else least,
        memory=memory,
    )


def exponents(rows: list[Row]) -> Iterable[Row]:
    """For each loss, width and peer, the growth of each in n."""
    of: dict[tuple[str, int, str | None], list[Row]] = {}
    for row in rows:
        of.setdefault((row["loss"], row["d"], row["peer"]), []).append(row)
    for (loss, d, peer), sizes in of.items():
        grown: Row = {"loss": loss, "d": d, "peer": peer}
        for column in ("ours", "peer_floors", "ours_mib", "peer_mib"):
            scale = "floor_ms" if column in ("ours", "peer_floors") else None
            values = {row["n"]: row[column] * (row[scale] if scale else 1) for row in sizes if row[column]}
            grown[f"{column}_exponent"] = growth(values) if len(values) > 1 else None
        yield grown


def show_exponents(rows: list[Row]) -> None:
    print(f"\n{'exponents of growth in n':40}{'time':>7}{'peer':>16}{'memory':>10}{'peer':>9}")
    for row in rows:
        time, theirs, memory, of_peer = (
            "-" if value is None else f"{value:.2f}"
            for key, value in row.items()
            if key.endswith("_exponent")
        )
        name = f"{row['loss']}, d = {row['d']}"
        print(f"  {name:38}{time:>7}{row['peer'] or '':>8}{theirs:>8}{memory:>10}{of_peer:>9}")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--n", type=int, nargs="+", default=[256, 1024, 4096, 16384])
    parser.add_argument("--d", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each call at each size")
    parser.add_argument("--memory", action="store_true", help="peaks too; a process for each")
    parser.add_argument("--only", default="", help="losses whose name holds this word")
    options = parser.parse_args()
    least = 3
    if options.quick:
        options.n, options.d, options.seconds, least = [256, 1024], [128], 0.1, 2
    torch.set_num_threads(options.threads)
    with report(options) as rows:
        print(f"{options.threads} threads, float32, {PER_CLASS} rows a class; forward + backward")
        for d in options.d:
            for n in options.n:
                print("\n" + head(f"n = {n}, d = {d}; times the floor", options.memory))
                for loss in (name for name in (*PAIRS, *CLASSES) if options.only in name):
                    found = measure(loss, n, d, seconds=options.seconds, least=least, memory=options.memory)
                    rows += found
                    for row in found:
                        print(line(loss, row), flush=True)
        if len(options.n) > 1:
            grown = list(exponents(rows))
            show_exponents(grown)
            rows += grown


if __name__ == "__main__":
    main()
