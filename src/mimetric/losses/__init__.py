"""Losses: each a function, and the same with its options bound as a module.

``loss(embeddings, labels, ...)`` is a scalar; ``loss.sides(...)`` its tightness and contrast.

A loss loads when first asked for, so that nobody waits for those of others: ``__init__.pyi`` says where each is, to
readers, type checkers and this file.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

_HOMES = {
    alias.name: "." * found.level + str(found.module)
    for found in ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    if isinstance(found, ast.ImportFrom)
    for alias in found.names
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mimetric.losses' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value  # asked for once
    return value


def __dir__() -> list[str]:
    return __all__
