"""Large batches through chunks of the encoder: peak memory and time of a step, beside the whole batch at once.

    python bench/cached.py > bench/results/cached.txt        (--quick: the two smallest batches)

SupCon on images of 28 x 28 by a convolutional encoder with group normalization, to width 64, classes of four.  A
fresh process for each point; the peak is the resident peak above what was resident before the step, and the whole
batch at once is left out where its activations would take more than 6 GiB.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from peaks import taken
from report import Row, arguments, report

SIZES, QUICK, CHUNK = (1024, 4096, 16384, 65536), (1024, 4096), 512
AT_ONCE = 16384


def one_point(n: int, chunk: int) -> None:
    """Prints peak bytes and seconds of a step; chunk 0 is the whole batch at once."""
    import torch
    from torch import nn

    from mimetric.losses import supcon_loss
    from mimetric.train.cached import embed_in_chunks

    torch.set_num_threads(2)
    encoder = nn.Sequential(
        nn.Conv2d(1, 32, 5, 2, 2), nn.GroupNorm(4, 32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, 2, 1), nn.GroupNorm(8, 64), nn.ReLU(),
        nn.Conv2d(64, 128, 3, 2, 1), nn.GroupNorm(8, 128), nn.ReLU(),
        nn.Flatten(), nn.Linear(128 * 16, 64),
    )  # fmt: skip
    x, y = torch.randn(n, 1, 28, 28), torch.arange(n // 4).repeat_interleave(4)

    def step(rows: int) -> None:
        part = x[:rows]
        embeddings = embed_in_chunks(encoder, part, chunk) if chunk else encoder(part)
        supcon_loss(embeddings, y[:rows]).backward()

    step(64)
    start = time.perf_counter()
    print(taken(lambda: step(n)), time.perf_counter() - start)


def measured(n: int, chunk: int) -> tuple[float, float] | tuple[None, None]:
    """MiB and seconds, by a process of its own; nothing where the whole batch does not fit."""
    if not chunk and n > AT_ONCE:
        return None, None
    command = [sys.executable, __file__, "--point", str(n), str(chunk)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, seconds = map(float, done.stdout.split())
    return peak / 2**20, seconds


def row_of(n: int) -> Row:
    (mib, seconds), (mib_chunks, seconds_chunks) = (measured(n, chunk) for chunk in (0, CHUNK))
    ratios = [None if mib is None else mib_chunks / mib, None if mib is None else seconds_chunks / seconds]
    return {
        "n": n, "memory_ratio": ratios[0], "time_ratio": ratios[1],
        "at_once_mib": mib, "at_once_seconds": seconds, "chunks_mib": mib_chunks, "chunks_seconds": seconds_chunks,
    }  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", help="rows of a batch")
    parser.add_argument("--point", type=int, nargs=2, metavar=("N", "CHUNK"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        one_point(*options.point)
        return
    with report(options) as rows:
        print(
            f"chunks of {CHUNK} beside the whole batch at once; peak in MiB above the rows, seconds of one step"
        )
        print(
            f"{'n':>7}{'memory':>8}{'time':>8}{'at once MiB':>13}{'seconds':>9}{'chunks MiB':>12}{'seconds':>9}"
        )
        for n in options.sizes or (QUICK if options.quick else SIZES):
            rows.append(row_of(n))
            widths, digits = (7, 8, 8, 13, 9, 12, 9), (0, 2, 2, 0, 2, 0, 2)
            cells = (
                "-" if value is None else f"{value:.{d}f}" for value, d in zip(rows[-1].values(), digits)
            )
            print("".join(f"{cell:>{width}}" for cell, width in zip(cells, widths)), flush=True)


if __name__ == "__main__":
    main()
