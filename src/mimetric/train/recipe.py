"""Recipes: the claims of a paper, measured over seeds and judged.

A recipe is a module with `Options` (a frozen dataclass), `Quick` (an Options that runs in seconds), `CLAIMS`
and ``measure(options, seed)``, which gives named numbers and depends on nothing else.  What is found, as
``mimetric reproduce NAME --json`` prints it; a *metric* is ``{mean, low, high, values}`` over seeds::

    schema_version, name
    header         {title, Claim, Here, Expect, Differs, Run}
    settings       every option
    seeds          [0, 1, ...]
    measured       {number: metric}
    claims         [{text, source, method, baseline, at_least, percent, difference: metric, verdict}]
    seconds        of all seeds
    environment    versions, processor, threads

A number that some seed could not measure (nan, infinity) has None for that value, for its mean and for its interval.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Literal, NamedTuple

import torch

from mimetric.core.errors import InputError
from mimetric.train.intervals import summary
from mimetric.train.machine import environment
from mimetric.train.progress import Progress, Silent

Verdict = Literal["holds", "does not hold", "inconclusive"]


@dataclass(frozen=True)
class Claim:
    """The method's number exceeds the baseline's by at least so much."""

    text: str  # a sentence that can be true or false
    method: str  # name of a number that `measure` gives
    baseline: str | float  # another, or a constant
    at_least: float = 0.0  # negative: the method may be that much below
    percent: bool = False  # numbers are fractions, shown as percent
    source: Literal["paper", "ours"] = "paper"  # who claims it: the paper, or we at this scale


class Recipe(NamedTuple):
    """What a recipe's module offers, and what its header says."""

    name: str
    header: Mapping[str, str]  # "title", "Claim", "Here", "Expect", "Differs", "Run"
    options: type[Any]
    quick: type[Any]
    claims: Sequence[Claim]
    measure: Callable[[Any, int], Mapping[str, float]]


def reproduce(
    recipe: Recipe, options: Any = None, *, seeds: int = 3, progress: Progress = Silent()
) -> dict[str, Any]:
    """Measure a recipe with seeds 0, 1, ... and judge its claims.

    Args:
        recipe: as :func:`mimetric.recipes.load` gives it.
        options: of the recipe's class; None is its defaults.
        seeds: how many, at least 1; with 1 every claim is inconclusive.
        progress: told of every seed.

    Returns:
        JSON values, as the head of this file has them.
    Raises:
        InputError: seeds below 1, or what `measure` says of its options.
    """
    if seeds < 1:
        raise InputError(f"seeds must be a whole number, at least 1, got {seeds}; try 3")
    options = recipe.options() if options is None else options
    began = time.perf_counter()
    progress.started(f"{recipe.name}: {seeds} seeds", seeds)
    found = []
    for seed in range(seeds):
        start = time.perf_counter()
        with torch.random.fork_rng():  # a recipe seeds torch for itself
            found.append(dict(recipe.measure(options, seed)))
        progress.advanced(1)
        progress.said(f"{recipe.name}, seed {seed}: {time.perf_counter() - start:.0f} s")
    measured = {name: _metric([one[name] for one in found]) for name in found[0]}
    return {
        "schema_version": 1,
        "name": recipe.name,
        "header": dict(recipe.header),
        "settings": asdict(options),
        "seeds": list(range(seeds)),
        "measured": measured,
        "claims": [judged(claim, measured) for claim in recipe.claims],
        "seconds": time.perf_counter() - began,
        "environment": environment(),
    }


def averaged(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each number over several starts or splits, for a recipe whose seeds have some of them.

    >>> averaged([{"recall": 0.5, "nmi": 0.25}, {"recall": 1.0, "nmi": 0.75}])
    {'recall': 0.75, 'nmi': 0.5}
    """
    return {name: fmean(one[name] for one in found) for name in found[0]}


def judged(claim: Claim, measured: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The claim as JSON values, with the paired difference over seeds and the verdict on it.

    It holds if the whole 95% t interval lies at or above `at_least`, does not hold if all of it lies below,
    and is inconclusive else, as with one seed or a number that could not be measured.

    >>> measured = {"method": {"values": [0.8, 0.9]}, "baseline": {"values": [0.5, 0.6]}}
    >>> judged(Claim("Better by a fifth.", "method", "baseline", at_least=0.2), measured)["verdict"]
    'holds'
    """
    method = measured[claim.method]["values"]
    name, constant = claim.baseline, [claim.baseline] * len(method)
    baseline = measured[name]["values"] if isinstance(name, str) else constant
    pairs = zip(method, baseline)
    difference = _metric([math.nan if None in pair else pair[0] - pair[1] for pair in pairs])
    return asdict(claim) | {"difference": difference, "verdict": _verdict(difference, claim.at_least)}


def _verdict(difference: Mapping[str, Any], at_least: float) -> Verdict:
    low, high = difference["low"], difference["high"]
    if low is None or low < at_least <= high:
        return "inconclusive"
    return "holds" if low >= at_least else "does not hold"


def _metric(values: Sequence[float]) -> dict[str, Any]:
    """Mean and interval over seeds; None for what is not finite."""
    if all(map(math.isfinite, values)):
        return summary(values)
    kept = [float(value) if math.isfinite(value) else None for value in values]
    return {"mean": None, "low": None, "high": None, "values": kept}
