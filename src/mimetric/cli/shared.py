"""What commands share: the flag ``--json``, and a folder that nothing lies in yet."""

from __future__ import annotations

from itertools import chain, count
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

AsJson = Annotated[bool, Parameter(name="--json")]


def unused(folder: Path) -> Path:
    """The folder, or the first of folder-2, folder-3, ... that holds nothing yet."""
    names = chain([folder], (folder.with_name(f"{folder.name}-{number}") for number in count(2)))
    return next(name for name in names if not name.exists() or (name.is_dir() and not any(name.iterdir())))
