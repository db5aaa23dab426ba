"""The command ``mimetric explain``."""

from __future__ import annotations

from pathlib import Path

from mimetric.core.errors import InputError
from mimetric.core.files import writable_folder


def explain(run: Path, /, *inputs: str, out: Path) -> None:
    """Show where in inputs a run sees what it sees, as a picture.

    Of each input, where it looks like the class that is predicted (infoCAM+, infoCAM, pointwise information, CAM and
    Grad-CAM), if the run's objective has class weights; then which regions make the first input and each other similar.

    Args:
        run: The folder of mimetric train, or a folder in the folder checkpoints of mimetric compare.
        inputs: Files of pictures, or numbers of test rows of the run's data, from 0.
        out: File to write the picture to, .png.
    """
    if not inputs:
        raise InputError("name at least one input: a picture, or the number of a test row of the run's data")
    if out.suffix.lower() != ".png":
        raise InputError(f"out: must be a .png file, got {out}; name another by --out")
    writable_folder(out.parent)
    from mimetric.report.overlay import draw_overlays
    from mimetric.train.explain import explain_run

    draw_overlays(explain_run(run.expanduser(), inputs), out)
    print(f"wrote {out}")
