"""The command ``mimetric search``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from mimetric.cli.shared import AsJson


def search(
    run: Path,
    /,
    *queries: str,
    k: Annotated[int, Parameter(name="-k")] = 10,
    corpus: str | None = None,
    index: Literal["exact", "usearch", "faiss"] | None = None,
    save: Path | None = None,
    threshold: str | None = None,
    device: str = "auto",
    as_json: AsJson = False,
) -> None:
    """Search a corpus for what is nearest to queries, by the cosine of embeddings of a run.

    Without --corpus, the test rows of the data that the run was trained on are searched, or their gallery.  A row of
    the corpus with the id of a query is the query itself, and left out for it.

    Args:
        run: The folder of mimetric train, or a checkpoint of mimetric compare.
        queries: Pictures, or whatever else mimetric embed takes; texts in quotes, or numbers as in "[0.5, -1]", for a
            run on such; numbers of test rows of the run's data, from 0; a file of embeddings.
        k: Neighbors of each query.
        corpus: File that mimetric embed or --save wrote; anything that mimetric embed takes, embedded now; or data by
            name, of which the gallery or the test rows are searched.
        index: How to search: exact, or by usearch or faiss where they are installed, with the recall measured against
            exact. Without it, by the index in the file of the corpus, else exact.
        save: File to write corpus and index to, .npz; name it by --corpus next time.
        threshold: Cosine from which a neighbor is accepted: a number, or a file that mimetric evaluate RUN --metrics
            threshold_at_fmr --target-fmr RATE --json printed.
        device: Where the encoder runs: auto, cpu, cuda, ...
        as_json: Print one JSON object on stdout in place of the tables.
    """
    from mimetric.corpus.run import search_run, threshold_of

    limit = None if threshold is None else threshold_of(threshold)
    found = search_run(
        run, queries, k=k, corpus=corpus, index=index, save=save, threshold=limit, device=device
    ).as_json()
    if as_json:
        print(json.dumps(found, allow_nan=False))
        return
    _print(found)
    if save is not None:
        print(f"wrote {save}")


def _print(found: Mapping[str, Any]) -> None:
    """A table for each query, then how it was searched."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for query in found["queries"]:
        console.print(Text(f"query {_shown(query)}", style="bold"))
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for heading in ("rank", "cosine"):
            table.add_column(heading, justify="right")
        table.add_column("label", overflow="fold")
        table.add_column("item", overflow="fold")
        table.add_column("" if found["threshold"] is None else "decision")
        for one in query["neighbors"]:
            decision = {True: "accept", False: "reject", None: ""}[one.get("accepted")]
            name, label = Text(one["item"] or one["id"]), Text(one["label"] or "-")
            table.add_row(str(one["rank"]), f"{one['score']:.4f}", label, name, decision)
        console.print(table)
        console.print()
    for line in _lines(found):
        console.print(Text(line, style="dim"), soft_wrap=True)


def _shown(query: Mapping[str, Any]) -> str:
    label = f", label {query['label']}" if query["label"] else ""
    return f"{query['item'] or query['id']}{label}"


def _lines(found: Mapping[str, Any]) -> list[str]:
    corpus, index = found["corpus"], found["index"]
    how = index["kind"]
    if index["recall"] is not None:
        how += f", recall@{index['recall_k']} {index['recall']:.4f} against exact search"
    lines = [f"searched {corpus['rows']:,} rows of {corpus['name']}; index: {how}"]
    if found["threshold"] is not None:
        lines.append(f"accepted from a cosine of {found['threshold']:.4f} on")
    return [*lines, *found["notes"]]
