"""The command ``mimetric doctor``."""

from __future__ import annotations

import json

from mimetric.cli.shared import AsJson


def doctor(data: str, /, *, as_json: AsJson = False) -> None:
    """Examine data before training: singletons, copies, leaks across the split, imbalance, H(Y).

    Exit code 0 whatever it warns of, 2 where the data cannot be read.

    Args:
        data: Data set: glyphs, digits, npz:PATH, or folder:PATH of class folders.
        as_json: Print one JSON object on stdout in place of the table.
    """
    from mimetric.data.sources import load_data
    from mimetric.doctor import examine
    from mimetric.report.evaluation import print_examination

    loaded = load_data(data)
    found = examine(loaded).as_json()
    if as_json:
        print(json.dumps({"data": data, "note": loaded.note, **found}, allow_nan=False))
    else:
        print_examination(found, loaded.note)
