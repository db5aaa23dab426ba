"""What ``compare --trials`` tunes, and over what: the one place where search ranges are written.

Tuned are the learning rates, within a factor of ten, and those of an objective's own options that this file knows by
name.  A sharpness (temperature, scale, alpha, ...) or a margin is searched on a log scale within a factor of four of
its default, a weight of a term within a factor of ten, a level within the range where it has a meaning.  Left as they
are: options that the user gives, whole numbers, words, switches, and what is off by default or guards the arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mimetric import named
from mimetric.catalog import entries
from mimetric.train.options import FitOptions

RATES = 10.0  # factor around a learning rate
SHARPNESS, WEIGHT = 4.0, 10.0  # factors around a default, by the kind of option
_FACTORS = {
    **dict.fromkeys(
        ("temperature", "k_temperature", "scale", "alpha", "beta", "gamma", "tau", "margin", "far_margin", "t",
         "strength", "negative_scale", "positive_slack", "negative_slack", "concentration", "exponent"),
        SHARPNESS,
    ),
    **dict.fromkeys(
        ("center_weight", "norm_weight", "mean_weight", "positive_weight", "negative_weight", "invariance_weight",
         "variance_weight", "covariance_weight", "redundancy_weight", "cost"),
        WEIGHT,
    ),
}  # fmt: skip
_COSINE = (0.2, 0.8)  # where classes part, as a cosine
_ANGLE = (0.05, 0.8)  # a margin in radians, or taken from a cosine
_LEVELS = {
    ("cross-entropy", "label_smoothing"): (0.0, 0.2),
    ("cosface", "margin"): _ANGLE,
    ("arcface", "margin"): _ANGLE,
    ("subcenter-arcface", "margin"): _ANGLE,
    ("curricularface", "margin"): _ANGLE,
    ("adaface", "margin"): _ANGLE,
    ("unified-negative-pairs", "margin"): _ANGLE,
    ("circle", "margin"): (0.1, 0.6),
    ("generalized-cross-entropy", "q"): (0.1, 0.9),
    ("contrastive", "positive"): (0.6, 1.0),
    ("contrastive", "negative"): (0.0, 0.6),
    ("threshold-consistent-margin", "positive"): (0.7, 1.0),
    ("threshold-consistent-margin", "negative"): (0.2, 0.7),
    ("multi-similarity", "base"): _COSINE,
    ("binomial-deviance", "base"): _COSINE,
    ("margin", "boundary"): (0.8, 1.4),
    ("ranked-list", "alpha"): (0.8, 1.4),
    ("ranked-list", "margin"): (0.1, 0.8),
    ("aldr", "alpha"): (1.2, 8.0),
    ("angular", "alpha"): (25.0, 60.0),
    ("hard-negative-nt-xent", "tau_plus"): (0.01, 0.2),
}  # even, not log


@dataclass(frozen=True)
class Range:
    """What one number is searched over; its first trial is `default`.

    >>> Range.around(0.1, 4.0)
    Range(low=0.025, high=0.4, log=True, default=0.1)
    """

    low: float
    high: float
    log: bool
    default: float

    @classmethod
    def around(cls, default: float, factor: float) -> Range:
        """Within a factor of a number > 0, on a log scale."""
        return cls(default / factor, default * factor, True, default)


def search_space(chosen: named.Chosen, options: FitOptions) -> dict[str, Range]:
    """The ranges of an objective: ``lr``, ``objective_lr`` where it learns something itself, and its own options.

    An option of a sum stands behind the name of its term, as in ``supcon:temperature``.

    >>> [only] = named.parse_objectives("supcon")
    >>> search_space(only, FitOptions(lr=0.01))
    {'lr': Range(low=0.001, high=0.1, log=True, default=0.01),
     'temperature': Range(low=0.025, high=0.4, log=True, default=0.1)}
    """
    space = {"lr": Range.around(options.lr, RATES)}
    if any(True for _ in named.create(chosen, width=2, num_classes=2).parameters()):
        space["objective_lr"] = Range.around(options.objective_lr, RATES)
    for term in chosen.terms:
        for option, found in _own(term).items():
            space[_key(chosen, term, option)] = found
    return space


def with_values(chosen: named.Chosen, values: Mapping[str, float]) -> named.Chosen:
    """The objective with values of its own options, by their names in its space; learning rates are passed over.

    >>> [only] = named.parse_objectives("supcon")
    >>> str(with_values(only, {"lr": 0.02, "temperature": 0.07}))
    'supcon:temperature=0.07'
    """
    terms = []
    for term in chosen.terms:
        own = ((option, f"{values[_key(chosen, term, option)]:g}") for option in _own(term))
        terms.append(named.Term(term.factor, term.name, (*term.options, *own)))
    return named.Chosen(tuple(terms))


def _own(term: named.Term) -> dict[str, Range]:
    """The ranges of a term's options that the user has not given."""
    found, given = {}, dict(term.options)
    for option, default in entries()[term.name].options.items():
        level, factor = _LEVELS.get((term.name, option)), _FACTORS.get(option)
        if option in given or not isinstance(default, float):
            continue
        if level:
            found[option] = Range(*level, False, default)
        elif factor and 0 < default < float("inf"):
            found[option] = Range.around(default, factor)
    return found


def _key(chosen: named.Chosen, term: named.Term, option: str) -> str:
    return option if len(chosen.terms) == 1 else f"{term.name}:{option}"
