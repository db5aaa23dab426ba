"""Objectives as a line of text: ``multi-similarity:beta=40,mining=hdc,supcon+0.1*contrastive:negative=0.3``.

A name, options after a colon, several objectives separated by commas; a piece with = and no : belongs to the objective
before it.  Objectives add up, times numbers.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch

from .catalog import entries, others
from .core.classifier import LinearClassifier, LogitsLoss
from .core.errors import InputError, did_you_mean
from .core.mined import Mining
from .core.objective import Bound, Objective, ObjectiveSum
from .core.pairing import Pairing
from .core.similarity import SIMILARITIES
from .mining import (
    AngularMining,
    DistanceWeightedMining,
    EasyHardMining,
    HDCMining,
    MarginMining,
    MultiSimilarityMining,
    TripletMarginMining,
    UniformHistogramMining,
)

MININGS: dict[str, Mining] = {
    "multi-similarity": MultiSimilarityMining(),
    "hard": EasyHardMining(),
    "easy-positive": EasyHardMining("easy", "semi-hard"),
    "margin": MarginMining(),
    "semi-hard": TripletMarginMining(triplets="semi-hard"),
    "angular": AngularMining(),
    "distance-weighted": DistanceWeightedMining(),
    "uniform-histogram": UniformHistogramMining(),
    "hdc": HDCMining(),
}
ALIASES = {
    "triplet": "triplet-margin", "infonce": "nt-xent", "info-nce": "nt-xent", "dcl": "decoupled",
    "hcl": "hard-negative-nt-xent", "clip": "symmetric-nt-xent", "siglip": "sigmoid-pair",
    "l-softmax": "large-margin-softmax", "a-softmax": "sphereface", "unpg": "unified-negative-pairs",
}  # fmt: skip
_PLUS = re.compile(
    r"\+(?=\s*(?:[\d.]+(?:[eE][-+]?\d+)?\s*\*)?\s*[A-Za-z])"
)  # before a name: 1e+3 is a number


@dataclass(frozen=True)
class Term:
    """An objective of a sum: its factor, its name, the options given for it."""

    factor: float
    name: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        options = ",".join(f"{key}={value}" for key, value in self.options)
        text = f"{self.name}:{options}" if options else self.name
        return text if self.factor == 1 else f"{self.factor:g}*{text}"


@dataclass(frozen=True)
class Chosen:
    """An objective, or several that are added; its text parses back to it."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return "+".join(map(str, self.terms))


def parse_objectives(text: str) -> list[Chosen]:
    """Names and options of several objectives, each checked.

    Raises:
        InputError: an unknown objective or option, a value of the wrong kind, a factor that is not > 0, one named
            twice, or none.

    >>> [str(chosen) for chosen in parse_objectives("triplet, infonce, multi_similarity:beta=40,alpha=1,spce")]
    ['triplet-margin', 'nt-xent', 'multi-similarity:beta=40,alpha=1', 'spce']
    >>> [str(chosen) for chosen in parse_objectives("supcon + 0.1*contrastive:negative=0.3,positive=0.9")]
    ['supcon+0.1*contrastive:negative=0.3,positive=0.9']
    """
    chosen: list[Chosen] = []
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        first, *added = (part.strip() for part in _PLUS.split(piece))
        if "=" in first and ":" not in first:
            if not chosen:
                raise InputError(f"objectives: {first!r} comes before any objective; write objective:{first}")
            *terms, last = chosen.pop().terms
            terms.append(replace(last, options=(*last.options, _option(first))))
        else:
            terms = [_term(first)]
        chosen.append(Chosen((*terms, *map(_term, added))))
    if not chosen:
        raise InputError(f"objectives: none named; choose from {', '.join(entries())}")
    for one in chosen:
        create(one, width=1, num_classes=1)(torch.zeros(1, 1), [0])  # an option out of range says so now
        if chosen.count(one) > 1:
            raise InputError(f"objectives: {one} is named twice")
    return chosen


def create(chosen: Chosen | str, *, width: int, num_classes: int) -> Objective | ObjectiveSum:
    """The module of an objective, for embeddings of that width and that many classes.

    >>> create("multi-similarity:beta=40", width=64, num_classes=10).options["beta"]
    40.0
    >>> create("supcon+0.1*normalized-softmax", width=64, num_classes=10)
    ObjectiveSum(
      factors=[1.0, 0.1]
      ...
    """
    if isinstance(chosen, str):
        [chosen] = parse_objectives(chosen)
    parts = [(term.factor, _module(term, width, num_classes)) for term in chosen.terms]
    [(factor, first), *others] = parts
    return first if isinstance(first, Objective) and factor == 1 and not others else ObjectiveSum(parts)


def _module(term: Term, width: int, num_classes: int) -> Bound:
    entry = entries()[term.name]
    options = _read_options(term)
    asked = inspect.signature(entry.module).parameters
    sizes = {name: size for name, size in (("width", width), ("num_classes", num_classes)) if name in asked}
    made = entry.module(**sizes, **options)
    return LinearClassifier(made, width, num_classes) if isinstance(made, LogitsLoss) else made


def _term(text: str) -> Term:
    factor, times, rest = text.partition("*")
    name, _, option = (rest if times else text).partition(":")
    if "*" in name or (times and not _is_positive(factor)):
        raise InputError(
            f"objectives: {text!r} must be a number > 0 times an objective, as in 0.1*contrastive"
        )
    return Term(float(factor) if times else 1.0, _name(name), (_option(option),) if option else ())


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False


def _name(text: str) -> str:
    name = text.strip().replace("_", "-")
    name = ALIASES.get(name, name)
    if name in others():
        raise InputError(f"{name} takes {others()[name].takes}: call it from Python, see mimetric objectives")
    if name not in entries():
        raise InputError(f"unknown objective {text.strip()!r}; {did_you_mean(name, [*entries(), *ALIASES])}")
    return name


def _option(text: str) -> tuple[str, str]:
    key, equals, value = (part.strip() for part in text.partition("="))
    if not (key and equals and value):
        raise InputError(f"objectives: {text!r} must be option=value, as in multi-similarity:beta=40")
    return key.replace("-", "_"), value


def _read_options(term: Term) -> dict[str, Any]:
    """Values in the types of the module's options; mining and similarity go into a Pairing."""
    module = entries()[term.name].module
    kinds = {key: get_type_hints(module.__init__)[key] for key in entries()[term.name].options}
    if "pairing" in inspect.signature(module).parameters:
        kinds |= {"mining": Literal[tuple(MININGS)], "similarity": Literal[SIMILARITIES]}
    read: dict[str, Any] = {}
    for key, text in term.options:
        if key not in kinds:
            raise InputError(f"{term.name}: unknown option {key}; {did_you_mean(key, kinds)}")
        read[key] = _value(f"{term.name}: {key}", text, kinds[key])
    mining, similarity = read.pop("mining", None), read.pop("similarity", None)
    if mining or similarity:
        read["pairing"] = Pairing(mining=MININGS.get(mining), similarity=similarity)
    return read


def _value(where: str, text: str, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        words = {word.replace("_", "-"): word for word in get_args(kind)}
        word = words.get(text.replace("_", "-"))
        if word is None:
            raise InputError(f"{where} must be one of {', '.join(words)}, got {text!r}")
        return word
    kind = next((number for number in (float, int) if number in get_args(kind)), kind)  # or learned, or None
    try:
        return kind(text)
    except TypeError:  # a tensor, a function
        raise InputError(f"{where} is no word or number; give it to the loss from Python") from None
    except ValueError:
        raise InputError(
            f"{where} must be a {'whole number' if kind is int else 'number'}, got {text!r}"
        ) from None
