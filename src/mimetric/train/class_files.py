"""Numbers of very many classes on disk, a file for each process that holds some, read by any number of processes.

Each process of a :class:`~mimetric.losses.CutClasses` writes its rows alone: class weights, and what an optimizer keeps
of each.  Reading takes the rows that are wanted from whichever files hold them, so a run goes on with more or fewer
processes.  The files are safetensors: loading them runs no code.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mimetric.core.errors import InputError
from mimetric.core.files import write_whole

_NAME = "classes-{:012d}-{:012d}.safetensors"


def save_classes(folder: str | Path, tensors: Mapping[str, Tensor], classes: range) -> Path:
    """Write the rows of some classes, under a name that says which; all processes write into one folder.

    Args:
        folder: must exist; one for each step that is kept.
        tensors: each (k, ...), a row for each of the classes.
        classes: their ids, a run.

    Returns:
        The file.
    Raises:
        InputError: a tensor without a row for each class.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> for classes in (range(0, 2), range(2, 5)):
    ...     _ = save_classes(folder, {"weight": torch.arange(5.0)[classes.start : classes.stop]}, classes)
    >>> load_classes(folder, range(1, 4))
    {'weight': tensor([1., 2., 3.])}
    """
    for name, tensor in tensors.items():
        if tensor.ndim == 0 or len(tensor) != len(classes):
            raise InputError(
                f"save_classes: {name} must have {len(classes)} rows, one for each of {classes}, "
                f"got {tuple(tensor.shape)}"
            )
    path = Path(folder) / _NAME.format(classes.start, classes.stop)
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_whole(path, safetensors.torch.save(held))
    return path


def load_classes(folder: str | Path, classes: range) -> dict[str, Tensor]:
    """The rows of a run of classes, put together from the files of a folder; no other rows are read.

    Raises:
        InputError: the files do not hold each of the classes once, hold other tensors than one another, or one of
            them is no safetensors file.
    """
    folder = Path(folder)
    parts: dict[str, list[Tensor]] = {}
    reached = classes.start
    for start, stop, path in sorted((*_run(path), path) for path in folder.glob("classes-*.safetensors")):
        first, last = max(start, classes.start), min(stop, classes.stop)
        if first >= last:
            continue
        if first != reached:
            break
        reached = last
        found = _rows(path, slice(first - start, last - start), stop - start)
        if parts and parts.keys() != found.keys():
            raise InputError(f"{path}: holds {sorted(found)}, others of the folder {sorted(parts)}")
        for name, rows in found.items():
            parts.setdefault(name, []).append(rows)
    if reached < classes.stop or not parts:
        raise InputError(
            f"{folder}: must hold each of the classes {classes.start}..{classes.stop - 1} in one file "
            f"classes-FIRST-END.safetensors, looked in vain for {reached}: keep the files of all processes together, "
            "and those of another step in another folder"
        )
    return {name: torch.cat(rows) for name, rows in parts.items()}


def part_folder(folder: Path, kind: str, saved: Any) -> Path:
    """Where a run keeps its files of one kind, of a save named ``STEP-PROCESSES``.

    Raises:
        InputError: another name, which may point anywhere.

    >>> print(part_folder(Path("runs/train"), "state", "500-8"))
    runs/train/state-classes-500-8
    """
    if not re.fullmatch(r"\d+-\d+", str(saved)):
        raise InputError(f"checkpoint {folder}: classes must be STEP-PROCESSES, two numbers, got {saved!r}")
    return folder / f"{kind}-classes-{saved}"


def remove_other_parts(folder: Path, saved: str) -> None:
    """Delete the files of all saves but one."""
    for old in folder.iterdir():
        found = re.fullmatch(r"(?:weights|state)-classes-(\d+-\d+)", old.name)
        if found and found[1] != saved:
            shutil.rmtree(old, ignore_errors=True)


def _run(path: Path) -> tuple[int, int]:
    try:
        _, start, stop = path.stem.split("-")
        return int(start), int(stop)
    except ValueError:
        raise InputError(
            f"{path}: its name must be classes-FIRST-END.safetensors, with two numbers"
        ) from None


def _rows(path: Path, rows: slice, held: int) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            for name, tensor in found.items():
                if tensor.get_shape()[:1] != [held]:
                    raise InputError(f"{path}: {name} must have {held} rows, got {tensor.get_shape()}")
            return {name: tensor[rows] for name, tensor in found.items()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error}); restore it from a copy") from None
