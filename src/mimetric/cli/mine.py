"""The command ``mimetric mine``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mimetric.cli.out_file import writable_file
from mimetric.corpus.mine_options import MineOptions


def mine(
    data: str,
    /,
    *,
    run: Path,
    out: Path,
    options: Annotated[MineOptions, Parameter(name="*")] = MineOptions(),
) -> None:
    """Write what a run takes for an anchor's class and is not: hard negatives, searched over a whole data set.

    Each row is an anchor, searched exactly among all rows of other classes.  Copies of a row, rows whose copies have
    another class, and candidates so near that they may be of the anchor's class are left out.  mimetric train
    --triplets trains on the file.

    Args:
        data: As mimetric train takes it by --data; split in the same way.
        run: The folder of mimetric train, or a checkpoint of mimetric compare.
        out: File to write: .jsonl, .csv or .parquet.
    """
    from mimetric.corpus.mine import columns_of, mine
    from mimetric.data.pair_files import WRITTEN, write_pair_file
    from mimetric.data.sources import load_data
    from mimetric.model import load
    from mimetric.report.progress import shown_progress

    model = load(run)
    out, loaded = writable_file(out, WRITTEN), load_data(data)
    with shown_progress() as progress:
        mined = mine(model, loaded, options, progress=progress)
    found = mined.triplets
    columns = columns_of(found, loaded, options.output_format)
    write_pair_file(out, columns)
    print(f"wrote {out}: {len(columns['anchor']):,} {options.output_format}s of {mined.anchors:,} anchors")
    print(
        f"cosine {found.positive_score.mean():.3f} with positives, {found.negative_score.mean():.3f} with negatives"
    )
    print(
        f"left out: {mined.copies:,} copies, {mined.conflicting:,} rows whose copies have another class, "
        f"{mined.too_near:,} candidates too near"
    )
    if mined.short:
        print(
            f"{mined.short:,} anchors have fewer than {options.num_negatives} negatives; raise --range-max for more"
        )
    if options.part == "train":
        words = ["--data", data, "--start", str(run), "--triplets", str(out)]
        print(f"Go on with it: mimetric train {shlex.join(words)}")
