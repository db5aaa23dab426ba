"""Large batches through chunks of the encoder: peak memory and time of a step, beside the whole batch at once.

    python bench/cached.py > bench/results/cached.txt

SupCon on images of 28 x 28 by a convolutional encoder with group normalization, to width 64, classes of four.  A
fresh process for each point; the peak is the resident peak above what was resident before the step, and the whole
batch at once is left out where its activations would take more than 6 GiB.
"""

from __future__ import annotations

import subprocess
import sys
import time

from engine_memory import resident

SIZES, CHUNK = (1024, 4096, 16384, 65536), 512
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
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    before, start = resident("VmRSS"), time.perf_counter()
    step(n)
    print(resident("VmHWM") - before, time.perf_counter() - start)


def main() -> None:
    if len(sys.argv) == 3:
        one_point(int(sys.argv[1]), int(sys.argv[2]))
        return
    print(f"chunks of {CHUNK}; peak in MiB above the rows, seconds of one step")
    print(f"{'n':>7} {'at once MiB':>12} {'seconds':>8} {'chunks MiB':>11} {'seconds':>8}")
    for n in SIZES:
        cells = []
        for chunk in (0, CHUNK):
            if not chunk and n > AT_ONCE:
                cells += [f"{'-':>12}", f"{'-':>8}"]
                continue
            command = [sys.executable, __file__, str(n), str(chunk)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peak, seconds = map(float, done.stdout.split())
            cells += [f"{peak / 2**20:{11 if chunk else 12}.0f}", f"{seconds:8.2f}"]
        print(f"{n:7}", *cells, flush=True)


if __name__ == "__main__":
    main()
