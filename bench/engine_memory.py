"""Peak memory of value and gradient, a fresh process for each point.

    python bench/engine_memory.py [--n 1024 4096 16384 32768]

The promise of the engine is at most 1.5 times (one block + 4 n d floats), beside what torch and the rows
themselves take.  The peak is the resident peak of the
process (VmHWM, reset just before the call) above what was resident then.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

WIDTH, PER_CLASS = 128, 4
OBJECTIVES = (
    "contrastive", "multi-similarity", "multi-similarity:mining=multi-similarity", "supcon", "triplet",
    "nt-xent", "snca", "batch-hard-triplet", "semi-hard-triplet", "squared-contrastive",
    "spce", "cross-entropy", "normalized-softmax", "center", "supcon:similarity=negative-euclidean",
)  # fmt: skip


def resident(field: str) -> int:
    """Bytes of a line of /proc/self/status."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    raise SystemExit(f"no {field} in /proc/self/status; this bench needs Linux")


def one_point(name: str, n: int) -> None:
    """Prints peak and promise in bytes."""
    import torch

    from mimetric import named

    torch.set_num_threads(2)
    y = torch.arange(n // PER_CLASS).repeat_interleave(PER_CLASS)
    objective = named.create(name, width=WIDTH, num_classes=n // PER_CLASS)
    x = torch.randn(n, WIDTH)
    warm = torch.randn(64, WIDTH, requires_grad=True)
    objective(warm, y[:64]).backward()
    leaf = x.requires_grad_()
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    before = resident("VmRSS")
    objective(leaf, y).backward()
    described = objective.function.__wrapped__(leaf, y, *objective.parameters(), **objective.options)
    problem, _, others = described.problem((1.0, 1.0))
    columns = n if others is None else len(others)
    block = problem.blocks(n, columns)[0].stop * columns * problem.blocks_held
    print(resident("VmHWM") - before, 4 * block, 4 * 4 * n * WIDTH)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, nargs="+", default=[1024, 4096, 16384, 32768])
    parser.add_argument("--objectives", nargs="+", default=list(OBJECTIVES))
    parser.add_argument("--point", nargs=2, metavar=("OBJECTIVE", "N"), help="one point, in bytes")
    options = parser.parse_args()
    if options.point:
        one_point(options.point[0], int(options.point[1]))
        return
    print(f"MiB above the rows, d = {WIDTH}, float32; promise = 1.5 (blocks held + 4 n d floats)")
    print(f"{'objective':45} {'n':>6} {'peak':>7} {'blocks':>7} {'4nd':>6} {'of promise':>10}")
    for name in options.objectives:
        for n in options.n:
            command = [sys.executable, __file__, "--point", name, str(n)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peak, block, rows = (int(v) / 2**20 for v in done.stdout.split())
            print(
                f"{name:45} {n:6} {peak:7.1f} {block:7.1f} {rows:6.1f} {peak / (1.5 * (block + rows)):10.2f}"
            )


if __name__ == "__main__":
    main()
