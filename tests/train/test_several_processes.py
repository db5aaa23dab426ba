"""Training in several processes moves the weights that one process moves, batch by batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
import torch.multiprocessing as mp

from mimetric.cli import main
from mimetric.train.checkpoint import load
from mimetric.train.state import save_training
from training_ranks import CUT, RUNS, begun, encoder, resumed, trained, work


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_weights_and_losses_are_those_of_one_process(tmp_path):
    alone = {name: trained(**options) for name, options in RUNS.items() if name != "stopped"}
    alone["from one"] = alone["cut"]
    begun_here = begun(**CUT)
    begun_here.advance(4)
    save_training(tmp_path / "one", begun_here)
    mp.spawn(work, (2, free_port(), str(tmp_path)), 2)
    for rank in range(2):
        there = torch.load(tmp_path / f"{rank}.pt")
        for name, training in alone.items():
            losses, step, weights, sides = there[name]
            assert step == 7
            torch.testing.assert_close(losses, training.losses, rtol=1e-4, atol=1e-5)
            expected = training.learner.modules.state_dict()
            if training.classes is not None:
                expected["1.weight"] = expected["1.weight"][[slice(0, 4), slice(4, 9)][rank]]
            torch.testing.assert_close(weights, expected, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(sides, training.sides(), rtol=1e-3, atol=1e-4)
        assert there["stopped"][1] == 0

    found = resumed(tmp_path / "several")  # by one process, which has all classes
    torch.testing.assert_close(found.losses, alone["cut"].losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        found.model["objective"].weight, alone["cut"].model["objective"].weight, rtol=1e-3, atol=1e-4
    )
    assert load(tmp_path / "several", encoder=encoder()).objective.weight.shape == (9, 4)
    files = [len(list(folder.iterdir())) for folder in (tmp_path / "several").glob("*-classes-4-2")]
    assert files == [2, 2]


@pytest.mark.slow
def test_the_command_under_torchrun(tmp_path):
    """One folder, one table, and the run of one process."""
    words = ["train", "--data", "digits", "--steps", "20", "--objective", "supcon"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def run(*launcher: str, out: str, resumed: bool = False) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            *launcher,
            "-m",
            "mimetric",
            *(["train", "--resume"] if resumed else words),
            "--out",
            str(tmp_path / out),
            "--json",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment)

    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port()))
    several, one = (json.loads(run(*how, out=out).stdout) for how, out in ((launcher, "two"), ((), "one")))
    [found], [expected] = (results["objectives"].values() for results in (several, one))
    assert found["recall_at_1"]["mean"] == pytest.approx(expected["recall_at_1"]["mean"], abs=0.03)
    weights = [load(tmp_path / out).encoder.state_dict() for out in ("two", "one")]
    assert weights[0].keys() == weights[1].keys()

    words[-1:] = ["arcface", "--cut-classes", "--epochs", "1"]
    run(*launcher, out="cut")
    assert load(tmp_path / "cut").objective.weight.shape == (10, 64)
    again = json.loads(run(out="cut", resumed=True).stdout)  # by one process, at the end: it judges once more
    assert again["curves"] == json.loads((tmp_path / "cut" / "results.json").read_text())["curves"]


def test_compare_says_that_it_takes_one_process(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["compare", "--data", "digits", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "mimetric compare: runs in one process; mimetric train takes several"
