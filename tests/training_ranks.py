"""What test_several_processes.py runs in each of several processes; these import this file by name."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from mimetric.train.loop import Training
from mimetric.train.options import FitOptions

OBJECTIVE = "supcon+normalized-softmax"


def data() -> tuple[Tensor, Tensor]:
    y = torch.arange(90) % 9
    return torch.randn(90, 6, generator=torch.Generator().manual_seed(0)) + torch.nn.functional.one_hot(y, 9)[
        :, :6
    ], y


def trained(chunk: int | None = None, stop: int | None = None) -> Training:
    """Seven steps of 25 rows, which no number of processes divides."""
    torch.set_num_threads(1)
    x, y = data()
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
    options = FitOptions(
        steps=7, batch_size=25, sampler="random", device="cpu", lr=0.05, chunk=chunk, ema=0.9, clip=0.5
    )
    training = Training(x, y, OBJECTIVE, encoder=encoder, options=options)
    if stop is not None and training.rank == 1:
        training.stop()  # all of them do, where one is told to
    training.advance(7)
    return training


def work(rank: int, world: int, port: int, folder: str) -> None:
    names = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": world,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    os.environ |= {name: str(value) for name, value in names.items()}
    found = {}
    for name, options in (("whole", {}), ("chunks", {"chunk": 3}), ("stopped", {"stop": 0})):
        training = trained(**options)
        found[name] = (training.losses, training.step, training.learner.modules.state_dict())
    torch.save(found, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()
