"""Imports point down: who may use whom, read from the import statements of the whole package.

Two more promises are kept here because they are about imports as well: the command's help needs no
torch, and the library parts need torch and numpy only.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "mimetric"

# Part -> the parts it may use.  A part is a folder or a file of src/mimetric.
LIBRARY = {
    "core",
    "losses",
    "mining",
    "memory",
    "catalog",
    "named",
    "estimators",
    "views",
    "metrics",
    "evaluation",
    "explain",
}
MAY_USE: dict[str, set[str]] = {
    "core": set(),
    "losses": {"core"},
    "mining": {"core"},
    "memory": {"core"},
    "catalog": {"core", "losses"},
    "named": {"core", "losses", "mining", "catalog"},
    "estimators": {"core"},
    "metrics": {"core"},
    "models": {"core"},
    "data": {"core"},
    "views": {"core", "losses", "estimators"},
    "explain": {"core", "estimators", "models"},
    "evaluation": {"core", "metrics"},
    "doctor": {"core", "data", "estimators"},
    "train": LIBRARY | {"models", "data", "report"},
    "model": {"core", "models", "data", "train", "report"},
    "estimator": {"core", "metrics", "model", "train"},
    "corpus": LIBRARY | {"models", "data", "train", "model"},
    "export": {"core", "data", "model"},
    "serve": {"core", "data", "explain", "metrics", "model", "models", "corpus", "train"},
    "report": {"core"},
    "recipes": LIBRARY | {"models", "data", "train"},
    "cli": LIBRARY
    | {"models", "data", "doctor", "train", "model", "corpus", "export", "serve", "report", "recipes"},
    "__main__": {"cli"},
    "__init__": set(),
}
# Loaded to show a help page or an error: no torch until work begins.
INSTANT = {
    *(f"cli/{file.name}" for file in SOURCE.glob("cli/*.py")),
    "__main__.py",
    "__init__.py",
    "core/errors.py",
    "train/options.py",
    "train/config.py",
    "corpus/mine_options.py",
    "recipes/__init__.py",
}


class Import(NamedTuple):
    line: int
    module: str
    at_load: bool  # executed when the file is imported, not inside a function or for type checkers


def imports(file: Path, root: Path) -> Iterator[Import]:
    """Every import of a file, by full name; `from mimetric import losses` counts as mimetric.losses."""
    package = ("mimetric", *file.relative_to(root).parts[:-1])
    yield from _imports(ast.parse(file.read_text(encoding="utf-8")), package, at_load=True)


def _imports(node: ast.AST, package: tuple[str, ...], at_load: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(child.lineno, name.name, at_load) for name in child.names)
        elif isinstance(child, ast.ImportFrom):
            start = ".".join(package[: len(package) + 1 - child.level]) if child.level else ""
            base = ".".join(part for part in (start, child.module) if part)
            if base == "mimetric":
                yield from (Import(child.lineno, f"mimetric.{name.name}", at_load) for name in child.names)
            else:
                yield Import(child.lineno, base, at_load)
        else:
            yield from _imports(child, package, at_load and not _is_deferred(child))


def _is_deferred(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.dump(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def part_of(file: Path, root: Path) -> str:
    return file.relative_to(root).parts[0].removesuffix(".py")


def complaints(root: Path) -> list[str]:
    """What is wrong with a tree laid out as src/mimetric, one line per import."""
    found = []
    for file in sorted(root.rglob("*.py")):
        name, part = file.relative_to(root).as_posix(), part_of(file, root)
        if part not in MAY_USE:
            found.append(f"{name}: add the part '{part}' to MAY_USE in tests/test_layers.py")
            continue
        for line, module, at_load in imports(file, root):
            top, _, rest = module.partition(".")
            ours = rest.split(".")[0] if top == "mimetric" else ""
            if ours and ours in MAY_USE and ours != part and ours not in MAY_USE[part]:
                found.append(f"{name}:{line}: {part} must not use {ours}")
            if part == "recipes" and ours == "recipes":
                found.append(f"{name}:{line}: recipes do not use each other")
            if name in INSTANT and at_load and top == "torch":
                found.append(f"{name}:{line}: loaded for the help, must not import torch")
            if (
                part in LIBRARY
                and at_load
                and top not in {"mimetric", "torch", "numpy"} | sys.stdlib_module_names
            ):
                found.append(f"{name}:{line}: the library needs torch and numpy only, not {top}")
    return found


def test_imports_point_down() -> None:
    assert complaints(SOURCE) == []


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("core/pairs.py", "from mimetric.losses import pair", "1: core must not use losses"),
        ("core/pairs.py", "from mimetric import losses", "1: core must not use losses"),
        ("losses/pair.py", "import mimetric.metrics.retrieval", "1: losses must not use metrics"),
        ("losses/pair.py", "from ..data import glyphs", "1: losses must not use data"),
        ("losses/pair.py", "from .. import data", "1: losses must not use data"),
        ("data/splits.py", "def f():\n    import mimetric.models", "2: data must not use models"),
        ("report/page.py", "from mimetric.train import loop", "1: report must not use train"),
        ("train/loop.py", "from mimetric.cli import main", "1: train must not use cli"),
        ("recipes/a.py", "from .b import arms", "1: recipes do not use each other"),
        ("cli/train.py", "import torch.nn", "1: loaded for the help, must not import torch"),
        ("train/options.py", "class A:\n  import torch", "2: loaded for the help, must not import torch"),
        ("core/pairs.py", "import scipy.stats", "1: the library needs torch and numpy only, not scipy"),
        ("lab/a.py", "", " add the part 'lab' to MAY_USE in tests/test_layers.py"),
    ],
)
def test_each_rule_fails_on_a_bad_tree(tmp_path: Path, file: str, text: str, complaint: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    assert complaints(tmp_path) == [f"{file}:{complaint}"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("losses/pair.py", "from ..core import pairs\nfrom . import terms\nimport torch, math"),
        ("cli/train.py", "def compare():\n    import torch\n    from mimetric.train.compare import compare"),
        ("cli/train.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("data/digits.py", "import sklearn.datasets"),
        ("metrics/probe.py", "def probe():\n    import sklearn"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    assert complaints(tmp_path) == []


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh Python holds after the statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_losses_load_torch_and_numpy_only() -> None:
    """Nothing of the extra `app`, at any depth of imports."""
    others = {"accelerate", "plotly", "matplotlib", "sklearn", "scipy", "cyclopts", "rich", "jinja2", "PIL"}
    assert (
        not loaded_by("import mimetric.losses, mimetric.metrics.retrieval, mimetric.catalog, mimetric.views")
        & others
    )


def test_command_loads_no_torch() -> None:
    assert not loaded_by("import mimetric, mimetric.cli, mimetric.train.options") & {"torch", "numpy"}
