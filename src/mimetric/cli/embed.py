"""The command ``mimetric embed``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from mimetric.cli.shared import AsJson
from mimetric.core.errors import InputError, did_you_mean


def embed(
    run: Path,
    /,
    *inputs: str,
    out: Path,
    columns: str = "",
    root: Path | None = None,
    bad: Literal["stop", "skip"] = "stop",
    batch_size: int = 256,
    device: str = "auto",
    as_json: AsJson = False,
) -> None:
    """Embed inputs of any number by what a run trained, with their ids, and labels where they have some.

    Killed, or stopped by a row with a fault, the same command goes on where it was.  mimetric evaluate takes the file
    if it has labels, mimetric search --corpus takes any.

    Args:
        run: The folder of mimetric train, or a checkpoint of mimetric compare.
        inputs: Pictures; folders of pictures or of .txt files, where a folder in them is a label; lists, .csv, .tsv,
            .jsonl or .parquet, with a column path, text or vector and, if you like, label and id; .npz with x and, if
            you like, y and ids; .txt with a text a line; or data by name, such as digits or folder:PATH, with their
            split.
        out: File to write, .npz or .parquet.
        columns: Names in lists, as in path=file,label=brand.
        root: Folder that paths in lists are in, if that is not the folder of the list.
        bad: Stop at a row that cannot be read or whose id was there before, or leave it out.
        batch_size: Rows embedded at once.
        device: Where the encoder runs: auto, cpu, cuda, ...
        as_json: Print what was written as one JSON object on stdout.
    """
    named = _named(columns)
    from mimetric.corpus.embed import embed_inputs
    from mimetric.report.progress import shown_progress

    with shown_progress() as progress:
        found = embed_inputs(
            run, inputs, out, columns=named, root=root, bad=bad, batch_size=batch_size, device=device,
            progress=progress,
        )  # fmt: skip
    if as_json:
        print(json.dumps({"out": str(out), **asdict(found)}, allow_nan=False))
        return
    print(f"wrote {out}: {found.rows:,} rows of {found.width:,} numbers, with {', '.join(found.columns[1:])}")
    if found.left_out:
        print(f"left out {found.left_out:,} inputs with a fault: {'; '.join(found.faults)}")


_COLUMNS = ("path", "text", "vector", "label", "id")


def _named(columns: str) -> dict[str, str]:
    """Our names of columns -> those in the file."""
    found = dict(piece.strip().partition("=")[::2] for piece in columns.split(",") if piece.strip())
    for ours, name in found.items():
        if ours not in _COLUMNS or not name:
            raise InputError(
                f"columns: must be as in label=brand, got {columns!r}; {did_you_mean(ours, _COLUMNS)}"
            )
    return found
