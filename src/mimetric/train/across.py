"""Runs on the same data, as the results of one comparison: what ``mimetric report RUN RUN`` shows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mimetric.core.errors import InputError
from mimetric.train.intervals import standings

_OF_ONE_RUN = {"objective", "objectives", "seed", "seeds", "epochs"}  # settings in which runs may differ


def read_results(folder: Path) -> dict[str, Any]:
    """What a run or a comparison measured.

    Raises:
        InputError: no results.json there, or a damaged one.
    """
    try:
        results = json.loads((folder / "results.json").read_bytes())
    except OSError:
        raise InputError(
            f"{folder}: no results.json there; name a folder that mimetric compare or train finished"
        ) from None
    except (ValueError, RecursionError):
        results = None
    if not isinstance(results, dict) or not {"objectives", "curves", "settings", "data"} <= results.keys():
        raise InputError(f"{folder}: results.json is damaged; run again")
    return results


def across(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The results of runs on the same data, by a name for each, as those of one comparison.

    An objective of several runs has the run's name behind its own.  Objectives are held against the best by paired
    differences where all have the same seeds; else it is not said which are apart.  Baselines and environment are
    those of the first; how an objective was tuned is not told.
    Beside what results.json holds::

        runs       [{name, data, settings, retrieval, names: {name there: name here}}]
        differing  {setting: {run: value}} of what was not the same in all of them

    Raises:
        InputError: runs on other data than the first.
    """
    (first, base), *others = runs.items()
    for name, results in others:
        if _data(results) != _data(base):
            raise InputError(
                f"{name}: was measured on other data or another split than {first}; report them apart"
            )
    count = Counter(own for results in runs.values() for own in results["objectives"])
    names = {
        name: {own: own if count[own] == 1 else f"{own} ({name})" for own in results["objectives"]}
        for name, results in runs.items()
    }
    objectives, curves = (
        {names[name][own]: value for name, results in runs.items() for own, value in results[part].items()}
        for part in ("objectives", "curves")
    )
    seeds = [entry["seeds"] for entry in objectives.values()]
    differing = _differing(runs)
    steps = max(results["settings"]["steps"] for results in runs.values())
    shared = {key: value for key, value in base["settings"].items() if key not in {*_OF_ONE_RUN, *differing}}
    return {
        **base,
        "settings": {"select": "last"} | shared | {"steps": steps, "seeds": max(map(len, seeds))},
        "objectives": {name: objectives[name] | standing for name, standing in _standing(objectives).items()},
        "curves": curves,
        "runs": [_run(name, results, names[name]) for name, results in runs.items()],
        "differing": differing,
        "tuning": None,
    }


def _data(results: Mapping[str, Any]) -> dict[str, Any]:
    """Of the data, all but how they were asked for."""
    return {key: value for key, value in results["data"].items() if key not in ("spec", "name", "note")}


def _run(name: str, results: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    retrieval = results.get("retrieval")
    if retrieval:
        by_name = {
            part: {names[own]: value for own, value in retrieval[part].items()}
            for part in ("neighbors", "first_right")
            if part in retrieval
        }
        retrieval = retrieval | by_name
    kept = {part: results[part] for part in ("data", "settings")}
    return {"name": name, **kept, "retrieval": retrieval, "names": dict(names)}


def _standing(objectives: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """How each stands to the best; nothing but which is the best where they have other seeds."""
    recalls = {name: entry["recall_at_1"] for name, entry in objectives.items()}
    if len({tuple(entry["seeds"]) for entry in objectives.values()}) == 1:
        return standings({name: recall["values"] for name, recall in recalls.items()})
    best = max(recalls, key=lambda name: float(recalls[name]["mean"]))
    return {name: {"standing": "best" if name == best else None, "behind_best": None} for name in recalls}


def _differing(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of the settings that every run has, those that are not the same in all; and the seeds, where they are not."""
    shared = set.intersection(*(set(results["settings"]) for results in runs.values())) - _OF_ONE_RUN
    values = {
        key: {name: results["settings"][key] for name, results in runs.items()}
        for key in next(iter(runs.values()))["settings"]
        if key in shared
    }
    values["seeds"] = {name: _seeds(results) for name, results in runs.items()}
    return {key: own for key, own in values.items() if len({json.dumps(value) for value in own.values()}) > 1}


def _seeds(results: Mapping[str, Any]) -> str:
    entry = next(iter(results["objectives"].values()))
    return " and ".join(map(str, entry["seeds"]))
