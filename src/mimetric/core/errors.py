"""The error a user can mend, in one line.  Imports no torch: the command's help must be instant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """What a caller got wrong: names the place, what it must be, what it was, and the remedy.

    The command prints its message as one line and exits with code 2.
    """


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """The end of a message about an unknown word: the nearest right one, or all there are.

    >>> did_you_mean("tripelt", ["triplet", "supcon"])
    'did you mean triplet?'
    >>> did_you_mean("x", ["triplet", "supcon"])
    'choose from triplet, supcon'
    """
    choices = list(choices)
    near = get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"choose from {', '.join(choices)}"
