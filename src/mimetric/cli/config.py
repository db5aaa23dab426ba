"""The flag ``--config``: options of a file, below those of the command line."""

from __future__ import annotations

from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, ArgumentCollection, Parameter, Token

from mimetric.core.errors import InputError
from mimetric.train.config import read_config

ConfigFile = Annotated[Path | None, Parameter(name="--config")]


def from_file(_: App, __: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give options what the file of ``--config`` has for them, where no flag does; the parser calls this.

    Raises:
        InputError: as :func:`~mimetric.train.config.read_config`.
    """
    fields = {argument.name.removeprefix("--").replace("-", "_"): argument for argument in arguments}
    if "config" not in fields or not fields["config"].tokens:
        return
    path = Path(fields["config"].tokens[-1].value)
    kinds = [a.hint for a in arguments if isinstance(a.hint, type) and is_dataclass(a.hint)]
    if not kinds:
        raise InputError("config: there are no options without a recipe; name one")
    given = {name for name, argument in fields.items() if argument.tokens}
    for name, value in read_config(path, kinds[0], given=given).items():
        fields[name].append(Token(keyword=name, value=str(value), source=str(path)))
