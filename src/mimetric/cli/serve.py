"""The command ``mimetric serve``."""

from __future__ import annotations

from pathlib import Path

from mimetric.core.errors import InputError


def serve(
    run: Path,
    /,
    *,
    port: int = 8000,
    host: str = "127.0.0.1",
    corpus: Path | None = None,
    device: str = "auto",
) -> None:
    """Show a page on this machine: give a query, see its neighbors and why they are near. Ctrl-C ends it.

    Programs ask POST /api/search; /docs on the page says how.

    Args:
        run: The folder of mimetric train or of mimetric compare, of which each objective's first seed is served, or one
            of its checkpoints.
        port: Where the page is, as in http://127.0.0.1:8000; 0 takes a free one.
        host: Address to listen on. Any other than 127.0.0.1 lets others on the network use the page and see the data;
            there is no password.
        corpus: File of embeddings that mimetric embed or search --save wrote by this run, searched with the index in
            it. Without it, the test rows of the run's data are searched, or their gallery.
        device: Where the encoder runs: auto, cpu, cuda, ...
    """
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(f"needs {error.name}: pip install 'mimetric[serve]'") from None
    from mimetric.serve.server import serve_run

    serve_run(run, host=host, port=port, corpus=corpus, device=device)
