"""Folders with one folder of pictures, or of text files, for each class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError
from mimetric.data.images import IMAGE_FORMATS
from mimetric.data.labelled import Pictures, Source

TEXT_SUFFIX = ".txt"


def read_folder(root: Path, *, skip: bool = False) -> Source:
    """Files of class folders: pictures, or where there are none, texts (.txt, UTF-8); the rest is named.

    Raises:
        InputError: no class folders, one without files, or a text that cannot be read.
    """
    folders = [entry for entry in _visible(root) if entry.is_dir()]
    if not folders:
        raise InputError("no class folders; put the images of each class in a folder of its own")
    inside = [entry for folder in folders for entry in _visible(folder)]
    files = [file for file in inside if file.suffix.lower() in IMAGE_FORMATS]
    what = "images"
    if not files and any(file.suffix.lower() == TEXT_SUFFIX for file in inside):
        files, what = [file for file in inside if file.suffix.lower() == TEXT_SUFFIX], "texts"
    counts = Counter(file.parent for file in files)
    for folder in folders:
        if not counts[folder]:
            known = ", ".join(IMAGE_FORMATS) if what == "images" else TEXT_SUFFIX
            raise InputError(f"{folder.name} holds no {what}; known are {known}")
    used = {*counts, *files}
    other = [entry for entry in (*_visible(root), *inside) if entry not in used]
    labels = np.repeat(np.arange(len(folders)), [counts[folder] for folder in folders])
    names = np.array([file.relative_to(root).as_posix() for file in files], object)
    class_names, left_out = [folder.name for folder in folders], _left_out(root, other, what)
    if what == "images":
        return Source(Pictures(root, names), labels, class_names=class_names, left_out=left_out)
    texts, faults = _texts(files)
    if faults and not skip:
        raise InputError(f"{faults[min(faults)]}; correct it, or leave such out by bad=skip")
    good = np.ones(len(files), bool)
    good[list(faults)] = False
    source = Source(texts, labels, ids=names.astype(str), class_names=class_names, left_out=left_out)
    return source.kept(
        good, f"texts left out, {len(faults):,} with faults: {', '.join(list(faults.values())[:3])}"
    )


def _texts(files: list[Path]) -> tuple[NDArray[np.object_], dict[int, str]]:
    texts, faults = np.full(len(files), "", object), {}
    for row, file in enumerate(files):
        try:
            texts[row] = file.read_text(encoding="utf-8-sig").strip()
        except UnicodeDecodeError:
            faults[row] = f"{file} is not UTF-8"
        except OSError as error:
            faults[row] = f"{file}: {error.strerror}"
        else:
            if not texts[row]:
                faults[row] = f"{file} is empty"
    return texts, faults


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _left_out(root: Path, files: list[Path], what: str) -> tuple[str, ...]:
    if not files:
        return ()
    named = ", ".join(str(file.relative_to(root)) for file in files[:3])
    more = f" and {len(files) - 3:,} more" if len(files) > 3 else ""
    return (f"left out, as no {what} in class folders: {named}{more}",)
