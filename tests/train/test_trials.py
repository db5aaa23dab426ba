"""Equal budgets, on validation alone; a study goes on as if it had not been stopped."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mimetric.core.errors import InputError
from mimetric.data.arrays import as_data
from mimetric.train.compare import compare
from mimetric.train.options import CompareOptions
from mimetric.train.trials import TRIAL_SEED, begun_with, check_trials, tune

optuna = pytest.importorskip("optuna", reason="the extra tune is not installed")

OPTIONS = CompareOptions(
    trials=7, steps=4, batch_size=8, per_class=2, width=4, device="cpu", encoder="linear"
)


class Judge:
    """Highest at a learning rate of 0.05 and a temperature of 0.2."""

    def __init__(self, dies_in: int | None = None) -> None:
        self.met: list[tuple[str, float]] = []
        self.dies_in = dies_in

    def __call__(self, objective: str, options: CompareOptions) -> float:
        if len(self.met) == self.dies_in:
            raise KeyboardInterrupt
        self.met.append((objective, options.lr))
        temperature = float(objective.rpartition("=")[2])
        return 1 - 0.1 * (abs(math.log(options.lr / 0.05)) + abs(math.log(temperature / 0.2)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    judge = Judge()
    return tune("supcon", OPTIONS, tmp_path_factory.mktemp("whole") / "study.db", judge), judge


def test_the_first_trial_is_what_was_asked_for_and_the_best_is_taken(whole) -> None:
    tuned, judge = whole
    assert len(judge.met) == 7
    assert judge.met[0] == ("supcon:temperature=0.1", 0.01)
    values = [one["validation_recall_at_1"] for one in tuned.found["trials"]]
    assert tuned.found["validation_recall_at_1"] == max(values)
    assert tuned.found["asked_validation_recall_at_1"] == values[0]
    assert (tuned.objective, tuned.options.lr) == judge.met[int(np.argmax(values))]
    assert tuned.options == replace(OPTIONS, lr=tuned.options.lr)  # nothing learned by the objective itself
    for one in tuned.found["trials"]:
        for name, space in tuned.found["space"].items():
            assert space["low"] <= one["values"][name] <= space["high"]


def test_a_study_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path: Path, whole) -> None:
    dying, rest = Judge(dies_in=6), Judge()
    with pytest.raises(KeyboardInterrupt):
        tune("supcon", OPTIONS, tmp_path / "study.db", dying)
    assert tune("supcon", OPTIONS, tmp_path / "study.db", rest) == whole[0]
    assert dying.met + rest.met == whole[1].met
    fewer = tune("supcon", replace(OPTIONS, trials=3), tmp_path / "study.db", rest)
    assert fewer.found["trials"] == whole[0].found["trials"][:3]


def test_a_trial_that_fails_has_0_but_the_first_is_the_user_s_mistake(tmp_path: Path) -> None:
    met = []

    def judge(objective: str, _: CompareOptions) -> float:
        met.append(objective)
        if len(met) > 1:
            raise InputError("the loss is nan")
        return 0.5

    tuned = tune("supcon", replace(OPTIONS, trials=3), tmp_path / "study.db", judge)
    assert [one["validation_recall_at_1"] for one in tuned.found["trials"]] == [0.5, 0.0, 0.0]
    assert tuned.objective == "supcon:temperature=0.1"
    with pytest.raises(InputError, match="the loss is nan"):
        tune("nt-xent", OPTIONS, tmp_path / "study.db", judge)


def test_mistakes(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("no database")
    with pytest.raises(
        InputError, match=r"trials: .*study.db is no study \(.*\); name another folder"
    ) as caught:
        tune("supcon", OPTIONS, tmp_path / "study.db", Judge())
    assert "\n" not in str(caught.value)
    tune("supcon", replace(OPTIONS, trials=1), tmp_path / "other.db", Judge(), of="a")
    with pytest.raises(InputError, match="is of other data"):
        tune("supcon", OPTIONS, tmp_path / "other.db", Judge(), of="b")
    asked = replace(OPTIONS, out=tmp_path)
    data = blobs()
    with pytest.raises(InputError, match="holds a study; go on with it by --resume"):
        check_trials(asked, data, resume=False)
    with pytest.raises(InputError, match="resume: no study in "):
        begun_with(replace(asked, out=tmp_path / "none"))
    without = as_data(data.x, data.y, split=np.where(np.arange(len(data.x)) % 2, 0, 2))
    without = replace(without, split=replace(without.split, validation=np.zeros(0, np.int64)))
    with pytest.raises(InputError, match="trials: data has no validation rows to tune on; leave it out"):
        check_trials(replace(OPTIONS, data="data", out=tmp_path / "new"), without, resume=False)


def blobs():
    rng = np.random.default_rng(0)
    y = np.arange(240) % 24
    x = rng.normal(size=(24, 6))[y] + rng.normal(size=(240, 6))
    return as_data(x.astype(np.float32), y, name="blobs")


@pytest.mark.slow
def test_compare_tunes_each_objective_and_says_so(tmp_path: Path) -> None:
    data = blobs()
    asked = replace(OPTIONS, trials=2, objectives="supcon,normalized-softmax", seeds=1, out=tmp_path)
    found = compare(asked, data=data)
    tuning = found["tuning"]
    assert (tuning["trials"], tuning["seed"]) == (2, TRIAL_SEED)
    assert list(tuning["objectives"]) == list(found["objectives"]) == ["supcon", "normalized-softmax"]
    for told in tuning["objectives"].values():
        assert len(told["trials"]) == 2
        assert told["chosen"] in [one["values"] for one in told["trials"]]
    assert found["settings"]["trials"] == 2
    assert found["settings"]["lr"] == 0.01

    more = compare(CompareOptions(out=tmp_path, trials=3), data=data, resume=True)
    for name, told in more["tuning"]["objectives"].items():
        assert told["trials"][:2] == tuning["objectives"][name]["trials"]
        assert len(told["trials"]) == 3
    with pytest.raises(
        InputError, match=r"steps: the study in .* has 4, got 7; a study goes on with its own options"
    ):
        compare(CompareOptions(out=tmp_path, steps=7), data=data, resume=True)
