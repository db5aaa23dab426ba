"""What test_feed.py runs in a process of its own: it imports this file by name."""

from __future__ import annotations

from multiprocessing import Queue
from pathlib import Path

import numpy as np
import torch

from mimetric.data.stored import StoredRows
from mimetric.train.loop import Training
from mimetric.train.machine import PeakMemory
from mimetric.train.options import FitOptions
from mimetric.train.start import embed_rows


def measure(file: Path, workers: int, told: Queue) -> None:
    """Train for an epoch on images in a file, and embed and hash them all: size of the file, peak, losses."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x = np.lib.format.open_memmap(file, "w+", np.uint8, (50_000, 3, 64, 64))
    for start in range(0, len(x), 1000):
        x[start : start + 1000] = rng.integers(0, 256, (1000, 3, 64, 64), dtype=np.uint8)
    x.flush()
    del x
    x, y = np.load(file, mmap_mode="r"), torch.arange(50_000) % 500
    options = FitOptions(
        encoder="linear", width=8, epochs=1, batch_size=64, sampler="random", device="cpu", workers=workers
    )
    Training(x[:640], y[:640], "normalized-softmax", options=options).advance(1)  # what a first step loads
    memory = PeakMemory()
    with memory:
        training = Training(x, y, "normalized-softmax", options=options)
        training.advance(training.steps - 1)
        embed_rows(training.encoder, StoredRows(x))
        training.rows_digest  # noqa: B018
    told.put((file.stat().st_size, memory.bytes, training.losses.tolist()))
