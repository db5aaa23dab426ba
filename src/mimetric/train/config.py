"""Options as a file: ``run.toml``, which every run writes into its folder and ``--config`` reads.

A key is a field of an option class, as in ::

    data = "glyphs"
    objectives = "supcon,multi-similarity:beta=40"
    steps = 1000

An option that is None has no line, and neither has `out`: it says where the file lies.  Imports no torch, as the
command reads such files before work begins.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mimetric.core.errors import InputError, did_you_mean
from mimetric.core.files import write_whole
from mimetric.models.names import parse_encoder

CONFIG = "run.toml"
_HEADER = "# Every option of this run: --config with this file repeats it, flags go on top.\n"
_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text in quotes",
    Path: "a path in quotes",
}


def read_config(path: Path, kind: type, *, given: Collection[str] = ()) -> dict[str, Any]:
    """The values that a TOML file holds for an option class, each in the type of its field.

    Args:
        path: of the file, in UTF-8; its keys are names of fields, in any order, as many as you like.
        kind: a dataclass, such as :class:`~mimetric.train.options.CompareOptions`.  Ranges are its own matter.
        given: fields that have a value from elsewhere: those of the file are checked and left out.

    Raises:
        InputError: a file that cannot be read or is no TOML, a key that is no field, a value of another type, or an
            encoder that is code, which runs at the user's own word only.

    >>> import tempfile
    >>> from mimetric.train.options import TrainOptions
    >>> file = Path(tempfile.mkdtemp()) / "run.toml"
    >>> _ = file.write_text('objective = "supcon"\\nlr = 1')
    >>> TrainOptions(**read_config(file, TrainOptions)).lr
    1.0
    """
    try:
        content = tomllib.loads(path.expanduser().read_bytes().decode())
    except OSError as error:
        raise InputError(f"config: {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"config: {path} is no TOML: {error}") from None
    hints, names = get_type_hints(kind), [field.name for field in fields(kind)]
    for key in content:
        if key not in names:
            raise InputError(f"config: {path}: unknown key {key}; {did_you_mean(key, names)}")
    read = {key: _value(f"config: {path}: {key}", value, hints[key]) for key, value in content.items()}
    left = {key: value for key, value in read.items() if key not in given}
    if parse_encoder(left.get("encoder", "auto")).source == "code":
        raise InputError(
            f"config: {path}: encoder {left['encoder']} is code; name it again by --encoder if you trust it"
        )
    return left


def write_config(folder: Path, options: Any) -> None:
    """Write every option of a run, defaults too, into ``run.toml`` in its folder.

    Args:
        folder: of the run.
        options: an instance of an option class.

    Raises:
        OSError: it cannot be written; what was there still is.
    """
    import tomli_w

    given = {field.name: getattr(options, field.name) for field in fields(options)}
    values = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in given.items()
        if value is not None and name != "out"
    }
    write_whole(folder / CONFIG, (_HEADER + tomli_w.dumps(values)).encode())


def _value(where: str, value: Any, hint: Any) -> Any:
    """The value, if it fits the type of its field."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise InputError(f"{where}: unknown value {value!r}; {did_you_mean(str(value), get_args(hint))}")
        return value
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kind = next(kind for kind in kinds if kind is not type(None))
    if type(value) is kind:
        return value
    if (kind, type(value)) in ((float, int), (Path, str)):
        return kind(value)
    raise InputError(f"{where} must be {_KINDS[kind]}, got {value!r}")
