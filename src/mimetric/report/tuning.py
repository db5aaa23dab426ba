"""What ``compare --trials`` tuned, over what, and what it found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def tuned(results: Mapping[str, Any]) -> list[str]:
    """How all were tuned, then a line for each objective; nothing where nothing was.

    Args:
        results: the content of results.json.
    """
    tuning = results.get("tuning")
    if not tuning:
        return []
    return [
        f"Tuned first: {tuning['trials']} trials for each objective, the first with the options asked for, all with "
        f"seed {tuning['seed']}, judged by recall@1 on validation items. No trial looked at the test.",
        *(f"{name}: {_found(one)}." for name, one in tuning["objectives"].items()),
    ]


def _found(one: Mapping[str, Any]) -> str:
    """What was searched and chosen, and what it did on validation."""
    before, after = one["asked_validation_recall_at_1"], one["validation_recall_at_1"]
    chosen = ", ".join(
        f"{option} {one['chosen'][option]:.3g} of {space['low']:.3g} to {space['high']:.3g}"
        f"{' (log scale)' if space['log'] else ''}"
        for option, space in one["space"].items()
    )
    return f"{chosen}; recall@1 on validation {100 * before:.1f}% as asked, {100 * after:.1f}% as chosen"
