"""Tuning on an equal budget: as many trials for each objective, of its own options and its learning rates.

The study is a file of Optuna's (SQLite, ``study.db``), written as each trial ends.  What a trial tries depends on those
that ended before it and on nothing else, so that a study that was killed goes on as if it had not been.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mimetric import named
from mimetric.core.errors import InputError
from mimetric.data.saved_splits import split_hash
from mimetric.data.sources import LabelledData
from mimetric.train.config import CONFIG, read_config
from mimetric.train.options import CompareOptions
from mimetric.train.progress import Progress
from mimetric.train.spaces import search_space, with_values

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

STUDY = "study.db"
TRIAL_SEED = 1_000  # of all trials; no run that is reported has it
DRAWN = 5  # trials after which what was found guides the next: before, numbers are drawn from their ranges

Judge = Callable[[str, CompareOptions], float]


@dataclass(frozen=True)
class Tuned:
    """An objective as it came out: its name with all options, the learning rates, and how they were found."""

    objective: str
    options: CompareOptions
    found: dict[str, Any] | None = None  # JSON values: see :mod:`mimetric.train.results`


def begun_with(asked: CompareOptions) -> CompareOptions:
    """The options that the study in ``asked.out`` began with; of these, trials and device may be others now.

    Raises:
        InputError: no study there, or another option is asked for.
    """
    file = asked.out / CONFIG
    if not (file.exists() and (asked.out / STUDY).exists()):
        raise InputError(
            f"resume: no study in {asked.out}; name its folder by --out, or begin one by --trials"
        )
    changed = {
        field.name: value
        for field in fields(asked)
        if field.name != "out" and (value := getattr(asked, field.name)) != field.default
    }
    given = {"trials", "device", "encoder"} & changed.keys()  # an encoder that is code is named again
    begun = CompareOptions(**read_config(file, CompareOptions, given=given))
    begun = replace(begun, out=asked.out, **{name: changed[name] for name in given})
    for name, value in changed.items():
        if getattr(begun, name) != value:
            raise InputError(
                f"{name}: the study in {asked.out} has {getattr(begun, name)}, got {value}; a study goes on with its "
                "own options, leave it out"
            )
    return begun


def check_trials(options: CompareOptions, data: LabelledData, *, resume: bool) -> None:
    """That there can be trials, before anything is written.

    Raises:
        InputError: no Optuna, no validation rows, or a study lies in the folder already.
    """
    if options.trials is None:
        return
    if find_spec("optuna") is None:
        raise InputError("trials: needs optuna: pip install 'mimetric[tune]'")
    if not resume and (options.out / STUDY).exists():
        raise InputError(
            f"out: {options.out} holds a study; go on with it by --resume, or name another folder"
        )
    labels = data.y[data.split.validation]
    if len(np.unique(labels)) == len(labels):
        raise InputError(f"trials: {options.data} has no validation rows to tune on; leave it out")


def tune_all(
    names: Sequence[str], options: CompareOptions, data: LabelledData, judge: Judge, progress: Progress
) -> dict[str, Tuned]:
    """Every objective as the best of its trials: see :func:`tune`.

    Raises:
        KeyboardInterrupt: stopped; its message says how to go on.
    """
    tuned, of = {}, f"{split_hash(data.split, data.y)} {options.encoder}"
    try:
        for name in names:
            tuned[name] = tune(name, options, options.out / STUDY, judge, of=of)
            progress.said(_described(name, tuned[name]))
    except KeyboardInterrupt:
        go_on = f"mimetric compare --out {shlex.quote(str(options.out))} --resume"
        raise KeyboardInterrupt(f"stopped; trials that had ended are kept, go on by: {go_on}") from None
    return tuned


def tuning(tuned: Mapping[str, Tuned], trials: int | None) -> dict[str, Any] | None:
    """What results.json says of the trials; None where there were none."""
    if trials is None:
        return None
    return {
        "trials": trials,
        "seed": TRIAL_SEED,
        "objectives": {name: one.found for name, one in tuned.items()},
    }


def tune(name: str, options: CompareOptions, file: Path, judge: Judge, *, of: str = "") -> Tuned:
    """The best of ``options.trials`` trials of an objective; the first of them is what was asked for.

    Args:
        name: of one objective; the options given in it stay.
        options: of every trial, but for the learning rates.
        file: of the study; of one that was begun, the trials that are missing are made.
        judge: what is to be high of an objective and options, as Recall@1 on validation.  Where it raises an
            InputError, as at a loss that is not finite, the trial has 0; in the first trial the error is the user's.
        of: what the judge stands on, such as a hash of the data: a study that goes on must find it again.

    Returns:
        The one with the highest value, the earliest of equals.
    Raises:
        InputError: Optuna is not installed, the file is no study, or the first trial fails.

    Reference: Bergstra et al., 2011 (the tree-structured Parzen estimator); Akiba et al., 2019, arXiv:1907.10902.
    """
    from optuna.distributions import BaseDistribution, FloatDistribution
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState, create_trial

    [chosen] = named.parse_objectives(name)
    space = search_space(chosen, options)
    ranges: dict[str, BaseDistribution] = {
        key: FloatDistribution(one.low, one.high, log=one.log) for key, one in space.items()
    }
    study = _study(name, file, of)

    def value(numbers: Mapping[str, float]) -> float:
        return judge(*_asked(chosen, options, numbers))

    for dead in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(dead.number, state=TrialState.FAIL)  # the run was killed in it: it is made anew
    while (count := len(_ended(study))) < (options.trials or 0):
        if not count:
            asked = {key: one.default for key, one in space.items()}
            study.add_trial(create_trial(params=asked, distributions=ranges, value=value(asked)))
            continue
        study.sampler = TPESampler(seed=count, n_startup_trials=DRAWN)
        trial = study.ask(ranges)
        try:
            study.tell(trial, value(trial.params))
        except InputError:
            study.tell(trial, 0.0)
    ended = _ended(study)[: options.trials]
    best = max(ended, key=_value)  # the first of equals
    return Tuned(
        *_asked(chosen, options, best.params),
        {
            "space": {key: asdict(one) for key, one in space.items()},
            "chosen": best.params,
            "validation_recall_at_1": _value(best),
            "asked_validation_recall_at_1": _value(ended[0]),
            "trials": [{"values": one.params, "validation_recall_at_1": _value(one)} for one in ended],
        },
    )


def _study(name: str, file: Path, of: str) -> Study:
    """The study of an objective in a file, which may hold others'."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{file}", study_name=name, direction="maximize", load_if_exists=True
        )
        held = study.user_attrs.get("of", of)
        study.set_user_attr("of", of)
    except Exception as error:  # of SQLAlchemy, SQLite or Optuna: whatever it is, the file is no study
        reason = str(error).splitlines()[0]
        raise InputError(f"trials: {file} is no study ({reason}); name another folder by --out") from None
    if held != of:
        raise InputError(
            f"trials: the study in {file} is of other data or another encoder; name another folder by --out"
        )
    return study


def _asked(
    chosen: named.Chosen, options: CompareOptions, numbers: Mapping[str, float]
) -> tuple[str, CompareOptions]:
    """The objective and the options of a trial."""
    rates: dict[str, Any] = {key: numbers[key] for key in ("lr", "objective_lr") if key in numbers}
    return str(with_values(chosen, numbers)), replace(options, **rates)


def _ended(study: Study) -> list[FrozenTrial]:
    from optuna.trial import TrialState

    return study.get_trials(states=(TrialState.COMPLETE,))


def _value(trial: FrozenTrial) -> float:
    return float(trial.values[0])


def _described(name: str, tuned: Tuned) -> str:
    """A line for people."""
    found = tuned.found or {}
    chosen = ", ".join(f"{key} {value:.3g}" for key, value in found["chosen"].items())
    before, after = found["asked_validation_recall_at_1"], found["validation_recall_at_1"]
    return f"{name}: Recall@1 on validation {before:.3f}, tuned {after:.3f} by {chosen}"
