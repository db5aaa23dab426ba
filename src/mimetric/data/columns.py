"""Which column of a list is which: by the name it has, or by one that was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mimetric.core.errors import InputError, did_you_mean

SAMPLES = ("path", "text", "vector")


def columns_of(
    held: Sequence[str], chosen: Mapping[str, str], others: Sequence[str], hint: str
) -> dict[str, str]:
    """Names in the file by our names: of one kind of samples, and of those others that it has.

    Args:
        held: names in the file.
        chosen: ours -> its, in place of our names.
        others: our names beside :data:`SAMPLES`.
        hint: how a column of samples is chosen.

    Raises:
        InputError: a chosen name is not held, a name is held twice, or there is not one column of samples.

    >>> columns_of(["image", "class", "id"], {"path": "image", "label": "class"}, ["label", "split", "id"], "path=")
    {'path': 'image', 'label': 'class', 'id': 'id'}
    """
    for ours, name in chosen.items():
        if name not in held:
            raise InputError(f"{ours}={name}: no such column; {did_you_mean(name, held)}")
    twice = next((name for name in held if held.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two columns are named {twice!r}; rename one")
    samples = [name for name in SAMPLES if name in chosen] or [name for name in SAMPLES if name in held]
    if len(samples) != 1:
        found = f"has {' and '.join(samples)}" if samples else f"it has {', '.join(held[:8]) or 'none'}"
        raise InputError(f"needs one column of samples, path, text or vector; {found}; name it by {hint}")
    used = (*samples, *(name for name in others if name in chosen or name in held))
    return {name: chosen.get(name, name) for name in used}
