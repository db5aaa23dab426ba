"""A file that a command is to write, tried before long work begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mimetric.core.errors import InputError
from mimetric.core.files import writable_folder


def writable_file(path: Path, suffixes: Sequence[str], option: str = "out") -> Path:
    """The path, in a folder that is there and can be written to.

    Raises:
        InputError: another suffix, a folder, or a place that cannot be written to.
    """
    path = path.expanduser()
    if path.is_dir():
        raise InputError(f"{option}: {path} is a folder; name a file in it")
    if path.suffix.lower() not in suffixes:
        raise InputError(
            f"{option}: must be a {' or '.join(suffixes)} file, got {path}; name another by --{option}"
        )
    writable_folder(path.parent, option)
    return path
