"""Runs that are killed, stopped, or left without a disk, and then go on to the numbers of one that was not."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mimetric.cli import main
from mimetric.train.checkpoint import load

if os.name == "nt":
    pytest.skip("processes end in another way there", allow_module_level=True)

import faulty_runs

STEPS = 24
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["mimetric.train.run", "sklearn.cluster"]
)  # loaded once, not in each process


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A small run: 3 steps an epoch."""
    rng = np.random.default_rng(0)
    y = np.arange(160) % 26
    x = rng.normal(size=(26, 8))[y] + rng.normal(size=(160, 8))
    path = tmp_path_factory.mktemp("data") / "set.npz"
    np.savez(path, x=x, y=y)
    flags = f"--objective normalized-softmax --batch-size 16 --per-class 2 --width 8 --steps {STEPS}"
    more = "--ema 0.9 --clip 1 --device cpu"
    return ["train", "--data", f"npz:{path}", *flags.split(), *more.split()]


def start(words, out, harm="", amount=0.0):
    """Begin the run, or go on with the one that is there."""
    more = ["--resume"] if (out / "settings.json").exists() else []
    log = out.with_suffix(".log")
    process = PROCESSES.Process(
        target=faulty_runs.command, args=([*words, "--out", str(out), *more], log, harm, amount)
    )
    process.start()
    return process


def finish(process, out):
    """Exit code and last line."""
    process.join(60)
    assert process.exitcode is not None
    lines = out.with_suffix(".log").read_text().splitlines()
    return process.exitcode, lines[-1] if lines else ""


def wait_for_points(out, number):
    end = time.monotonic() + 60
    metrics = out / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count("\n") < number:
        assert time.monotonic() < end
        time.sleep(0.005)


def outcome(out):
    """All that must not depend on what happened on the way: the numbers, and the weights by their hash."""
    results = json.loads((out / "results.json").read_text())
    for entry in results["objectives"].values():
        del entry["train_seconds"], entry["peak_memory_bytes"]
    settings = json.loads((out / "settings.json").read_text())
    return results, (out / "metrics.jsonl").read_text(), settings["weights_sha256"]


@pytest.fixture(scope="module")
def whole(words, tmp_path_factory):
    """The outcome of a run that nothing happens to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert finish(start(words, out), out)[0] == 0
    assert sorted(file.name for file in out.iterdir() if file.suffix not in (".safetensors", ".npz")) == [
        "README.md", "examples.json", "metrics.jsonl", "report.html", "results.csv", "results.json", "run.toml",
        "settings.json",
    ]  # fmt: skip
    return outcome(out)


@pytest.fixture(scope="module")
def stopped(words, tmp_path_factory):
    """A run that Ctrl-C has stopped on the way, and what it said."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    process = start(words, out, "slowed", 0.03)
    wait_for_points(out, 3)
    os.kill(process.pid, signal.SIGINT)
    return out, finish(process, out)


@pytest.fixture
def half(stopped, tmp_path):
    """A copy of it."""
    shutil.copytree(stopped[0], tmp_path / "run")
    return tmp_path / "run"


def test_ctrl_c_says_how_to_go_on(stopped, half, whole):
    out, (code, line) = stopped
    said = re.fullmatch(
        rf"mimetric train: stopped; saved at step (\d+) of {STEPS}, go on by: mimetric (.*)", line
    )
    assert code == 130
    assert 6 <= int(said[1]) < STEPS
    assert shlex.split(said[2]) == ["train", "--out", str(out), "--resume"]
    assert finish(start(["train"], half), half)[0] == 0
    assert outcome(half) == whole


def kill_and_go_on(words, out, times, rng):
    """Kill it that often at random moments, whatever it is doing, and let it go on in the end."""
    for _ in range(times):
        process = start(words, out, "slowed", 0.005)
        wait_for_points(out, 1)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.join()
    assert finish(start(words, out), out)[0] == 0
    return outcome(out)


def test_killed_at_a_random_moment(words, whole, tmp_path):
    assert kill_and_go_on(words, tmp_path / "run", 1, random.Random()) == whole


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_many_random_moments(words, whole, tmp_path, seed):
    assert kill_and_go_on(words, tmp_path / "run", 4, random.Random(seed)) == whole


# A run that goes on writes the split and run.toml; then a save metrics.jsonl, weights, state and settings.json.
@pytest.mark.parametrize(
    "number", [5, *(pytest.param(n, marks=pytest.mark.slow) for n in (*range(1, 5), *range(6, 15)))]
)
def test_killed_while_it_saves(half, whole, number):
    before = json.loads((half / "settings.json").read_text())
    process = start(["train"], half, "killed in write", number)
    assert finish(process, half)[0] == -signal.SIGKILL
    after = json.loads((half / "settings.json").read_text())
    load(half)
    if number <= 6:
        assert after == before
    else:
        assert after["steps_done"] > before["steps_done"]
    assert finish(start(["train"], half), half)[0] == 0
    assert outcome(half) == whole
    assert not list(half.glob(".*"))  # what was half written is gone
    assert len(list(half.glob("*.safetensors"))) == 2


def checkpoint(folder):
    """Every byte of what settings.json names, and of itself."""
    settings = json.loads((folder / "settings.json").read_text())
    return [
        (folder / name).read_bytes() for name in ("settings.json", settings["weights"], settings["state"])
    ]


def test_a_full_disk(half):
    """Weights fit, the state does not."""
    before = checkpoint(half)
    code, line = finish(start(["train"], half, "limited", 500_000), half)
    assert code == 2
    assert line == (
        f"mimetric train: out: cannot write to {half} (File too large); make room, then go on by: "
        f"mimetric train --out {half} --resume"
    )
    assert checkpoint(half) == before


@pytest.mark.slow
def test_a_file_system_that_is_full(half, whole, tmp_path):
    """In a small file system of its own, mounted by a user of its own."""
    if shutil.which("unshare") is None:
        pytest.skip("no file system may be mounted here: there is no unshare")
    script = (
        'mount -t tmpfs -o size="$5" tmpfs "$1" && cp -r "$2/." "$1" && "$3" -m mimetric train --out "$1" --resume;'
        ' code=$?; cp -r "$1/." "$4"; exit $code'
    )
    mounted, kept = tmp_path / "mounted", tmp_path / "kept"
    mounted.mkdir()
    kept.mkdir()
    size = sum(file.stat().st_size for file in half.iterdir()) + 500_000
    paths = [str(path) for path in (mounted, half, sys.executable, kept, size)]
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", *paths],
        capture_output=True,
        text=True,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    assert done.returncode == 2
    assert "(No space left on device); make room, then go on by" in done.stderr
    assert finish(start(["train"], kept), kept)[0] == 0
    assert outcome(kept) == whole


@pytest.mark.parametrize("kind", ["weights", "state"])
def test_a_truncated_checkpoint_is_named(half, kind, capsys):
    [file] = half.glob(f"{kind}-*")
    os.truncate(file, file.stat().st_size - 9)
    assert main(["train", "--out", str(half), "--resume"]) == 2
    said = f"mimetric train: checkpoint {half}: {file.name} is missing or damaged; train again\n"
    assert capsys.readouterr().err.endswith(said)


def test_a_loss_that_is_not_finite_leaves_the_batch(words, tmp_path, capsys):
    out = tmp_path / "run"
    assert main([*words, "--lr", "1e30", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert re.search(
        rf"the loss is (nan|inf) at step \d of {STEPS}; lower lr .*; the batch is in {out}", error
    )
    assert (out / "bad-batch.safetensors").exists()
    assert json.loads((out / "bad-batch.json").read_text())["step"] > 1
    load(out)  # what was saved before is there
