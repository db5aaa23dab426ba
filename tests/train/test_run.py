from __future__ import annotations

import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mimetric.core.errors import InputError
from mimetric.train.compare import compare
from mimetric.train.evaluate import evaluate_source
from mimetric.train.options import CompareOptions, EvaluateOptions, TrainOptions
from mimetric.train.progress import Silent
from mimetric.train.run import train

SHARED = {"epochs": 3, "device": "cpu", "width": 16}
OPTIONS = TrainOptions(
    data="digits", objective="supcon:temperature=0.2", seed=1, **SHARED
)  # 7 steps an epoch


def timeless(results):
    """Without what depends on the machine's mood."""
    for entry in results["objectives"].values():
        del entry["train_seconds"], entry["peak_memory_bytes"]
    return results


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "a run"
    return timeless(train(replace(OPTIONS, out=out))), out


class Signals(Silent):
    """Sends this process a signal after some steps."""

    def __init__(self, *steps: int, number: int = signal.SIGINT) -> None:
        self.steps, self.done, self.number = steps, 0, number

    def advanced(self, steps: int) -> None:
        self.done += steps
        for _ in range(self.steps.count(self.done)):
            os.kill(os.getpid(), self.number)


def test_gives_the_numbers_of_a_comparison(done, tmp_path):
    """However often it is looked at on the way."""
    found, out = done
    compared = compare(
        CompareOptions(data="digits", objectives=OPTIONS.objective, seeds=2, probes=2, out=tmp_path, **SHARED)
    )
    assert list(found) == list(compared)
    [mine], [theirs] = found["objectives"].values(), compared["objectives"].values()
    for metric in ("recall_at_1", "map_at_r", "nmi", "information_generative", "tightness", "contrast"):
        assert mine[metric]["values"] == theirs[metric]["values"][1:]
    assert (
        found["baselines"]["untrained"]["nmi"]["values"]
        == compared["baselines"]["untrained"]["nmi"]["values"][1:]
    )
    assert found["data"] == compared["data"]
    weights = next((tmp_path / "checkpoints").glob("*seed1/weights-*"))
    assert weights.read_bytes() == next(out.glob("weights-*")).read_bytes()


def test_the_folder_tells_how_it_came_to_be(done):
    found, out = done
    assert timeless(json.loads((out / "results.json").read_text())) == found
    points = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [(point["step"], point["epoch"]) for point in points] == [(0, 0.0), (7, 1.0), (14, 2.0), (21, 3.0)]
    assert points[-1]["loss"] < points[1]["loss"]
    settings = json.loads((out / "settings.json").read_text())
    assert settings["split"]["kind"] == "stratified"
    assert [settings["split"][part]["items"] for part in ("train", "validation", "test")] == [989, 268, 540]
    assert len({settings["split"][part]["sha256"] for part in ("train", "validation", "test")}) == 3
    assert settings["environment"]["packages"]["torch"]
    assert (settings["step"], settings["steps_done"], settings["seed"]) == (21, 21, 1)
    assert str(out) not in json.dumps(settings)
    [curve] = found["curves"]["supcon:temperature=0.2"]
    informed = [value is not None for value in curve["validation_information_generative"]]
    assert informed == [True] * 4


def test_evaluate_reads_it(done):
    found, out = done
    metrics = evaluate_source(out, EvaluateOptions(metrics="recall_at_1,nmi")).metrics
    for name in ("recall_at_1", "nmi"):
        assert metrics[name].mean == pytest.approx(
            found["objectives"][OPTIONS.objective][name]["mean"], abs=2e-3
        )


def test_a_run_that_has_ended_is_judged_again(done):
    found, out = done
    assert timeless(train(TrainOptions(out=out), resume=True)) == found


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"select": "validation", "patience": 2, "ema": 0.5, "steps": 60},
    ],
    ids=["as it is", "chosen and averaged"],
)
def test_stopped_and_resumed(tmp_path, changes):
    options = replace(OPTIONS, **({"epochs": None, "steps": 16} | changes))
    whole = timeless(train(replace(options, out=tmp_path / "whole")))
    out = tmp_path / "stopped"
    # In an epoch, at the end of one, in the next.
    for step, number in ((3, signal.SIGINT), (7, signal.SIGTERM), (12, signal.SIGINT)):
        with pytest.raises(
            KeyboardInterrupt, match=rf"saved at step {step} of \d+, go on by: mimetric train --out"
        ):
            train(replace(options, out=out), resume=out.exists(), progress=Signals(step, number=number))
        assert evaluate_source(out, EvaluateOptions(metrics="recall_at_1"))
    assert timeless(train(TrainOptions(out=out), resume=True)) == whole
    assert (out / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()


def test_a_second_signal_acts_at_once(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="saved at step 0 of 21"):
        train(replace(OPTIONS, out=tmp_path / "run"), progress=Signals(3, 3))
    assert signal.getsignal(signal.SIGINT) is before


def test_in_a_thread_signals_are_left_alone(tmp_path):
    found = []
    work = threading.Thread(
        target=lambda: found.append(train(replace(OPTIONS, epochs=1, out=tmp_path / "run")))
    )
    work.start()
    work.join()
    assert found


@pytest.mark.slow
def test_patience_ends_it(tmp_path):
    """Recall@1 on validation cannot rise for ever."""
    found = train(replace(OPTIONS, epochs=60, patience=2, out=tmp_path / "run"))
    [curve] = found["curves"]["supcon:temperature=0.2"]
    recalls = curve["validation_recall_at_1"]
    assert len(recalls) < 61
    assert recalls.index(max(recalls)) == len(recalls) - 3
    assert (
        found["objectives"]["supcon:temperature=0.2"]["recall_at_1"]["mean"] == curve["test_recall_at_1"][-1]
    )


def test_validation_chooses(tmp_path):
    found = train(replace(OPTIONS, epochs=None, steps=30, lr=0.3, select="validation", out=tmp_path / "run"))
    [curve] = found["curves"]["supcon:temperature=0.2"]
    best = int(np.argmax(curve["validation_recall_at_1"]))
    assert (
        curve["test_recall_at_1"][best]
        == found["objectives"]["supcon:temperature=0.2"]["recall_at_1"]["mean"]
    )
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["step"] == curve["step"][best]


def test_no_run_is_written_over(done):
    _, out = done
    with pytest.raises(
        InputError, match=r"out: .* holds a run; go on with it by --resume, or name another folder"
    ):
        train(replace(OPTIONS, out=out))


def test_nothing_to_resume(tmp_path):
    with pytest.raises(InputError, match="resume: no run in"):
        train(replace(OPTIONS, out=tmp_path / "none"), resume=True)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"lr": 0.5},
            r"lr: the run in .* has 0.01, got 0.5; a run goes on with its own options, leave it out",
        ),
        (
            {"objective": "triplet"},
            r"objective: the run in .* has supcon:temperature=0.2, got triplet-margin",
        ),
        ({"data": "digit"}, "data: the run in .* has digits, got digit"),
    ],
)
def test_a_run_goes_on_with_its_own_options(done, changes, message):
    with pytest.raises(InputError, match=message):
        train(replace(TrainOptions(out=done[1]), **changes), resume=True)


@pytest.mark.slow
def test_those_it_began_with_may_be_said_again(done):
    train(replace(OPTIONS, out=done[1], bad_loss="skip"), resume=True)


def npz(path: Path, *, shift: int = 0, validation: bool = True) -> str:
    rng = np.random.default_rng(0)
    y = np.arange(120) % 20
    part = np.select([y < 8, y < (10 if validation else 0)], [0, 1], 2)
    np.savez(path, x=rng.normal(size=(120, 6)) + shift, y=y, split=part)
    return f"npz:{path}"


def test_other_data_are_refused(tmp_path):
    options = TrainOptions(
        data=npz(tmp_path / "a.npz"), steps=3, batch_size=16, per_class=2, width=4, out=tmp_path / "run"
    )
    train(options)
    npz(tmp_path / "a.npz", shift=1)
    with pytest.raises(
        InputError, match=r"the data are not those that the run in .* began with; train again"
    ):
        train(options, resume=True)


@pytest.mark.parametrize("changes", [{"select": "validation"}, {"patience": 3}])
def test_no_validation_rows(tmp_path, changes):
    x, y = np.random.default_rng(0).normal(size=(80, 4)), np.arange(80) % 20
    np.savez(tmp_path / "set.npz", x=x, y=y, split=np.repeat([0, 2], 40))
    options = TrainOptions(
        data=f"npz:{tmp_path / 'set.npz'}",
        steps=3,
        batch_size=16,
        per_class=2,
        out=tmp_path / "run",
        **changes,
    )
    [name] = changes
    with pytest.raises(InputError, match=rf"^{name}: .* has no validation rows to look at; leave it out"):
        train(options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.slow
def test_half_precision_trains_to_much_the_same(tmp_path, precision):
    options = replace(OPTIONS, epochs=6, precision=precision, out=tmp_path / "run")
    found = train(options)["objectives"]["supcon:temperature=0.2"]
    assert found["recall_at_1"]["mean"] > 0.97
    metrics = evaluate_source(tmp_path / "run", EvaluateOptions(metrics="recall_at_1")).metrics
    assert metrics["recall_at_1"].mean == pytest.approx(found["recall_at_1"]["mean"], abs=6e-3)
