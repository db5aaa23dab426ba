"""The command ``mimetric report``."""

from __future__ import annotations

from pathlib import Path

from mimetric.cli.out_file import writable_file
from mimetric.core.errors import InputError


def report(*runs: Path, out: Path) -> None:
    """Write the report of runs again, or of several together: one HTML file that needs no network.

    Args:
        runs: Folders that mimetric compare or train finished, on the same data; or files that mimetric evaluate --json
            printed.
        out: File to write, .html.
    """
    if not runs:
        raise InputError(
            "name at least one run: a folder of mimetric compare or train, or a .json file of evaluate"
        )
    out = writable_file(out, (".html",))
    from mimetric.report.measured import read_evaluation, write_evaluations
    from mimetric.report.page import write_report
    from mimetric.train.across import across, read_results

    folders = [run.expanduser() for run in runs]
    files = [run for run in folders if run.is_file()]
    if files and len(files) < len(folders):
        raise InputError(
            f"{files[0]}: an evaluation is not reported with runs; give folders alone, or files alone"
        )
    named = dict(zip(_told_apart(folders), folders))
    if files:
        write_evaluations({name: read_evaluation(path) for name, path in named.items()}, out)
    else:
        found = {name: read_results(folder) for name, folder in named.items()}
        write_report(across(found) if len(found) > 1 else found.popitem()[1], out, folders)
    print(f"wrote {out}")


def _told_apart(paths: list[Path]) -> list[str]:
    """The last parts of the paths, as many as it takes."""
    whole = [path.resolve() for path in paths]
    if len(set(whole)) < len(whole):
        raise InputError("the same run is named twice; name each once")
    most = max(len(path.parts) for path in whole)
    counts = range(1, most + 1)
    tried = (["/".join(path.parts[-count:]) for path in whole] for count in counts)
    return next(names for names in tried if len(set(names)) == len(names))
