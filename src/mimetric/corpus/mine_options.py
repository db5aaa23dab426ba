"""Which negatives are hard, and which are too hard to be true: options of ``mimetric mine``.  Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mimetric.core.errors import InputError, did_you_mean

Part = Literal["train", "validation", "test", "all"]
Positive = Literal["random", "nearest", "farthest"]
Sampling = Literal["top", "random"]
Format = Literal["triplet", "pair"]

_PER_NEGATIVE = 10  # candidates for each negative wanted, unless told: margins leave some out


@dataclass(frozen=True)
class MineOptions:
    """What is searched for each anchor: ``mimetric mine``.

    Names are those of ``sentence_transformers.util.mine_hard_negatives`` where they mean the same.

    Raises:
        InputError: a value out of range, or an unknown word.

    >>> MineOptions(num_negatives=5, range_max=4)
    Traceback (most recent call last):
    ...
    mimetric.core.errors.InputError: range_max must be at least range_min + num_negatives (5), got 4
    """

    num_negatives: int = 3
    """Negatives of an anchor, where so many candidates are left."""
    range_min: int = 0
    """Candidates begin at this rank among the rows of other classes; 0 is the most similar."""
    range_max: int | None = None
    """Candidates end before this rank; range_min + 10 * num_negatives unless you say."""
    absolute_margin: float | None = None
    """Leave out candidates less than this below the positive, in cosine."""
    relative_margin: float | None = None
    """Leave out candidates above the positive's cosine less this share of it, such as 0.05: with --positive nearest,
    rows so near may be of the anchor's class in truth."""
    max_score: float | None = None
    """Leave out candidates of a higher cosine."""
    min_score: float | None = None
    """Leave out candidates of a lower cosine."""
    positive: Positive = "random"
    """Which row of its class goes with an anchor: one at random, the nearest, or the farthest."""
    sampling_strategy: Sampling = "top"
    """Of the candidates left, take the most similar, or draw."""
    seed: int = 0
    """Of what is drawn."""
    part: Part = "train"
    """Rows that are mined: those that train uses, or others; all is the whole set, which train refuses."""
    output_format: Format = "triplet"
    """Lines of anchor, positive and negative; or of anchor, other and label, 1 for a positive."""

    def __post_init__(self) -> None:
        for name, least in (("num_negatives", 1), ("range_min", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(
                    f"{name} must be a whole number, at least {least}, got {getattr(self, name)}"
                )
        if self.last_rank < self.range_min + self.num_negatives:
            least = self.range_min + self.num_negatives
            raise InputError(
                f"range_max must be at least range_min + num_negatives ({least}), got {self.range_max}"
            )
        for name in ("absolute_margin", "relative_margin"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 2:
                raise InputError(f"{name} must lie between 0 and 2, got {value}; try 0.05")
        for name in ("max_score", "min_score"):
            value = getattr(self, name)
            if value is not None and not -1 <= value <= 1:
                raise InputError(f"{name} must be a cosine, between -1 and 1, got {value}; try 0.8")
        for name, kind in (
            ("positive", Positive), ("sampling_strategy", Sampling), ("part", Part), ("output_format", Format),
        ):  # fmt: skip
            word = getattr(self, name)
            if word not in get_args(kind):
                raise InputError(f"{name}: unknown value {word!r}; {did_you_mean(str(word), get_args(kind))}")

    @property
    def last_rank(self) -> int:
        """The rank before which candidates end."""
        return (
            self.range_min + _PER_NEGATIVE * self.num_negatives if self.range_max is None else self.range_max
        )
