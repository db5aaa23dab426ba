"""What test_several_processes.py runs in each of several processes; these import this file by name."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mimetric.train.loop import Training
from mimetric.train.options import FitOptions
from mimetric.train.state import resume_training, save_training

OBJECTIVE = "supcon+normalized-softmax"
CUT = {"objective": "arcface:scale=8", "cut_classes": True}
SAMPLED = {"objective": "cosface:scale=8", "class_share": 0.5}
RUNS = {"whole": {}, "chunks": {"chunk": 3}, "cut": CUT, "sampled": SAMPLED, "stopped": {"stop": 0}}


def data() -> tuple[Tensor, Tensor]:
    y = torch.arange(90) % 9
    return torch.randn(90, 6, generator=torch.Generator().manual_seed(0)) + torch.nn.functional.one_hot(y, 9)[
        :, :6
    ], y


def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))


def begun(objective: str = OBJECTIVE, **options: Any) -> Training:
    torch.set_num_threads(1)
    fixed = FitOptions(steps=7, batch_size=25, sampler="random", device="cpu", lr=0.05, ema=0.9, clip=0.5)
    return Training(*data(), objective, encoder=encoder(), options=replace(fixed, **options))


def trained(stop: int | None = None, **options: Any) -> Training:
    """Seven steps of 25 rows, which no number of processes divides."""
    training = begun(**options)
    if stop is not None and training.rank == 1:
        training.stop()  # all of them do, where one is told to
    training.advance(7)
    return training


def resumed(folder: Path) -> Training:
    training = resume_training(folder, *data(), encoder=encoder())
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
    runs = {name: trained(**options) for name, options in RUNS.items()}
    runs["from one"] = resumed(Path(folder) / "one")
    begun_here = begun(**CUT)
    begun_here.advance(4)
    save_training(Path(folder) / "several", begun_here)
    found = {
        name: (run.losses, run.step, run.learner.modules.state_dict(), run.sides())
        for name, run in runs.items()
    }
    torch.save(found, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()
